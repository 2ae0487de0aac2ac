import numpy as np
import polars as pl
import pytest
from worlds import at, checkerboard, colour_of, make_interactions, make_items

from recsys.collab.als import AlsModel
from recsys.config import AlsConfig
from recsys.dataset.histories import Histories, build_histories

CONFIG = AlsConfig(embedding_size=6, epochs=10)
ITEMS, INTERACTIONS = checkerboard(users=30, items=20)
# The last item is one that nobody touches.
CATALOGUE = pl.concat([ITEMS, make_items("never").with_columns(colour=pl.lit("none"))])


@pytest.fixture(scope="module")
def world() -> Histories:
    return build_histories(INTERACTIONS, CATALOGUE, at(60))


@pytest.fixture(scope="module")
def model(world: Histories) -> AlsModel:
    return AlsModel.fit(world, CONFIG, seed=3, threads=1)


def least_squares(factors: np.ndarray, weights: dict[int, float], config: AlsConfig) -> np.ndarray:
    """Solve Hu, Koren, Volinsky's equation (4) for one user, confidence alpha * log(1 + weight)."""
    factors = np.nan_to_num(factors).astype(np.float64)
    left = factors.T @ factors + config.regularization * np.eye(factors.shape[1])
    right = np.zeros(factors.shape[1])
    for item, weight in weights.items():
        confidence = config.alpha * np.log1p(weight)
        left += (confidence - 1) * np.outer(factors[item], factors[item])
        right += confidence * factors[item]
    return np.linalg.solve(left, right)


def test_every_user_is_offered_the_own_colour(world):
    # As many factors as there are colours.
    model = AlsModel.fit(world, AlsConfig(embedding_size=2), seed=3, threads=1)
    scores = model.fold_in(world) @ np.nan_to_num(model.item_factors).T
    scores[world.users, world.items] = -np.inf
    scores[:, -1] = -np.inf
    for number in range(30):
        best = np.argsort(-scores[number])[:5]
        assert {colour_of(int(item)) for item in best} == {colour_of(number)}


def test_items_nobody_touched_have_nan_factors_and_no_other(model):
    assert (model.item_factors.dtype, model.item_factors.shape) == (np.float32, (21, 6))
    assert np.isnan(model.item_factors[-1]).all()
    assert not np.isnan(model.item_factors[:-1]).any()


@pytest.mark.parametrize("threads", [1, 2])
def test_same_seed_same_bytes_whatever_the_threads(world, model, threads):
    again = AlsModel.fit(world, CONFIG, seed=3, threads=threads)
    assert again.item_factors.tobytes() == model.item_factors.tobytes()
    assert again.fold_in(world).tobytes() == model.fold_in(world).tobytes()


def test_another_seed_gives_another_model(world, model):
    assert AlsModel.fit(world, CONFIG, seed=4, threads=1).item_factors.tobytes() != model.item_factors.tobytes()


def test_folding_in_solves_the_least_squares(model):
    rows = make_interactions(
        {"user": "u", "item": "i002", "day": 1, "weight": 0.1},
        {"user": "u", "item": "i003", "day": 2, "weight": 4.0},
        {"user": "u", "item": "i003", "day": 3, "weight": 2.0},
        {"user": "v", "item": "i010", "day": 2},
        # Unknown to the model: changes nothing.
        {"user": "v", "item": "never", "day": 3},
    )
    factors = model.fold_in(build_histories(rows, CATALOGUE, at(60)))
    assert (factors.dtype, factors.shape) == (np.float32, (2, 6))
    expected = [
        least_squares(model.item_factors, weights, CONFIG) for weights in ({2: 0.1, 3: 6.0}, {10: 1.0, 20: 1.0})
    ]
    assert factors == pytest.approx(np.array(expected), rel=1e-3, abs=1e-5)
    assert factors[1] == pytest.approx(least_squares(model.item_factors, {10: 1.0}, CONFIG), rel=1e-3, abs=1e-5)


def test_unknown_users_and_unknown_items_fold_in_to_zeros(model):
    rows = make_interactions(("only new", "never", 1), ("u", "i001", 1))
    histories = build_histories(rows, CATALOGUE, at(60)).take(pl.Series(["nobody", "only new", "u"]))
    factors = model.fold_in(histories)
    assert not factors[:2].any()
    assert factors[2].any()


def test_the_same_history_gives_the_same_factors_in_any_company(world, model):
    together = model.fold_in(world)
    alone = [model.fold_in(world.select(slice(number, number + 1))) for number in range(world.n_users)]
    assert np.concatenate(alone).tobytes() == together.tobytes()


def test_folding_in_leaves_histories_and_model_alone(world, model):
    # A catalogue in which some items are unknown, and histories whose items are sorted: nothing to copy.
    partial = model.align(CATALOGUE["item_id"][5:], CATALOGUE["item_id"])
    rows = make_interactions(*(("u", f"i{number:03d}", number) for number in range(10)))
    histories = build_histories(rows, CATALOGUE, at(60)).take(pl.Series(["u"]))
    before = (histories.items.copy(), histories.weights.copy(), partial.item_factors.copy())
    partial.fold_in(histories)
    after = (histories.items, histories.weights, partial.item_factors)
    assert [one.tobytes() for one in before] == [one.tobytes() for one in after]


