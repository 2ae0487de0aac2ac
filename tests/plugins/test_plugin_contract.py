"""A plug-in that is missing or breaks its contract: one clear error, before anything is fitted where possible."""

from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import numpy as np
import polars as pl
import pytest
from installed_plugins import installed, on_path
from miniature import settings
from scipy.sparse import csr_array
from worlds import at, make_interactions, make_items

from recsys.candidates.contract import CheckedSource
from recsys.candidates.exclusions import Exclusions
from recsys.candidates.merge import CandidateRows, propose
from recsys.candidates.models import CandidateModels, FitInputs
from recsys.candidates.registry import find_models, load_source, make_sources
from recsys.candidates.scores import DenseScores, SharedScores, add_up
from recsys.candidates.statistics import ItemStatistics
from recsys.config import Config, check_plugins, parse_config, required_plugins
from recsys.config.plugins import find_plugin, list_names, order_sources, register_source
from recsys.dataset.histories import build_histories
from recsys.errors import ArtifactError, ConfigError, DataError
from recsys.features.feature import CandidateFeature, declare_extra, describe_extra, make_features_of_plugins
from recsys.training.rehearsal import rehearse_plugins

ITEMS = make_items("a", "b", "c")
HISTORIES = build_histories(make_interactions(("u", "a", 1), ("u", "b", 2), ("v", "c", 3)), ITEMS, at(5))
NOTHING_EXCLUDED = Exclusions.none(2, 3)

SOURCE = """
from recsys.candidates.source import CandidateSource
from recsys.config.plugins import register_source

@register_source
class Plain(CandidateSource):
    name = {name!r}

    @classmethod
    def make(cls, inputs):
        return cls()

    def score(self, histories):
        return None
"""


def parse(**sections: object) -> Config:
    return parse_config(settings() | sections, "test")


def with_depths(*names: str, **more: object) -> Config:
    return parse(candidates={"depths": dict.fromkeys(names, 5), **more})


@pytest.fixture
def write_module(tmp_path: Path) -> Iterator[Callable[[str, str], None]]:
    """Write modules that can be imported in this test alone."""

    def write(name: str, text: str) -> None:
        (tmp_path / f"{name}.py").write_text(dedent(text), "utf-8")

    with on_path(tmp_path):
        yield write


# --- names -------------------------------------------------------------------------------------------------


def test_an_unknown_module_is_named():
    with pytest.raises(
        ConfigError, match=r"plugins: plug-in module 'nobodys_shop' is not installed .* install"
    ) as error:
        parse(plugins=["nobodys_shop"])
    assert error.value.exit_code == 2


def test_a_module_whose_own_import_is_missing_is_not_called_missing_itself(write_module):
    write_module("broken_shop", "import a_module_that_is_not_there")
    with pytest.raises(ConfigError, match="plug-in module 'broken_shop' fails to import: ModuleNotFoundError"):
        parse(plugins=["broken_shop"])


def test_a_module_that_fails_to_import_is_named_with_its_error(write_module):
    write_module("failing_shop", "1 / 0")
    with pytest.raises(ConfigError, match="'failing_shop' fails to import: ZeroDivisionError: division by zero; fix"):
        parse(plugins=["failing_shop"])


def test_an_unknown_source_is_named_with_the_known_ones(tmp_path):
    with pytest.raises(ConfigError, match=r"candidates.depths: no source \['trending'\]; sources are als, bpr"):
        with_depths("als", "trending")
    with installed(tmp_path):
        assert with_depths("als", "trending").candidates.options == {"trending": {"half_life_days": 3.0}}
        with pytest.raises(ConfigError, match=r"no source \['trendy'\]; sources are .*repeat, same_tag, trending"):
            with_depths("trendy")
    with pytest.raises(ConfigError, match=r"no source \['trending'\]"):
        with_depths("als", "trending")


