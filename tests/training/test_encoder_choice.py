"""The encoder is chosen by what users took in the label windows, and the untouched one is kept without evidence."""

import re
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from worlds import at, checkerboard, make_interactions

from recsys.config import Config, parse_config
from recsys.dataset.histories import build_histories
from recsys.dataset.windows import split_windows
from recsys.training.encoder_choice import SHARES, EncoderChoice, EncoderTrial, keep_choice

# 80 users of two colours, whose lists of 50 hold a third of the items.
ITEMS, INTERACTIONS = checkerboard(users=80, items=160)
PATH = "text.fine_tune.untouched_share"


def make_config(share: float | str = "auto") -> Config:
    # Without epochs the interest model is the cosine of the embeddings.
    text = {"interest": {"epochs": 0, "history_decay": 1.0}, "fine_tune": {"untouched_share": share}}
    content = {
        "name": "choice",
        "dataset": {
            "items": {"path": "items.jsonl"},
            "interactions": {"path": "interactions.csv", "columns": {"time": "time"}},
        },
        "windows": {"test_days": 10, "label_windows": 2},
        "text": text,
    }
    return parse_config(content, "test")


def make_trial(interactions: pl.DataFrame = INTERACTIONS, users: list[str] | None = None) -> EncoderTrial:
    """Return a trial over two label windows, in which only some users took something."""
    config = make_config()
    windows = split_windows(interactions, config.windows, repeats=False, end=at(60), seed=0)
    labels = windows.measurement_fold.labels
    histories = build_histories(labels[-1].history, ITEMS, labels[-1].cutoff)
    if users is not None:
        kept = pl.col("user_id").is_in(users)
        labels = tuple(replace(window, positives=window.positives.filter(kept)) for window in labels)
    return EncoderTrial(config, ITEMS, histories, labels, "float32")


def embed(strength: float) -> NDArray[np.float32]:
    """Unit vectors that tell the colour the better, the stronger it is."""
    vectors = np.random.default_rng(0).normal(size=(ITEMS.height, 16))
    vectors[:, 0] += strength * np.where(np.arange(ITEMS.height) % 2, -1, 1)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize(
    ("strengths", "best"),
    [((0.0, 9.0), 0.0), ((9.0, 0.0), 1.0), ((9.0, 9.0), 1.0)],
)
def test_the_encoder_that_predicts_best_is_chosen(strengths: tuple[float, ...], best: float) -> None:
    by_share = {share: embed(strength) for share, strength in zip(SHARES, strengths, strict=True)}
    choice = make_trial().choose(by_share)
    assert choice.untouched_share == best
    assert choice.reason.startswith("recall@50 of 80 users in the label windows: untouched 0.")
    assert ("fine-tuned − untouched +0." in choice.reason) == (best == 0.0)


def test_a_gain_within_noise_keeps_the_untouched_encoder() -> None:
    by_share = {1.0: embed(0.0), 0.0: embed(9.0)}
    assert make_trial().choose(by_share).untouched_share == 0.0
    # The interval of two users, one of whom gains nothing, reaches down to zero.
    choice = make_trial(users=_find_users_with_and_without_gain(by_share)).choose(by_share)
    assert choice.untouched_share == 1.0
    assert "recall@50 of 2 users" in choice.reason
    assert "fine-tuned − untouched +0." in choice.reason


def _find_users_with_and_without_gain(by_share: dict[float, NDArray[np.float32]]) -> list[str]:
    def gains(user: str) -> bool:
        return "fine-tuned −" in make_trial(users=[user]).choose(by_share).reason

    users = INTERACTIONS["user_id"].unique().sort().to_list()
    return [next(user for user in users if gains(user)), next(user for user in users if not gains(user))]


def test_without_a_user_to_ask_the_untouched_encoder_is_kept() -> None:
    expected = EncoderChoice(1.0, "no user of the label windows has a history before them")
    trial = make_trial(users=["nobody"])
    assert not trial.review(embed(0.0), embed(9.0))
    assert trial.reject(3) == expected
    assert make_trial(users=["nobody"]).choose(dict.fromkeys(SHARES, embed(1.0))) == expected


def test_a_training_goes_on_if_it_has_gained_something() -> None:
    assert make_trial().review(embed(0.0), embed(9.0))
    trial = make_trial()
    assert not trial.review(embed(9.0), embed(9.0))
    choice = trial.reject(33)
    assert choice.untouched_share == 1.0
    assert re.fullmatch(
        r"recall@50 of 80 users in the label windows: untouched (0\.\d{4}); fine-tuned \1 after 33 steps, "
        "where fine-tuning stopped",
        choice.reason,
    )


def test_what_was_measured_on_the_way_does_not_change_the_choice() -> None:
    by_share = {1.0: embed(1.0), 0.0: embed(3.0)}
    trial = make_trial()
    trial.review(by_share[1.0], embed(9.0))
    assert trial.choose(by_share) == make_trial().choose(by_share)


def test_the_test_window_does_not_matter() -> None:
    by_share = {1.0: embed(1.0), 0.0: embed(3.0)}
    before = INTERACTIONS.filter(pl.col("time") < at(50))
    later = make_interactions(*((f"u{user:03}", f"i{user:03}", 55.0) for user in range(80)))
    changed = pl.concat([before, later]).sort("user_id", "time")
    choice = make_trial().choose(by_share)
    assert make_trial(changed).choose(by_share) == choice


def test_new_items_are_told_apart() -> None:
    by_share = dict.fromkeys(SHARES, embed(9.0))
    assert "of new items" not in make_trial().choose(by_share).reason
    # Nobody took the first twenty items before the oldest label window.
    new = pl.col("item_id") < "i020"
    choice = make_trial(INTERACTIONS.filter(~new | (pl.col("time") >= at(30)))).choose(by_share)
    assert choice.reason.count("of new items)") == 2


def test_the_chosen_share_replaces_auto_only() -> None:
    choice = EncoderChoice(0.5, "because")
    assert choice.describe() == f"{PATH} 0.5: because"
    assert choice.settle(make_config()).text.fine_tune.untouched_share == 0.5
    assert choice.settle(make_config(0.0)).text.fine_tune.untouched_share == 0.0


def test_a_training_that_continues_keeps_the_choice() -> None:
    assert keep_choice(make_config()) is None
    kept = keep_choice(make_config(0.5))
    assert kept is not None
    assert kept.untouched_share == 0.5
