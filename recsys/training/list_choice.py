"""Settings that are chosen by their lists: trees of the older label windows rank the newest window with each value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.config import AUTO, Config
from recsys.config.overrides import apply_settings, look_up
from recsys.evaluation.intervals import compare_paired
from recsys.progress import format_count
from recsys.ranking.groups import Groups
from recsys.ranking.ranker import score_by_forests
from recsys.ranking.training_rows import find_starts, share_negatives, thin_negatives
from recsys.training.calibration import DEFAULT_HALF_LIFE, HALF_LIFE
from recsys.training.source_use import USE, settle_use

_ATTRIBUTES = "attributes"
_DRAWS = 1000
# A single forest varies with its seed by as much as there is to see, so the mean of several small ones is measured.
_FORESTS, _TREES, _FASTER, _ROWS = 4, 30, 3.0, 200_000

# For each question, 0 or 1: its first or second value.
Answers = tuple[int, ...]


@dataclass(frozen=True)
class Question:
    """A setting and the two values that lists are compared with; the first is kept where they cannot tell."""

    path: str
    values: tuple[Any, Any]

    def answer(self, config: Config, answer: int) -> Config:
        """Return the settings with one of the values."""
        if self.path == USE[_ATTRIBUTES]:
            return settle_use(config, _ATTRIBUTES, self.values[answer])
        return apply_settings(config, {self.path: self.values[answer]})

    def name(self, answer: int) -> str:
        """Return one of the values as a config has it."""
        value = self.values[answer]
        return str(value).lower() if isinstance(value, bool) else f"{value:g}"


@dataclass(frozen=True)
class Rival:
    """Settings with an answer to each question, and what a ranker would learn from with them.

    Attributes:
        config: all settings.
        rows: `TrainingRows` of all label windows. All rivals have the same share of their negatives: with fewer of them
            every order looks better.
        features: columns to learn from.
        sources: whose z-scores the blend weighs.
    """

    config: Config
    rows: pl.DataFrame
    features: Sequence[str]
    sources: Sequence[str]


def list_questions(before: Config, chosen: Config, n_windows: int) -> list[Question]:
    """Return the settings that lists decide on.

    Two may be asked about. Popularity is a source, and many features of the trees rest on it, so the half-life with the
    best source can make worse lists: it is compared with the default. And neighbours by tags and attributes find items
    that no other source finds, or add candidates that nobody takes. Only older label windows can show that: trees that
    learned from the same window do not see how it differs from the next.

    Args:
        before: the settings of the training.
        chosen: the same with every half-life and decay that was `auto` measured; see `calibrate`.
        n_windows: number of label windows.
    """
    if n_windows < 2:
        return []
    questions, half_life = [], chosen.candidates.half_life_days
    left_open = look_up(before, HALF_LIFE) != look_up(chosen, HALF_LIFE)
    if left_open and half_life not in (None, DEFAULT_HALF_LIFE):
        questions.append(Question(HALF_LIFE, (half_life, DEFAULT_HALF_LIFE)))
    if chosen.candidates.attributes.use == AUTO:
        questions.append(Question(USE[_ATTRIBUTES], (True, False)))
    return questions


def settle_attributes(config: Config, n_windows: int) -> Config:
    """Return the settings with `candidates.attributes.use` decided where no lists are compared."""
    depths, use = config.candidates.depths, config.candidates.attributes.use
    used, alone = _ATTRIBUTES in depths, len(depths) == 1
    if used and use == AUTO and n_windows > 1 and not alone:
        return config
    return settle_use(config, _ATTRIBUTES, used and (use is not False or alone))


def answer_all(config: Config, questions: Sequence[Question]) -> Iterator[tuple[Answers, Config]]:
    """Yield every combination of answers, with the settings; the first values of all come first."""
    for answers in product((0, 1), repeat=len(questions)):
        answered = config
        for question, answer in zip(questions, answers, strict=True):
            answered = question.answer(answered, answer)
        yield answers, answered


def choose_by_lists(questions: Sequence[Question], rivals: Mapping[Answers, Rival]) -> tuple[Answers, list[str]]:
    """Choose the settings with the better lists of the newest label window, by trees of the older ones.

    Questions are decided one after the other, with the answers to those before.

    Args:
        questions: from `list_questions`.
        rivals: for all combinations of answers.

    Returns:
        The answers with the larger mean of nDCG, the first value where the windows have too few users to tell
        (`ranking.min_users_for_folds`), and a line about each question.
    """
    answers, lines = (0,) * len(questions), []
    scores: dict[Answers, NDArray[np.float32]] = {}
    for place, question in enumerate(questions):
        other = (*answers[:place], 1, *answers[place + 1 :])
        pair = [rivals[answers], rivals[other]]
        windows = [_split(rival.rows) for rival in pair]
        users = min(rows["user_index"].n_unique() for window in windows for rows in window)
        config = pair[0].config
        if users < (least := config.ranking.min_users_for_folds):
            few = format_count(users, "user")
            lines.append(f"{question.path} {question.name(0)} (kept: a label window has {few}, fewer than {least})")
            continue
        for each, rival, (older, newest) in zip((answers, other), pair, windows, strict=True):
            if each not in scores:
                scores[each] = _score(rival, older, newest)
        n = config.evaluation.n
        first, second = _measure([newest for _, newest in windows], [scores[answers], scores[other]], n)
        gain = compare_paired(second, first, _DRAWS, 0.95, config.seed)
        best = int(gain.mean > 0)
        lines.append(
            f"{question.path} {question.name(best)} (lists of the newest label window by trees of the older ones: "
            f"ndcg@{n} {first.mean():.3f} with {question.name(0)}, {second.mean():.3f} with {question.name(1)}, "
            f"{gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}], {format_count(len(first), 'user')})"
        )
        answers = other if best else answers
    return answers, lines


def _split(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the rows of the older label windows, and of the newest."""
    return rows.filter(pl.col("window") > 0), rows.filter(pl.col("window") == 0)


def _score(rival: Rival, older: pl.DataFrame, newest: pl.DataFrame) -> NDArray[np.float32]:
    """Return (n_rows) scores of the newest window by trees of the older ones."""
    config = rival.config
    scores = score_by_forests(
        thin_negatives(older, share_negatives(older, _ROWS), config.seed),
        newest,
        rival.features,
        rival.sources,
        config.ranking.model_copy(update={"learning_rate": _FASTER * config.ranking.learning_rate}),
        n=config.evaluation.n,
        seeds=range(config.seed, config.seed + _FORESTS),
        trees=_TREES,
        threads=config.threads,
    )
    return scores.astype(np.float32)


def _measure(
    newest: Sequence[pl.DataFrame], scores: Sequence[NDArray[np.float32]], n: int
) -> list[NDArray[np.float64]]:
    """Return (n_users) nDCG@n by each scores, where every positive counts that any of them has among its rows."""
    groups = [Groups(rows) for rows in newest]
    users = [rows["user_index"].to_numpy()[find_starts(rows)[:-1]] for rows in newest]
    everyone = np.unique(np.concatenate(users))
    places = [np.searchsorted(everyone, own) for own in users]
    totals = np.zeros(len(everyone), dtype=np.int64)
    for group, place in zip(groups, places, strict=True):
        totals[place] = np.maximum(totals[place], group.totals)
    values = [np.zeros(len(everyone)) for _ in groups]
    for value, group, place, score in zip(values, groups, places, scores, strict=True):
        value[place] = group.measure(score, n, totals[place])
    return values