@pytest.mark.parametrize(
    ("section", "key", "kind"),
    [("ranking", "extra_features", "feature"), ("evaluation", "extra_baselines", "baseline")],
)
def test_unknown_features_and_baselines_are_named(section, key, kind):
    with pytest.raises(ConfigError, match=f"{section}.{key}: no {kind} 'magic'; known: none; install the package"):
        parse(**{section: {key: {"magic": {}}}})


def test_a_name_taken_twice_is_refused(write_module, tmp_path):
    write_module("first_shop", SOURCE.format(name="seasonal"))
    write_module("second_shop", SOURCE.format(name="seasonal"))
    write_module("third_shop", SOURCE.format(name="als"))
    assert parse(plugins=["first_shop", "first_shop"]).plugins == ("first_shop", "first_shop")
    with pytest.raises(ConfigError, match=r"source 'seasonal': the name is used by both first_shop\.Plain and second"):
        parse(plugins=["first_shop", "second_shop"])
    with pytest.raises(
        ConfigError, match=r"source 'als' of third_shop\.Plain: a built-in source has this name; rename"
    ):
        parse(plugins=["third_shop"])
    write_module("fourth_shop", SOURCE.format(name="trending"))
    twice = r"taken by fourth_shop:Plain and by my_shop\.trending:TrendingSource"
    with installed(tmp_path / "site"), pytest.raises(ConfigError, match=twice):
        parse(plugins=["fourth_shop"], candidates={"depths": {"trending": 5}})


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("name = 'No Name'", "its name is 'No Name', expected lower-case letters"),
        ("name = 'seasonal'", "has no method make, score"),
        (
            "name = 'seasonal'; section = dict",
            "its section is <class 'dict'>, expected a subclass of recsys.config.S",
        ),
    ],
)
def test_a_class_without_what_a_source_has_is_refused(body, message, write_module):
    text = f"""
    from recsys.candidates.source import CandidateSource
    from recsys.config.plugins import register_source

    @register_source
    class Plain(CandidateSource):
        {body}
    """
    write_module("plain_shop", text)
    with pytest.raises(ConfigError, match=message):
        parse(plugins=["plain_shop"])


def test_a_declared_model_needs_its_methods(write_module):
    text = SOURCE.format(name="seasonal").replace("    @classmethod", "    model = 'seasons'\n\n    @classmethod", 1)
    write_module("plain_shop", text)
    with pytest.raises(ConfigError, match="declares model 'seasons', but has no method fit, save, load"):
        parse(plugins=["plain_shop"])
    with pytest.raises(ConfigError, match="source 3: is a int, expected a class"):
        register_source(3)  # type: ignore[type-var]


def test_two_sources_may_not_fit_models_of_the_same_name(tmp_path, monkeypatch):
    with installed(tmp_path):
        config = with_depths("als", "trending")
        assert list(find_models(config.candidates.depths)) == [
            *("als", "item_to_item", "transitions", "ease", "tfidf", "interest", "trending")
        ]
        monkeypatch.setattr(load_source("trending"), "model", "ease")
        with pytest.raises(ConfigError, match="sources 'ease' and 'trending' both fit a model 'ease'; rename"):
            find_models(config.candidates.depths)


# --- settings ----------------------------------------------------------------------------------------------


def test_settings_are_validated_by_the_plugins_own_section(tmp_path):
    with installed(tmp_path):
        for given, message in (
            (
                {"trending": {"half_life_days": -1}},
                "candidates.options: trending.half_life_days: Input should be",
            ),
            ({"trending": {"half_life": 1}}, "candidates.options: trending.half_life: Extra inputs are not permitted"),
            (
                {"als": {"epochs": 1}},
                "candidates.options: als: a built-in source has no options here; its settings",
            ),
            ({"trendy": {}}, "candidates.options: no source 'trendy'; known: als, .*trending; install"),
        ):
            with pytest.raises(ConfigError, match=message):
                with_depths("trending", options=given)
        config = with_depths("trending", options={"trending": {"half_life_days": 7}})
        assert load_source("trending").read_settings(config).half_life_days == 7


