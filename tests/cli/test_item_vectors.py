"""Vectors of the items from elsewhere, from raw files to the lists of a night."""

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from miniature import copy_home, merge, read_files, read_lists
from shell import Call, expect
from vector_world import (
    DAYS,
    ITEMS_A_DAY,
    LENGTH,
    NOW,
    RUN_DATE,
    TASTES,
    USERS,
    draw_vectors,
    item_id,
    settings,
    taste_of,
    write_world,
)
from worlds import at

from recsys.config import Config, parse_config
from recsys.dataset.ingestion import ingest
from recsys.dataset.windows import resolve_end, split_windows
from recsys.evaluation.comparison import OURS
from recsys.pipelines.generate import generate
from recsys.pipelines.promote import load_champion
from recsys.pipelines.run import run_all
from recsys.serving.bundle import Bundle
from recsys.serving.history_recommender import recommend_for
from recsys.training.encoder_inputs import prepare_encoder_inputs
from recsys.training.fitting import fit_bundle
from recsys.training.measurement import measure

NEXT_DATE = "2025-02-11"
CHANCE = 1 / TASTES


@pytest.fixture(scope="module")
def raw_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vectors")
    write_world(folder)
    return folder


@pytest.fixture
def here(raw_world: Path, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the world's raw files, where commands look for them."""
    folder = tmp_path / "raw"
    shutil.copytree(raw_world, folder)
    monkeypatch.setenv("RECSYS_DATA", str(folder))
    return folder


@pytest.fixture
def write(here: Path, tmp_path: Path) -> Callable[..., Path]:
    """Write the world's settings, with some replaced."""

    def fill(**changes: Any) -> Path:
        path = tmp_path / "world.yaml"
        path.write_text(yaml.safe_dump(merge(settings(), changes)), encoding="utf-8")
        return path

    return fill


def without_vectors() -> dict[str, Any]:
    plain = settings()
    del plain["dataset"]["items"]["vectors"]
    return plain


@pytest.fixture(scope="module")
def made(raw_world: Path, new_home: Callable[[], Path]) -> Path:
    """A home after one run of everything."""
    home = new_home()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSYS_DATA", str(raw_world))
        run_all(parse_config(settings(), "test"), home, RUN_DATE, NOW)
    return home


@pytest.fixture
def home(made: Path, here: Path, tmp_path: Path) -> Path:
    return copy_home(made, tmp_path / "copied")


def share_of_taste(lists: pl.DataFrame, first: int = 5) -> float:
    """Share of the first rows of the lists whose item has the user's taste."""
    top = lists.filter(pl.col("rank") <= first)
    user, item = (top[name].str.slice(1).cast(pl.Int64).to_numpy() for name in ("user_id", "item_id"))
    return float((taste_of(user) == taste_of(item)).mean())


# --- lists -------------------------------------------------------------------------------------------------------


def test_lists_hold_the_users_taste(made):
    lists = read_lists(made, RUN_DATE)
    assert lists["user_id"].n_unique() == USERS
    assert share_of_taste(lists) > 0.6 > 4 * CHANCE


def test_the_bundle_names_its_vectors_and_their_length(made):
    bundle = load_champion(parse_config(settings(), "test"), made)[1]
    assert bundle.vector_lengths == {"image": LENGTH}
    features = {name for name in bundle.ranker.features if name.startswith("vector_")}
    assert {"vector_image_max", "vector_image_mean", "vector_image_last"} <= features
    assert bundle.attributes == []


def fit_and_measure(config: Config) -> tuple[Bundle, float]:
    """Return the evaluation model, and the recall of its lists."""
    found = ingest(config.dataset, now=NOW)
    end = resolve_end(found.interactions, None)
    windows = split_windows(found.interactions, config.windows, repeats=False, end=end, seed=0)
    inputs = prepare_encoder_inputs(config, found.items, windows.measurement_fold.labels[-1].cutoff)
    bundle = fit_bundle(config, found.items, inputs, windows.measurement_fold).bundle
    metrics = measure(bundle, windows.test, found.items, baselines=False).user_metrics
    ours = metrics.filter(pl.col("model") == OURS, pl.col("metric") == "recall", pl.col("n") == 5)
    return bundle, float(ours["value"].to_numpy().mean())


def test_recall_with_vectors_is_far_above_recall_without(here, tmp_path):
    bundle, found = fit_and_measure(parse_config(settings(), "test"))
    _, found_without = fit_and_measure(parse_config(without_vectors(), "test"))
    assert found > 0.4
    assert found_without < 0.25
    # A saved bundle gives the same lists to the last bit; so does one that is fitted again.
    history = pl.DataFrame({"user_id": ["x", "x", "y"], "item_id": [item_id(8), item_id(16), item_id(300)]})
    lists = recommend_for(bundle, history)
    again, _ = fit_and_measure(parse_config(settings(), "test"))
    files = []
    for name, own in {"first": bundle, "second": again}.items():
        (tmp_path / name).mkdir()
        own.save(tmp_path / name)
        files.append(read_files(tmp_path / name))
    assert files[0] == files[1]
    assert json.loads(files[0]["bundle.json"])["vectors"] == {"image": LENGTH}
    loaded = Bundle.load(tmp_path / "first")
    assert recommend_for(loaded, history).equals(lists)


# --- nights ------------------------------------------------------------------------------------------------------


def add_items(folder: Path, per_taste: int, vectors: pl.DataFrame | None) -> list[str]:
    """Let items of all tastes join on the last day, and return their ids."""
    numbers = range(DAYS * ITEMS_A_DAY, DAYS * ITEMS_A_DAY + per_taste * TASTES)
    with gzip.open(folder / "items.jsonl.gz", "at") as file:
        for number in numbers:
            item = {"id": item_id(number), "title": "quite another text", "created_at": at(DAYS).isoformat()}
            file.write(json.dumps(item) + "\n")
    if vectors is not None:
        own = draw_vectors(numbers.stop)[numbers.start :]
        more = pl.DataFrame({"item_id": [item_id(number) for number in numbers], "vector": own.tolist()})
        pl.concat([vectors, more]).write_parquet(folder / "images.parquet")
    return [item_id(number) for number in numbers]


def test_new_items_are_shown_to_the_users_whose_taste_their_vectors_have(here, home, call, write):
    new = add_items(here, 3, pl.read_parquet(here / "images.parquet"))
    assert call("ingest", "-c", write(), home=home).code == 0
    assert call("generate", "-c", write(), "--run-date", NEXT_DATE, home=home).code == 0
    shown = read_lists(home, NEXT_DATE).filter(pl.col("item_id").is_in(new), pl.col("rank") <= 5)
    assert shown["item_id"].n_unique() > len(new) / 2
    assert share_of_taste(shown) > 0.6
    # The same inputs give the same bytes.
    folder = home / "recommendations" / f"run_date={NEXT_DATE}"
    first = read_files(folder)
    shutil.rmtree(folder)
    generate(parse_config(settings(), "test"), home, NEXT_DATE, NOW)
    parts = {name: content for name, content in read_files(folder).items() if name.endswith(".parquet")}
    assert parts
    assert parts == {name: content for name, content in first.items() if name.endswith(".parquet")}


def test_a_night_goes_on_where_new_items_have_no_vectors_yet(here, home, call, write):
    new = add_items(here, 1, None)
    assert call("ingest", "-c", write(), home=home).code == 0
    assert call("generate", "-c", write(), "--run-date", NEXT_DATE, home=home).code == 0
    lists = read_lists(home, NEXT_DATE)
    assert lists["user_id"].n_unique() == USERS
    assert share_of_taste(lists.filter(~pl.col("item_id").is_in(new))) > 0.6


def test_a_night_without_the_vectors_of_the_bundle_is_refused(home, call, write):
    plain = write()
    plain.write_text(yaml.safe_dump(without_vectors()))
    assert call("ingest", "-c", plain, home=home).code == 0
    answer = call("generate", "-c", plain, "--run-date", NEXT_DATE, home=home)
    expect(answer, f"the bundle needs vectors 'image' of {LENGTH} numbers, found none", "dataset.items.vectors.image")


def test_a_night_with_vectors_of_another_length_is_refused(here, home, call, write):
    rows = pl.read_parquet(here / "images.parquet")
    rows.with_columns(pl.col("vector").list.head(7)).write_parquet(here / "images.parquet")
    assert call("ingest", "-c", write(), home=home).code == 0
    answer = call("generate", "-c", write(), "--run-date", NEXT_DATE, home=home)
    expect(answer, f"the bundle needs vectors 'image' of {LENGTH} numbers, found vectors of 7 numbers")


def test_vectors_that_came_after_the_training_are_not_used(here, home, call, write):
    rows = pl.read_parquet(here / "images.parquet")
    noise = np.random.default_rng(9).normal(size=(rows.height, 3))
    rows.with_columns(vector=pl.Series(noise.tolist())).write_parquet(here / "sound.parquet")
    vectors = {"image": {"path": "images.parquet"}, "sound": {"path": "sound.parquet"}}
    config = write(dataset={"items": {"vectors": vectors}})
    assert call("ingest", "-c", config, home=home).code == 0
    assert call("generate", "-c", config, "--run-date", NEXT_DATE, home=home).code == 0
    assert share_of_taste(read_lists(home, NEXT_DATE)) > 0.6


# --- bad input ---------------------------------------------------------------------------------------------------

FAULTS: dict[str, tuple[dict[int, Any], str]] = {
    "another length": ({3: [1.0, 2.0]}, "1 vector of another length than the other vectors' 12 numbers"),
    "NaN": ({3: [float("nan")] * LENGTH}, "1 vector with a number that is missing, NaN or infinite"),
    "zeros": ({3: [0.0] * LENGTH}, "1 vector of zeros"),
}


@pytest.mark.parametrize(("faults", "message"), FAULTS.values(), ids=FAULTS)
def test_a_faulty_vector_stops_ingest(here, call, write, faults, message):
    rows = pl.read_parquet(here / "images.parquet")
    vectors = [faults.get(number, vector) for number, vector in enumerate(rows["vector"].to_list())]
    rows.with_columns(vector=pl.Series(vectors)).write_parquet(here / "images.parquet")
    expect(call("ingest", "-c", write()), f"items.vectors.image: {message}", item_id(3))


def test_an_item_with_two_vectors_stops_ingest(here, call, write):
    rows = pl.read_parquet(here / "images.parquet")
    pl.concat([rows, rows[:1]]).write_parquet(here / "images.parquet")
    expect(call("ingest", "-c", write()), "1 vector of an item that already has one, such as 'i0000'")


def test_vectors_of_more_items_than_the_catalogue_stop_ingest(here, call, write):
    rows = pl.read_parquet(here / "images.parquet")
    pl.concat([rows, rows.with_columns(item_id="x" + pl.col("item_id"))]).write_parquet(here / "images.parquet")
    expect(
        call("ingest", "-c", write()), "640 of 1,280 vectors are of items that the catalogue lacks, such as 'xi0000'"
    )


def test_the_snapshot_depends_on_the_vectors(here, call, write):
    answer = call("ingest", "-c", write(), "--json")
    first = json.loads(answer.out)["snapshot"]
    assert json.loads(call("ingest", "-c", write(), "--json").out)["snapshot"] == first
    rows = pl.read_parquet(here / "images.parquet")
    rows.with_columns(pl.col("vector").list.reverse()).write_parquet(here / "images.parquet")
    assert json.loads(call("ingest", "-c", write(), "--json").out)["snapshot"] != first
