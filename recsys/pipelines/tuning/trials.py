"""One trial of a search: a config is fitted and measured before the test window, first on a share of the users."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from time import perf_counter

import polars as pl

from recsys.config import Config
from recsys.dataset.known_events import KnownEvents
from recsys.dataset.windows import Window, Windows, split_windows
from recsys.errors import DataError
from recsys.evaluation.comparison import OURS
from recsys.evaluation.intervals import Estimate, Values, compare_paired
from recsys.progress import format_count, logger
from recsys.serving.block_lists import BlockLists
from recsys.training.encoder_inputs import EncoderInputs, prepare_encoder_inputs
from recsys.training.fitting import complete_bundle
from recsys.training.measurement import measure
from recsys.training.text_models import TextModels, fit_text

# The first rung has a share of the users, unless fewer than RUNG_USERS of them can be measured: too few to prune.
RUNG_SHARE = 0.25
RUNG_USERS = 100

# Repetitions of the same work differ in run time by up to this share.
_SAME_SECONDS = 0.05

# Settings of the text section, and of its fine-tuning, that the encoder inputs depend on.
_READING = (
    "checkpoint",
    "fields",
    "max_tokens",
    "precision",
    "batch_tokens",
    "pooling",
    "projection",
    "own_bert",
    "adaptation",
)
_FREEZING = ("method", "trainable_layers", "augmentation")


@dataclass(frozen=True)
class Score:
    """The result of a trial on one rung.

    Attributes:
        users: `user_id`, `value`, sorted by user: the config's metric of our lists.
        seconds: for fitting and for making the lists.
    """

    users: pl.DataFrame
    seconds: float

    @property
    def values(self) -> Values:
        """(n_users,) float64."""
        return self.users["value"].to_numpy()

    def is_faster(self, other: Score) -> bool:
        """Return whether the difference is larger than between repetitions of the same work."""
        return self.seconds < other.seconds * (1 - _SAME_SECONDS)


def compare_scores(score: Score, other: Score, config: Config) -> Estimate:
    """Compare two trials on the same rung, user by user.

    Raises:
        DataError: they were measured on different users.
    """
    if not score.users["user_id"].equals(other.users["user_id"]):
        raise DataError(
            f"values of two trials: {score.users.height:,} and {format_count(other.users.height, 'user')} that "
            "differ; delete the folder and the database of this search and run it again"
        )
    evaluation = config.evaluation
    return compare_paired(score.values, other.values, evaluation.bootstrap_samples, evaluation.confidence, config.seed)


def show_difference(difference: Estimate) -> str:
    """Return a difference and its interval as `+0.0123 [-0.0010, +0.0256]`."""
    return f"{difference.mean:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}]"


def find_prune_reason(score: Score, best: Score, config: Config) -> str | None:
    """Return why a trial is pruned after a rung; None if it continues.

    It is pruned if it is worse than the best trial so far by the whole paired interval and is not faster.
    """
    difference = compare_scores(score, best, config)
    if difference.high >= 0 or score.is_faster(best):
        return None
    return (
        f"{show_difference(difference)} against the best so far, in {score.seconds:.1f} s against {best.seconds:.1f} s"
    )


def split_before(test: Window, config: Config) -> Windows:
    """Split the events before the test window into windows again, so that a search never sees the test window.

    Trials are measured on the newest of these windows. Where the test window is a hold-out file, the other events are
    split at random.

    Raises:
        DataError: there are too few events before the test window.
    """
    windows = config.windows
    if windows.protocol == "holdout_file":
        windows = windows.model_copy(update={"protocol": "random", "holdout_path": None})
    repeats = config.dataset.repeats
    try:
        return split_windows(test.history, windows, repeats=repeats, end=test.cutoff, seed=config.seed)
    except DataError as error:
        raise DataError(f"tuning needs one more window before the test window; {error}") from error


class Bench:
    """Fits and measures configs on the same windows and users."""

    def __init__(self, config: Config, items: pl.DataFrame, windows: Windows, *, text_changes: bool) -> None:
        """Prepare the rungs.

        Args:
            config: the one that the search starts from.
            items: `Items`.
            windows: from `split_before`.
            text_changes: trials differ in text settings, so the run time of the text models counts.
        """
        self._items = items
        self._text_changes = text_changes
        self._catalogue: tuple[object, EncoderInputs, float] | None = None
        self._texts: dict[int, tuple[object, TextModels, float]] = {}
        share = _take_share(windows, config.seed)
        self.rungs = [share, windows] if share and count_measured(share.test) >= RUNG_USERS else [windows]

    def run(self, config: Config, rung: int) -> Score:
        """Fit on a rung's users and measure on the newest window."""
        windows = self.rungs[rung]
        test = windows.test
        with _quiet():
            catalogue, reading = self._read(config)
            text, learning = self._fit_text(config, rung, catalogue)
            start = perf_counter()
            block_lists = BlockLists.read(config.generation.rules, self._items["item_id"], config.dataset)
            fold = windows.measurement_fold
            fitted = complete_bundle(config, self._items, text, fold, block_lists)
            measured = measure(fitted.bundle, test, self._items, baselines=False)
            seconds = perf_counter() - start
        evaluation = config.evaluation
        ours = (pl.col("model") == OURS) & (pl.col("metric") == evaluation.metric) & (pl.col("n") == evaluation.n)
        users = measured.user_metrics.filter(ours).select("user_id", "value").sort("user_id")
        return Score(users, seconds + (reading + learning if self._text_changes else 0.0))

    def _read(self, config: Config) -> tuple[EncoderInputs, float]:
        """Return the encoder inputs and their run time; those of the last trial where the settings are equal."""
        text = config.text
        tuned = text.fine_tune
        key = (*(getattr(text, name) for name in _READING), *(getattr(tuned, name) for name in _FREEZING))
        if self._catalogue is None or self._catalogue[0] != key:
            # Free the old inputs first: the fixed layers of a large catalogue take gigabytes.
            self._catalogue = None
            start = perf_counter()
            # Every rung has the same windows, with fewer users.
            catalogue = prepare_encoder_inputs(config, self._items, self.rungs[-1].measurement_fold.labels[-1].cutoff)
            self._catalogue = key, catalogue, perf_counter() - start
        return self._catalogue[1:]

    def _fit_text(self, config: Config, rung: int, catalogue: EncoderInputs) -> tuple[TextModels, float]:
        """Return a rung's text models and their run time; those of the last trial where the settings are equal."""
        # The sequence model is fitted only if its source is used.
        key = config.text, "sequence" in config.candidates.depths
        if rung not in self._texts or self._texts[rung][0] != key:
            windows = self.rungs[rung]
            start = perf_counter()
            text = fit_text(config, self._items, catalogue, windows.measurement_fold)
            self._texts[rung] = key, text, perf_counter() - start
        return self._texts[rung][1:]


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the stages' log lines: a search logs one line per trial."""
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def _take_share(windows: Windows, seed: int) -> Windows | None:
    """Return the windows of a share of the users; None where a window would be empty.

    Users are drawn by hash, so that a search that is continued on another machine or with another polars has the same.
    """
    user_ids = windows.everything["user_id"].unique().sort()
    limit = int(RUNG_SHARE * 2**32)
    hashes = (hashlib.sha256(f"{seed} {user}".encode()).digest() for user in user_ids)
    users = pl.DataFrame({"user_id": user_ids.filter([int.from_bytes(digest[:4], "big") < limit for digest in hashes])})

    def take(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.join(users, on="user_id", how="semi", maintain_order="left")

    shares = [
        replace(window, known=KnownEvents(take(window.history)), positives=take(window.positives))
        for window in windows.windows
    ]
    if any(not window.known.count() or window.positives.is_empty() for window in shares):
        return None
    return Windows(tuple(shares), KnownEvents(take(windows.everything)), windows.end)


def count_measured(window: Window) -> int:
    """Return how many users have a positive in a window and a history before it."""
    return window.positives.join(window.history, on="user_id", how="semi")["user_id"].n_unique()