def test_columns_come_in_one_order_whatever_the_order_of_the_config():
    assert order_sources(["zoo", "popular", "als", "arc"]) == ["als", "popular", "arc", "zoo"]


def test_installing_the_package_changes_no_config(tmp_path):
    before = parse().digest()
    with installed(tmp_path):
        assert parse().digest() == before
        assert list_names("source") == ["same_tag", "trending"]
        assert required_plugins(parse()) == []
    assert find_plugin("source", "trending") is None


def test_a_missing_plugin_is_named_with_what_to_install(tmp_path, write_module):
    with installed(tmp_path / "site"):
        config = parse(plugins=["my_shop_plugins"], candidates={"depths": {"trending": 5}})
        recorded = required_plugins(config)
        check_plugins(recorded, "bundle x")
    assert [(row["kind"], row["name"]) for row in recorded] == [("module", "my_shop_plugins"), ("source", "trending")]
    with pytest.raises(ArtifactError, match="bundle x: 2 plug-ins missing; pip install my-shop and run again") as error:
        check_plugins(recorded, "bundle x")
    assert "source 'trending' (module my_shop.trending, package my-shop 1.4): no source 'trending'" in str(error.value)
    write_module("local_shop", SOURCE.format(name="seasonal"))
    local = required_plugins(parse(plugins=["local_shop"]))
    with pytest.raises(ArtifactError, match="1 plug-in missing; put its module on the Python path and run again"):
        check_plugins([row | {"name": "lost_shop"} for row in local], "bundle x")


# --- scores ------------------------------------------------------------------------------------------------


class Scripted:
    """A source that returns what it is given."""

    name = "scripted"
    reason = "scripted"

    def __init__(self, answer: object) -> None:
        self._answer = answer

    def score(self, histories):
        return self._answer


def array(*rows: list[float]) -> np.ndarray:
    return np.array(rows, dtype=np.float32)


def shared(row: list[float], *order: int) -> SharedScores:
    return SharedScores(array(row)[0], np.array(order, dtype=np.int32), 2)


class Custom(DenseScores):
    """Scores of a plug-in's own making, with this answer to `find_top`."""

    def __init__(self, top: np.ndarray) -> None:
        super().__init__(array([1, 2, 3], [1, 2, 3]))
        self._top = top

    def find_top(self, depth, exclusions):
        return self._top

    def look_up(self, starts, items):
        return np.ones(1)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, "score returned a NoneType without find_top, look_up, to_array; expected Scores, or a float32"),
        (array([1, 2, 3]), r"score returned float32 of shape \(1, 3\); expected float32 of shape \(2, 3\)"),
        (np.ones((2, 3)), r"score returned float64 of shape \(2, 3\); expected float32 of shape \(2, 3\)"),
        (array([1, 2, np.inf], [1, 2, 3]), r"returned infinite scores \(1 of 6\); expected finite ones, and NaN"),
        (shared([1, 2, 3], 7), "SharedScores that orders items from 7 to 7, not within 0 to 2; expected finite"),
        (shared([1, 2], 0), r"SharedScores that has a row of float32 of shape \(2,\) for 2 users"),
        (shared([1, np.nan, 3], 1), "SharedScores that has infinite or missing values"),
        (shared([1, 2, 3], 1, 1), "proposed an item twice to the same user"),
        (DenseScores(array([1, 2, 3])), r"DenseScores that has float32 of shape \(1, 3\) for 3 items"),
        (DenseScores(array([1, 2, np.inf], [1, np.nan, 3])), "DenseScores that has 2 values that are NaN or infinite"),
        (
            DenseScores(array([1], [2]), 3, np.array([5], dtype=np.int32)),
            "has item columns from 5 to 5, expected increasing",
        ),
        (add_up(np.arange(4), np.arange(3), np.ones(3), csr_array(np.eye(3))), r"of shape \(3, 3\) for 3 items"),
        (Custom(np.full((2, 1), 9, dtype=np.int32)), r"find_top\(3\) proposed item 9 of a catalogue of 3; expected"),
        (Custom(np.zeros((2, 4), dtype=np.int32)), r"find_top\(3\) returned 4 items per user; expected at most 3"),
        (
            Custom(np.zeros((1, 3), dtype=np.int32)),
            r"find_top\(3\) returned int32 of shape \(1, 3\); expected int32 of",
        ),
        (Custom(np.zeros((2, 1), dtype=np.int32)), r"look_up returned float64 of shape \(1,\); expected float32 of"),
    ],
)
def test_scores_that_break_the_contract_are_refused(answer, message):
    with pytest.raises(DataError, match=f"source 'scripted': .*{message}"):
        propose([CheckedSource(Scripted(answer))], {"scripted": 3}, HISTORIES, NOTHING_EXCLUDED)


