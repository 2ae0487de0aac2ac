"""Values replaced in a file that a person wrote."""

import difflib
from pathlib import Path
from typing import Any

import pytest
import yaml
from miniature import settings

from recsys.config import Config, parse_config
from recsys.config.overrides import apply_settings, list_changes, look_up, rewrite
from recsys.errors import ConfigError

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))

SETTINGS: dict[str, Any] = {
    "candidates.depths.text": 37,
    "candidates.popularity_half_life_days": 3.5,
    "collab.als.regularization": 0.00001,
    "collab.transitions.k": 11,
    "ranking.num_leaves": 16,
    "ranking.max_trees": 21,
    "text.fields": ["title"],
    "text.max_tokens": 33,
}

OWN = """\
# 我们的设置 🚀
collab:
    # factors
    als:   {epochs: 3,   alpha: 2.0}   # why three

# The ranking is dear.
ranking:
    max_trees: 20   # short
    folds:          5
# The end.
text:
    fields:
    - title   # first
    - 'tags'
    checkpoint: "all-MiniLM-L6-v2"
"""


def write(extra: str) -> tuple[str, Config]:
    """Return a file's text whose first part is made and whose last part is as given, and its config."""
    given = {key: value for key, value in settings().items() if key not in ("text", "ranking", "candidates")}
    text = yaml.safe_dump(given, sort_keys=False) + extra
    return text, parse_config(yaml.safe_load(text), "test")


def change(text: str, config: Config, values: dict[str, Any]) -> list[str]:
    """Return the lines of the difference, once the new text is known to give the new config."""
    changed = apply_settings(config, values)
    new = rewrite(text, "test", changed, list_changes(config, changed, values))
    assert parse_config(yaml.safe_load(new), "test") == changed
    lines = difflib.unified_diff(text.splitlines(), new.splitlines(), lineterm="", n=0)
    return [line for line in lines if line[:2] not in ("--", "++", "@@")]


def test_only_the_values_change() -> None:
    text, config = write(OWN)
    values = {"collab.als.epochs": 7, "ranking.max_trees": 50, "text.fields": ["title", "tags", "category"]}
    assert change(text, config, values) == [
        "-    als:   {epochs: 3,   alpha: 2.0}   # why three",
        "+    als:   {epochs: 7,   alpha: 2.0}   # why three",
        "-    max_trees: 20   # short",
        "+    max_trees: 50   # short",
        "-    fields:",
        "-    - title   # first",
        "-    - 'tags'",
        "+    fields: [title, tags, category]",
    ]


def test_settings_left_to_their_default_are_added_to_their_section() -> None:
    text, config = write(OWN)
    values = {"collab.transitions.k": 9, "ranking.num_leaves": 16, "collab.als.regularization": 0.00001}
    assert change(text, config, values) == [
        "-    als:   {epochs: 3,   alpha: 2.0}   # why three",
        "+    als:   {epochs: 3,   alpha: 2.0, regularization: 1.0e-05}   # why three",
        "+    transitions: {k: 9}",
        "+    num_leaves: 16",
    ]


def test_a_mapping_left_to_its_default_is_written_whole() -> None:
    text, config = write("")
    (line,) = change(text, config, {"candidates.depths.text": 37})
    depths = dict(config.candidates.depths, text=37)
    assert yaml.safe_load(line[1:]) == {"candidates": {"depths": depths}}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_of_ours_can_be_rewritten(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    config = parse_config(yaml.safe_load(text), str(path))
    lines = change(text, config, SETTINGS)
    # Each setting touches one line at most, and no comment is lost.
    assert len([line for line in lines if line.startswith("-")]) <= len(SETTINGS)
    assert not [line for line in lines if line.startswith("-") and "#" in line and line.split("#")[1] not in str(lines)]


def test_nothing_to_change_gives_the_same_text() -> None:
    text, config = write(OWN)
    assert rewrite(text, "test", config, {}) == text


def test_shared_values_are_refused() -> None:
    text, config = write("ranking: {max_trees: &trees 50, fixed_trees: *trees}\n")
    changed = apply_settings(config, {"ranking.fixed_trees": 9})
    with pytest.raises(ConfigError, match=r"anchors(.|\n)*  ranking.fixed_trees: 9"):
        rewrite(text, "config", changed, {"ranking.fixed_trees": 9})


def test_changes_are_told_by_what_the_config_makes_of_a_value() -> None:
    config = parse_config(settings(), "test")
    same = apply_settings(config, {"collab.als.epochs": 15.0, "collab.als.alpha": 5})
    assert list_changes(config, same, ["collab.als.epochs", "collab.als.alpha"]) == {}
    assert look_up(config, "candidates.depths.repeat") is None


def test_a_refused_value_is_named() -> None:
    with pytest.raises(ConfigError, match=r"with collab.als.epochs=0: 1 invalid setting"):
        apply_settings(parse_config(settings(), "test"), {"collab.als.epochs": 0})
