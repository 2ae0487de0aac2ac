"""Settings chosen by lists: what trees of older label windows find in the newest."""

import numpy as np
import polars as pl
import pytest
from miniature import CUTOFF, Trained, change, settings

from recsys.artifacts.snapshots import Snapshot
from recsys.config import AUTO, Config, parse_config
from recsys.config.overrides import apply_settings
from recsys.dataset.windows import split_windows
from recsys.training.calibration import DEFAULT_HALF_LIFE, HALF_LIFE
from recsys.training.encoder_inputs import prepare_encoder_inputs
from recsys.training.fitting import _share_alike, fit_bundle
from recsys.training.list_choice import (
    Answers,
    Question,
    Rival,
    answer_all,
    choose_by_lists,
    list_questions,
    settle_attributes,
)

FEATURES, SOURCES = ["item_recent", "popular_z"], ["popular"]
USE, DEPTHS = "candidates.attributes.use", "candidates.depths"
HALF_LIVES = Question(HALF_LIFE, (7.0, DEFAULT_HALF_LIFE))
FEW = {"ranking.min_data_in_leaf": 5, "ranking.min_users_for_folds": 20, "ranking.feature_fraction": 1.0}
BOTH = {"popular": 10, "attributes": 10}


def configure(half_life: float | str | None = 7.0, **changes: object) -> Config:
    return apply_settings(parse_config(settings(), "test"), {HALF_LIFE: half_life, USE: False, **FEW, **changes})


def make_rows(signs: tuple[int, ...], users: int = 60) -> pl.DataFrame:
    """Twelve candidates a user and window, one taken; `item_recent` points to it or, with sign -1, away from it."""
    rng, windows = np.random.default_rng(0), []
    for window, sign in enumerate(signs):
        label = np.zeros((users, 12), dtype=np.uint8)
        label[np.arange(users), rng.integers(0, 12, users)] = 1
        windows.append(
            pl.DataFrame(
                {
                    "window": pl.repeat(window, users * 12, dtype=pl.UInt8, eager=True),
                    "user_index": np.repeat(np.arange(users, dtype=np.uint32), 12),
                    "item_index": np.tile(np.arange(12, dtype=np.uint32), users),
                    "label": label.ravel(),
                    "position": pl.Series([None] * users * 12, dtype=pl.UInt16),
                    "item_recent": (float(sign) * label.ravel() + rng.normal(0, 0.5, users * 12)).astype(np.float32),
                    "popular_z": rng.normal(size=users * 12).astype(np.float32),
                }
            )
        )
    return pl.concat(windows)


STEADY, SHIFTING = make_rows((1, 1, 1)), make_rows((-1, 1, 1))


def choose(*rows: pl.DataFrame, questions: tuple[Question, ...] = (HALF_LIVES,)) -> tuple[Answers, list[str]]:
    """Choose between settings with these rows, in the order of `answer_all`."""
    answered = dict(answer_all(configure(**{DEPTHS: BOTH, USE: AUTO}), questions))
    rivals = {
        answers: Rival(config, own, FEATURES, SOURCES)
        for (answers, config), own in zip(answered.items(), rows, strict=True)
    }
    return choose_by_lists(questions, rivals)


@pytest.mark.parametrize(
    ("before", "chosen", "windows", "asked"),
    [
        pytest.param(AUTO, 7.0, 3, [HALF_LIVES], id="what suits popularity alone against the default"),
        pytest.param(AUTO, 7.0, 1, [], id="no older window"),
        pytest.param(AUTO, DEFAULT_HALF_LIFE, 3, [], id="the default already"),
        pytest.param(AUTO, None, 3, [], id="no decay, as without a clock"),
        pytest.param(7.0, 7.0, 3, [], id="the config says it"),
    ],
)
def test_half_lives_are_compared_where_there_is_something_to_choose(before, chosen, windows, asked):
    assert list_questions(configure(before), configure(chosen), windows) == asked


ATTRIBUTES = Question(USE, (True, False))


@pytest.mark.parametrize(
    ("use", "depths", "windows", "settled", "asked"),
    [
        pytest.param(AUTO, BOTH, 2, AUTO, [ATTRIBUTES], id="lists decide"),
        pytest.param(AUTO, BOTH, 1, True, [], id="no older window, so it is used as the config wants"),
        pytest.param(True, BOTH, 2, True, [], id="the config wants it"),
        pytest.param(False, BOTH, 2, False, [], id="the config does not"),
        pytest.param(AUTO, {"popular": 10}, 2, False, [], id="not a source"),
        pytest.param(AUTO, {"attributes": 10}, 2, True, [], id="the only source"),
        pytest.param(False, {"attributes": 10}, 2, True, [], id="the only source stays"),
    ],
)
def test_attributes_are_compared_where_the_config_leaves_them_open(use, depths, windows, settled, asked):
    config = configure(**{USE: use, DEPTHS: depths})
    decided = settle_attributes(config, windows)
    assert decided.candidates.attributes.use == settled
    assert ("attributes" in decided.candidates.depths) is (settled is not False)
    assert list_questions(decided, decided, windows) == asked


