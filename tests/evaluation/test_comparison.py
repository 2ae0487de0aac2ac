from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from scipy.sparse import csr_array

from recsys.config import EvaluationConfig
from recsys.errors import DataError
from recsys.evaluation.comparison import score_users, summarise
from recsys.evaluation.intervals import compare_paired, permutation_p_values
from recsys.evaluation.metrics import METRICS, count_positives, find_hits
from recsys.tables import MetricTable, UserMetrics

CONFIG = EvaluationConfig(n_values=(2, 3), n=2, bootstrap_samples=200)
USERS = pl.Series([f"用户{index:03}" for index in range(60)])


def world() -> tuple[csr_array, dict[str, np.ndarray]]:
    """60 users with 3 positives among 12 items; a model with a hint, a model that guesses, and a copy of the first."""
    generator = np.random.default_rng(2)
    consumed = np.argsort(generator.random((60, 12)), axis=1) < 3
    guesses = np.argsort(generator.random((60, 12)), axis=1)[:, :3].astype(np.int32)
    hints = np.argsort(generator.random((60, 12)) - 0.4 * consumed, axis=1)[:, :3].astype(np.int32)
    return csr_array(consumed), {"z-ours": hints, "guess": guesses, "copy": hints.copy()}


def scored() -> pl.DataFrame:
    positives, models = world()
    counts = count_positives(positives)
    return pl.concat(
        score_users(name, USERS, find_hits(lists, positives), counts, [3, 2]) for name, lists in models.items()
    )


class TestScoreUsers:
    def test_hand_worked(self) -> None:
        lists = np.array([[0, 1], [2, -1]], dtype=np.int32)
        positives = csr_array(np.array([[0, 1, 0], [1, 1, 1]], dtype=np.uint8))
        hits, counts = find_hits(lists, positives), count_positives(positives)
        frame = score_users("模型 [b]", pl.Series(["b", "a"]), hits, counts, [2, 1, 2])
        UserMetrics.validate(frame)
        assert frame.columns == ["model", "user_id", "metric", "n", "value"]
        assert frame["model"].unique().to_list() == ["模型 [b]"]
        assert frame["metric"].unique(maintain_order=True).to_list() == list(METRICS)
        recall = frame.filter(pl.col("metric") == "recall").select("user_id", "n", "value").rows()
        assert recall == [("b", 1, 0.0), ("a", 1, 1 / 3), ("b", 2, 1.0), ("a", 2, 1 / 3)]
        mrr = frame.filter(pl.col("metric") == "mrr", pl.col("n") == 2).select("user_id", "value").rows()
        assert mrr == [("b", 1 / 2), ("a", 1.0)]

    def test_user_without_positives(self) -> None:
        with pytest.raises(DataError, match="1 of 2 users have none"):
            score_users("a", pl.Series(["u", "v"]), np.zeros((2, 1), bool), np.array([1, 0]), [1])

    @pytest.mark.parametrize("ids", [["u"], ["u", "u"], ["u", None]])
    def test_user_ids_that_do_not_fit(self, ids: list[str | None]) -> None:
        with pytest.raises(DataError, match="user ids for 'a'"):
            score_users("a", pl.Series(ids), np.zeros((2, 1), bool), np.array([1, 1]), [1])


