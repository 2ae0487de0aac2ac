"""The effect of a night's settings on its lists: rules, block lists, outputs and refusals."""

import csv
import json
import math
from collections.abc import Iterator
from datetime import datetime
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
    """Only the trained home's one night is published."""
    rmtree(base / "recommendations")
    copytree(trained.home / "recommendations", base / "recommendations")
    return base


ANYTHING = {
    "max_fallback_share": 1.0,
    "max_churn": 1.0,
    "max_score_shift": 1.0,
    "min_coverage_left": 0.0,
    "max_users_lost": 1.0,
    "max_rows_lost": 1.0,
}


def make(trained: Trained, home: Path, day: str = RUN_DATE, **generation: Any) -> pl.DataFrame:
    generate(change(trained.config, generation={"sanity": ANYTHING, **generation}), home, day, NOW)
    return read_lists(home, day)


def with_items(lists: pl.DataFrame, snapshot: Snapshot) -> pl.DataFrame:
    return lists.join(snapshot.items, on="item_id").sort("user_id", "rank")


def test_max_per_value_limits_each_category(trained: Trained, home: Path, snapshot: Snapshot) -> None:
    lists = with_items(make(trained, home, rules={"max_per_value": {"category": 3}}), snapshot)
    assert set(lists["variant"]) <= {"ranker", "ranker without max_per_value", "fallback"}
    kept = lists.filter(pl.col("variant") == "ranker").group_by("user_id", "category").len()
    assert kept["len"].max() == 3
    before = with_items(read_lists(trained.home, RUN_DATE), snapshot).group_by("user_id", "category").len()
    assert before["len"].max() > 3
    assert lists.group_by("user_id").len()["len"].unique().to_list() == [N]
    assert lists.select((pl.col("score").diff().over("user_id") <= 0).all()).item()