def test_nobody_folds_in_to_nothing(world, model):
    assert model.fold_in(world.select(slice(0, 0))).shape == (0, 6)


def test_an_item_new_tonight_is_unknown_and_the_rest_moves_along(model):
    tonight = pl.Series(["a new one", *CATALOGUE["item_id"][1:], "zz"])
    aligned = model.align(CATALOGUE["item_id"], tonight)
    assert np.isnan(aligned.item_factors[[0, -1]]).all()
    assert aligned.item_factors[1:-1].tobytes() == model.item_factors[1:].tobytes()


def test_saved_and_loaded_is_the_same(model, world, tmp_path):
    for name in ("one", "two"):
        model.save(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    loaded = AlsModel.load(tmp_path / "one", CONFIG)
    assert loaded.item_factors.tobytes() == model.item_factors.tobytes()
    assert loaded.fold_in(world).tobytes() == model.fold_in(world).tobytes()


def test_more_factors_than_items_is_no_trouble():
    histories = build_histories(make_interactions(("u", "a", 1), ("v", "b", 1)), make_items("a", "b"), at(2))
    model = AlsModel.fit(histories, AlsConfig(embedding_size=32), seed=0, threads=1)
    scores = model.fold_in(histories) @ model.item_factors.T
    assert scores[0, 0] > scores[0, 1]
    assert scores[1, 1] > scores[1, 0]


def objective(model: AlsModel, histories: Histories) -> float:
    """Return what least squares minimise (Hu, Koren, Volinsky, equation 3), with the best factors of the users."""
    items, users = np.nan_to_num(model.item_factors).astype(float), model.fold_in(histories).astype(float)
    scores, entries = users @ items.T, (histories.users, histories.items)
    confidence = np.ones_like(scores)
    confidence[entries] = CONFIG.alpha * np.log1p(histories.weights)
    wanted = np.zeros_like(scores)
    wanted[entries] = 1.0
    penalty = CONFIG.regularization * ((items**2).sum() + (users**2).sum())
    return float((confidence * (wanted - scores) ** 2).sum() + penalty)


@pytest.fixture(scope="module")
def earlier() -> AlsModel:
    """A model of half of the time, and of all items but those from i015 on."""
    known = CATALOGUE.filter(~pl.col("item_id").is_between(pl.lit("i015"), pl.lit("i019")))
    rows = INTERACTIONS.filter(pl.col("time") < at(30)).join(known, on="item_id", how="semi")
    model = AlsModel.fit(build_histories(rows, known, at(30)), CONFIG, seed=3, threads=1)
    return model.align(known["item_id"], CATALOGUE["item_id"])


class TestContinuing:
    REFRESH = CONFIG.model_copy(update={"refresh_epochs": 2})

    def test_two_epochs_come_further_than_two_from_scratch(self, world, model, earlier):
        short = CONFIG.model_copy(update={"epochs": 2})
        scratch = AlsModel.fit(world, short, seed=3, threads=1)
        continued = AlsModel.fit(world, self.REFRESH, seed=3, threads=1, start=earlier)
        assert objective(model, world) < objective(scratch, world)
        assert objective(continued, world) < objective(scratch, world)

    def test_factors_are_matched_by_item(self, world, earlier):
        once = CONFIG.model_copy(update={"refresh_epochs": 1})
        moved = earlier.align(CATALOGUE["item_id"], pl.Series([*CATALOGUE["item_id"][1:], CATALOGUE["item_id"][0]]))
        known = ~np.isnan(earlier.item_factors[:, 0])
        far = []
        for start in (earlier, moved):
            found = AlsModel.fit(world, once, seed=3, threads=1, start=start).item_factors[known]
            far.append(np.linalg.norm(found - earlier.item_factors[known]))
        # Every second item has the other colour, so a start with moved rows leads elsewhere.
        assert far[0] < 0.5 * far[1]

    def test_new_items_and_new_users_take_part(self, world, earlier):
        continued = AlsModel.fit(world, self.REFRESH, seed=3, threads=1, start=earlier)
        assert np.isnan(earlier.item_factors[15:]).all()
        assert not np.isnan(continued.item_factors[15:20]).any()
        # Nobody touched it, then or now.
        assert np.isnan(continued.item_factors[20]).all()
        scores = continued.fold_in(world) @ np.nan_to_num(continued.item_factors).T
        for number in range(30):
            new = range(15, 20)
            own = [colour_of(item) == colour_of(number) for item in new]
            assert scores[number, new][own].min() > scores[number, new][np.logical_not(own)].max()

    @pytest.mark.parametrize("threads", [1, 2])
    def test_same_start_same_bytes(self, world, earlier, threads):
        before = earlier.item_factors.tobytes()
        once, again = (AlsModel.fit(world, self.REFRESH, 3, number, start=earlier) for number in (1, threads))
        assert once.item_factors.tobytes() == again.item_factors.tobytes()
        assert earlier.item_factors.tobytes() == before

    @pytest.mark.parametrize(
        ("changes", "can"),
        [
            ({"epochs": 99, "refresh_epochs": 1}, True),
            ({"embedding_size": 7}, False),
            ({"regularization": 1.0}, False),
            ({"alpha": 1.0}, False),
        ],
    )
    def test_only_the_epochs_may_differ(self, model, changes, can):
        assert model.can_start(CONFIG.model_copy(update=changes)) == can