def test_an_excluded_item_is_refused():
    class Stubborn(DenseScores):
        def find_top(self, depth, exclusions):
            return np.zeros((2, depth), dtype=np.int32)

    source = CheckedSource(Scripted(Stubborn(array([1, 2, 3], [1, 2, 3]))))
    exclusions = Exclusions(np.array([False, True, True]), NOTHING_EXCLUDED.starts, NOTHING_EXCLUDED.items)
    with pytest.raises(DataError, match="proposed an item that is excluded; expected none of `exclusions`"):
        propose([source], {"scripted": 1}, HISTORIES, exclusions)


def test_a_plain_array_is_as_good_as_scores():
    scores = array([1, np.nan, 3], [np.nan, np.nan, np.nan])
    rows = propose([CheckedSource(Scripted(scores))], {"scripted": 3}, HISTORIES, NOTHING_EXCLUDED)
    assert rows.items.tolist() == [0, 2]
    assert rows.ranks.tolist() == [[2, 1]]


def test_scores_of_plugins_are_checked_and_those_of_the_package_are_not(tmp_path):
    with installed(tmp_path):
        config = with_depths("popular", "trending")
        inputs = FitInputs(HISTORIES, ITEMS, np.eye(3, dtype=np.float32), config)
        names = ("als", "item_to_item", "transitions", "ease", "tfidf", "interest")
        models = CandidateModels.fit(inputs, dict.fromkeys(names))
        statistics = ItemStatistics.count(HISTORIES, None)
        popular, trending = make_sources(
            ["popular", "trending"], config.candidates, models, statistics, inputs.embeddings, ITEMS
        )
    assert isinstance(trending, CheckedSource)
    assert not isinstance(popular, CheckedSource)


# --- features ----------------------------------------------------------------------------------------------


class ScriptedFeature(CandidateFeature):
    name = "scripted"

    def names(self):
        return {"one": "The first.", "two": "The second."}

    def describe(self, rows, histories, facts):
        return self.settings


ROWS = CandidateRows(
    np.array([0, 1, 2]), np.array([0, 1], dtype=np.int32), np.ones((1, 2), dtype=np.uint16), array([1, 2])
)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, r"describe returned NoneType; expected the columns \['one', 'two'\]"),
        ({"one": array([1, 2])[0]}, r"describe returned \['one'\]; expected the columns \['one', 'two'\]"),
        (
            {"one": array([1, 2])[0], "two": array([1, 2, 3])[0]},
            r"column 'two' is float32 of shape \(3,\); expected float32 of shape \(2,\), one per row",
        ),
        ({"one": array([1, 2])[0], "two": np.ones(2)}, r"column 'two' is float64 of shape \(2,\)"),
        ({"one": array([1, 2])[0], "two": [1.0, 2.0]}, "column 'two' is a list"),
        ({"one": array([1, np.inf])[0], "two": array([1, 2])[0]}, "column 'one' has infinite values"),
    ],
)
def test_features_that_break_the_contract_are_refused(answer, message):
    with pytest.raises(DataError, match=f"feature 'scripted': {message}"):
        describe_extra([ScriptedFeature(answer)], ROWS, HISTORIES, None)


