"""Write a proposal as a YAML file with its evidence as comments."""

from __future__ import annotations

import textwrap
from typing import Any

import yaml

from recsys.dataset.proposal.draft import Draft, Path

_WIDTH = 116
_CHECK = "# CHECK "


def write_yaml(draft: Draft, header: list[str]) -> str:
    """Return the config file: a comment as header, and each setting with why it is proposed.

    What somebody should check stands above its setting in lines that start with `# CHECK`.
    """
    lines = [f"# {line}".rstrip() for line in header]
    _write(draft, draft.content(), (), lines)
    return "\n".join(lines) + "\n"


def _write(draft: Draft, node: dict[str, Any], path: Path, lines: list[str]) -> None:
    for name, value in node.items():
        here = (*path, name)
        indent = "  " * len(path)
        if not path and lines and isinstance(value, dict):
            lines.append("")
        for check in draft.checks.get(here, []):
            lines += _fold(check, indent)
        key = f"{indent}{_flow(name)}:"
        if here not in draft.values:
            lines.append(key)
            _write(draft, value, here, lines)
            continue
        line = f"{key} {_flow(value)}"
        evidence = " ".join(draft.evidence.get(here, "").split())
        if evidence and len(line) + len(evidence) + 4 <= _WIDTH:
            line += f"  # {evidence}"
        elif evidence:
            lines += textwrap.wrap(evidence, _WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")
        lines.append(line)


def _fold(text: str, indent: str) -> list[str]:
    flat = " ".join(text.split())
    first, later = f"{indent}{_CHECK}", f"{indent}#   "
    # Names of checkpoints and files have hyphens, and are copied from here.
    return textwrap.wrap(flat, _WIDTH, initial_indent=first, subsequent_indent=later, break_on_hyphens=False)


def _flow(value: Any) -> str:
    """Return a value on a single line of YAML."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, sort_keys=False, width=float("inf"))
    return text.removesuffix("\n").removesuffix("\n...").strip()
