"""What a misspelt setting may have meant."""

from __future__ import annotations

import types
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, Union, get_args, get_origin

from recsys.config.section import Section


def suggest(root: type[Section], place: Sequence[int | str]) -> str:
    """Return `; did you mean 'NAME'?`, or nothing where no setting has a similar name.

    A setting with the same name in another section is named with its path.

    Args:
        root: the model of the file.
        place: keys and indexes that lead to the unknown setting.
    """
    name, section = str(place[-1]), _find_section(root, place[:-1])
    if close := get_close_matches(name, section.model_fields if section else (), n=1):
        return f"; did you mean '{close[0]}'?"
    elsewhere = [path for path in _list_paths(root, "") if path.split(".")[-1] == name]
    return f"; did you mean '{elsewhere[0]}'?" if len(elsewhere) == 1 else ""


def _find_section(root: type[Section], place: Sequence[int | str]) -> type[Section] | None:
    """Return the model at a place; None where it is no section."""
    section: type[Section] | None = root
    for part in place:
        field = section.model_fields.get(str(part)) if section else None
        section = next(_list_sections(field.annotation), None) if field else None
    return section


def _list_sections(annotation: Any) -> Iterator[type[Section]]:
    """Yield the sections that a type allows."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    elif get_origin(annotation) in (Union, types.UnionType, Annotated):
        for part in get_args(annotation):
            yield from _list_sections(part)


def _list_paths(section: type[Section], prefix: str) -> Iterator[str]:
    """Yield the path of every setting."""
    for name, field in section.model_fields.items():
        yield prefix + name
        for inside in _list_sections(field.annotation):
            yield from _list_paths(inside, f"{prefix}{name}.")