class TestSummarise:
    def test_schema_and_order(self) -> None:
        table = summarise(scored(), "z-ours", CONFIG, 0)
        MetricTable.validate(table)
        assert table.columns == list(MetricTable.columns())
        expected = [(model, metric, n) for model in ("z-ours", "guess", "copy") for metric in METRICS for n in (2, 3)]
        assert table.select("model", "metric", "n").rows() == expected
        assert table["users"].unique().to_list() == [60]

    def test_agrees_with_separate_estimates(self) -> None:
        metrics = scored()
        table = summarise(metrics, "z-ours", CONFIG, 4)
        for model, metric, n in [("guess", "ndcg", 2), ("guess", "f1", 3), ("z-ours", "map", 3)]:
            at = metrics.filter(pl.col("metric") == metric, pl.col("n") == n).sort("user_id")
            theirs = at.filter(pl.col("model") == model)["value"].to_numpy()
            ours = at.filter(pl.col("model") == "z-ours")["value"].to_numpy()
            row = table.row(
                by_predicate=(pl.col("model") == model) & (pl.col("metric") == metric) & (pl.col("n") == n),
                named=True,
            )
            alone = compare_paired(theirs, np.zeros(60), 200, 0.95, 4)
            assert (row["mean"], row["low"], row["high"]) == pytest.approx((alone.mean, alone.low, alone.high))
            if model != "z-ours":
                lead = compare_paired(ours, theirs, 200, 0.95, 4)
                interval = (row["difference"], row["difference_low"], row["difference_high"])
                assert interval == pytest.approx((lead.mean, lead.low, lead.high))

    def test_difference_is_ours_minus_theirs(self) -> None:
        table = summarise(scored(), "z-ours", CONFIG, 0)
        differences = table.select("difference", "difference_low", "difference_high", "p_value")
        assert differences.filter(table["model"] == "z-ours").null_count().row(0) == (14, 14, 14, 14)
        copy = differences.filter(table["model"] == "copy")
        assert set(copy.rows()) == {(0.0, 0.0, 0.0, 1.0)}
        guess = table.filter(pl.col("model") == "guess", pl.col("metric") == "ndcg")
        assert (guess["difference_low"] > 0).all()
        assert (guess["p_value"] < 0.05).all()

    def test_p_values_are_those_of_each_difference_alone(self) -> None:
        metrics = scored()
        table = summarise(metrics, "z-ours", CONFIG, 4)
        at = metrics.filter(pl.col("metric") == "mrr", pl.col("n") == 3).sort("user_id")
        ours, guess = (at.filter(pl.col("model") == model)["value"].to_numpy() for model in ("z-ours", "guess"))
        row = table.row(
            by_predicate=(pl.col("model") == "guess") & (pl.col("metric") == "mrr") & (pl.col("n") == 3), named=True
        )
        assert row["p_value"] == permutation_p_values((ours - guess)[:, None], 200, 4)[0]

    def test_same_bytes_whatever_the_order_of_users(self) -> None:
        metrics = scored()
        first = summarise(metrics, "z-ours", CONFIG, 0)
        assert_frame_equal(first, summarise(metrics, "z-ours", CONFIG, 0), check_exact=True)
        mixed = pl.concat(
            part.sample(fraction=1.0, shuffle=True, seed=1)
            for part in metrics.partition_by("model", maintain_order=True)
        )
        assert_frame_equal(first, summarise(mixed, "z-ours", CONFIG, 0), check_exact=True)
        other = summarise(metrics, "z-ours", CONFIG, 1)
        assert other["mean"].equals(first["mean"])
        assert not other["low"].equals(first["low"])

    def test_rows_do_not_depend_on_other_models(self) -> None:
        metrics = scored()
        alone = summarise(metrics.filter(pl.col("model") != "guess"), "z-ours", CONFIG, 0)
        together = summarise(metrics, "z-ours", CONFIG, 0).filter(pl.col("model") != "guess")
        assert_frame_equal(alone, together, check_exact=True)

    def test_one_user_and_one_model(self) -> None:
        metrics = scored().filter(pl.col("model") == "guess", pl.col("user_id") == USERS[0])
        table = summarise(metrics, "guess", CONFIG, 0)
        assert (table["low"] == table["mean"]).all()
        assert (table["high"] == table["mean"]).all()

    def test_equal_users_give_an_interval_without_width(self) -> None:
        # The only positive of every user is at rank 2: 1 / log2(3), a number whose sums are rounded.
        lists = np.array([[0, 1, 2]] * 60, dtype=np.int32)
        positives = csr_array(np.array([[False, True, False]] * 60))
        scores = score_users("a", USERS, find_hits(lists, positives), count_positives(positives), [2, 3])
        table = summarise(scores, "a", CONFIG, 0)
        assert (table["low"] == table["mean"]).all()
        assert (table["high"] == table["mean"]).all()

    def test_some_metrics_only(self) -> None:
        wanted = pl.concat_str("metric", "n").is_in(["mrr3", "ndcg2"])
        table = summarise(scored().filter(wanted), "z-ours", CONFIG, 0)
        assert table.select("metric", "n").unique(maintain_order=True).rows() == [("ndcg", 2), ("mrr", 3)]

    def test_missing_user_raises(self) -> None:
        lost = (pl.col("model") == "guess") & (pl.col("user_id") == USERS[5])
        with pytest.raises(DataError, match=r"'guess' has ndcg at 2 for 59 of 60 users.*14 such gaps"):
            summarise(scored().filter(~lost), "z-ours", CONFIG, 0)

    def test_other_users_of_the_same_number_raise(self) -> None:
        renamed = pl.when(pl.col("model") == "guess").then(pl.lit("x") + pl.col("user_id"))
        metrics = scored().with_columns(renamed.otherwise("user_id").alias("user_id"))
        with pytest.raises(DataError, match="for 60 of 120 users"):
            summarise(metrics, "z-ours", CONFIG, 0)

    def test_missing_metric_raises(self) -> None:
        lost = (pl.col("model") == "guess") & (pl.col("metric") == "map")
        with pytest.raises(DataError, match="'guess' has map at 2 for 0 of 60 users"):
            summarise(scored().filter(~lost), "z-ours", CONFIG, 0)

    def test_rejects_invalid_frames(self) -> None:
        metrics = scored()
        with pytest.raises(DataError, match="no model 'mine', found"):
            summarise(metrics, "mine", CONFIG, 0)
        with pytest.raises(DataError, match="no model 'z-ours'"):
            summarise(metrics.clear(), "z-ours", CONFIG, 0)
        with pytest.raises(DataError, match="primary_key"):
            summarise(pl.concat([metrics, metrics]), "z-ours", CONFIG, 0)
        with pytest.raises(DataError, match="unknown metrics \\['luck'\\]"):
            summarise(
                metrics.with_columns(metric=pl.lit("luck")).unique(["model", "user_id", "n"]),
                "guess",
                CONFIG,
                0,
            )
        with pytest.raises(DataError, match="column 'n' is Int64"):
            summarise(metrics.with_columns(pl.col("n").cast(pl.Int64)), "z-ours", CONFIG, 0)