def test_every_combination_of_answers_has_its_settings():
    open_config = configure(**{DEPTHS: BOTH, USE: AUTO})
    found = {
        answers: (config.candidates.half_life_days, config.candidates.attributes.use, set(config.candidates.depths))
        for answers, config in answer_all(open_config, [HALF_LIVES, ATTRIBUTES])
    }
    assert found == {
        (0, 0): (7.0, True, {"popular", "attributes"}),
        (0, 1): (7.0, False, {"popular"}),
        (1, 0): (30.0, True, {"popular", "attributes"}),
        (1, 1): (30.0, False, {"popular"}),
    }
    assert list(answer_all(open_config, [])) == [((), open_config)]


@pytest.mark.parametrize(("rows", "best", "days"), [((STEADY, SHIFTING), 0, "7"), ((SHIFTING, STEADY), 1, "30")])
def test_the_half_life_is_chosen_whose_trees_still_hold_in_the_newest_window(rows, best, days):
    # Within a window both predict alike: only the newest window shows that what the trees learned no longer holds.
    answers, (message,) = choose(*rows)
    assert answers == (best,)
    assert message.startswith(f"{HALF_LIFE} {days} (lists of the newest label window by trees of the older ones: ndcg@")
    assert message.endswith("60 users)")


def test_equal_lists_keep_the_first_value():
    answers, (message,) = choose(STEADY, STEADY)
    assert answers == (0,)
    assert "+0.000 [+0.000, +0.000]" in message


def test_a_question_is_asked_with_the_answers_to_those_before():
    # With 7 days lists are better without attributes, but 30 days are better, and then they are better with them.
    rows = (SHIFTING, SHIFTING, STEADY, SHIFTING)
    answers, messages = choose(*rows, questions=(HALF_LIVES, ATTRIBUTES))
    assert answers == (1, 0)
    assert messages[0].startswith(f"{HALF_LIFE} 30 (")
    assert messages[1].startswith(f"{USE} true (")
    answers, messages = choose(STEADY, SHIFTING, STEADY, STEADY, questions=(HALF_LIVES, ATTRIBUTES))
    assert answers == (0, 0)
    answers, messages = choose(SHIFTING, STEADY, SHIFTING, STEADY, questions=(HALF_LIVES, ATTRIBUTES))
    assert answers == (0, 1)
    assert messages[1].startswith(f"{USE} false (")


def test_positives_that_one_of_them_does_not_propose_count_against_it():
    # A third of the users lose the candidate that they took: no positive is left, so their rows are gone.
    few = STEADY.filter((pl.col("window") > 0) | (pl.col("user_index") >= 20))
    answers, (message,) = choose(few, STEADY)
    assert answers == (1,)
    assert message.endswith("60 users)")


def test_too_few_users_keep_the_first_value():
    few = [rows.filter((pl.col("window") > 0) | (pl.col("user_index") < 19)) for rows in (SHIFTING, STEADY)]
    assert choose(*few) == ((0,), [f"{HALF_LIFE} 7 (kept: a label window has 19 users, fewer than 20)"])


def test_rivals_have_the_same_share_of_their_negatives():
    # With more candidates a rival keeps fewer of them; measured on so few, its lists would look better.
    made = [(STEADY, 1.0), (STEADY, 0.5), (STEADY, 0.25)]
    positives = int(STEADY["label"].sum())
    alike = _share_alike(made, 0)
    shares = [(rows.height - positives) / (STEADY.height - positives) for rows in alike]
    assert shares == pytest.approx([0.25, 0.5, 1.0], abs=0.03)
    assert {int(rows["label"].sum()) for rows in alike} == {positives}
    assert _share_alike([(STEADY, 0.0), (STEADY, 0.5)], 0)[1].height == positives


@pytest.mark.parametrize("used", [True, False])
def test_the_answer_decides_what_the_ranker_learns_from(
    trained: Trained, snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch, used: bool
):
    asked = []

    def choose(questions: list[Question], rivals: dict[Answers, Rival]) -> tuple[Answers, list[str]]:
        asked.extend(question.path for question in questions)
        for answers, rival in rivals.items():
            with_it = not answers[asked.index(USE)]
            assert ("attributes_z" in rival.features) is ("attributes" in rival.sources) is with_it
            assert rival.rows["window"].unique().sort().to_list() == [0, 1]
        return tuple(int(path == USE and not used) for path in asked), ["a reason"]

    monkeypatch.setattr("recsys.training.fitting.choose_by_lists", choose)
    changes = {"fine_tune": {"epochs": 0}}
    config = change(
        trained.config, windows={"label_windows": 2}, text=changes, candidates={"depths": {"attributes": 20}}
    )
    windows = split_windows(snapshot.interactions, config.windows, repeats=False, end=CUTOFF, seed=config.seed)
    inputs = prepare_encoder_inputs(config, snapshot.items, windows.measurement_fold.labels[-1].cutoff)
    fitted = fit_bundle(config, snapshot.items, inputs, windows.measurement_fold)
    assert USE in asked
    assert fitted.bundle.config.candidates.attributes.use is used
    for holds in (
        "attributes" in fitted.bundle.config.candidates.depths,
        "attributes_z" in fitted.rows.columns,
        "attributes_z" in fitted.bundle.ranker.features,
        "attributes" in fitted.bundle.candidate_models.neighbours,
    ):
        assert holds is used
