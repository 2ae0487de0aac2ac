"""The candidate ledger: what each source found, and where every positive was lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from rich.table import Table

from recsys.evaluation.metrics import METRICS, Counts, Values

# What may become of a positive, in the order of the pipeline: it was not in the catalogue at the cut-off (or not
# available), no source proposed it, the union of the sources was cut above it, the ranker put it below n, or it stood
# in the list. The first three are the loss of retrieval, the fourth is the ranker's.
OUTCOMES = ("not recommendable", "found by no source", "cut at merge", "ranked below n", "listed")
UNION = "union"
_DEPTHS = (5, 10, 20, 50, 100, 200, 500, 1000)
_PAIR = ["user_index", "item_index"]


@dataclass(frozen=True)
class Ledger:
    """Counts over some users; the ledgers of several runs of users add up.

    Attributes:
        sources: their names, (n_sources).
        depths: list lengths at which a source's recall is counted, rising, (n_depths).
        proposed: (n_sources, n_sources) int64, items that both sources propose; the diagonal is a source's own.
        found: the same of the positives.
        found_alone: (n_sources) int64, positives that no other source proposes.
        listed: (n_sources) int64, rows of the final lists that the source proposes.
        found_at: (n_sources + 1, n_depths) int64, positives among a source's first items; last row the union.
        rows: rows of the final lists.
        positives: `user_index`, `item_index`, `outcome`, `sources`, `rank` (`TestPositives` by number).
    """

    sources: tuple[str, ...]
    depths: tuple[int, ...]
    proposed: NDArray[np.int64]
    found: NDArray[np.int64]
    found_alone: NDArray[np.int64]
    listed: NDArray[np.int64]
    found_at: NDArray[np.int64]
    rows: int
    positives: pl.DataFrame

    def __add__(self, other: Ledger) -> Ledger:
        sums = {
            name: getattr(self, name) + getattr(other, name)
            for name in ("proposed", "found", "found_alone", "listed", "found_at", "rows")
        }
        positives = pl.concat([self.positives, other.positives])
        return Ledger(sources=self.sources, depths=self.depths, positives=positives, **sums)

    @property
    def outcomes(self) -> dict[str, int]:
        """Positives by what became of them, in the order of `OUTCOMES`; each counts once."""
        counts = dict(self.positives.group_by("outcome").len().iter_rows())
        return {outcome: int(counts.get(outcome, 0)) for outcome in OUTCOMES}

    @property
    def union_recall(self) -> float:
        """Share of the positives that any source proposed: the ceiling of recall."""
        found = int((self.positives["sources"].list.len() > 0).sum())
        return found / max(1, self.positives.height)

    def summarise(self) -> pl.DataFrame:
        """Return the `CandidateLedger`: the counts with their shares of all positives and of all list rows."""
        positives = max(1, self.positives.height)
        return pl.DataFrame(
            {
                "source": self.sources,
                "proposed": self.proposed.diagonal().astype(np.uint64),
                "found": self.found.diagonal().astype(np.uint64),
                "recall": self.found.diagonal() / positives,
                "recall_alone": self.found_alone / positives,
                "list_share": self.listed / max(1, self.rows),
            }
        )

    def summarise_depths(self) -> pl.DataFrame:
        """Return the `LedgerDepths`."""
        names = [*self.sources, UNION]
        return pl.DataFrame(
            {
                "source": np.repeat(names, len(self.depths)),
                "depth": np.tile(np.array(self.depths, dtype=np.uint16), len(names)),
                "recall": self.found_at.ravel() / max(1, self.positives.height),
            }
        )

    def summarise_overlap(self) -> pl.DataFrame:
        """Return the `LedgerOverlap` of every two different sources."""
        shares = [counts / np.maximum(counts.diagonal(), 1)[:, None] for counts in (self.proposed, self.found)]
        size = len(self.sources)
        return pl.DataFrame(
            {
                "source": np.repeat(self.sources, size),
                "other": np.tile(self.sources, size),
                "proposed_share": shares[0].ravel(),
                "found_share": shares[1].ravel(),
            }
        ).filter(pl.col("source") != pl.col("other"))


def build_candidate_ledger(
    proposed: pl.DataFrame,
    ranked: pl.DataFrame,
    positives: pl.DataFrame,
    recommendable: pl.Series,
    depths: Mapping[str, int],
    n: int,
) -> Ledger:
    """Count what became of some users' positives.

    Args:
        proposed: `Candidates` before the union is cut, `S_rank` null where S does not propose the item.
        ranked: `user_index`, `item_index`, `rank` of the candidates that the ranker ordered.
        positives: `user_index`, `item_index`, distinct: what these users took.
        recommendable: (n_items) Boolean; other items could be proposed by nobody.
        depths: every source with the items it proposes per user at most.
        n: length of the final lists.
    """
    sources = tuple(depths)
    at = tuple(sorted({depth for depth in _DEPTHS if depth < max(depths.values())} | {max(depths.values())}))
    ranks = [pl.col(f"{source}_rank").alias(source) for source in sources]
    listed = ranked.filter(pl.col("rank") <= n)
    told = (
        positives.select(_PAIR)
        .join(proposed.select(*_PAIR, *ranks), on=_PAIR, how="left", maintain_order="left")
        .join(ranked.select(*_PAIR, "rank"), on=_PAIR, how="left", maintain_order="left")
    )
    by = told.select(pl.col(source).is_not_null() for source in sources)
    best = told.select(pl.min_horizontal(sources)).to_series()
    reached = [*(told[source] for source in sources), best]
    return Ledger(
        sources=sources,
        depths=at,
        proposed=_count_together(proposed.select(pl.col(f"{source}_rank").is_not_null() for source in sources)),
        found=_count_together(by),
        found_alone=by.filter(pl.sum_horizontal(pl.all().cast(pl.UInt32)) == 1).sum().to_numpy()[0].astype(np.int64),
        listed=_count(proposed.join(listed.select(_PAIR), on=_PAIR, how="semi"), sources),
        found_at=np.array([[(one <= depth).sum() for depth in at] for one in reached], dtype=np.int64),
        rows=listed.height,
        positives=_tell_outcomes(told, by, recommendable, n),
    )


def _count(candidates: pl.DataFrame, sources: Sequence[str]) -> NDArray[np.int64]:
    """Return how many rows each source proposes."""
    return np.array([candidates[f"{source}_rank"].is_not_null().sum() for source in sources], dtype=np.int64)


def _count_together(marks: pl.DataFrame) -> NDArray[np.int64]:
    """Return how many rows every two Boolean columns share, (n_columns, n_columns) int64."""
    matrix = marks.cast(pl.Float64).to_numpy()
    # Whole numbers far below 2^53, so any order of adding gives the same.
    return np.asarray(matrix.T @ matrix).round().astype(np.int64)


def _tell_outcomes(told: pl.DataFrame, by: pl.DataFrame, recommendable: pl.Series, n: int) -> pl.DataFrame:
    names = [pl.when(pl.col(source)).then(pl.lit(source)) for source in by.columns]
    known = recommendable.gather(told["item_index"])
    outcome = (
        pl.when(pl.col("rank") <= n)
        .then(pl.lit("listed"))
        .when(pl.col("rank").is_not_null())
        .then(pl.lit("ranked below n"))
        .when(pl.any_horizontal(pl.col(by.columns).is_not_null()))
        .then(pl.lit("cut at merge"))
        .when(pl.Series(known))
        .then(pl.lit("found by no source"))
        .otherwise(pl.lit("not recommendable"))
    )
    sources = by.select(pl.concat_list(names).list.drop_nulls().alias("sources")).to_series()
    return told.select(*_PAIR, outcome.alias("outcome"), sources, pl.col("rank").cast(pl.UInt16))


def compute_losses(found: Counts, n_positives: Counts, ours: Values, metric: str, n: int) -> tuple[Values, Values]:
    """Split what each user's list lacks into the loss of retrieval and the loss of the ranker.

    A perfect list has all positives on top; the best list of our candidates has those on top that are among them. The
    first loss is what the metric falls between these two, the second what it falls from there to our list.

    Args:
        found: (n_users) positives among the ranked candidates.
        n_positives: (n_users) all positives.
        ours: (n_users) float64, the metric of our lists.
        metric: a name of `METRICS`.
        n: list length.

    Returns:
        Two (n_users) float64: loss of retrieval, loss of the ranker; with `ours` they add up to the perfect list's.
    """
    places = np.arange(n)
    best = METRICS[metric](places < found[:, None], n_positives, n)
    perfect = METRICS[metric](places < n_positives[:, None], n_positives, n)
    return perfect - best, best - ours


def render_ledger(table: pl.DataFrame) -> Table:
    """Lay a `CandidateLedger` out for the terminal."""
    rendered = Table(title="candidate ledger: shares of the positives, and of the rows of our lists")
    for name in ("source", "proposed", "recall", "recall without others", "share of lists"):
        rendered.add_column(name, justify="left" if name == "source" else "right")
    for row in table.iter_rows(named=True):
        shares = [f"{row[name]:.1%}" for name in ("recall", "recall_alone", "list_share")]
        rendered.add_row(row["source"], f"{row['proposed']:,}", *shares)
    return rendered


def describe_losses(measured: Mapping[str, Any]) -> list[str]:
    """Return the sentences that say where the positives went and what each stage lost.

    Args:
        measured: `positives`, `union_recall`, `losses` and `churn` as a run keeps them.
    """
    total = max(1, sum(count for _, count in measured["positives"]))
    outcomes = ", ".join(f"{count:,} {outcome} ({count / total:.1%})" for outcome, count in measured["positives"])
    losses = measured["losses"]
    ends = {name: "{:.3f} [{:.3f}, {:.3f}]".format(*losses[name]) for name in ("retrieval", "ranker")}
    lines = [
        f"of {total:,} positives: {outcomes}; found by any source {measured['union_recall']:.1%}",
        f"{losses['metric']}@{losses['n']} lost by retrieval {ends['retrieval']}, by the ranker {ends['ranker']}",
    ]
    if changed := measured["churn"]:
        share = "{mean:.1%} [{low:.1%}, {high:.1%}]".format(**changed)
        lines.append(f"new in the lists since run {changed['run']}: {share} on {changed['users']:,} users")
    return lines