def test_a_column_name_that_is_taken_is_refused():
    with pytest.raises(ConfigError, match="feature 'scripted': there is already a column 'two'; rename it"):
        declare_extra([ScriptedFeature(None)], {"two": "Another."})
    with pytest.raises(ConfigError, match="there is already a column 'one', 'two'"):
        declare_extra([ScriptedFeature(None), ScriptedFeature(None)], {})


def test_a_feature_is_made_with_its_settings(tmp_path):
    with installed(tmp_path):
        (feature,) = make_features_of_plugins(parse(ranking={"extra_features": {"title_words": {"max_words": 3}}}))
        assert feature.settings.max_words == 3
        assert list(declare_extra([feature], {})) == ["title_words", "title_words_fit"]


# --- the rehearsal before a training -------------------------------------------------------------------------


def declare_source(returned: str) -> str:
    return SOURCE.format(name="rehearsed").replace("return None", f"return {returned}")


FEATURE = """
import numpy as np
from recsys.config.plugins import register_feature
from recsys.features.feature import CandidateFeature

@register_feature
class Rehearsed(CandidateFeature):
    name = "rehearsed"

    def names(self):
        return {{{column!r}: "A column."}}

    def describe(self, rows, histories, facts):
        return {{{column!r}: {values}}}
"""


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (
            "__import__('numpy').zeros((histories.n_users, 7), 'float32')",
            r"returned float32 of shape \(3, 7\); expected",
        ),
        ("__import__('numpy').zeros((histories.n_users, 3))", r"returned float64 of shape \(3, 3\); expected float32"),
        ("__import__('numpy').full((histories.n_users, 3), 'inf', 'float32')", "infinite scores"),
        ("None", "score returned a NoneType"),
    ],
)
def test_a_source_that_breaks_its_contract_stops_before_anything_is_fitted(returned, message, write_module):
    write_module("rehearsed_shop", declare_source(returned))
    config = parse(plugins=["rehearsed_shop"], candidates={"depths": {"als": 5, "rehearsed": 5}})
    with pytest.raises(DataError, match=f"source 'rehearsed': .*{message}") as error:
        rehearse_plugins(config, with_attributes(ITEMS), HISTORIES)
    assert error.value.exit_code == 2


@pytest.mark.parametrize(
    ("column", "values", "kind", "message"),
    [
        ("fine", "np.zeros(2, 'float32')", DataError, r"column 'fine' is float32 of shape \(2,\); expected float32 of"),
        ("fine", "np.full(len(rows.items), np.inf, 'float32')", DataError, "infinite values"),
        ("item_users", "np.zeros(len(rows.items), 'float32')", ConfigError, "there is already a column 'item_users'"),
    ],
)
def test_a_feature_that_breaks_its_contract_stops_before_anything_is_fitted(
    column, values, kind, message, write_module
):
    write_module("rehearsed_features", FEATURE.format(column=column, values=values))
    config = parse(plugins=["rehearsed_features"], ranking={"extra_features": {"rehearsed": {}}})
    with pytest.raises(kind, match=f"feature 'rehearsed': .*{message}"):
        rehearse_plugins(config, with_attributes(ITEMS), HISTORIES)


def test_sound_plugins_and_none_at_all_pass_the_rehearsal(write_module, tmp_path):
    rehearse_plugins(parse(), with_attributes(ITEMS), HISTORIES)
    write_module("rehearsed_features", FEATURE.format(column="fine", values="np.zeros(len(rows.items), 'float32')"))
    write_module("rehearsed_shop", declare_source("__import__('numpy').ones((histories.n_users, 3), 'float32')"))
    config = parse(
        plugins=["rehearsed_shop", "rehearsed_features"],
        candidates={"depths": {"als": 5, "rehearsed": 5}},
        ranking={"extra_features": {"rehearsed": {}}},
    )
    rehearse_plugins(config, with_attributes(ITEMS), HISTORIES)


def with_attributes(items: pl.DataFrame) -> pl.DataFrame:
    return items.with_columns(category=pl.lit("tea"))
