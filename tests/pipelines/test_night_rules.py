"""What a night's settings do to its lists: rules, block lists, outputs, and what is refused before readers see it."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from shutil import copytree, rmtree
from typing import Any

import polars as pl
import pytest
from miniature import LAST_DAY, NOW, RUN_DATE, Trained, change, copy_home, read_files, read_lists
from worlds import make_interactions, make_items

from recsys.artifacts.recommendations import point_at, read_pointer
from recsys.artifacts.snapshots import Snapshot, write_snapshot
from recsys.errors import ArtifactError, ConfigError, DataError, Refused
from recsys.pipelines.generate import generate
from recsys.storage.folders import read_manifest
from recsys.tables import Rejected, empty

N = 10


@pytest.fixture(scope="module")
def base(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = copy_home(trained.home, tmp_path_factory.mktemp("rules") / "home")
    yield home
    rmtree(home)


@pytest.fixture
def home(base: Path, trained: Trained) -> Path:
    """Nothing published but the trained home's one night."""
    rmtree(base / "recommendations")
    copytree(trained.home / "recommendations", base / "recommendations")
    return base


ANYTHING = {"max_fallback_share": 1.0, "max_churn": 1.0, "max_score_shift": 1.0, "min_coverage_left": 0.0}


def make(trained: Trained, home: Path, day: str = RUN_DATE, **generation: Any) -> pl.DataFrame:
    generate(change(trained.config, generation={"sanity": ANYTHING, **generation}), home, day, NOW)
    return read_lists(home, day)


def with_items(lists: pl.DataFrame, snapshot: Snapshot) -> pl.DataFrame:
    return lists.join(snapshot.items, on="item_id").sort("user_id", "rank")


def test_at_most_so_many_of_a_category(trained: Trained, home: Path, snapshot: Snapshot) -> None:
    lists = with_items(make(trained, home, rules={"max_per_value": {"category": 3}}), snapshot)
    assert set(lists["variant"]) <= {"ranker", "ranker without max_per_value", "fallback"}
    kept = lists.filter(pl.col("variant") == "ranker").group_by("user_id", "category").len()
    assert kept["len"].max() == 3
    before = with_items(read_lists(trained.home, RUN_DATE), snapshot).group_by("user_id", "category").len()
    assert before["len"].max() > 3
    assert lists.group_by("user_id").len()["len"].unique().to_list() == [N]
    assert lists.select((pl.col("score").diff().over("user_id") <= 0).all()).item()


