import json

import numpy as np
import polars as pl
import pytest

from recsys.config import RankingConfig
from recsys.errors import DataError
from recsys.ranking import ranker_choice
from recsys.ranking.blend import Blend, mix
from recsys.ranking.groups import Groups
from recsys.ranking.ranker import Ranker
from recsys.ranking.ranker_choice import RankerChoice, Validation, _count_trees, choose_share
from recsys.ranking.training_rows import find_starts, read_column

FEATURES = ("text_z", "known", "noise")
CONFIG = RankingConfig(min_data_in_leaf=5, num_leaves=7, fixed_trees=30, max_trees=60)


def make_rows(groups: int = 120, size: int = 15, seed: int = 0) -> pl.DataFrame:
    """One positive a group; "known" tells it well, but only where it is above 1, "text_z" tells it a little."""
    rng = np.random.default_rng(seed)
    label = np.zeros((groups, size), dtype=np.uint8)
    label[np.arange(groups), rng.integers(0, size, groups)] = 1
    count = groups * size
    known = np.where(label.ravel() > 0, rng.uniform(0.6, 2.0, count), rng.uniform(0.0, 1.1, count))
    return pl.DataFrame(
        {
            "window": np.repeat(np.arange(groups) // 70, size).astype(np.uint8),
            "user_index": np.repeat(np.arange(groups) % 70, size).astype(np.uint32),
            "item_index": np.tile(np.arange(size, dtype=np.uint32), groups),
            "label": label.ravel(),
            "position": pl.Series([None] * count, dtype=pl.UInt16),
            "text_z": (rng.normal(size=count) + 0.5 * label.ravel()).astype(np.float32),
            "known": np.where(known > 1, known, 0.0).astype(np.float32),
            "noise": rng.normal(size=count).astype(np.float32),
        }
    ).with_columns(pl.when(pl.col("noise") < 1).then("noise"))


def fit(rows: pl.DataFrame, config: RankingConfig = CONFIG, seed: int = 0) -> Ranker:
    return Ranker.fit(rows, FEATURES, ("text",), config, n=5, seed=seed, threads=1)


def score(ranker: Ranker, rows: pl.DataFrame) -> np.ndarray:
    """Return the scores of rows in a frame."""
    names = [*ranker.features, *(f"{source}_z" for source in ranker.blend.weights)]
    return ranker.score({name: read_column(rows, name) for name in names}, find_starts(rows))


def first_place_share(rows: pl.DataFrame, scores: np.ndarray) -> float:
    """Share of groups whose best-scored row is the positive."""
    best = rows.with_columns(score=pl.Series(scores)).sort("score", descending=True, maintain_order=True)
    return float(best.unique(["window", "user_index"], keep="first", maintain_order=True)["label"].mean())


@pytest.fixture(scope="module")
def ranker() -> Ranker:
    return fit(make_rows())


def test_learning_beats_chance_and_the_blend_on_new_rows(ranker):
    new = make_rows(seed=1)
    scores = score(ranker, new)
    assert scores.dtype == np.float32
    # Chance is 1 in 15.
    assert first_place_share(new, scores) > 0.6
    assert first_place_share(new, ranker.blend.score_rows(new)) < 0.4


def test_the_blend_is_a_feature_too(ranker):
    new = make_rows(seed=1)
    moved = new.with_columns(text_z=pl.lit(0.0, dtype=pl.Float32))
    assert not np.array_equal(score(ranker, new), score(ranker, moved))
    gains = dict(ranker.importance().rows())
    assert gains["blend"] + gains["text_z"] > 0
    assert gains["known"] > gains["noise"]


def test_a_score_depends_on_the_row_and_its_user_alone(ranker):
    new = make_rows(seed=1)
    some = pl.col("user_index") < 20
    assert np.array_equal(score(ranker, new.filter(some)), score(ranker, new)[new.select(some).to_series().to_numpy()])


def test_importance_names_every_feature_once_largest_first(ranker):
    table = ranker.importance()
    assert sorted(table["feature"]) == sorted(["blend", *FEATURES])
    assert table.dtypes == [pl.String, pl.Float64]
    assert table["gain"].to_list() == sorted(table["gain"], reverse=True)
    assert table["gain"].sum() == pytest.approx(ranker.booster.feature_importance("gain").sum())


def test_same_seed_same_trees():
    rows = make_rows(groups=40)
    first, again = fit(rows, seed=4), fit(rows, seed=4)
    assert first.booster.model_to_string() == again.booster.model_to_string()
    assert fit(rows, seed=5).booster.model_to_string() != first.booster.model_to_string()


def test_trees_do_not_depend_on_threads():
    rows = make_rows(groups=40)
    texts = [
        Ranker.fit(rows, FEATURES, ("text",), CONFIG, n=5, seed=0, threads=threads).booster.trees_to_dataframe()
        for threads in (1, 2)
    ]
    assert texts[0].equals(texts[1])


def test_few_groups_get_the_fixed_count_of_trees_and_half_of_the_blend():
    ranker = fit(make_rows(), CONFIG.model_copy(update={"min_users_for_folds": 71}))
    assert ranker.booster.num_trees() == 30
    assert ranker.blend_share == 0.5
    assert ranker.validation == Validation()
    assert ranker.describe() == "LightGBM, 30 trees + 0.5 × weighted blend (blend: 1.00 text)"


def test_folds_tell_the_number_of_trees_and_the_share_of_the_blend(ranker):
    told = ranker.validation
    assert len(told.curve) == CONFIG.max_trees
    assert 11 <= ranker.booster.num_trees() <= CONFIG.max_trees
    mean, low, high = told.gain
    assert mean == pytest.approx(told.shares[ranker.blend_share] - told.blend)
    assert 0 < low < mean < high
    # What the folds promise holds for rows that nobody has seen.
    new = make_rows(seed=1)
    assert Groups(new).measure(score(ranker, new), 5).mean() == pytest.approx(told.shares[ranker.blend_share], abs=0.1)


def test_there_are_twice_as_many_trees_as_are_best_on_the_folds():
    rng = np.random.default_rng(0)
    trees = np.arange(100)
    rising, falling = 0.3 + 0.001 * trees, 0.3 + 0.001 * np.minimum(trees, 80 - trees)
    shaken = 0.02 * rng.normal(size=(4, 1)) + 0.001 * rng.normal(size=(4, 100))
    assert _count_trees(rising + shaken, 10) == 100
    # Best around the fortieth, whatever a fold's level is.
    assert _count_trees(falling + shaken, 10) == pytest.approx(82, abs=6)
    assert _count_trees(falling + shaken, 95) == 95
    assert _count_trees(falling + shaken, 500) == 100
    # Fewer trees than a stretch.
    assert _count_trees(rising[None, :5] + shaken[:, :5], 1) == 5


def test_a_user_of_two_windows_is_unseen_in_both_or_in_none():
    # The same users take the same again, and noise tells each of them apart: who has seen one window knows the other.
    window = make_rows(groups=70).with_columns(known=pl.lit(0.0, dtype=pl.Float32), text_z=pl.col("noise").fill_null(0))
    rng = np.random.default_rng(5)
    window = window.with_columns(noise=pl.Series(rng.normal(size=window.height).astype(np.float32)))
    again = window.with_columns(window=pl.lit(1, dtype=pl.UInt8))
    config = CONFIG.model_copy(update={"min_data_in_leaf": 2, "lambda_l2": 0.0, "num_leaves": 31})
    ranker = fit(pl.concat([window, again]), config)
    assert max(ranker.validation.curve) < 0.35
    assert Groups(again).measure(ranker.booster.predict(_see(again, ranker)).astype(np.float32), 5).mean() > 0.6


def _see(rows: pl.DataFrame, ranker: Ranker) -> np.ndarray:
    return np.column_stack([ranker.blend.score_rows(rows), rows.select(FEATURES).to_numpy()])


def test_what_a_place_alone_did_is_not_learned():
    # `known` is where the old lists put things; what stands first is taken oftener, whatever it is.
    rng = np.random.default_rng(0)
    groups, size = 400, 12
    liking, old = rng.normal(size=(groups, size)), rng.normal(size=(groups, size))
    places = (-old).argsort(axis=1).argsort(axis=1) + 1
    label = rng.random((groups, size)) < 1 / (1 + np.exp(0.8 - 1.5 * liking)) / places
    rows = make_rows(groups=groups, size=size).with_columns(
        user_index=pl.Series(np.repeat(np.arange(groups, dtype=np.uint32), size)),
        window=pl.lit(0, dtype=pl.UInt8),
        label=pl.Series(label.ravel().astype(np.uint8)),
        text_z=pl.Series(liking.ravel().astype(np.float32)),
        known=pl.Series(old.ravel().astype(np.float32)),
    )
    rows = rows.filter((pl.col("label").max() > 0).over("user_index"))
    seen = rows.with_columns(position=pl.Series(places.ravel().astype(np.uint16)).gather(_find(rows, size)))
    blind, told = fit(rows), fit(seen)
    leaning = [dict(one.importance().rows())["known"] for one in (blind, told)]
    assert leaning[1] < 0.7 * leaning[0]
    # The folds are told too: the same trees would have the same curve.
    assert told.validation.curve != blind.validation.curve


def _find(rows: pl.DataFrame, size: int) -> pl.Series:
    """Where each row stood before some were left out."""
    return rows["user_index"].cast(pl.Int64) * size + rows["item_index"].cast(pl.Int64)


def test_where_the_features_know_nothing_the_blend_has_its_say():
    def make(seed: int) -> pl.DataFrame:
        noise = np.random.default_rng(seed + 3).normal(size=1800).astype(np.float32)
        # The blend knows all there is to know.
        return make_rows(seed=seed).with_columns(pl.col("text_z") + 2.0 * pl.col("label"), known=pl.Series(noise))

    ranker, new = fit(make(0)), make(1)
    assert ranker.validation.gain[1] <= 0
    # As much of it as of the trees, or nothing else: the folds decide by a hair.
    assert ranker.blend_share in (1.0, None)
    blend = ranker.blend.score_rows(new)
    assert first_place_share(new, score(ranker, new)) == pytest.approx(first_place_share(new, blend), abs=0.05)


def test_a_ranker_of_the_blend_alone_says_so():
    choice = RankerChoice(7, None, Validation(gain=(-0.02, -0.03, -0.01)))
    ranker = Ranker.fit(make_rows(), FEATURES, ("text",), CONFIG, n=5, seed=0, threads=1, choice=choice)
    assert ranker.describe().startswith("the weighted blend only (1.00 text): the trees gained -0.0200 [-0.0300, ")


def test_where_the_folds_cannot_tell_as_much_of_the_blend_is_added():
    rng = np.random.default_rng(0)
    blend, noise = rng.random(200), rng.normal(size=200)
    noise -= noise.mean()
    unsure, bad = (blend + gain + 0.1 * noise for gain in (0.001, -0.05))
    share, gain = choose_share({0.0: unsure + 0.002, 0.5: unsure + 0.001, 1.0: unsure}, blend, 0)
    assert gain.low < 0 < gain.mean == pytest.approx(0.001)
    assert share == 1.0
    assert choose_share({0.0: bad, 1.0: unsure - 0.002}, blend, 0)[0] == 1.0
    assert choose_share({0.0: unsure, 1.0: bad}, blend, 0)[0] is None


def test_where_the_folds_can_tell_their_best_share_is_taken():
    rng = np.random.default_rng(0)
    blend, noise = rng.random(200), rng.normal(size=200)
    noise -= noise.mean()
    sure, bad = (blend + gain + 0.1 * noise for gain in (0.05, -0.05))
    assert choose_share({0.0: sure, 0.5: sure + 0.001 * noise, 1.0: bad}, blend, 0)[0] == 0.0
    assert choose_share({0.0: sure, 0.5: sure + 0.01, 1.0: bad}, blend, 0)[0] == 0.5
    assert choose_share({0.0: bad, 0.5: sure, 1.0: bad}, blend, 0)[0] == 0.5


def test_the_rival_blend_has_not_seen_the_groups_it_is_measured_on(monkeypatch):
    measured = []

    class Recorder(Blend):
        @classmethod
        def tune(cls, rows, sources, n):
            tuned = cls(Blend.tune(rows, sources, n).weights)
            tuned.users = set(rows["user_index"])
            return tuned

        def score_rows(self, rows):
            measured.append((self.users, set(rows["user_index"])))
            return super().score_rows(rows)

    monkeypatch.setattr("recsys.ranking.ranker.Blend", Recorder)
    monkeypatch.setattr("recsys.ranking.ranker_choice.Blend", Recorder)
    rows = make_rows()
    fit(rows)
    everyone = set(rows["user_index"])
    # The blend that serves scores what it was tuned on, as the trees' feature; the rivals of the folds never do.
    assert measured[0] == (everyone, everyone)
    assert len(measured) == 1 + CONFIG.folds
    for tuned, scored in measured[1:]:
        assert not tuned & scored
    assert set.union(*(scored for _, scored in measured[1:])) == everyone


def test_the_seed_draws_the_folds(monkeypatch):
    drawn = []

    def take(data, rows, part):
        drawn.append(tuple(part))
        return real(data, rows, part)

    real = ranker_choice.take_part
    monkeypatch.setattr(ranker_choice, "take_part", take)
    rows, config = make_rows(groups=60), CONFIG.model_copy(update={"max_trees": 2, "min_users_for_folds": 2})
    for seed in (0, 0, 1):
        fit(rows, config, seed=seed)
    # Each fold takes the rows outside and inside.
    parts = 2 * config.folds
    first, again, other = (drawn[start : start + parts] for start in range(0, len(drawn), parts))
    assert first == again
    assert first != other


def test_folds_side_by_side_choose_alike():
    rows = make_rows()
    alone, together = (
        Ranker.fit(rows, FEATURES, ("text",), CONFIG, n=5, seed=0, threads=threads).choice for threads in (1, 3)
    )
    assert together == alone


@pytest.mark.parametrize("share", [0.0, 0.5, None])
def test_a_choice_that_is_made_already_is_kept(share):
    choice = RankerChoice(7, share, Validation(gain=(0.1, 0.05, 0.2)))
    ranker = Ranker.fit(make_rows(), FEATURES, ("text",), CONFIG, n=5, seed=0, threads=1, choice=choice)
    assert ranker.choice == choice
    assert ranker.booster.num_trees() == 7
    rows = make_rows(seed=1)
    assert np.array_equal(score(ranker, rows), ranker.blend.score_rows(rows)) == (share is None)


@pytest.mark.parametrize("groups", [1, 2, 3, 4])
def test_the_fewest_groups_teach_something(groups):
    config = CONFIG.model_copy(update={"min_users_for_folds": 1, "folds": 2, "max_trees": 3})
    ranker = fit(make_rows(groups=groups), config)
    assert bool(ranker.validation.curve) == (groups > 1)


def test_a_mixture_by_hand():
    starts = np.array([0, 3, 5])
    trees, blend = np.array([1, 2, 3, 7, 7], dtype=np.float32), np.array([10, 30, 20, 1, 2], dtype=np.float32)
    unit = np.sqrt(1.5)
    expected = [-unit - unit / 2, 0 + unit / 2, unit, -0.5, 0.5]
    np.testing.assert_allclose(mix(trees, blend, starts, 0.5), expected, atol=1e-6)
    # Numbers whose mean is none of them.
    alike = np.full(3, 0.1, dtype=np.float32)
    assert mix(alike, alike, np.array([0, 3]), 1.0).tolist() == [0, 0, 0]
    assert mix(trees, blend, starts, 0.0).tolist() == pytest.approx([-unit, 0, unit, 0, 0])


def test_saved_ranker_scores_the_same(ranker, tmp_path):
    new = make_rows(seed=2)
    ranker.save(tmp_path)
    again = Ranker.load(tmp_path)
    assert np.array_equal(score(again, new), score(ranker, new))
    assert again.blend.weights == ranker.blend.weights
    assert (again.features, again.blend_share, again.validation) == (
        ranker.features,
        ranker.blend_share,
        ranker.validation,
    )
    assert again.importance().equals(ranker.importance())
    json.loads((tmp_path / "ranker.json").read_text())
    (tmp_path / "twice").mkdir()
    again.save(tmp_path / "twice")
    for name in ("ranker.json", "trees.txt"):
        assert (tmp_path / "twice" / name).read_bytes() == (tmp_path / name).read_bytes(), name


def test_saved_ranker_of_few_groups_is_the_same(tmp_path):
    ranker = fit(make_rows(groups=4))
    ranker.save(tmp_path)
    again = Ranker.load(tmp_path)
    assert (again.blend_share, again.validation) == (ranker.blend_share, ranker.validation) == (0.5, Validation())
    assert "NaN" not in (tmp_path / "ranker.json").read_text()


def test_columns_beyond_the_features_and_their_order_do_not_matter(ranker):
    new = make_rows(seed=2)
    mixed = new.select(pl.lit("x").alias("more"), *reversed(new.columns))
    assert np.array_equal(score(ranker, mixed), score(ranker, new))


def test_no_rows_have_no_scores_and_teach_nothing(ranker):
    empty = make_rows().clear()
    assert score(ranker, empty).shape == (0,)
    with pytest.raises(DataError, match="no candidate of any label window is a positive; use longer label windows"):
        fit(empty)


def test_rows_that_tell_nothing_are_scored_alike():
    """Every feature is constant or missing: no split is possible, and that is no error."""
    rows = make_rows(groups=20).with_columns(
        pl.lit(0.0, dtype=pl.Float32).alias("known"),
        pl.lit(None, dtype=pl.Float32).alias("noise"),
        pl.lit(None, dtype=pl.Float32).alias("text_z"),
    )
    scores = score(fit(rows), rows)
    assert np.isfinite(scores).all()
    assert len(set(scores.tolist())) == 1
