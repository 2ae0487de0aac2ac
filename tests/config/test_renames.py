from typing import Any

import pytest
from miniature import settings

from recsys.config import parse_config
from recsys.config.reference import list_settings
from recsys.config.renames import RENAMED
from recsys.errors import ConfigError


def with_old(path: str, content: dict[str, Any]) -> dict[str, Any]:
    *parents, name = path.split(".")
    section = content
    for parent in parents:
        section = section.setdefault(parent, {})
    section[name] = "anything"
    return content


@pytest.mark.parametrize("path", RENAMED)
def test_old_name_is_rejected_with_the_new_name(path: str) -> None:
    content = with_old(path, settings())
    with pytest.raises(ConfigError) as caught:
        parse_config(content, "my.yaml")
    assert str(caught.value) == (
        f"config my.yaml: 1 invalid setting; fix and run again:\n  {path} was renamed to {RENAMED[path]}"
    )
    # The settings that were given are left alone.
    assert content == with_old(path, settings())


@pytest.mark.parametrize("path", RENAMED)
def test_new_name_exists_and_the_old_does_not(path: str) -> None:
    known = {setting.path for setting in list_settings()}
    assert path not in known
    assert f"{path.rpartition('.')[0]}.{RENAMED[path]}" in known


def test_old_names_are_listed_with_all_other_faults() -> None:
    content = settings() | {"candidates": {"at_most": 5}, "ranking": {"leave_out": [], "max_trees": 0}, "text": 7}
    with pytest.raises(ConfigError) as caught:
        parse_config(content, "my.yaml")
    lines = str(caught.value).splitlines()
    assert lines[0] == "config my.yaml: 4 invalid settings; fix and run again:"
    assert lines[1:3] == [
        "  candidates.at_most was renamed to max_candidates",
        "  ranking.leave_out was renamed to exclude_features",
    ]
    assert {line.split(":")[0] for line in lines[3:]} == {"  text", "  ranking.max_trees"}
