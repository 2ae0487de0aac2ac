from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from shutil import copytree, rmtree
from typing import Any

import polars as pl
import pytest
from miniature import CUTOFF, LAST_DAY, NOW, RUN_DATE, Trained, change, copy_home, read_files, read_lists
from worlds import at, make_interactions, make_items

from recsys.artifacts import shards
from recsys.artifacts.recommendations import point_at, read_pointer
from recsys.artifacts.snapshots import Snapshot, write_snapshot
from recsys.config import Config, parse_config
from recsys.dataset.windows import cut
from recsys.errors import ArtifactError, DataError, Refused, RegistryError
from recsys.pipelines.generate import generate
from recsys.storage.folders import read_manifest, verify_folder
from recsys.tables import Recommendations, Rejected, check, empty

N = 10
# The day of the run date, in the units of worlds.at.
DAY = 33


@pytest.fixture(scope="module")
def home(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the trained home; tests ingest other data and publish other nights in it."""
    home = copy_home(trained.home, tmp_path_factory.mktemp("generation") / "home")
    yield home
    rmtree(home)


def ingest(home: Path, config: Config, items: pl.DataFrame, interactions: pl.DataFrame) -> None:
    tables = {"items": items.sort("item_id"), "interactions": interactions, "rejected": empty(Rejected)}
    write_snapshot(home, config.name, tables, config.dataset.model_dump(mode="json"))


def add(snapshot: Snapshot, *rows: tuple[Any, ...]) -> pl.DataFrame:
    """The demo's interactions and the given ones."""
    return pl.concat([snapshot.interactions, make_interactions(*rows)]).sort("user_id", "step")


def items_of(lists: pl.DataFrame, user: str) -> list[str]:
    return lists.filter(pl.col("user_id") == user).sort("rank")["item_id"].to_list()


@pytest.fixture(scope="module")
def lists(trained: Trained) -> pl.DataFrame:
    """The published lists of the trained home."""
    return read_lists(trained.home, RUN_DATE)


class TestLists:
    def test_every_user_with_a_history_has_n_items(self, lists: pl.DataFrame, snapshot: Snapshot) -> None:
        check(Recommendations, lists, "lists", "fix generate")
        users = cut(snapshot.interactions, CUTOFF)["user_id"].unique().sort()
        later = snapshot.interactions["user_id"].unique()
        assert len(later) > len(users)
        assert lists["user_id"].unique(maintain_order=True).to_list() == users.to_list()
        ranks = lists.group_by("user_id").agg("rank")["rank"]
        assert all(rank.to_list() == list(range(1, N + 1)) for rank in ranks)
        assert not lists.select("user_id", "item_id").is_duplicated().any()

    def test_scores_fall_and_reasons_are_given(self, trained: Trained, lists: pl.DataFrame) -> None:
        assert lists.select((pl.col("score").diff().over("user_id") <= 0).all()).item()
        known = set(trained.config.candidates.depths)
        assert set(lists["sources"].explode()) <= known
        assert lists["sources"].list.len().min() >= 1
        assert lists["reason"].str.len_chars().min() > 0
        assert set(lists["model_version"]) == {"1"}

    def test_consumed_items_never_appear(self, lists: pl.DataFrame, snapshot: Snapshot) -> None:
        had = cut(snapshot.interactions, CUTOFF)
        assert lists.join(had, on=["user_id", "item_id"], how="semi").is_empty()

    def test_items_that_are_not_recommendable_never_appear(self, lists: pl.DataFrame, snapshot: Snapshot) -> None:
        hidden = snapshot.items.filter(~pl.col("available") | (pl.col("created_at") >= CUTOFF))
        assert hidden.height > 1
        assert lists.join(hidden, on="item_id", how="semi").is_empty()

    def test_the_manifest_counts_them(self, lists: pl.DataFrame, trained: Trained, snapshot: Snapshot) -> None:
        manifest = read_manifest(trained.home / "recommendations" / f"run_date={RUN_DATE}", "")
        assert manifest["counts"] == {
            "users": lists["user_id"].n_unique(),
            "rows": lists.height,
            "fallback_rows": 0,
            "short_lists": 0,
            "empty_lists": 0,
        }
        assert (manifest["model_version"], manifest["snapshot"]) == ("1", snapshot.id)
        assert (manifest["config"], manifest["end"]) == (trained.config.digest(), CUTOFF.isoformat())
        assert read_pointer(trained.home) == RUN_DATE


class TestNight:
    @pytest.fixture(autouse=True)
    def demo(self, home: Path, trained: Trained, snapshot: Snapshot) -> None:
        """Restore the demo's snapshot and the trained home's lists before each test."""
        ingest(home, trained.config, snapshot.items, snapshot.interactions)
        rmtree(home / "recommendations")
        copytree(trained.home / "recommendations", home / "recommendations")

    @pytest.mark.parametrize("shard_size", [5000, 7])
    def test_a_rerun_gives_the_same_bytes(self, shard_size: int, home: Path, trained: Trained) -> None:
        config = change(trained.config, generation={"shard_size": shard_size})
        # A published night would not be made again.
        rmtree(home / "recommendations" / f"run_date={RUN_DATE}")
        made = generate(config, home, RUN_DATE, datetime(2031, 1, 1, tzinfo=UTC))
        assert made.run_date == RUN_DATE
        if shard_size == 5000:
            assert read_files(made.folder) == read_files(trained.home / "recommendations" / f"run_date={RUN_DATE}")
        else:
            assert len(list(made.folder.glob("*.parquet"))) == -(-made.counts["users"] // 7)
            assert read_lists(home, RUN_DATE).equals(read_lists(trained.home, RUN_DATE))

    def test_a_later_night_uses_the_events_in_between(self, home: Path, trained: Trained, snapshot: Snapshot) -> None:
        made = generate(trained.config, home, None, NOW)
        # The day after the last event, whatever the current date is.
        assert made.run_date == LAST_DAY == read_pointer(home)
        lists = read_lists(home, LAST_DAY)
        assert lists["user_id"].n_unique() == snapshot.interactions["user_id"].n_unique()
        assert lists.join(snapshot.interactions, on=["user_id", "item_id"], how="semi").is_empty()
        point_at(home, RUN_DATE)

    def test_a_run_date_before_the_end_of_the_champions_data_is_refused(self, home: Path, trained: Trained) -> None:
        before = read_files(home / "recommendations")
        with pytest.raises(
            Refused, match=r"version 1, was trained on events until 2025-02-03.*run date from 2025-02-03"
        ):
            generate(trained.config, home, "2025-02-02", NOW)
        assert Refused.exit_code == 3
        assert read_files(home / "recommendations") == before

    def test_users_of_every_kind(self, home: Path, trained: Trained, snapshot: Snapshot) -> None:
        open_items = snapshot.items.filter(pl.col("available") & (pl.col("created_at") < CUTOFF))["item_id"].to_list()
        new = make_items(
            {"item_id": "fresh", "title": "A lighthouse at the end of time", "category": "", "created": DAY - 0.001},
            {"item_id": "to come", "title": "A lighthouse at the end of time", "category": "", "created": DAY},
        )
        items = pl.concat([snapshot.items, new.select(snapshot.items.columns)])
        rows = [("one event", open_items[0], 20.0), ("新来的", "fresh", 32.9), ("too late", open_items[0], DAY)]
        rows += [("took nearly all", item, 10.0 + place / 10) for place, item in enumerate(open_items[:-3])]
        ingest(home, trained.config, items, add(snapshot, *rows))
        made = generate(trained.config, home, RUN_DATE, NOW)
        lists = read_lists(home, RUN_DATE)
        assert len(items_of(lists, "one event")) == N
        # The item is newer than the champion, which knows only its text.
        assert len(items_of(lists, "新来的")) == N
        assert "fresh" not in items_of(lists, "新来的")
        assert items_of(lists, "too late") == []
        assert "to come" not in lists["item_id"].to_list()
        assert set(items_of(lists, "took nearly all")) == {*open_items[-3:], "fresh"}
        assert made.counts["short_lists"] == 1
        assert made.counts["rows"] == lists.height == (made.counts["users"] - 1) * N + 4
        # An item newer than the champion is proposed for its text and is no fallback.
        found = lists.filter(pl.col("user_id") == "took nearly all", pl.col("item_id") == "fresh")["sources"][0]
        assert {"text", "new_items"} <= set(found)

    def test_long_lists_have_fallback_items_that_are_marked(
        self, home: Path, trained: Trained, snapshot: Snapshot
    ) -> None:
        long = change(trained.config, generation={"n": 200, "sanity": {"max_fallback_share": 1.0}})
        made = generate(long, home, RUN_DATE, NOW)
        lists = read_lists(home, RUN_DATE)
        filled = lists.filter(pl.col("sources").list.first() == "fallback")
        assert filled.height == made.counts["fallback_rows"] > 0
        # The text step comes first; every user here has a history, and every item a text.
        assert set(filled["sources"].list.get(1)) == {"text"}
        assert set(filled["variant"]) == {"fallback"}
        assert filled["reason"].str.len_chars().min() > 0
        assert lists.select((pl.col("score").diff().over("user_id") <= 0).all()).item()
        # Every recommendable item is in every list, once.
        had = cut(snapshot.interactions, CUTOFF)
        open_items = snapshot.items.filter(pl.col("available") & (pl.col("created_at") < CUTOFF))
        everything = had.select("user_id").unique().join(open_items.select("item_id"), how="cross")
        left = everything.join(had, on=["user_id", "item_id"], how="anti").sort("user_id", "item_id")
        assert lists.select("user_id", "item_id").sort("user_id", "item_id").equals(left)
        assert made.counts["short_lists"] == made.counts["users"]

    def test_items_that_are_unavailable_tonight_are_not_listed(
        self, home: Path, trained: Trained, snapshot: Snapshot
    ) -> None:
        loved = read_lists(trained.home, RUN_DATE)["item_id"].mode().sort()[0]
        gone = read_lists(trained.home, RUN_DATE)["item_id"].unique().sort()[0]
        assert loved != gone
        items = snapshot.items.filter(pl.col("item_id") != gone).with_columns(
            available=pl.col("available") & (pl.col("item_id") != loved)
        )
        ingest(home, trained.config, items, snapshot.interactions.filter(pl.col("item_id") != gone))
        generate(trained.config, home, RUN_DATE, NOW)
        lists = read_lists(home, RUN_DATE)
        assert not {loved, gone} & set(lists["item_id"])
        assert lists.group_by("user_id").len()["len"].unique().to_list() == [N]

    def test_a_catalogue_smaller_than_a_list(self, home: Path, trained: Trained, snapshot: Snapshot) -> None:
        items = snapshot.items.filter(pl.col("available"), pl.col("created_at") < CUTOFF).head(6)
        few = snapshot.interactions.join(items, on="item_id", how="semi")
        ingest(home, trained.config, items, few)
        anything = {"min_coverage_left": 0.0, "max_empty_share": 1.0, "max_score_shift": 1.0}
        anything |= {"max_users_lost": 1.0, "max_rows_lost": 1.0}
        small = change(trained.config, generation={"sanity": anything})
        made = generate(small, home, RUN_DATE, NOW)
        users = cut(few, CUTOFF).group_by("user_id").agg(pl.col("item_id").n_unique())
        assert made.counts["users"] == made.counts["short_lists"] == users.height
        assert made.counts["rows"] == (6 - users["item_id"]).sum() == read_lists(home, RUN_DATE).height

    @pytest.mark.parametrize("lack", ["items", "users"])
    def test_with_nothing_to_recommend_the_current_lists_remain(
        self, lack: str, home: Path, trained: Trained, snapshot: Snapshot
    ) -> None:
        before = read_files(home / "recommendations")
        items = snapshot.items.with_columns(available=pl.lit(lack != "items"))
        late = snapshot.interactions.filter((pl.col("time") >= CUTOFF) | pl.lit(lack == "items"))
        ingest(home, trained.config, items, late)
        reason = "no item of the catalogue is available" if lack == "items" else "no active user before 2025-02-03"
        with pytest.raises(Refused, match=f"generate for 2025-02-03: {reason}.*current lists remain published"):
            generate(trained.config, home, RUN_DATE, NOW)
        assert read_files(home / "recommendations") == before

    def test_only_active_users(self, home: Path, trained: Trained, snapshot: Snapshot) -> None:
        days = 3.0
        ingest(home, trained.config, snapshot.items, add(snapshot, ("just so", "i000000", DAY - days)))
        generate(change(trained.config, generation={"active_days": days}), home, RUN_DATE, NOW)
        last = cut(snapshot.interactions, CUTOFF).group_by("user_id").agg(pl.col("time").max())
        active = last.filter(pl.col("time") >= at(DAY - days))["user_id"].to_list()
        assert 5 < len(active) < last.height - 5
        assert read_lists(home, RUN_DATE)["user_id"].unique().sort().to_list() == sorted([*active, "just so"])

    def test_after_a_full_disk_old_lists_and_finished_shards_remain(
        self, home: Path, trained: Trained, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        config = change(trained.config, generation={"shard_size": 50})
        before = read_files(home / "recommendations")
        real, made = shards.write_table, []

        def fill_up(frame: pl.DataFrame, schema: Any, path: Path, what: str) -> None:
            if len(made) == 1:
                raise OSError(28, "No space left on device")
            made.append(path)
            real(frame, schema, path, what)

        with monkeypatch.context() as patched:
            patched.setattr(shards, "write_table", fill_up)
            with pytest.raises(
                ArtifactError, match=r"part-00001\.parquet: cannot be written \(No space left.*run again: finished"
            ):
                generate(config, home, LAST_DAY, NOW)
        left = home / "recommendations" / f".run_date={LAST_DAY}.shards"
        kept_names = ["_sample", "key.json", "part-00000.json", "part-00000.parquet"]
        assert sorted(path.name for path in left.iterdir()) == kept_names
        kept = (left / "part-00000.parquet").stat().st_ino
        after = {
            path: content for path, content in read_files(home / "recommendations").items() if ".shards" not in path
        }
        assert after == before
        # With free space again, finished shards are not made again.
        folder = generate(config, home, LAST_DAY, NOW).folder
        assert (folder / "part-00000.parquet").stat().st_ino == kept
        assert not left.exists()
        point_at(home, RUN_DATE)

    def test_old_nights_are_pruned(self, home: Path, trained: Trained) -> None:
        config = change(trained.config, generation={"keep_run_dates": 1})
        for day in ("2025-02-11", "2025-02-12", "2025-02-13"):
            generate(config, home, day, NOW)
        assert sorted(path.name for path in (home / "recommendations").iterdir()) == ["CURRENT", "run_date=2025-02-13"]

    def test_a_catalogue_without_the_champions_columns(self, home: Path, trained: Trained, snapshot: Snapshot) -> None:
        """Texts and features need the columns of the training, even if tonight's config drops them."""
        settings = trained.config.resolved()
        settings["dataset"]["items"]["attributes"] = {}
        config = parse_config(settings, "test")
        ingest(home, config, snapshot.items.drop("category"), snapshot.interactions)
        with pytest.raises(DataError, match="no column 'category', which the bundle needs; found"):
            generate(config, home, RUN_DATE, NOW)


def test_no_champion(trained: Trained, snapshot: Snapshot, new_home: Callable[[], Path]) -> None:
    home = new_home()
    with pytest.raises(ArtifactError, match="run 'recsys ingest' with this config first"):
        generate(trained.config, home, RUN_DATE, NOW)
    ingest(home, trained.config, snapshot.items, snapshot.interactions)
    with pytest.raises(RegistryError, match=r"no version has the alias 'champion'; run 'recsys train' and 'recsys pro"):
        generate(trained.config, home, RUN_DATE, NOW)
    assert not (home / "recommendations").exists()


def test_a_damaged_champion(trained_copy: Path, trained: Trained) -> None:
    (trees,) = trained_copy.rglob("artifacts/bundle/trees.txt")
    trees.write_text(trees.read_text()[:-100])
    before = read_files(trained_copy / "recommendations")
    expected = r"trees\.txt is changed; written by recsys .*; train and promote again, or roll back"
    with pytest.raises(ArtifactError, match=expected):
        generate(trained.config, trained_copy, RUN_DATE, NOW)
    assert read_files(trained_copy / "recommendations") == before
    verify_folder(trained_copy / "recommendations" / f"run_date={RUN_DATE}", "")
