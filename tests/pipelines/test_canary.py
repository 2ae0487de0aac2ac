"""Nights with a canary: who gets which lists, the same bytes whatever happens meanwhile, and how a canary ends."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from shutil import rmtree
from typing import Any

import polars as pl
import pytest
from miniature import LAST_DAY, NOW, RUN_DATE, Trained, change, copy_home, read_files, read_lists
from scipy.stats import binom
from second_version import forget_nights, register_second

import recsys
from recsys.artifacts.shards import ShardFolder
from recsys.config import Config
from recsys.errors import ArtifactError, ConfigError, Refused, RegistryError
from recsys.pipelines import generate as generate_module
from recsys.pipelines.canary import show_canary, start_canary, stop_canary
from recsys.pipelines.doctor import examine
from recsys.pipelines.generate import generate
from recsys.pipelines.show import show_users
from recsys.registry.promotion_log import PromotionLog
from recsys.registry.tracking import connect
from recsys.registry.versions import CHALLENGER, set_champion
from recsys.serving.variants import draw_users
from recsys.storage.folders import read_manifest
from recsys.tables import Recommendations, check

NAME = "recsys"
DAY = "2025-02-05"
SHARE = 0.3


@pytest.fixture(scope="module")
def base(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the trained home with a second version."""
    home = copy_home(trained.home, tmp_path_factory.mktemp("canary") / "home")
    assert register_second(home, trained).number == "2"
    yield home
    rmtree(home)


@pytest.fixture
def home(base: Path, config: Config) -> Iterator[Path]:
    """Nothing but the trained home's one night is published, and no canary is running."""
    forget_nights(base, RUN_DATE)
    yield base
    forget_nights(base, RUN_DATE)
    stop_canary(config, base)
    store = connect(base, config)
    log = open_log(base, config)
    set_champion(store, NAME, "1")
    if log.champion != "1":
        log.confirm(log.append("rollback", to_version="1", reason="test"))
    store.client.set_registered_model_alias(NAME, CHALLENGER, "2")


@pytest.fixture(scope="module")
def config(trained: Trained) -> Config:
    """Small shards, so that each variant has several."""
    return change(trained.config, generation={"shard_size": 16})


def open_log(home: Path, config: Config) -> PromotionLog:
    return PromotionLog.open(connect(home, config), home, NAME)


def read_parts(folder: Path) -> dict[str, bytes]:
    return {name: content for name, content in read_files(folder).items() if name.startswith("part-")}


def without_variant(lists: pl.DataFrame) -> pl.DataFrame:
    return lists.drop("variant").sort("user_id", "rank")


def list_users(lists: pl.DataFrame, variant: str) -> list[str]:
    return lists.filter(pl.col("variant") == variant)["user_id"].unique().sort().to_list()


class TestNight:
    def test_each_user_gets_the_lists_of_one_version(self, home: Path, config: Config) -> None:
        alone = {}
        for version in ("1", "2"):
            set_champion(connect(home, config), NAME, version)
            generate(config, home, DAY, NOW)
            alone[version] = read_lists(home, DAY)
        set_champion(connect(home, config), NAME, "1")
        canary = start_canary(config, home, SHARE)
        made = generate(config, home, DAY, NOW)
        lists = read_lists(home, DAY)
        check(Recommendations, lists, "lists", "fix generate")

        users = alone["1"]["user_id"].unique().sort()
        drawn = set(users.filter(draw_users(users, SHARE, canary.key)).to_list())
        low, high = binom.interval(1 - 1e-6, len(users), SHARE)
        assert low <= len(drawn) <= high
        assert list_users(lists, "challenger") == sorted(drawn)
        assert list_users(lists, "champion") == sorted(set(users) - drawn)
        # But for the name of the variant, they are the lists that each version makes for everybody.
        own = pl.col("user_id").is_in(drawn)
        assert not without_variant(alone["1"].drop("model_version")).equals(
            without_variant(alone["2"].drop("model_version"))
        )
        assert without_variant(lists.filter(~own)).equals(without_variant(alone["1"].filter(~own)))
        assert without_variant(lists.filter(own)).equals(without_variant(alone["2"].filter(own)))
        assert set(alone["1"]["variant"]) == {"ranker"}

        manifest = read_manifest(made.folder, "")
        assert manifest["model_version"] == "1"
        assert manifest["canary"] == {"model_version": "2", "bundle": "second-2", "share": SHARE, "key": canary.key}
        variants = manifest["variants"]
        assert {name: facts["model_version"] for name, facts in variants.items()} == {
            "champion": "1",
            "challenger": "2",
        }
        for name, total in manifest["counts"].items():
            assert total == sum(facts["counts"][name] for facts in variants.values())
        assert variants["challenger"]["counts"]["users"] == len(drawn)
        assert variants == made.variants

    def test_users_stay_in_the_canary_from_night_to_night(self, home: Path, config: Config) -> None:
        start_canary(config, home, SHARE)
        drawn = []
        for day in (DAY, LAST_DAY):
            generate(config, home, day, NOW)
            lists = read_lists(home, day)
            drawn.append({user: user in list_users(lists, "challenger") for user in lists["user_id"].unique()})
        both = drawn[0].keys() & drawn[1].keys()
        assert len(both) > 100
        assert {user: drawn[0][user] for user in both} == {user: drawn[1][user] for user in both}

    def test_another_canary_draws_other_users(self, home: Path, config: Config) -> None:
        keys = set()
        for _ in range(2):
            keys.add(start_canary(config, home, SHARE).key)
            stop_canary(config, home)
        assert len(keys) == 2

    def test_the_night_after_the_end_has_the_bytes_of_a_night_without_a_canary(
        self, home: Path, config: Config
    ) -> None:
        before = read_files(generate(config, home, LAST_DAY, NOW).folder)
        forget_nights(home, RUN_DATE)
        start_canary(config, home, SHARE)
        generate(config, home, DAY, NOW)
        stop_canary(config, home)
        assert read_files(generate(config, home, LAST_DAY, NOW).folder) == before

    def test_a_share_without_users(self, home: Path, config: Config) -> None:
        start_canary(config, home, 1e-12)
        made = generate(config, home, DAY, NOW)
        assert made.variants["challenger"]["counts"] == dict.fromkeys(made.counts, 0)
        assert set(read_lists(home, DAY)["variant"]) == {"champion"}
        forget_nights(home, RUN_DATE)
        start_canary(config, home, 1 - 1e-12)
        made = generate(config, home, DAY, NOW)
        assert made.variants["challenger"]["counts"] == made.counts
        assert set(read_lists(home, DAY)["variant"]) == {"challenger"}