def test_what_is_blocked_never_appears(
    trained: Trained, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = read_lists(trained.home, RUN_DATE)
    everyone = plain["item_id"].mode().sort()[0]
    pairs = plain.filter(pl.col("item_id") != everyone, pl.col("rank") == 2).select("user_id", "item_id")
    (tmp_path / "items.csv").write_text(f"item_id,why\n{everyone},gone\nno such item,\n")
    pairs.write_csv(tmp_path / "pairs.csv")
    monkeypatch.setenv("RECSYS_DATA", str(tmp_path))
    rules = {"blocked_items": "items.csv", "blocked_pairs": "pairs.csv"}
    lists = make(trained, home, rules=rules)
    assert everyone not in set(lists["item_id"])
    assert lists.join(pairs, on=["user_id", "item_id"], how="semi").is_empty()
    # Others may well get them.
    assert lists.join(pairs, on="item_id", how="semi").height > 0
    assert lists.group_by("user_id").len()["len"].unique().to_list() == [N]
    # Shards elsewhere know the block lists too.
    workers = make(trained, home, rules=rules, shard_size=60, engine={"workers": 2})
    assert workers.equals(lists)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, r"block list .*pairs\.csv: no such file; give a CSV file with a header"),
        ("user,item\nu,i\n", "no column user_id, item_id; found user, item"),
        ("", "not readable as CSV"),
    ],
)
def test_a_block_list_that_is_none(
    content: str | None, told: str, trained: Trained, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECSYS_DATA", str(tmp_path))
    if content is not None:
        (tmp_path / "pairs.csv").write_text(content)
    before = read_files(home / "recommendations")
    with pytest.raises(DataError, match=told):
        make(trained, home, rules={"blocked_pairs": "pairs.csv"})
    assert read_files(home / "recommendations") == before


def test_what_was_shown_lately_gives_way(trained: Trained, home: Path) -> None:
    first = read_lists(home, RUN_DATE)
    plain = make(trained, home, "2025-02-04")
    lists = make(trained, home, "2025-02-04", rules={"shown_penalty": 100.0})
    pair = ["user_id", "item_id"]
    again = [one.join(first, on=pair, how="semi").height for one in (plain, lists)]
    assert again[0] > 2 * again[1]
    manifest = read_manifest(home / "recommendations" / "run_date=2025-02-04", "")
    assert list(manifest["shown"]) == [RUN_DATE]
    # Nights of later dates do not count, so a backfill is the night it would have been.
    make(trained, home, "2025-02-05", rules={"shown_penalty": 100.0})
    assert make(trained, home, "2025-02-04", rules={"shown_penalty": 100.0}).equals(lists)


def test_new_items_and_young_items(trained: Trained, home: Path, snapshot: Snapshot) -> None:
    young = with_items(make(trained, home, rules={"max_item_age_days": 20}), snapshot)
    ages = (pl.lit(trained_cutoff()) - pl.col("created_at")).dt.total_days()
    kept = young.filter(pl.col("variant") == "ranker")
    assert kept.height > 0
    assert kept.select((ages <= 20).all()).item()
    assert set(young["variant"]) <= {"ranker", "ranker without max_item_age_days", "fallback"}
    new = make(trained, home, rules={"min_new_share": 0.2})
    assert set(new["variant"]) <= {"ranker", "ranker without min_new_share"}


def trained_cutoff() -> Any:
    from miniature import CUTOFF

    return CUTOFF


def test_diversity_makes_lists_less_alike(trained: Trained, home: Path, snapshot: Snapshot) -> None:
    counts = []
    for weight in (0.0, 0.7):
        lists = with_items(make(trained, home, rules={"diversity": weight}), snapshot)
        counts.append(lists.group_by("user_id").agg(pl.col("category").n_unique())["category"].mean())
    assert counts[1] > counts[0]


def test_users_without_any_history_get_lists_if_they_are_named(
    trained: Trained, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = read_lists(trained.home, RUN_DATE)
    one = known["user_id"][0]
    (tmp_path / "members.csv").write_text(f"user_id,since\n新しい人,2025\n{one},2024\n新しい人,2025\n,2025\n")
    monkeypatch.setenv("RECSYS_DATA", str(tmp_path))
    lists = make(trained, home, users="members.csv")
    assert set(lists["user_id"]) - set(known["user_id"]) == {"新しい人"}
    assert lists.filter(pl.col("user_id") != "新しい人").equals(known)
    own = lists.filter(pl.col("user_id") == "新しい人")
    assert own["rank"].to_list() == list(range(1, N + 1))
    assert own["reason"].str.len_chars().min() > 0
    # Who is not active gets one, too; and another file is another night.
    alone = make(trained, home, users="members.csv", active_days=0.001)
    assert set(alone["user_id"]) == {"新しい人", one}
    (tmp_path / "members.csv").write_text("user_id\nsomebody\n")
    assert "somebody" in set(make(trained, home, users="members.csv")["user_id"])
    (tmp_path / "members.csv").write_text("member\nsomebody\n")
    with pytest.raises(DataError, match=r"list of users .*members\.csv: no column user_id; found member"):
        make(trained, home, users="members.csv")


def test_reasons_name_what_the_user_chose(trained: Trained, home: Path, snapshot: Snapshot) -> None:
    lists = read_lists(trained.home, RUN_DATE)
    named = lists.filter(pl.col("reason").str.starts_with("Because you chose"))
    assert 0 < named.height < lists.height
    titles = named.with_columns(title=pl.col("reason").str.extract("“(.*)”"))
    had = snapshot.interactions.join(snapshot.items, on="item_id").select("user_id", "title").unique()
    assert titles.join(had, on=["user_id", "title"], how="anti").is_empty()


def test_the_same_rows_as_jsonl_and_csv(trained: Trained, home: Path) -> None:
    lists = make(trained, home, outputs=["jsonl", "csv"])
    folder = home / "recommendations" / f"run_date={RUN_DATE}"
    rows = [json.loads(line) for line in (folder / "lists.jsonl").read_text().splitlines()]
    assert [(row["user_id"], row["rank"], row["item_id"]) for row in rows] == lists.select(
        "user_id", "rank", "item_id"
    ).rows()
    assert rows[0]["sources"] == lists["sources"][0].to_list()
    with (folder / "lists.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["reason"] for row in table] == lists["reason"].to_list()
    assert table[0]["sources"] == "|".join(lists["sources"][0])
    files = read_manifest(folder, "")["files"]
    assert {"lists.jsonl", "lists.csv", "part-00000.parquet"} == set(files)


# --- refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sanity", "more", "told"),
    [
        ({"max_fallback_share": 0.0}, {"n": 110}, r"[\d.]+% of the rows only fill lists up, expected at most"),
        ({"max_churn": 0.0}, {}, r"[\d.]+% of a list is new since last time, expected at most generation.sanity.max"),
        ({"max_score_shift": 0.0}, {}, r"scores are distributed differently than last time, by the same model and set"),
        ({"min_coverage_left": 1.0}, {"n": 1}, r"[\d.]+% as many different items are shown as last time"),
    ],
)
def test_lists_that_are_not_fit_are_refused(
    sanity: dict[str, float], more: dict[str, Any], told: str, trained: Trained, home: Path
) -> None:
    if "min_coverage_left" not in sanity and not more:
        # Lists compare with those of the same settings only: a first night of them.
        make(trained, home, sanity={**ANYTHING, **sanity})
    before = read_files(home / "recommendations")
    with pytest.raises(Refused, match=f"generate for {LAST_DAY}: {told}.*lists in place stay"):
        make(trained, home, LAST_DAY, sanity={**ANYTHING, **sanity}, **more)
    after = read_files(home / "recommendations")
    assert {path: one for path, one in after.items() if ".shards" not in path} == before


def damage(home: Path, day: str) -> None:
    part = home / "recommendations" / f"run_date={day}" / "part-00000.parquet"
    part.write_bytes(part.read_bytes()[:-100])


def test_damaged_lists_of_last_night_give_way_to_sound_ones(
    trained: Trained, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = make(trained, home, LAST_DAY)
    rmtree(home / "recommendations" / f"run_date={LAST_DAY}")
    point_at(home, RUN_DATE)
    damage(home, RUN_DATE)
    assert make(trained, home, LAST_DAY).equals(whole)
    assert "part-00000.parquet is changed" in caplog.text
    assert "not compared with them" in caplog.text
    assert read_pointer(home) == LAST_DAY
    # Nor does a folder that somebody has deleted keep readers from new lists.
    rmtree(home / "recommendations" / f"run_date={LAST_DAY}")
    assert make(trained, home, LAST_DAY).equals(whole)


def test_damaged_lists_that_count_stop_the_night(trained: Trained, home: Path) -> None:
    damage(home, RUN_DATE)
    before = read_files(home / "recommendations")
    with pytest.raises(
        ArtifactError, match=r"part-00000\.parquet is changed; run 'recsys generate --run-date .*', or set"
    ):
        make(trained, home, LAST_DAY, rules={"shown_penalty": 1.0})
    assert read_files(home / "recommendations") == before


def test_what_would_stop_the_night_at_its_end_stops_it_before_a_list_is_made(
    trained: Trained, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RECSYS_LISTS_URL", raising=False)
    before = read_files(home / "recommendations")
    with pytest.raises(ArtifactError, match="table lists: RECSYS_LISTS_URL is not set"):
        make(trained, home, LAST_DAY, postgres_table="lists")
    manifest = home / "recommendations" / f"run_date={RUN_DATE}" / "manifest.json"
    manifest.write_text(manifest.read_text().replace(f'"name": "{trained.config.name}"', '"name": "another"'))
    with pytest.raises(ArtifactError, match="holds those of 'another'; choose another RECSYS_HOME"):
        make(trained, home, LAST_DAY)
    manifest.write_bytes(before[f"run_date={RUN_DATE}/manifest.json"])
    assert read_files(home / "recommendations") == before


def test_an_old_snapshot_is_refused(trained: Trained, home: Path) -> None:
    make(trained, home, "2025-02-10", max_snapshot_age_hours=24)
    with pytest.raises(Refused, match=r"last event is \d+ hours before it .*at most .*max_snapshot_age_hours 24"):
        make(trained, home, "2025-02-20", max_snapshot_age_hours=24)


def test_rules_for_columns_that_items_lack(trained: Trained) -> None:
    with pytest.raises(ConfigError, match=r"max_per_value \['colour'\] are neither tags nor attributes"):
        change(trained.config, generation={"rules": {"max_per_value": {"colour": 1}}})


def test_users_whose_items_have_all_left_and_items_without_text(
    trained: Trained, home: Path, snapshot: Snapshot
) -> None:
    more = make_interactions(("left behind", "no longer there", 20.0), ("of the wordless", "wordless", 32.5))
    wordless = make_items({"item_id": "wordless", "title": "", "category": "", "created": 1})
    tables = {
        "items": pl.concat([snapshot.items, wordless.select(snapshot.items.columns)]).sort("item_id"),
        "interactions": pl.concat([snapshot.interactions, more]).sort("user_id", "step"),
        "rejected": empty(Rejected),
    }
    name, dataset = trained.config.name, trained.config.dataset.model_dump(mode="json")
    write_snapshot(home, name, tables, dataset, {})
    try:
        lists = make(trained, home, n=60)
    finally:
        tables |= {"items": snapshot.items, "interactions": snapshot.interactions}
        write_snapshot(home, name, tables, dataset, {})
    for user in ("left behind", "of the wordless"):
        own = lists.filter(pl.col("user_id") == user)
        assert own["rank"].to_list() == list(range(1, 61)), user
        assert own["reason"].str.len_chars().min() > 0
    # Nothing is known of the first: what everybody takes, then what is left.
    own = lists.filter(pl.col("user_id") == "left behind")
    assert set(own["sources"].explode()) <= {"popular", "popular_all_time", "fallback", "catalogue"}
    assert set(own.filter(pl.col("variant") == "fallback")["sources"].list.last()) <= {"popular", "catalogue"}
