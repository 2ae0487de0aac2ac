"""The union of the sources' proposals, with every source's score and rank."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from recsys.candidates.block_products import BLOCK
from recsys.candidates.exclusions import Exclusions
from recsys.candidates.marks import mark_new
from recsys.candidates.source import Source
from recsys.candidates.top_k import pack, push, unpack_score
from recsys.dataset.histories import Histories
from recsys.storage.compilation import compiled
from recsys.text.inference import spread

# Softens the first ranks when rankings are fused; the value of Cormack et al.
_FUSION = 60.0
# Scores of a row that are compared with the least at once.
_CHUNK = 64
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class CandidateRows:
    """`Candidates` of a block of users as arrays, sorted by user, then item.

    Attributes:
        starts: (n_users + 1) int64; user u's rows are `starts[u]:starts[u + 1]`.
        items: (n_rows) int32.
        ranks: (n_sources, n_rows) uint16, 1 for the best; 0 where the source does not propose the item.
        scores: (n_sources, n_rows) float32, NaN where the source has no score.
    """

    starts: NDArray[np.int64]
    items: NDArray[np.int32]
    ranks: NDArray[np.uint16]
    scores: NDArray[np.float32]

    @property
    def users(self) -> NDArray[np.int64]:
        """User number of each row, (n_rows) int64."""
        return np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))

    def take(self, rows: NDArray[np.bool_]) -> CandidateRows:
        """Return only some of the rows."""
        starts = np.concatenate([[0], np.cumsum(rows)])[self.starts]
        return CandidateRows(starts, self.items[rows], self.ranks[:, rows], self.scores[:, rows])

    def to_frame(self, sources: Sequence[str], first_user: int = 0) -> pl.DataFrame:
        """Return `Candidates` of the sources with these names, users counted from `first_user`."""
        columns = {
            "user_index": pl.Series((self.users + first_user).astype(np.uint32)),
            "item_index": pl.Series(self.items.astype(np.uint32)),
        }
        for name, scores, ranks in zip(sources, self.scores, self.ranks, strict=True):
            columns[f"{name}_score"] = pl.Series(scores).fill_nan(None)
            columns[f"{name}_rank"] = pl.Series(ranks).replace(0, None)
        return pl.DataFrame(columns)


def propose(
    sources: Sequence[Source],
    depths: Mapping[str, int],
    histories: Histories,
    exclusions: Exclusions,
) -> CandidateRows:
    """Return the candidates of a block of users.

    Args:
        sources: all over the catalogue of the histories.
        depths: number of items that each source proposes per user.
        histories: as of the cutoff.
        exclusions: items that are not proposed.
    """
    scored = [source.score(histories) for source in sources]
    tops = [scores.find_top(depths[source.name], exclusions) for source, scores in zip(sources, scored, strict=True)]
    deepest = max(top.shape[1] for top in tops)
    proposals = np.full((len(tops), histories.n_users, deepest), -1, dtype=np.int32)
    for row, top in enumerate(tops):
        proposals[row, :, : top.shape[1]] = top
    starts, items, ranks = _unite(proposals, histories.n_items)
    scores = np.empty(ranks.shape, dtype=np.float32)
    for row, source_scores in enumerate(scored):
        scores[row] = source_scores.look_up(starts, items)
    return CandidateRows(starts, items, ranks, scores)


def map_blocks(work: Callable[[int, Histories], _Result], histories: Histories) -> list[_Result]:
    """Return the results of `work` on each block of users, in order; without users there is a single empty block.

    Each block is handled by a single thread, so that sums do not depend on the number of threads.

    Args:
        work: takes the number of the block's first user, and the block.
        histories: of any number of users.
    """
    blocks = list(histories.split(BLOCK)) or [(0, histories)]
    with threadpool_limits(1, "blas"):
        return list(spread(lambda block: work(*block), blocks, share=False))


def propose_with_ties(
    source: Source, depth: int, histories: Histories, recommendable: NDArray[np.bool_], *, repeats: bool
) -> pl.DataFrame:
    """Return a source's best `depth` items of each user, and every item that ties with the last of them.

    A source is measured fairly only with its ties: a cut among them would follow item numbers.

    Args:
        source: over the catalogue of the histories.
        depth: number of items, ties not counted.
        histories: as of the cutoff, of any number of users.
        recommendable: (n_items) bool; other items are never proposed.
        repeats: whether items that the user has may be proposed.

    Returns:
        `user_index`, `item_index`, `score` (Float32), sorted by user, then item.
    """

    def propose_block(first_user: int, users: Histories) -> pl.DataFrame:
        return _propose_with_ties(source, depth, first_user, users, recommendable, repeats)

    return pl.concat(map_blocks(propose_block, histories))


def cut_union(rows: CandidateRows, max_candidates: int | None) -> CandidateRows:
    """Keep each user's `max_candidates` candidates with the largest reciprocal-rank sums (Cormack et al. 2009, SIGIR).

    A source that does not propose an item adds nothing for it; ties go to the smaller item. None keeps all.
    """
    if max_candidates is None:
        return rows
    fused = np.where(rows.ranks > 0, 1.0 / (_FUSION + rows.ranks), 0.0).sum(axis=0)
    users = rows.users
    order = np.lexsort((rows.items, -fused, users))
    kept = np.zeros(len(order), dtype=bool)
    kept[order[np.arange(len(order)) - rows.starts[users] < max_candidates]] = True
    return rows.take(kept)


def _propose_with_ties(
    source: Source, depth: int, first_user: int, histories: Histories, recommendable: NDArray[np.bool_], repeats: bool
) -> pl.DataFrame:
    scores = source.score(histories).to_array()
    exclusions = Exclusions.of(histories, recommendable, repeats=repeats)
    starts, items = _find_with_ties(scores, recommendable, exclusions.starts, exclusions.items, depth)
    user = np.repeat(np.arange(len(scores)), np.diff(starts))
    columns = {
        "user_index": (user + first_user).astype(np.uint32),
        "item_index": items.astype(np.uint32),
        "score": scores[user, items],
    }
    return pl.DataFrame(columns)


@compiled()
def _find_with_ties(values, recommendable, starts, excluded, depth):  # type: ignore[no-untyped-def]
    """Return the starts of users' items and the items, ascending: the best `depth`, and ties with the last of them.

    NaN and -inf are no scores.
    """
    n_users, n_items = values.shape
    keys = np.empty(min(depth, n_items), dtype=np.int64)
    ends = np.zeros(n_users + 1, dtype=np.int64)
    items = np.empty(n_users * len(keys), dtype=np.int32)
    none, count = np.float32(-np.inf), 0
    for user in range(n_users):
        own, size, least = values[user], 0, none
        for entry in range(starts[user], starts[user + 1]):
            own[excluded[entry]] = none
        for first in range(0, n_items, _CHUNK):
            last = min(first + _CHUNK, n_items)
            if not _reaches(own, first, last, least):
                continue
            for item in range(first, last):
                if own[item] > least and recommendable[item]:
                    size = push(keys, size, pack(own[item], item))
                    if size == len(keys):
                        least = unpack_score(keys[0])
        for first in range(0, n_items, _CHUNK):
            last = min(first + _CHUNK, n_items)
            if not _reaches(own, first, last, least):
                continue
            for item in range(first, last):
                if own[item] >= least and own[item] > none and recommendable[item]:
                    if count == len(items):
                        items = np.concatenate((items, np.empty(len(items) + n_items, dtype=np.int32)))
                    items[count] = item
                    count += 1
        ends[user + 1] = count
    return ends, items[:count].copy()


@compiled()
def _reaches(scores, first, last, least):  # type: ignore[no-untyped-def]
    """Return whether any of some scores is at least `least`; most chunks of a catalogue hold none."""
    count = 0
    for item in range(first, last):
        count += scores[item] >= least
    return count > 0


@compiled()
def _unite(tops, n_items):  # type: ignore[no-untyped-def]
    """Return starts, items and ranks of the union of (n_sources, n_users, depth) proposals, -1 for none."""
    n_sources, n_users, depth = tops.shape
    marks = np.zeros(n_items, dtype=np.int32)
    row_of = np.zeros(n_items, dtype=np.int64)
    starts = np.zeros(n_users + 1, dtype=np.int64)
    items = np.empty(tops.size, dtype=np.int32)
    count = 0
    for user in range(n_users):
        for source in range(n_sources):
            for item in tops[source, user]:
                if item >= 0 and mark_new(marks, user, item):
                    items[count] = item
                    count += 1
        items[starts[user] : count].sort()
        starts[user + 1] = count
    ranks = np.zeros((n_sources, count), dtype=np.uint16)
    for user in range(n_users):
        for row in range(starts[user], starts[user + 1]):
            row_of[items[row]] = row
        for source in range(n_sources):
            for rank in range(depth):
                item = tops[source, user, rank]
                if item >= 0:
                    ranks[source, row_of[item]] = rank + 1
    return starts, items[:count].copy(), ranks