class TestSameBytes:
    @pytest.fixture
    def undisturbed(self, home: Path, config: Config) -> dict[str, bytes]:
        start_canary(config, home, SHARE)
        content = read_files(generate(config, home, DAY, NOW).folder)
        forget_nights(home, RUN_DATE)
        return content

    def test_after_an_interruption_anywhere(
        self, home: Path, config: Config, undisturbed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shards = home / "recommendations" / f".run_date={DAY}.shards"
        champion = read_shards_of(undisturbed, "champion")
        assert champion > 2
        total = sum(name.startswith("part-") for name in undisturbed)
        assert total > champion + 1
        real = ShardFolder.write
        # Among the champion's shards, between the variants, among the challenger's.
        for stop in (1, champion, champion + 1):
            made: list[int] = []

            def write(folder: ShardFolder, number: int, *given: Any) -> None:
                if len(made) == stop:  # noqa: B023
                    raise KeyboardInterrupt
                made.append(number)  # noqa: B023
                real(folder, number, *given)

            with monkeypatch.context() as patch:
                patch.setattr(ShardFolder, "write", write)
                with pytest.raises(KeyboardInterrupt):
                    generate(config, home, DAY, NOW)
            kept = {path.name: path.stat().st_ino for path in shards.glob("part-*.parquet")}
            assert len(kept) == stop
            folder = generate(config, home, DAY, NOW).folder
            assert read_files(folder) == undisturbed
            assert {name: (folder / name).stat().st_ino for name in kept} == kept
            forget_nights(home, RUN_DATE)

    def test_after_a_kill(self, home: Path, config: Config, undisturbed: dict[str, bytes]) -> None:
        code = """
            import json, os, signal, sys
            from datetime import datetime
            from pathlib import Path
            from recsys.artifacts.shards import ShardFolder
            from recsys.config import parse_config
            from recsys.pipelines.generate import generate

            config, home, day, now, stop = json.loads(sys.argv[1])
            real = ShardFolder.write

            def write(folder, number, *given):
                real(folder, number, *given)
                if number == stop:
                    os.kill(os.getpid(), signal.SIGKILL)

            ShardFolder.write = write
            generate(parse_config(config, "test"), Path(home), day, datetime.fromisoformat(now))
        """
        first = read_shards_of(undisturbed, "champion")
        given = json.dumps([config.resolved(), str(home), DAY, NOW.isoformat(), first])
        lines = "\n".join(line.removeprefix(" " * 12) for line in code.splitlines())
        ended = subprocess.run([sys.executable, "-c", lines, given], env=os.environ, check=False)
        assert ended.returncode == -9
        shards = home / "recommendations" / f".run_date={DAY}.shards"
        assert len(list(shards.glob("part-*.json"))) == first + 1
        assert read_files(generate(config, home, DAY, NOW).folder) == undisturbed

    def test_in_worker_processes(self, home: Path, config: Config, undisturbed: dict[str, bytes]) -> None:
        workers = change(config, generation={"engine": {"workers": 2}})
        parts = {name: content for name, content in undisturbed.items() if name.startswith("part-")}
        assert read_parts(generate(workers, home, DAY, NOW).folder) == parts

    def test_in_one_shard_each(self, home: Path, config: Config, undisturbed: dict[str, bytes]) -> None:
        folder = generate(change(config, generation={"shard_size": 5000}), home, DAY, NOW).folder
        assert len(read_parts(folder)) == 2
        whole = pl.concat([pl.read_parquet(content) for _, content in sorted(read_parts(folder).items())])
        parts = [content for name, content in sorted(undisturbed.items()) if name.startswith("part-")]
        assert whole.equals(pl.concat([pl.read_parquet(content) for content in parts]))


def read_shards_of(night: dict[str, bytes], variant: str) -> int:
    """Return how many files of a night hold a variant."""
    parts = [pl.read_parquet(content) for name, content in night.items() if name.startswith("part-")]
    assert all(part["variant"].n_unique() == 1 for part in parts)
    return sum(part["variant"][0] == variant for part in parts)


class TestControl:
    def test_the_share_of_a_running_canary_can_change(self, home: Path, config: Config) -> None:
        first = start_canary(config, home, 0.1)
        entries = len(open_log(home, config).entries)
        assert start_canary(config, home, 0.1) == first
        assert len(open_log(home, config).entries) == entries
        larger = start_canary(config, home, 0.4, "2")
        assert (larger.version, larger.share, larger.key) == ("2", 0.4, first.key)
        state = show_canary(config, home)
        assert state.canary == larger
        assert state.entry is not None
        assert state.entry.number == entries + 1

    @pytest.mark.parametrize("share", [0.0, 1.0, -0.1, float("nan"), float("inf")])
    def test_a_share_that_is_none(self, share: float, home: Path, config: Config) -> None:
        with pytest.raises(ConfigError, match=r"expected a share of the users above 0 and below 1, such as 0\.05"):
            start_canary(config, home, share)

    def test_a_version_that_cannot_be_in_a_canary(self, home: Path, config: Config) -> None:
        with pytest.raises(RegistryError, match="version 1 is the champion, which all other users get"):
            start_canary(config, home, SHARE, "1")
        with pytest.raises(RegistryError, match="version 77 does not exist; choose another with --version"):
            start_canary(config, home, SHARE, "77")
        connect(home, config).client.delete_registered_model_alias(NAME, CHALLENGER)
        with pytest.raises(
            RegistryError, match="no version has the alias 'challenger'; run 'recsys train' first, or choose a version"
        ):
            start_canary(config, home, SHARE)

    def test_one_canary_at_a_time(self, home: Path, config: Config, trained: Trained) -> None:
        third = register_second(home, trained)
        start_canary(config, home, SHARE, "2")
        with pytest.raises(RegistryError, match="a canary of version 2 is running; stop it first with 'recsys canary"):
            start_canary(config, home, SHARE, third.number)

    @pytest.mark.parametrize("action", ["promote", "force"])
    def test_a_promotion_ends_it(self, action: Any, home: Path, config: Config) -> None:
        start_canary(config, home, SHARE)
        open_log(home, config).append(action, to_version="2", reason="test")
        set_champion(connect(home, config), NAME, "2")
        made = generate(config, home, DAY, NOW)
        assert made.variants == {}
        assert set(read_lists(home, DAY)["model_version"]) == {"2"}
        assert show_canary(config, home).canary is None

    def test_a_version_that_was_made_champion_by_hand_is_in_no_canary(
        self, home: Path, config: Config, caplog: pytest.LogCaptureFixture
    ) -> None:
        start_canary(config, home, SHARE)
        set_champion(connect(home, config), NAME, "2")
        made = generate(config, home, DAY, NOW)
        assert made.variants == {}
        assert "alias 'champion' was moved by hand: version 2 serves" in caplog.text
        # It is recorded, and the manifest names the entry.
        (entry,) = [entry for entry in open_log(home, config).entries if entry.action == "hand_made"][-1:]
        assert entry.to_version == "2"
        assert read_manifest(made.folder, "")["promotion"] == entry.number
        assert show_canary(config, home).canary is None

    def test_with_a_damaged_log_every_user_gets_the_champions_lists(
        self, home: Path, config: Config, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        start_canary(config, home, SHARE)

        def fail(*_: Any, **__: Any) -> PromotionLog:
            raise RegistryError("promotion log of 'recsys': entry 1 was changed")

        with monkeypatch.context() as patch:
            patch.setattr(PromotionLog, "open", fail)
            made = generate(config, home, DAY, NOW)
        assert made.variants == {}
        assert "promotion" not in read_manifest(made.folder, "")
        assert "entry 1 was changed; every user gets the champion's lists" in caplog.text

    def test_the_end_publishes_the_champions_lists_again(self, home: Path, config: Config) -> None:
        pure = read_files(generate(config, home, DAY, NOW).folder)
        start_canary(config, home, SHARE)
        folder = generate(config, home, DAY, NOW).folder
        published = show_canary(config, home).published
        assert published is not None
        assert (published.run_date, published.version) == (DAY, "2")
        assert 0 < published.users < published.all_users
        stopped = stop_canary(config, home)
        assert stopped.canary is not None
        assert (stopped.canary.version, stopped.republished, stopped.published) == ("2", DAY, None)
        assert read_files(folder) == pure

    def test_lists_that_are_not_kept_are_named(self, home: Path, config: Config) -> None:
        start_canary(config, home, SHARE)
        generate(config, home, DAY, NOW)
        stopped = stop_canary(config, home)
        assert stopped.republished is None
        assert stopped.published is not None
        assert stopped.published.run_date == DAY
        # The next command publishes the champion's lists.
        generate(config, home, DAY, NOW)
        assert show_canary(config, home).published is None
        assert stop_canary(config, home).canary is None


class TestRefusals:
    def test_a_challenger_that_knows_the_future(self, home: Path, config: Config, trained: Trained) -> None:
        later = register_second(home, trained, cutoff=datetime(2025, 2, 7, tzinfo=UTC))
        start_canary(config, home, SHARE, later.number)
        before = read_files(home / "recommendations")
        with pytest.raises(
            Refused,
            match=rf"the challenger, version {later.number}, was trained on events until 2025-02-07.*canary --stop",
        ):
            generate(config, home, DAY, NOW)
        assert read_files(home / "recommendations") == before

    def test_a_damaged_challenger(self, home: Path, config: Config, trained: Trained) -> None:
        broken = register_second(home, trained)
        start_canary(config, home, SHARE, broken.number)
        (trees,) = (home / f"version-{broken.number}").rglob("artifacts/bundle/trees.txt")
        trees.write_text("")
        with pytest.raises(ArtifactError, match=rf"canary of version {broken.number}: .*trees.*or stop the"):
            generate(config, home, DAY, NOW)

    def test_a_deleted_challenger(self, home: Path, config: Config, trained: Trained) -> None:
        gone = register_second(home, trained)
        start_canary(config, home, SHARE, gone.number)
        connect(home, config).client.delete_model_version(NAME, gone.number)
        with pytest.raises(RegistryError, match=rf"version {gone.number} does not exist; stop the canary with"):
            generate(config, home, DAY, NOW)

    def test_lists_that_fail_a_check(self, home: Path, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
        start_canary(config, home, SHARE)
        before = read_files(home / "recommendations" / f"run_date={RUN_DATE}")
        given: list[list[str]] = []

        def find_faults(*_: Any, variants: Any, **__: Any) -> list[str]:
            given.append([variant.name for variant in variants])
            return ["challenger version 2: all lists are empty"]

        monkeypatch.setattr(generate_module, "find_faults", find_faults)
        with pytest.raises(Refused, match=r"challenger version 2: all lists are empty.*stop the canary with"):
            generate(config, home, DAY, NOW)
        assert given == [["champion version 1", "challenger version 2"]]
        assert read_files(home / "recommendations" / f"run_date={RUN_DATE}") == before


def test_every_reader_copes_with_two_variants(home: Path, config: Config) -> None:
    outputs = change(config, generation={"outputs": ["jsonl", "csv"]})
    start_canary(outputs, home, SHARE)
    folder = generate(outputs, home, DAY, NOW).folder
    lists = recsys.read_lists(DAY, home=home)
    assert lists.equals(lists.sort("user_id", "rank"))
    assert set(lists["variant"]) == {"champion", "challenger"}
    assert pl.read_ndjson(folder / "lists.jsonl").height == lists.height
    assert (
        pl.read_csv(folder / "lists.csv", infer_schema=False)["variant"]
        .value_counts()
        .sort("count")
        .equals(lists["variant"].value_counts().sort("count").cast({"count": pl.UInt32}))
    )
    assert {user.canary for user in show_users(outputs, home, DAY, users=40)} == {None, "2"}
    (found,) = (finding for finding in examine(outputs, home) if finding.name == "lists")
    users = lists.filter(pl.col("variant") == "challenger")["user_id"].n_unique()
    assert found.state == "ok"
    assert f"canary: {users} of {lists['user_id'].n_unique()} users have lists of version 2" in found.found
