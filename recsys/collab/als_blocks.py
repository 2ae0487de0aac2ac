"""Alternating least squares by blocks: an engine solves for the factors of blocks of users, then of items."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from recsys.engines import Engine, Shared, gather


class BlockAls(AlternatingLeastSquares):  # type: ignore[misc]
    """implicit's solver, whose half-steps are tasks of an engine.

    Given the factors of all items, those of a user follow from the user's own row (Hu, Koren, Volinsky 2008, ICDM), and
    the other way round. So a half-step solves for blocks of rows, each with implicit's own function, and the factors
    have the same bytes however many blocks there are. Rows are handed to the engine once, factors whenever they have
    changed.

    Args:
        engine: open if it has several workers.
        settings: as implicit takes them.
    """

    def __init__(self, engine: Engine, **settings: Any) -> None:
        super().__init__(**settings)
        self._engine = engine
        # By the id of the matrix or the factors: implicit keeps the same two of each until it has finished.
        self._rows: dict[int, list[tuple[slice, Shared]]] = {}
        self._factors: dict[int, tuple[ExitStack, Shared]] = {}
        self._held = ExitStack()

    def fit(self, user_items: csr_matrix, show_progress: bool = False) -> None:
        """Factorise (n_users, n_items) weights; see implicit."""
        try:
            with self._held:
                super().fit(user_items, show_progress=show_progress)
        finally:
            self._rows.clear()
            for key in list(self._factors):
                self._factors.pop(key)[0].close()

    @property
    def solver(self) -> Any:
        """Return what implicit calls for each half-step."""
        return self._take_half_step

    def _take_half_step(
        self,
        rows: csr_matrix,
        factors: NDArray[np.float32],
        other: NDArray[np.float32],
        regularization: float,
        num_threads: int,
    ) -> None:
        """Solve for the factors of each row, in place, given those of each column."""
        if id(rows) not in self._rows:
            self._rows[id(rows)] = self._share_rows(rows)
        blocks, places = [shared for _, shared in self._rows[id(rows)]], [place for place, _ in self._rows[id(rows)]]
        own, given = self._share_factors(factors), self._share_factors(other)
        step = _HalfStep(blocks, places, own, given, regularization, num_threads, self.cg_steps)
        solved = gather(self._engine, step, len(blocks))
        # They change now. Those of the other side stay shared: they are this side's start of the next half-step.
        self._factors.pop(id(factors))[0].close()
        for place, block in zip(places, solved, strict=True):
            factors[place] = block

    def _share_factors(self, factors: NDArray[np.float32]) -> Shared:
        if id(factors) not in self._factors:
            held = ExitStack()
            self._factors[id(factors)] = held, held.enter_context(self._engine.share({"factors": factors}))
        return self._factors[id(factors)][1]

    def _share_rows(self, rows: csr_matrix) -> list[tuple[slice, Shared]]:
        """Hand rows to the engine, a block with about equally many entries for each of its workers."""
        count = self._engine.parallel
        inner = np.searchsorted(rows.indptr, np.arange(1, count) * (rows.nnz / count)).tolist()
        edges = np.unique([0, *inner, rows.shape[0]]).tolist()
        blocks = []
        for first, last in pairwise(edges):
            begin, end = rows.indptr[first], rows.indptr[last]
            arrays = {
                "data": rows.data[begin:end],
                "indices": rows.indices[begin:end],
                "starts": rows.indptr[first : last + 1] - begin,
            }
            blocks.append((slice(first, last), self._held.enter_context(self._engine.share(arrays))))
        return blocks


@dataclass(frozen=True)
class _HalfStep:
    """Solves for the factors of a block of rows.

    Attributes:
        rows: of each block, the confidences as the arrays of a sparse matrix.
        places: of each block, its rows.
        own: the factors of all rows before; the conjugate gradients start from them.
        other: the factors of the columns.
        regularization: L2 penalty.
        threads: of a task.
        cg_steps: steps of the conjugate gradients.
    """

    rows: Sequence[Shared]
    places: Sequence[slice]
    own: Shared
    other: Shared
    regularization: float
    threads: int
    cg_steps: int

    def __call__(self, number: int) -> NDArray[np.float32]:
        """Return (n_rows of the block, embedding_size) float32."""
        rows, other = self.rows[number].read(), _make_writable(self.other.read()["factors"])
        # A copy, because implicit overwrites it, and a task whose machine is lost starts again.
        factors = np.array(self.own.read()["factors"][self.places[number]])
        parts = tuple(_make_writable(rows[name]) for name in ("data", "indices", "starts"))
        matrix = csr_matrix(parts, shape=(len(factors), len(other)))
        solve = AlternatingLeastSquares().solver
        # As in one process: sums would depend on the number of BLAS threads.
        with threadpool_limits(1, "blas"):
            solve(matrix, factors, other, self.regularization, num_threads=self.threads, cg_steps=self.cg_steps)
        return factors


def _make_writable(array: NDArray[Any]) -> NDArray[Any]:
    """Return the array, or a copy if it is read-only: implicit takes only arrays that it could write to."""
    return np.require(array, requirements="W")
