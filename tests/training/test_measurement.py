from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from miniature import CUTOFF, change

from recsys.artifacts.snapshots import Snapshot
from recsys.dataset.known_events import KnownEvents
from recsys.dataset.windows import Window, cut
from recsys.errors import DataError
from recsys.evaluation.comparison import OURS
from recsys.serving.bundle import Bundle
from recsys.training.measurement import Measured, measure

# 1 / log2(2) of an ideal 1 / log2(2) + 1 / log2(3).
ONE_OF_TWO_FIRST = 1.0 / (1.0 + 1.0 / 1.584962500721156)


def make_window(snapshot: Snapshot, *pairs: tuple[str, str], cutoff: datetime | None = CUTOFF) -> Window:
    """The week after the bundle's cutoff, with what the users took in it made up."""
    positives = pl.DataFrame(pairs, schema=["user_id", "item_id"], orient="row").sort("user_id", "item_id")
    positives = positives.with_columns(pl.lit(["click"]).alias("events"))
    end = CUTOFF + timedelta(days=7)
    return Window("test", cutoff, end, KnownEvents(snapshot.interactions, CUTOFF), positives)


@pytest.fixture(scope="module")
def users(snapshot: Snapshot) -> list[str]:
    known = cut(snapshot.interactions, CUTOFF)["user_id"].unique().sort().to_list()
    return [known[0], known[1], known[40]]


@pytest.fixture(scope="module")
def firsts(bundle: Bundle, snapshot: Snapshot, users: list[str]) -> dict[str, str]:
    """The first item of each user's list."""
    window = make_window(snapshot, *((user, "i000000") for user in users))
    lists = measure(bundle, window, snapshot.items, baselines=False).lists
    assert lists["user_id"].unique().sort().to_list() == users
    return dict(lists.filter(pl.col("rank") == 1).select("user_id", "item_id").iter_rows())


def values(measured: Measured, metric: str, model: str = OURS, n: int = 10) -> dict[str, float]:
    rows = measured.user_metrics.filter(pl.col("model") == model, pl.col("metric") == metric, pl.col("n") == n)
    return dict(rows.select("user_id", "value").iter_rows())


def test_positives_that_no_source_found_count_as_misses(
    bundle: Bundle, snapshot: Snapshot, users: list[str], firsts: dict[str, str]
) -> None:
    hidden = snapshot.items.filter(~pl.col("available"))["item_id"][0]
    a, b, c = users
    window = make_window(snapshot, (a, firsts[a]), (a, hidden), (b, firsts[b]), (c, hidden))
    measured = measure(bundle, window, snapshot.items, baselines=False)
    assert values(measured, "recall") == {a: 0.5, b: 1.0, c: 0.0}
    assert values(measured, "mrr") == {a: 1.0, b: 1.0, c: 0.0}
    assert values(measured, "ndcg") == pytest.approx({a: ONE_OF_TWO_FIRST, b: 1.0, c: 0.0})
    assert measured.ledger.union_recall == 0.5
    assert measured.users_without_history == 0


def test_users_without_history_are_counted_and_not_measured(
    bundle: Bundle, snapshot: Snapshot, users: list[str], firsts: dict[str, str]
) -> None:
    a, b, _ = users
    strangers = [("nobody", firsts[a]), ("nobody", firsts[b]), ("ñ 用户", firsts[a])]
    window = make_window(snapshot, (a, firsts[a]), *strangers)
    measured = measure(bundle, window, snapshot.items, baselines=False)
    assert measured.users_without_history == 2
    assert measured.user_metrics["user_id"].unique().to_list() == [a]
    assert measured.ledger.union_recall == 1.0
    with pytest.raises(DataError, match="measuring on the test window: none of its users has a history before it"):
        measure(bundle, make_window(snapshot, *strangers), snapshot.items, baselines=False)


def test_positives_outside_the_catalogue_measure_nobody(
    bundle: Bundle, snapshot: Snapshot, users: list[str], firsts: dict[str, str]
) -> None:
    # A hold-out file may name items that the catalogue has lost.
    a, b, _ = users
    window = make_window(snapshot, (a, firsts[a]), (a, "gone"), (b, "gone"))
    measured = measure(bundle, window, snapshot.items, baselines=False)
    assert values(measured, "recall") == {a: 1.0}


