"""A misspelt setting is refused with the name that was meant."""

from copy import deepcopy

import pytest
from miniature import settings

from recsys.config import parse_config
from recsys.errors import ConfigError


@pytest.mark.parametrize(
    ("section", "misspelt", "meant"),
    [
        ("", "datset", "dataset"),
        ("dataset.items", "colums", "columns"),
        ("dataset.items.columns", "titel", "title"),
        ("text.fine_tune", "batchsize", "batch_size"),
        ("ranking", "max_tree", "max_trees"),
        # In the wrong section.
        ("", "num_leaves", "ranking.num_leaves"),
        ("registry.gate", "max_trees", "ranking.max_trees"),
    ],
)
def test_a_similar_setting_is_named(section: str, misspelt: str, meant: str) -> None:
    # The miniature shares a section with other tests.
    content = deepcopy(settings())
    target = content
    for part in filter(None, section.split(".")):
        target = target.setdefault(part, {})
    target[misspelt] = 1
    with pytest.raises(ConfigError) as error:
        parse_config(content, "x.yaml")
    path = ".".join(filter(None, (section, misspelt)))
    assert f"  {path}: Extra inputs are not permitted; did you mean '{meant}'?" in str(error.value)


def test_nothing_is_similar() -> None:
    with pytest.raises(ConfigError) as error:
        parse_config({**settings(), "zzz": 1}, "x.yaml")
    assert "did you mean" not in str(error.value)
