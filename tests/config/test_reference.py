from pathlib import Path

import pytest

from recsys.config import Config, Section, SequenceConfig
from recsys.config.reference import END, START, describe_setting, format_reference, list_settings, replace_reference
from recsys.errors import ConfigError

DOCUMENT = Path(__file__).parents[2] / "docs/reference/configuration.md"


def test_document_holds_the_reference_of_the_models() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert text == replace_reference(text, "docs/reference/configuration.md"), "run 'make config-reference'"


def test_every_setting_is_explained() -> None:
    unexplained = [setting.path for setting in list_settings() if not setting.description.rstrip().endswith((".", "?"))]
    assert unexplained == []


def test_every_setting_of_a_resolved_config_is_listed() -> None:
    known = {setting.path for setting in list_settings()}
    values = {"dataset": {"items": {"path": "i"}, "interactions": {"path": "l"}}, "windows": {"protocol": "random"}}
    for path, _ in Config.model_validate({"name": "x", **values}).flatten():
        # The entries of a mapping, such as candidates.depths.als, belong to the setting that holds the mapping.
        assert path in known or path.rpartition(".")[0] in known, path


def test_rows_name_choices_limits_and_defaults() -> None:
    settings = {setting.path: setting for setting in list_settings()}
    assert settings["name"].default == "required"
    assert settings["seed"].allowed == "whole number ≥ 0 and ≤ 2,000,000,000"
    assert settings["text.pooling"].allowed == "`mean` or `cls` or `attention`"
    assert settings["generation.outputs"].allowed == "list of `jsonl` or `csv`"
    assert settings["windows.test_days"].allowed == "number > 0 and ≤ 36,500 or null"
    assert settings["dataset.interactions.event_weights"].default == '{"interaction": 1.0}'
    assert settings["candidates.options"].allowed == "name -> name -> anything"
    # Off by default, and a section with settings.
    assert settings["text.own_bert"].default == "null"
    assert settings["text.own_bert.layers"].default == "4"
    assert settings["text.sequence.epochs"].default == "20"


def test_setting_of_a_subclass_keeps_the_description() -> None:
    assert describe_setting(SequenceConfig, "max_steps") == "Maximum number of batches, over all epochs."


def test_separators_of_the_table_are_escaped() -> None:
    rows = [line for line in format_reference().splitlines() if line.startswith("| `")]
    assert {line.replace("\\|", "").count("|") for line in rows} == {5}


def test_document_without_marks_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"x\.md: no place for the reference"):
        replace_reference(f"{START} only", "x.md")
    assert replace_reference(f"a{START}old{END}b", "x.md").startswith("a" + START)


def test_unexplained_setting_is_noticed() -> None:
    class Plain(Section):
        number: int = 1

    assert next(iter(list_settings(Plain))).description == ""
