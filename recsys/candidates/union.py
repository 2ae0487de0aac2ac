"""The union of the sources: one Candidates table, every source's score and rank kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from recsys.candidates.sources import Source
from recsys.dataset.histories import Histories

# Scores of one source held at a time, in cells; 16 million float32 are 64 MB.
_CELLS = 16_000_000
# Softens the first ranks when rankings are fused; the value of Cormack et al.
_FUSION = 60.0


def propose(
    sources: Sequence[Source],
    depths: Mapping[str, int],
    histories: Histories,
    recommendable: NDArray[np.bool_],
    *,
    repeats: bool,
) -> pl.DataFrame:
    """Return `Candidates` for all users of the histories.

    Args:
        sources: all over the catalogue of the histories.
        depths: how many items each source proposes per user.
        histories: as of the cut-off.
        recommendable: (n_items) bool; other items are never proposed.
        repeats: False leaves out what the user already has.
    """
    parts = [
        _propose_batch(sources, depths, histories.select(users), recommendable, repeats, users.start)
        for users in batch_users(histories, len(sources))
    ]
    return pl.concat(parts) if parts else _empty(sources)


def propose_with_ties(
    source: Source, depth: int, histories: Histories, recommendable: NDArray[np.bool_], *, repeats: bool
) -> pl.DataFrame:
    """Return one source's best `depth` items of each user, and every item that ties with the last of them.

    What a source alone is worth can only be told with its ties: a cut among them would be by item number.

    Returns:
        `user_index`, `item_index`, `score` (Float32), sorted by user, then item; arguments as for `propose`.
    """
    parts = []
    for users in batch_users(histories, 1):
        some = histories.select(users)
        scores = np.nan_to_num(source.score(some), nan=-np.inf)
        scores[find_blocked(some, recommendable, repeats=repeats)] = -np.inf
        last = torch.topk(torch.from_numpy(scores), min(depth, scores.shape[1])).values[:, -1].numpy()
        user, item = np.nonzero((scores >= last[:, None]) & (scores > -np.inf))
        columns = {
            "user_index": (user + users.start).astype(np.uint32),
            "item_index": item.astype(np.uint32),
            "score": scores[user, item],
        }
        parts.append(pl.DataFrame(columns))
    return pl.concat(parts)


def cut_union(candidates: pl.DataFrame, sources: Sequence[str], at_most: int | None) -> pl.DataFrame:
    """Keep each user's `at_most` candidates with the largest reciprocal-rank sums (Cormack et al. 2009, SIGIR).

    A source that does not propose an item adds nothing for it; ties go to the smaller item. None keeps all.
    """
    if at_most is None:
        return candidates
    reciprocal = [(1.0 / (_FUSION + pl.col(f"{source}_rank").cast(pl.Float64))).fill_null(0.0) for source in sources]
    place = pl.sum_horizontal(reciprocal).rank("ordinal", descending=True).over("user_index")
    return candidates.filter(place <= at_most)


def batch_users(histories: Histories, n_sources: int) -> Iterator[slice]:
    """Yield runs of users small enough that all sources' scores of a run fit in memory."""
    size = max(1, _CELLS // max(1, histories.n_items * n_sources))
    for start in range(0, histories.n_users, size):
        yield slice(start, min(start + size, histories.n_users))


def select_top(scores: NDArray[np.float32], depth: int) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Return each row's best columns, best first, and which of them are real.

    Args:
        scores: (n_users, n_items) float32; NaN is never selected.
        depth: how many at most.

    Returns:
        (n_users, depth) int32 columns and a bool mask of the same shape. Equal scores go to the smaller column,
        whatever the batch, the threads or the device.
    """
    depth = min(depth, scores.shape[1])
    clean = np.nan_to_num(scores, nan=-np.inf)
    # One more than asked for shows in which rows a tie straddles the cut; only those need the exact choice.
    values, columns = (part.numpy() for part in torch.topk(torch.from_numpy(clean), min(depth + 1, clean.shape[1])))
    top = columns[:, :depth].astype(np.int32)
    if values.shape[1] > depth:
        tied = (values[:, depth - 1] == values[:, depth]) & (values[:, depth] > -np.inf)
        if tied.any():
            top[tied] = np.argsort(-clean[tied], axis=1, kind="stable")[:, :depth]
    top.sort(axis=1)
    best_first = np.argsort(-np.take_along_axis(clean, top, axis=1), axis=1, kind="stable")
    top = np.take_along_axis(top, best_first, axis=1)
    return top, np.take_along_axis(clean, top, axis=1) > -np.inf


def _propose_batch(
    sources: Sequence[Source],
    depths: Mapping[str, int],
    histories: Histories,
    recommendable: NDArray[np.bool_],
    repeats: bool,
    first_user: int,
) -> pl.DataFrame:
    shape = (histories.n_users, histories.n_items)
    blocked = find_blocked(histories, recommendable, repeats=repeats)
    scores: dict[str, NDArray[np.float32]] = {}
    ranks: dict[str, NDArray[np.uint16]] = {}
    proposed = np.zeros(shape, dtype=bool)
    rows = np.arange(shape[0])[:, None]
    for source in sources:
        scored = source.score(histories)
        scored[blocked] = np.nan
        top, real = select_top(scored, depths[source.name])
        ranked = np.zeros(shape, dtype=np.uint16)
        ranked[rows, top] = np.where(real, np.arange(1, top.shape[1] + 1), 0)
        scores[source.name], ranks[source.name] = scored, ranked
        proposed |= ranked > 0
    user, item = np.nonzero(proposed)
    columns: dict[str, pl.Series] = {
        "user_index": pl.Series((user + first_user).astype(np.uint32)),
        "item_index": pl.Series(item.astype(np.uint32)),
    }
    for name, scored in scores.items():
        columns[f"{name}_score"] = pl.Series(scored[user, item]).fill_nan(None)
        ranked = ranks[name][user, item]
        columns[f"{name}_rank"] = pl.Series(ranked).replace(0, None)
    return pl.DataFrame(columns)


def find_blocked(histories: Histories, recommendable: NDArray[np.bool_], *, repeats: bool) -> NDArray[np.bool_]:
    """Return (n_users, n_items) bool: pairs that no list may hold."""
    blocked = np.repeat(~recommendable[None, :], histories.n_users, axis=0)
    if not repeats:
        blocked[histories.users[histories.taken], histories.items[histories.taken]] = True
    return blocked


def _empty(sources: Sequence[Source]) -> pl.DataFrame:
    schema: dict[str, pl.DataType] = {"user_index": pl.UInt32(), "item_index": pl.UInt32()}
    for source in sources:
        schema |= {f"{source.name}_score": pl.Float32(), f"{source.name}_rank": pl.UInt16()}
    return pl.DataFrame(schema=schema)
