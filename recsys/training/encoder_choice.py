"""Whether the fine-tuned encoder serves or the untouched one: measured on the label windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys.candidates.exclusions import Exclusions
from recsys.candidates.sources.text import InterestSource
from recsys.config import AUTO, Config
from recsys.config.overrides import apply_settings, look_up
from recsys.dataset.histories import Histories, find_recommendable
from recsys.dataset.item_vectors import read_vectors
from recsys.dataset.windows import Window
from recsys.evaluation.intervals import compare_paired
from recsys.evaluation.metrics import count_positives, find_hits, recall
from recsys.progress import format_count, log_stage
from recsys.text.interest import InterestModel

# Weights of the untouched encoder in the final weights. The first is kept unless the other is significantly better.
SHARES = (1.0, 0.0)
_UNTOUCHED, _TUNED = SHARES
_NAMES = {_UNTOUCHED: "untouched", _TUNED: "fine-tuned"}
_PATH = "text.fine_tune.untouched_share"
_N = 50
_DRAWS = 1000
# More users or steps would cost time and change little.
_USERS = 5_000
_SHARD = 250
_STEPS = 150


@dataclass(frozen=True)
class EncoderChoice:
    """The share of the untouched weights in those that serve.

    Attributes:
        untouched_share: one of `SHARES`.
        reason: the figures that it was chosen by.
    """

    untouched_share: float
    reason: str

    def describe(self) -> str:
        """Return the setting with its value and the reason."""
        return f"{_PATH} {self.untouched_share:g}: {self.reason}"

    def settle(self, config: Config) -> Config:
        """Return the config with this share, unless it names another one."""
        return apply_settings(config, {_PATH: self.untouched_share}) if look_up(config, _PATH) == AUTO else config


def keep_choice(earlier: Config) -> EncoderChoice | None:
    """Return the choice of an earlier training, for one that continues from it."""
    share = look_up(earlier, _PATH)
    return None if share == AUTO else EncoderChoice(float(share), "as in the training that this one continues")


class EncoderTrial:
    """A small trial of encoders: an interest model on each one's embeddings predicts what users took afterwards.

    The encoder and the interest models know the histories; positives come from all label windows, which begin when the
    histories end. So nothing of the test window is used. The interest models are those of the config, with fewer steps
    and without hashed terms, which take most of the time and are the same for all encoders.

    Args:
        config: interest model, repeats and seed.
        items: `Items`.
        histories: what the encoder was fine-tuned on.
        labels: windows that begin at the histories' cutoff or later, newest first.
        precision: of the interest models' products.
    """

    def __init__(
        self, config: Config, items: pl.DataFrame, histories: Histories, labels: Sequence[Window], precision: str
    ) -> None:
        self._config, self._items, self._histories, self._precision = config, items, histories, precision
        interest = config.text.interest
        steps = min(interest.max_steps, _STEPS)
        self._interest = interest.model_copy(update={"hashed_terms": 0, "max_steps": steps})
        self._recommendable = find_recommendable(items, labels[0].end)
        self._users, self._positives = _select_users(config, histories, labels)
        new = np.bincount(histories.items, minlength=histories.n_items) == 0
        self._new = csr_array(self._positives.multiply(new[None, :]))
        self._new.eliminate_zeros()
        self._recalls: dict[float, _Recalls] = {}

    def review(self, untouched: NDArray[np.float32], so_far: NDArray[np.float32]) -> bool:
        """Return whether a fine-tuning that is not finished has gained anything so far."""
        if not self._users.n_users:
            return False
        with log_stage("choice of the encoder, first look") as done:
            before = self._measure(_UNTOUCHED, untouched)
            self._recalls[_TUNED] = now = _Recalls.of(self._rank(so_far), self._positives, self._new)
            gains = bool(now.mean > before.mean)
            done(f"recall@{_N} {before.mean:.4f} untouched, {now.mean:.4f} so far")
        return gains

    def reject(self, steps: int) -> EncoderChoice:
        """Return the choice of the untouched encoder where `review` found no gain."""
        if not self._users.n_users:
            return EncoderChoice(_UNTOUCHED, "no user of the label windows has a history before them")
        figures = self._describe([_UNTOUCHED, _TUNED])
        return EncoderChoice(_UNTOUCHED, f"{figures} after {format_count(steps, 'step')}, where fine-tuning stopped")

    def choose(self, embeddings: Mapping[float, NDArray[np.float32]]) -> EncoderChoice:
        """Choose between encoders.

        The share with the highest recall is chosen if the 95 % interval of its gain over the untouched encoder, paired
        by user, is above zero; otherwise the untouched encoder is kept.

        Args:
            embeddings: share of the untouched weights -> (n_items, embedding_size) float32, unit rows.
        """
        if not self._users.n_users:
            return self.reject(0)
        self._recalls.pop(_TUNED, None)
        with log_stage("choice of the encoder") as done:
            for share in SHARES:
                self._measure(share, embeddings[share])
            done(format_count(self._users.n_users, "user"))
        best = max(SHARES, key=lambda share: (self._recalls[share].mean, share))
        reason, chosen = self._describe(SHARES), _UNTOUCHED
        if best != _UNTOUCHED:
            ours, theirs = self._recalls[best].values, self._recalls[_UNTOUCHED].values
            gain = compare_paired(ours, theirs, _DRAWS, 0.95, self._config.seed)
            chosen = best if gain.low > 0 else _UNTOUCHED
            reason += f"; {_NAMES[best]} − untouched {gain.mean:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]"
        return EncoderChoice(chosen, reason)

    def _measure(self, share: float, embeddings: NDArray[np.float32]) -> _Recalls:
        if share not in self._recalls:
            self._recalls[share] = _Recalls.of(self._rank(embeddings), self._positives, self._new)
        return self._recalls[share]

    def _rank(self, embeddings: NDArray[np.float32]) -> NDArray[np.int32]:
        """Return the first items of each user by an interest model on the embeddings."""
        config, vectors = self._config, read_vectors(self._items)
        model = InterestModel(embeddings.shape[1], self._interest)
        model.fit(self._histories, embeddings, config.seed, vectors=vectors, precision=self._precision)
        source = InterestSource("text", "", model, embeddings, vectors=vectors)
        lists = []
        for _, shard in self._users.split(_SHARD):
            exclusions = Exclusions.of(shard, self._recommendable, repeats=config.dataset.repeats)
            lists.append(source.score(shard).find_top(_N, exclusions))
        return np.concatenate(lists)

    def _describe(self, shares: Sequence[float]) -> str:
        users = format_count(self._users.n_users, "user")
        figures = "; ".join(f"{_NAMES[share]} {self._recalls[share].describe()}" for share in shares)
        return f"recall@{_N} of {users} in the label windows: {figures}"


@dataclass(frozen=True)
class _Recalls:
    """Recall of each user, and of new items of each user who took one."""

    values: NDArray[np.float64]
    new: NDArray[np.float64]

    @classmethod
    def of(cls, lists: NDArray[np.int32], positives: csr_array, new: csr_array) -> _Recalls:
        some = np.flatnonzero(np.diff(new.indptr) > 0)
        own = new[some]
        return cls(
            recall(find_hits(lists, positives), count_positives(positives), _N),
            recall(find_hits(lists[some], own), count_positives(own), _N),
        )

    @property
    def mean(self) -> float:
        return float(self.values.mean())

    def describe(self) -> str:
        new = f" ({self.new.mean():.4f} of new items)" if len(self.new) else ""
        return f"{self.mean:.4f}{new}"


def _select_users(config: Config, histories: Histories, labels: Sequence[Window]) -> tuple[Histories, csr_array]:
    """Return users with a history and a positive in a label window, and their (n_users, n_items) positives."""
    pairs = pl.concat([window.positives.select("user_id", "item_id") for window in labels]).unique()
    known = pl.DataFrame({"user_id": histories.user_ids})
    users = pairs.join(known, on="user_id", how="semi")["user_id"].unique().sort()
    drawn = np.sort(np.random.default_rng(config.seed).permutation(len(users))[:_USERS])
    asked = histories.take(users.gather(drawn))
    found = asked.number_pairs(pairs).select("user_index", "item_index").to_numpy()
    shape = (asked.n_users, asked.n_items)
    positives = csr_array((np.ones(len(found), dtype=np.float32), found.T), shape=shape)
    if not config.dataset.repeats:
        # What is new in a window may still be in an earlier history of a protocol without a clock.
        positives = csr_array(positives - positives.multiply(asked.matrix(asked.consumed.astype(np.float32)) > 0))
        positives.eliminate_zeros()
    kept = np.flatnonzero(np.diff(positives.indptr) > 0)
    return asked.pick(kept), positives[kept]
