"""A package from outside takes part in everything: candidates, features, ranker, ledger, lists, baselines, bundle."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest
from installed_plugins import PACKAGE, installed
from miniature import NOW, RUN_DATE, change, read_files, read_lists, settings

from recsys.artifacts.runs import read_run
from recsys.config import Config, parse_config, required_plugins
from recsys.errors import ArtifactError
from recsys.pipelines.promote import load_champion
from recsys.pipelines.run import run_all
from recsys.serving.bundle import Bundle
from recsys.serving.history_recommender import recommend_for

SOURCE_COLUMNS = [f"{source}_{kind}" for source in ("same_tag", "trending") for kind in ("rank", "z", "gap")]
FEATURE_COLUMNS = ["title_words", "title_words_fit"]


@dataclass(frozen=True)
class Shop:
    """A trained home of the shop's config, and a copy of its bundle's folder."""

    config: Config
    home: Path
    bundle: Bundle
    saved: Path
    site: Path


def shop_config(**sections: object) -> Config:
    """The miniature with everything that the package offers, and fewer of its own sources."""
    content = settings()
    content["candidates"] = {
        "depths": {"als": 50, "text": 50, "popular": 50, "trending": 40, "same_tag": 40},
        "options": {"trending": {"half_life_days": 5}},
    }
    content["ranking"] |= {"extra_features": {"title_words": {}}}
    content["evaluation"] |= {"extra_baselines": {"newest": {}}}
    return parse_config(content | sections, "shop")


@pytest.fixture(scope="module")
def shop(raw: Path, new_home: Callable[[], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    home, saved, site = new_home(), tmp_path_factory.mktemp("saved"), tmp_path_factory.mktemp("site")
    with installed(site), pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSYS_DATA", str(raw))
        config = shop_config()
        with chdir(saved):
            run_all(config, home, RUN_DATE, NOW)
        bundle = load_champion(config, home)[1]
        bundle.save(saved)
        yield Shop(config, home, bundle, saved, site)


def test_the_ranker_learns_from_the_columns_of_the_plugins(shop):
    assert [name for name in shop.bundle.ranker.features if name in (*SOURCE_COLUMNS, *FEATURE_COLUMNS)] == [
        *SOURCE_COLUMNS,
        *FEATURE_COLUMNS,
    ]
    (path,) = (shop.home / "runs").rglob("training_rows.parquet")
    rows = pl.read_parquet(path)
    for name in (*SOURCE_COLUMNS, *FEATURE_COLUMNS):
        assert rows[name].null_count() < rows.height, name
        assert rows[name].n_unique() > 1, name
    assert set(shop.bundle.ranker.blend.weights) == {"als", "text", "popular", "trending", "same_tag"}


def test_ledger_baselines_and_importance_list_the_plugins(shop):
    run = read_run(shop.home, shop.config.name)
    proposed = dict(run.ledger.select("source", "proposed").rows())
    assert proposed["trending"] > 0
    assert proposed["same_tag"] > 0
    assert {"trending", "same_tag", "newest"} <= set(run.metrics["model"])
    assert {*SOURCE_COLUMNS, *FEATURE_COLUMNS} <= set(run.importance["feature"])


def test_lists_name_the_sources_and_their_sentences(shop):
    lists = read_lists(shop.home, RUN_DATE)
    named = set(lists["sources"].explode())
    assert {"trending", "same_tag"} <= named
    assert {"Trending this week", "More of the same kind"} & set(lists["reason"])


def test_the_config_of_the_run_holds_the_defaults_of_the_plugins(shop):
    assert shop.config.candidates.options == {"same_tag": {}, "trending": {"half_life_days": 5.0}}
    assert shop.config.ranking.extra_features == {"title_words": {"max_words": 20}}
    assert shop.bundle.config.digest() == parse_config(shop.bundle.config.resolved(), "again").digest()


def test_a_loaded_bundle_gives_the_same_bytes(shop, tmp_path):
    loaded = Bundle.load(shop.saved)
    loaded.save(tmp_path)
    assert read_files(tmp_path) == read_files(shop.saved)
    assert (tmp_path / "plugins" / "trending" / "trends.npy").is_file()
    history = pl.DataFrame({"user_id": ["u"] * 4, "item_id": shop.bundle.items["item_id"][3:7]})
    assert recommend_for(loaded, history).equals(recommend_for(shop.bundle, history))


def test_a_bundle_lists_what_it_needs_and_refuses_to_load_without_it(shop, tmp_path, monkeypatch):
    recorded = json.loads((shop.saved / "plugins.json").read_text("utf-8"))
    assert recorded == required_plugins(shop.bundle.config)
    rows = {(row["kind"], row["name"], row["module"], row["distribution"], row["version"]) for row in recorded}
    assert rows == {
        ("source", "trending", "my_shop.trending", "my-shop", "1.4"),
        ("source", "same_tag", "my_shop.same_tag", "my-shop", "1.4"),
        ("feature", "title_words", "my_shop.title_words", "my-shop", "1.4"),
        ("baseline", "newest", "my_shop.newest", "my-shop", "1.4"),
    }
    # Nothing else is there, so nothing else can have been read.
    (tmp_path / "plugins.json").write_text(json.dumps(recorded), "utf-8")
    without = [path for path in sys.path if not Path(path).is_relative_to(PACKAGE) and Path(path) != shop.site]
    monkeypatch.setattr(sys, "path", without)
    with pytest.raises(ArtifactError, match="4 plug-ins missing; pip install my-shop and run again") as error:
        Bundle.load(tmp_path)
    assert "source 'trending' (module my_shop.trending, package my-shop 1.4)" in str(error.value)
    assert error.value.exit_code == 2


def test_a_module_named_by_the_config_registers_the_same_classes(shop):
    named = shop_config(plugins=["my_shop_plugins"])
    assert change(named, plugins=[]).digest() == shop.config.digest()
    assert required_plugins(named)[0]["kind"] == "module"