def test_blocked_items_and_pairs_never_appear(
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
    # Other users may get these items.
    assert lists.join(pairs, on="item_id", how="semi").height > 0
    assert lists.group_by("user_id").len()["len"].unique().to_list() == [N]
    # Worker processes get the block lists too.
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
def test_a_block_list_that_cannot_be_read(
    content: str | None, told: str, trained: Trained, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECSYS_DATA", str(tmp_path))
    if content is not None:
        (tmp_path / "pairs.csv").write_text(content)
    before = read_files(home / "recommendations")
    with pytest.raises(DataError, match=told):
        make(trained, home, rules={"blocked_pairs": "pairs.csv"})
    assert read_files(home / "recommendations") == before


def test_recently_listed_items_lose_score(trained: Trained, home: Path) -> None:
    first = read_lists(home, RUN_DATE)
    plain = make(trained, home, "2025-02-04")
    lists = make(trained, home, "2025-02-04", rules={"shown_penalty": 100.0})
    pair = ["user_id", "item_id"]
    again = [one.join(first, on=pair, how="semi").height for one in (plain, lists)]
    assert again[0] > 2 * again[1]
    manifest = read_manifest(home / "recommendations" / "run_date=2025-02-04", "")
    assert list(manifest["shown"]) == [RUN_DATE]
    # Later nights do not count, so a backfill has the same lists as the original night.
    make(trained, home, "2025-02-05", rules={"shown_penalty": 100.0})
    rmtree(home / "recommendations" / "run_date=2025-02-04")
    assert make(trained, home, "2025-02-04", rules={"shown_penalty": 100.0}).equals(lists)


def test_min_new_share_and_max_item_age(trained: Trained, home: Path, snapshot: Snapshot) -> None:
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


def test_diversity_makes_lists_more_varied(trained: Trained, home: Path, snapshot: Snapshot) -> None:
    counts = []
    for weight in (0.0, 0.7):
        lists = with_items(make(trained, home, rules={"diversity": weight}), snapshot)
        counts.append(lists.group_by("user_id").agg(pl.col("category").n_unique())["category"].mean())
    assert counts[1] > counts[0]


def test_named_users_without_history_get_lists(
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
    # Named users who are not active get a list too; and another file makes the night again.
    alone = make(trained, home, users="members.csv", active_days=0.001)
    assert set(alone["user_id"]) == {"新しい人", one}
    (tmp_path / "members.csv").write_text("user_id\nsomebody\n")
    assert "somebody" in set(make(trained, home, users="members.csv")["user_id"])
    (tmp_path / "members.csv").write_text("member\nsomebody\n")
    with pytest.raises(DataError, match=r"list of users .*members\.csv: no column user_id; found member"):
        make(trained, home, users="members.csv")


def test_reasons_name_what_the_user_chose(trained: Trained, home: Path, snapshot: Snapshot) -> None:
    lists = read_lists(trained.home, RUN_DATE)
    named = lists.filter(pl.col("reason").str.starts_with("Similar to"))
    assert 0 < named.height < lists.height
    titles = named.with_columns(title=pl.col("reason").str.extract("“(.*)”"))
    had = snapshot.interactions.join(snapshot.items, on="item_id").select("user_id", "title").unique()
    assert titles.join(had, on=["user_id", "title"], how="anti").is_empty()


def test_jsonl_and_csv_have_the_same_rows(trained: Trained, home: Path) -> None:
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
    files = {name for name in read_manifest(folder, "")["files"] if not name.startswith("_sample/")}
    assert files == {"lists.jsonl", "lists.csv", "part-00000.parquet"}


# --- refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sanity", "more", "told"),
    [
        ({"max_fallback_share": 0.0}, {"n": 110}, r"[\d.]+% of rows are fallback items \(limit 0%"),
        ({"max_churn": 0.0}, {}, r"[\d.]+% of list items are new since the last lists \(limit 0%, generation"),
        ({"max_score_shift": 0.0}, {}, r"the score distribution shifted by [\d.]+ \(KS distance\)"),
        ({"min_coverage_left": 1.0}, {"n": 1}, r"only [\d.]+% as many distinct items are recommended"),
    ],
)
def test_lists_that_fail_a_sanity_check_are_refused(
    sanity: dict[str, float], more: dict[str, Any], told: str, trained: Trained, home: Path
) -> None:
    if "min_coverage_left" not in sanity and not more:
        # Only lists of the same settings are compared, so publish a first night of them.
        make(trained, home, sanity={**ANYTHING, **sanity})
    before = read_files(home / "recommendations")
    with pytest.raises(Refused, match=f"generate for {LAST_DAY}: {told}.*current lists remain published"):
        make(trained, home, LAST_DAY, sanity={**ANYTHING, **sanity}, **more)
    after = read_files(home / "recommendations")
    assert {path: one for path, one in after.items() if ".shards" not in path} == before


def damage(home: Path, day: str) -> None:
    part = home / "recommendations" / f"run_date={day}" / "part-00000.parquet"
    part.write_bytes(part.read_bytes()[:-100])


def test_damaged_lists_of_last_night_are_replaced(
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
    # The same for a folder that was deleted.
    rmtree(home / "recommendations" / f"run_date={LAST_DAY}")
    assert make(trained, home, LAST_DAY).equals(whole)


def test_damaged_lists_that_shown_penalty_reads_stop_the_night(trained: Trained, home: Path) -> None:
    damage(home, RUN_DATE)
    before = read_files(home / "recommendations")
    with pytest.raises(
        ArtifactError, match=r"part-00000\.parquet is changed; run 'recsys generate --run-date .*', or set"
    ):
        make(trained, home, LAST_DAY, rules={"shown_penalty": 1.0})
    assert read_files(home / "recommendations") == before


def test_errors_of_the_outputs_are_found_before_a_list_is_made(
    trained: Trained, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RECSYS_LISTS_URL", raising=False)
    before = read_files(home / "recommendations")
    with pytest.raises(ArtifactError, match="table lists: RECSYS_LISTS_URL is not set"):
        make(trained, home, LAST_DAY, postgres_table="lists")
    manifest = home / "recommendations" / f"run_date={RUN_DATE}" / "manifest.json"
    manifest.write_text(manifest.read_text().replace(f'"name": "{trained.config.name}"', '"name": "another"'))
    with pytest.raises(ArtifactError, match="already holds the lists of 'another'; choose another RECSYS_HOME"):
        make(trained, home, LAST_DAY)
    manifest.write_bytes(before[f"run_date={RUN_DATE}/manifest.json"])
    assert read_files(home / "recommendations") == before


def test_an_old_snapshot_is_refused(trained: Trained, home: Path) -> None:
    make(trained, home, "2025-02-10", max_snapshot_age_hours=24)
    with pytest.raises(Refused, match=r"last event is \d+ hours earlier .*at most .*max_snapshot_age_hours 24"):
        make(trained, home, "2025-02-20", max_snapshot_age_hours=24)


def test_the_age_limit_itself_is_allowed(trained: Trained, home: Path, snapshot: Snapshot) -> None:
    end = datetime.fromisoformat(f"{LAST_DAY}T00:00:00+00:00")
    hours = (end - snapshot.interactions["time"].max()).total_seconds() / 3600
    with pytest.raises(Refused, match="last event is"):
        make(trained, home, LAST_DAY, max_snapshot_age_hours=math.nextafter(hours, 0))
    make(trained, home, LAST_DAY, max_snapshot_age_hours=hours)
    assert read_pointer(home) == LAST_DAY


def refuse(trained: Trained, home: Path, **generation: Any) -> int:
    """Have the finished shards of a night refused, and return the inode of the first."""
    with pytest.raises(Refused, match="are fallback items"):
        make(trained, home, LAST_DAY, n=110, sanity={**ANYTHING, "max_fallback_share": 0.0}, **generation)
    return (home / "recommendations" / f".run_date={LAST_DAY}.shards" / "part-00000.parquet").stat().st_ino


def test_a_changed_limit_keeps_the_finished_shards(trained: Trained, home: Path) -> None:
    finished = refuse(trained, home)
    make(trained, home, LAST_DAY, n=110)
    part = home / "recommendations" / f"run_date={LAST_DAY}" / "part-00000.parquet"
    assert part.stat().st_ino == finished


@pytest.mark.parametrize("rule", ["blocked_items", "blocked_pairs"])
def test_a_changed_block_list_makes_the_finished_shards_again(
    rule: str, trained: Trained, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECSYS_DATA", str(tmp_path))
    rows = read_lists(trained.home, RUN_DATE).filter(pl.col("rank") == 1).select("user_id", "item_id").head(1)
    (tmp_path / "blocked.csv").write_text("user_id,item_id\nnobody,no such item\n")
    refuse(trained, home, rules={rule: "blocked.csv"})
    rows.write_csv(tmp_path / "blocked.csv")
    lists = make(trained, home, LAST_DAY, n=110, rules={rule: "blocked.csv"})
    key = ["item_id"] if rule == "blocked_items" else ["user_id", "item_id"]
    assert lists.join(rows, on=key, how="semi").is_empty()


def test_rules_for_unknown_columns(trained: Trained) -> None:
    with pytest.raises(ConfigError, match=r"max_per_value \['colour'\] are neither tags nor attributes"):
        change(trained.config, generation={"rules": {"max_per_value": {"colour": 1}}})


def test_users_whose_items_left_the_catalogue_and_items_without_text(
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
    write_snapshot(home, name, tables, dataset)
    try:
        lists = make(trained, home, n=60)
    finally:
        tables |= {"items": snapshot.items, "interactions": snapshot.interactions}
        write_snapshot(home, name, tables, dataset)
    for user in ("left behind", "of the wordless"):
        own = lists.filter(pl.col("user_id") == user)
        assert own["rank"].to_list() == list(range(1, 61)), user
        assert own["reason"].str.len_chars().min() > 0
    # Nothing is known about the first user: popular items come first, then the rest of the catalogue.
    own = lists.filter(pl.col("user_id") == "left behind")
    assert set(own["sources"].explode()) <= {"popular", "popular_all_time", "fallback", "catalogue"}
    assert set(own.filter(pl.col("variant") == "fallback")["sources"].list.last()) <= {"popular", "catalogue"}
