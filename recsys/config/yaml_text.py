"""YAML that people write, read strictly: no key twice, no code, and no text that grows when it is read."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import yaml
from yaml.constructor import ConstructorError
from yaml.nodes import CollectionNode, MappingNode, Node

# Values of a text after its aliases are replaced by what they name; a config has a few hundred.
_MOST_VALUES = 100_000
_MERGE = "tag:yaml.org,2002:merge"


class _Loader(yaml.SafeLoader):
    """Plain values only: a tag such as `!!python/object` is an error."""

    def construct_document(self, node: Node) -> Any:
        """Return the value of a document whose keys differ and whose size is bounded."""
        # Before any mapping is made: merging changes the keys of the nodes.
        _check(self, node, {})
        return super().construct_document(node)


def parse_yaml(text: str) -> Any:
    """Return what a YAML text says.

    Anchors and merge keys (`<<`) are allowed; a key of the mapping itself takes precedence over a merged one.

    Raises:
        yaml.YAMLError: not YAML, a key is given twice, a tag asks for something other than plain values, or aliases
            make the text much larger than it is.
    """
    # A subclass of SafeLoader.
    return yaml.load(text, Loader=_Loader)


def _check(loader: _Loader, node: Node, counts: dict[int, int | None]) -> int:
    """Return the number of values in a node, those behind an alias counted each time."""
    if not isinstance(node, CollectionNode):
        return 1
    if id(node) in counts:
        known = counts[id(node)]
        if known is None:
            raise ConstructorError(None, None, "it contains itself through an alias", node.start_mark)
        return known
    counts[id(node)] = None
    if isinstance(node, MappingNode):
        _refuse_repeats(loader, node)
        children = [each for pair in node.value for each in pair]
    else:
        children = node.value
    total = 1 + sum(_check(loader, child, counts) for child in children)
    if total > _MOST_VALUES:
        raise ConstructorError(None, None, f"its aliases expand to more than {_MOST_VALUES:,} values", node.start_mark)
    counts[id(node)] = total
    return total


def _refuse_repeats(loader: _Loader, node: MappingNode) -> None:
    lines: dict[Hashable, int] = {}
    for key_node, _ in node.value:
        if key_node.tag == _MERGE or isinstance(key_node, CollectionNode):
            continue
        key: Hashable = loader.construct_object(key_node)
        line = key_node.start_mark.line + 1
        if key in lines:
            raise ConstructorError(
                None, None, f"'{key}' appears twice, in lines {lines[key]} and {line}; keep one", key_node.start_mark
            )
        lines[key] = line