def test_a_bundle_that_saw_the_window_is_turned_away(bundle: Bundle, snapshot: Snapshot, users: list[str]) -> None:
    early = make_window(snapshot, (users[0], "i000000"), cutoff=CUTOFF - timedelta(microseconds=1))
    with pytest.raises(DataError, match=r"was trained on events until 2025-02-03.*a bundle from before the window"):
        measure(bundle, early, snapshot.items, baselines=False)
    with pytest.raises(DataError, match="was trained on events until None"):
        measure(
            replace(bundle, cutoff=None),
            make_window(snapshot, (users[0], "i000000")),
            snapshot.items,
            baselines=False,
        )


def test_the_future_does_not_reach_the_lists(bundle: Bundle, snapshot: Snapshot, users: list[str]) -> None:
    window = make_window(snapshot, (users[0], "i000000"))
    with pytest.raises(DataError, match="at or after that instant"):
        measure(bundle, replace(window, known=KnownEvents(snapshot.interactions)), snapshot.items, baselines=False)


def test_all_models_are_measured_on_the_same_users(bundle: Bundle, snapshot: Snapshot, users: list[str]) -> None:
    window = make_window(snapshot, *((user, "i000000") for user in users))
    measured = measure(bundle, window, snapshot.items, baselines=True)
    models = set(measured.user_metrics["model"])
    rivals = {"blend", "als", "item_to_item", "transitions", "ease", "tfidf", "text", "popular"}
    rivals |= {"popular_all_time", "text_fine_tuned"}
    assert models == {OURS, *rivals} == set(measured.catalogue["model"]) == set(measured.ranks_by_model)
    for model in models:
        assert list(values(measured, "ndcg", model)) == users
    assert measured.catalogue["coverage"].is_between(0, 1, closed="right").all()


@pytest.mark.parametrize("tuned", [True, False])
def test_a_checkpoint_that_serves_as_it_is_is_measured_once(
    bundle: Bundle, snapshot: Snapshot, users: list[str], tuned: bool
) -> None:
    window = make_window(snapshot, *((user, "i000000") for user in users))
    zero_shot = -bundle.embeddings if tuned else bundle.embeddings.copy()
    measured = measure(bundle, window, snapshot.items, baselines=True, zero_shot=zero_shot)
    profiles = {"text_zero_shot", "text_fine_tuned"} & set(measured.user_metrics["model"])
    assert profiles == {"text_zero_shot", *(["text_fine_tuned"] if tuned else [])}


def test_a_sample_of_the_users_is_the_same_for_all_models(bundle: Bundle, snapshot: Snapshot) -> None:
    later = snapshot.interactions.filter(pl.col("time") >= CUTOFF).select("user_id", "item_id").unique().sort("user_id")
    window = make_window(snapshot, *later.rows())
    whole = measure(bundle, window, snapshot.items, baselines=True)
    size = whole.positives["user_id"].n_unique() // 2
    fewer = replace(bundle, config=change(bundle.config, evaluation={"max_users": size}))
    sample = measure(fewer, window, snapshot.items, baselines=True)
    users = sample.positives["user_id"].unique().sort()
    assert len(users) == size
    assert (whole.users_not_drawn, sample.users_not_drawn) == (0, whole.positives["user_id"].n_unique() - size)
    assert sample.users_without_history == whole.users_without_history
    # Nothing else changes for the users who are drawn.
    kept = pl.col("user_id").is_in(users.implode())
    assert sample.user_metrics.equals(whole.user_metrics.filter(kept))
    assert sample.lists.equals(whole.lists.filter(kept))


@pytest.mark.parametrize("size", [1, 7])
def test_shards_change_nothing(size: int, bundle: Bundle, snapshot: Snapshot) -> None:
    later = snapshot.interactions.filter(pl.col("time") >= CUTOFF).select("user_id", "item_id").unique().head(40)
    window = make_window(snapshot, *later.rows())
    sharded = replace(bundle, config=change(bundle.config, generation={"shard_size": size}))
    whole = measure(bundle, window, snapshot.items, baselines=True)
    parts = measure(sharded, window, snapshot.items, baselines=True)
    assert parts.user_metrics.equals(whole.user_metrics)
    assert parts.lists.equals(whole.lists)
    assert parts.positives.equals(whole.positives)
    assert parts.catalogue.equals(whole.catalogue)
    for name in ("summarise", "summarise_depths", "summarise_overlap"):
        assert getattr(parts.ledger, name)().equals(getattr(whole.ledger, name)())
    assert all(np.array_equal(parts.losses[stage], whole.losses[stage]) for stage in whole.losses)
