import numpy as np
import polars as pl
import pytest
from test_ranker import FEATURES, fit, make_rows

from recsys.ranking.importance import measure_importance
from recsys.ranking.ranker import Ranker
from recsys.tables import FeatureImportance, check

KEYS = ["window", "user_index", "item_index", "label"]


@pytest.fixture(scope="module")
def ranker() -> Ranker:
    return fit(make_rows())


def unseen(groups: int = 60) -> pl.DataFrame:
    """Rows as a night has them: one window, which is not named."""
    return make_rows(groups=groups, seed=1).drop("window")


def test_what_knows_most_is_missed_most(ranker):
    table = measure_importance(ranker, unseen(), 5, 0)
    check(FeatureImportance, table, "importance", "mend the test")
    assert table.select("feature", "gain").equals(ranker.importance())
    losses = dict(table.select("feature", "loss").rows())
    assert set(losses) == {"blend", *FEATURES}
    assert losses["known"] == max(losses.values()) > 0.2
    assert abs(losses["noise"]) < 0.1


def test_the_loss_is_that_of_shuffled_values(ranker):
    rows = unseen()
    order = np.random.default_rng(7).permutation(rows.height)
    shuffled = rows.with_columns(known=rows["known"].gather(order))
    # `known` is no source, so the blend stays as it is.
    whole, without = (find_ndcg(ranker, one) for one in (rows, shuffled))
    losses = dict(measure_importance(ranker, rows, 5, 7).select("feature", "loss").rows())
    assert losses["known"] == pytest.approx(whole - without)


def find_ndcg(ranker: Ranker, rows: pl.DataFrame) -> float:
    """nDCG@5 of one positive a group, by the trees alone."""
    scores = ranker.booster.predict(ranker.gather(rows))
    places = rows.with_columns(place=pl.Series(scores).rank("ordinal", descending=True)).with_columns(
        pl.col("place").rank("ordinal").over("user_index")
    )
    found = places.filter(pl.col("label") > 0, pl.col("place") <= 5)["place"].to_numpy()
    return float((1 / np.log2(found + 1.0)).sum() / rows["user_index"].n_unique())


def test_users_without_a_positive_say_nothing(ranker):
    rows = unseen()
    more = rows.with_columns(pl.col("user_index") + 1000, label=pl.lit(0, dtype=pl.UInt8))
    assert measure_importance(ranker, pl.concat([rows, more]), 5, 0).equals(measure_importance(ranker, rows, 5, 0))
    assert measure_importance(ranker, more, 5, 0)["loss"].null_count() == 1 + len(FEATURES)


def test_of_many_rows_all_users_count_with_fewer_negatives(ranker):
    rows = unseen(200)
    thin = measure_importance(ranker, rows, 5, 0, max_rows=1000)
    assert not thin.equals(measure_importance(ranker, rows, 5, 0))
    assert dict(thin.select("feature", "loss").rows())["known"] == thin["loss"].max() > 0.1
    # Nobody loses a positive: with none but them every order is right.
    assert measure_importance(ranker, rows, 5, 0, max_rows=0)["loss"].to_list() == [0.0] * (1 + len(FEATURES))
