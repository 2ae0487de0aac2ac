"""Replace settings in a config, and in the text of its file."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from recsys.config import Config, Section, parse_config
from recsys.config.yaml_text import parse_yaml
from recsys.errors import ConfigError


def apply_settings(config: Config, settings: Mapping[str, Any]) -> Config:
    """Return the config with the settings at these dotted paths replaced.

    Raises:
        ConfigError: a value is invalid.
    """
    content = config.resolved()
    for path, value in settings.items():
        *sections, name = path.split(".")
        target = content
        for section in sections:
            target = target[section]
        target[name] = value
    return parse_config(content, "with " + ", ".join(f"{path}={value}" for path, value in settings.items()))


def look_up(config: Config, path: str) -> Any:
    """Return the resolved value at a dotted path; None where a mapping lacks the last part."""
    *sections, name = path.split(".")
    target = config.resolved()
    for section in sections:
        target = target[section]
    return target.get(name)


def list_changes(config: Config, changed: Config, paths: Iterable[str]) -> dict[str, Any]:
    """Return the paths whose values differ between two configs, with the values of the second."""
    values = {path: look_up(changed, path) for path in paths}
    return {path: value for path, value in values.items() if value != look_up(config, path)}


def rewrite(text: str, where: str, changed: Config, settings: Mapping[str, Any]) -> str:
    """Return the text of a config file with some values replaced and every other character unchanged.

    A round trip through a YAML library would move comments and change the alignment; here the values are replaced at
    the offsets that the parser reports. A setting that the file does not contain is added at the end of its section.

    Args:
        text: text of the file, valid YAML.
        where: name of the file, for messages.
        changed: the config that the new text must parse to.
        settings: dotted paths of the values to replace.

    Raises:
        ConfigError: the file shares values by anchors, so that a value cannot be replaced alone.
    """
    try:
        for path in settings:
            text = _replace(text, path.split("."), changed)
        result = parse_config(parse_yaml(text), where).digest()
    except (yaml.YAMLError, ConfigError) as error:
        result = str(error)
    if result != changed.digest():
        listed = "\n".join(f"  {path}: {_write(look_up(changed, path))}" for path in settings)
        raise ConfigError(
            f"config {where}: values cannot be replaced in place, perhaps because of anchors (& and *); "
            f"set these by hand:\n{listed}"
        )
    return text


def _replace(text: str, parts: list[str], changed: Config) -> str:
    node: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    name: Any = None
    depth = 0
    while depth < len(parts):
        entry_nodes = next(((key, value) for key, value in node.value if key.value == parts[depth]), None)
        if entry_nodes is None:
            break
        name, node = entry_nodes
        depth += 1
    if depth == len(parts):
        value = _write(look_up(changed, ".".join(parts)))
        if text[name.end_mark.index : node.start_mark.index].count("\n") == 0:
            return text[: node.start_mark.index] + value + text[_find_end(text, node) :]
        # A list or mapping that is on separate lines is written on the line of its name.
        return text[: name.end_mark.index] + ": " + value + text[_find_end(text, node) :]
    entry = f"{parts[depth]}: {_write(_collect(changed, parts, depth + 1))}"
    if node.flow_style:
        end: int = node.value[-1][1].end_mark.index if node.value else node.start_mark.index + 1
        return text[:end] + (", " if node.value else "") + entry + text[end:]
    # The end of its line: comments below belong to what follows.
    end = text.find("\n", _find_end(text, node))
    end = len(text) if end < 0 else end
    column: int = node.value[0][0].start_mark.column
    return text[:end] + "\n" + " " * column + entry + text[end:]


def _collect(changed: Config, parts: list[str], depth: int) -> Any:
    """Return the value at the first `depth` parts of a path: of a section only the requested value, of a mapping all.

    A file that named a single entry of `candidates.depths` would lose the other defaults.
    """
    value: Any = changed
    for part in parts[:depth]:
        value = getattr(value, part) if isinstance(value, Section) else value[part]
    if isinstance(value, Section) and depth < len(parts):
        return {parts[depth]: _collect(changed, parts, depth + 1)}
    return look_up(changed, ".".join(parts[:depth]))


def _find_end(text: str, node: yaml.Node) -> int:
    """Return the offset where a value ends; the parser extends a block to whatever follows it."""
    while isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        node = node.value[-1][1] if isinstance(node, yaml.MappingNode) else node.value[-1]
    return max(node.start_mark.index, len(text[: node.end_mark.index].rstrip()))


def _write(value: object) -> str:
    """Return a value as YAML on a single line."""
    text = str(yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, sort_keys=False, width=math.inf))
    return text.removesuffix("\n").removesuffix("\n...").strip()
