"""The reference of all settings in docs/reference/configuration.md, generated from the models.

`python -m recsys.config.reference docs/reference/configuration.md` (or `make config-reference`) writes it there.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic.fields import FieldInfo

from recsys.config import Config, Section
from recsys.errors import ConfigError

START = "<!-- start of the reference; written by `make config-reference` -->"
END = "<!-- end of the reference -->"


@dataclass(frozen=True)
class Setting:
    """A setting as the reference shows it.

    Attributes:
        path: dotted path.
        allowed: type, choices and limits.
        default: as in YAML; `required` where there is none.
        description: the docstring under the setting.
    """

    path: str
    allowed: str
    default: str
    description: str


def list_settings(section: type[Section] = Config, prefix: str = "") -> Iterator[Setting]:
    """Yield every setting below a section, in the order of the models; sections themselves are not settings."""
    schema = section.model_json_schema()
    for name, field in section.model_fields.items():
        inner = _find_section(field)
        # A section that is off by default can be switched on, so it is a setting as well.
        if inner is None or field.default is None:
            allowed = _describe_allowed(schema["properties"][name]) if inner is None else "section or null"
            yield Setting(prefix + name, allowed, _write_default(field), describe_setting(section, name))
        if inner is not None:
            yield from list_settings(inner, f"{prefix}{name}.")


def describe_setting(section: type[Section], name: str) -> str:
    """Return the docstring under a setting; a setting that a subclass only gives another default keeps the first."""
    for base in section.__mro__:
        field = getattr(base, "model_fields", {}).get(name)
        if field is not None and field.description:
            return str(field.description)
    return ""


def format_reference() -> str:
    """Return the reference as Markdown: a table per section."""
    tables: dict[str, list[Setting]] = {}
    for setting in list_settings():
        tables.setdefault(setting.path.rpartition(".")[0], []).append(setting)
    lines: list[str] = []
    for section, settings in tables.items():
        title = f"`{section}`" if section else "the top level"
        lines += [f"### {title}", "", "| setting | allowed | default | meaning |", "| --- | --- | --- | --- |"]
        for setting in settings:
            name = setting.path.rpartition(".")[2]
            cells = (f"`{name}`", setting.allowed, f"`{setting.default}`", " ".join(setting.description.split()))
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        lines.append("")
    return "\n".join(lines)


def replace_reference(text: str, where: str) -> str:
    """Return the text of a document with a new reference between its two marks.

    Raises:
        ConfigError: the document lacks a mark.
    """
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not (start and end):
        raise ConfigError(f"{where}: no place for the reference; add the lines '{START}' and '{END}'")
    return f"{before}{START}\n\n{format_reference()}\n{END}{after}"


def _find_section(field: FieldInfo) -> type[Section] | None:
    for kind in (field.annotation, *get_args(field.annotation)):
        if isinstance(kind, type) and issubclass(kind, Section):
            return kind
    return None


def _write_default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    return json.dumps(field.default, ensure_ascii=False)


_TYPES = {"integer": "whole number", "string": "text", "boolean": "true or false", "null": "null"}
_LIMITS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def _describe_allowed(schema: dict[str, Any] | bool) -> str:
    """Return in words what a JSON schema allows."""
    if not isinstance(schema, dict):
        # `true`: the section of a plug-in validates the value.
        return "anything"
    if "anyOf" in schema:
        return " or ".join(_describe_allowed(option) for option in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return " or ".join(f"`{choice}`" for choice in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"list of {_describe_allowed(schema['items'])}"
    if schema.get("type") == "object":
        values = schema.get("additionalProperties") or next(iter(schema["patternProperties"].values()))
        return f"name -> {_describe_allowed(values)}"
    limits = " and ".join(
        f"{sign} {schema[key]:,}".removesuffix(".0") for key, sign in _LIMITS.items() if key in schema
    )
    if schema.get("format") == "date-time":
        return "time with a zone"
    return f"{_TYPES.get(schema['type'], schema['type'])} {limits}".strip()


if __name__ == "__main__":
    document = Path(sys.argv[1])
    document.write_text(replace_reference(document.read_text(encoding="utf-8"), str(document)), encoding="utf-8")
