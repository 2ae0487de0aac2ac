"""The candidate ledger: what each source proposed, and at which stage each positive was lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.evaluation.metrics import METRICS, Counts, Values
from recsys.progress import format_count

LISTED = "listed"
LOST_TO_A_RULE = "lost to a rule"
# The outcomes of a positive, in the order of the pipeline: it was not in the catalogue (or not available) at the
# cutoff, no source proposed it, the merge of the sources cut it, the ranker put it below n, a list rule or an exclusion
# such as a block list removed it, or it is in the list. The first three are losses of retrieval.
OUTCOMES = ("not recommendable", "not proposed", "cut at merge", "ranked below n", LOST_TO_A_RULE, LISTED)
# The name of all sources together, next to the names of the sources.
UNION = "union"
_LOSS_REASONS = {
    "retrieval": "because no source proposed the item",
    "ranker": "because it was proposed but ranked too low",
    "rules": "because a rule or an exclusion removed it",
}
_DEPTHS = (5, 10, 20, 50, 100, 200, 500, 1000)
_PAIR = ["user_index", "item_index"]


@dataclass(frozen=True)
class Ledger:
    """Counts over some users; the ledgers of several shards add up.

    Attributes:
        sources: their names, (n_sources).
        depths: list lengths at which the recall of a source is counted, ascending, (n_depths).
        proposed: (n_sources, n_sources) int64, items that both sources propose; the diagonal holds each source's total.
        found: the same for positives only.
        found_alone: (n_sources) int64, positives that no other source proposes.
        listed: (n_sources) int64, rows of the final lists that the source proposes.
        found_by_depth: (n_sources + 1, n_depths) int64, positives among a source's first items; the last row is the
            union.
        rows: rows of the final lists.
        positives: `user_index`, `item_index`, `outcome`, `sources`, `rank` (`TestPositives` by number).
    """

    sources: tuple[str, ...]
    depths: tuple[int, ...]
    proposed: NDArray[np.int64]
    found: NDArray[np.int64]
    found_alone: NDArray[np.int64]
    listed: NDArray[np.int64]
    found_by_depth: NDArray[np.int64]
    rows: int
    positives: pl.DataFrame

    def __add__(self, other: Ledger) -> Ledger:
        sums = {
            name: getattr(self, name) + getattr(other, name)
            for name in ("proposed", "found", "found_alone", "listed", "found_by_depth", "rows")
        }
        positives = pl.concat([self.positives, other.positives])
        return Ledger(sources=self.sources, depths=self.depths, positives=positives, **sums)

    @property
    def outcomes(self) -> dict[str, int]:
        """Number of positives with each of the `OUTCOMES`, in their order; every positive counts once."""
        counts = dict(self.positives.group_by("outcome").len().iter_rows())
        return {outcome: int(counts.get(outcome, 0)) for outcome in OUTCOMES}

    @property
    def union_recall(self) -> float:
        """Share of the positives that any source proposed: the ceiling of recall."""
        proposed = int((self.positives["sources"].list.len() > 0).sum())
        return proposed / max(1, self.positives.height)

    def summarise(self) -> pl.DataFrame:
        """Return the `CandidateLedger`: the counts, and their shares of all positives and of all list rows."""
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
                "recall": self.found_by_depth.ravel() / max(1, self.positives.height),
            }
        )

    def summarise_overlap(self) -> pl.DataFrame:
        """Return the `LedgerOverlap` of every ordered pair of different sources."""
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
    removed_by_rule: NDArray[np.bool_] | None = None,
) -> Ledger:
    """Count the outcomes of the positives of some users.

    Args:
        proposed: `Candidates` before the merge cuts them; `S_rank` is null where S does not propose the item.
        ranked: `user_index`, `item_index`, `rank` of the ranked candidates; where rules are set, after the rules.
        positives: `user_index`, `item_index`, distinct: the items that these users consumed in the test window.
        recommendable: (n_items) Boolean; no source can propose the other items.
        depths: every source, with the number of items it proposes per user at most.
        n: length of the final lists.
        removed_by_rule: (n_positives) bool, in the order of `positives`: True where the positive would be in the list
            without the rules and block lists. It takes precedence over every other outcome. None: no rule is set.
    """
    sources = tuple(depths)
    longest = max(depths.values())
    counted_depths = tuple(sorted({depth for depth in _DEPTHS if depth < longest} | {longest}))
    listed = ranked.filter(pl.col("rank") <= n)
    traced = _trace_positives(proposed, ranked, positives, sources)
    by_source = traced.select(pl.col(source).is_not_null() for source in sources)
    alone = by_source.filter(pl.sum_horizontal(pl.all().cast(pl.UInt32)) == 1)
    return Ledger(
        sources=sources,
        depths=counted_depths,
        proposed=_count_together(proposed.select(pl.col(f"{source}_rank").is_not_null() for source in sources)),
        found=_count_together(by_source),
        found_alone=alone.sum().to_numpy()[0].astype(np.int64),
        listed=_count_proposed(proposed.join(listed.select(_PAIR), on=_PAIR, how="semi"), sources),
        found_by_depth=_count_by_depth(traced, sources, counted_depths),
        rows=listed.height,
        positives=_label_outcomes(traced, by_source, recommendable, n, removed_by_rule),
    )


def _trace_positives(
    proposed: pl.DataFrame, ranked: pl.DataFrame, positives: pl.DataFrame, sources: Sequence[str]
) -> pl.DataFrame:
    """Return the positives with their rank in each source (column S) and in the ranking (`rank`), null where absent."""
    ranks = [pl.col(f"{source}_rank").alias(source) for source in sources]
    return (
        positives.select(_PAIR)
        .join(proposed.select(*_PAIR, *ranks), on=_PAIR, how="left", maintain_order="left")
        .join(ranked.select(*_PAIR, "rank"), on=_PAIR, how="left", maintain_order="left")
    )


def _count_proposed(candidates: pl.DataFrame, sources: Sequence[str]) -> NDArray[np.int64]:
    """Return how many rows each source proposes."""
    return np.array([candidates[f"{source}_rank"].is_not_null().sum() for source in sources], dtype=np.int64)


def _count_together(marks: pl.DataFrame) -> NDArray[np.int64]:
    """Return in how many rows both of two Boolean columns are True, (n_columns, n_columns) int64."""
    matrix = marks.cast(pl.Float64).to_numpy()
    # Whole numbers far below 2^53: every order of addition gives the same result.
    return np.asarray(matrix.T @ matrix).round().astype(np.int64)


def _count_by_depth(traced: pl.DataFrame, sources: Sequence[str], depths: Sequence[int]) -> NDArray[np.int64]:
    """Return how many positives each source, and the union in the last row, has among its first `depth` items."""
    best = traced.select(pl.min_horizontal(sources)).to_series()
    ranks_by_source = [*(traced[source] for source in sources), best]
    return np.array([[(ranks <= depth).sum() for depth in depths] for ranks in ranks_by_source], dtype=np.int64)


def _label_outcomes(
    traced: pl.DataFrame,
    by_source: pl.DataFrame,
    recommendable: pl.Series,
    n: int,
    removed_by_rule: NDArray[np.bool_] | None,
) -> pl.DataFrame:
    names = [pl.when(pl.col(source)).then(pl.lit(source)) for source in by_source.columns]
    removed = np.zeros(traced.height, dtype=bool) if removed_by_rule is None else removed_by_rule
    outcome = (
        pl.when(pl.Series(removed, dtype=pl.Boolean))
        .then(pl.lit(LOST_TO_A_RULE))
        .when(pl.col("rank") <= n)
        .then(pl.lit(LISTED))
        .when(pl.col("rank").is_not_null())
        .then(pl.lit("ranked below n"))
        .when(pl.any_horizontal(pl.col(by_source.columns).is_not_null()))
        .then(pl.lit("cut at merge"))
        .when(pl.Series(recommendable.gather(traced["item_index"])))
        .then(pl.lit("not proposed"))
        .otherwise(pl.lit("not recommendable"))
    )
    sources = by_source.select(pl.concat_list(names).list.drop_nulls().alias("sources")).to_series()
    return traced.select(*_PAIR, outcome.alias("outcome"), sources, pl.col("rank").cast(pl.UInt16))


def compute_losses(
    n_candidates: Counts,
    n_positives: Counts,
    ours: Values,
    metric: str,
    n: int,
    before_rules: Values | None = None,
) -> dict[str, Values]:
    """Split what each user's list lacks into the losses of retrieval, of the ranker and, where set, of the rules.

    A perfect list has all positives at the top. The best list of our candidates has those positives at the top that
    are among the candidates. The metric falls from the first to the second by the loss of retrieval, from there to the
    ranker's order by the loss of the ranker, and from there to the list that is served by the loss of the rules, which
    is negative where a rule helps.

    Args:
        n_candidates: (n_users) number of positives among the ranked candidates. Count a positive that an exclusion
            removed as a candidate, so that its loss is charged to the rules.
        n_positives: (n_users) number of all positives.
        ours: (n_users) float64, the metric of our lists.
        metric: a name of `METRICS`.
        n: list length.
        before_rules: (n_users) float64, the metric of the ranker's lists before rules and exclusions. None: no rule is
            set, and `rules` is left out of the result.

    Returns:
        `retrieval`, `ranker` and, with `before_rules`, `rules`: (n_users) float64 each. With `ours` they add up to the
        metric of the perfect list.
    """
    ranks = np.arange(n)
    best = METRICS[metric](ranks < n_candidates[:, None], n_positives, n)
    perfect = METRICS[metric](ranks < n_positives[:, None], n_positives, n)
    if before_rules is None:
        return {"retrieval": perfect - best, "ranker": best - ours}
    return {"retrieval": perfect - best, "ranker": best - before_rules, "rules": before_rules - ours}


def select_outcomes(counts: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    """Return the outcomes to show: all of them, but `lost to a rule` only where a positive was lost to one.

    Args:
        counts: pairs of outcome and number of positives, in any order, which is kept.
    """
    return [(outcome, count) for outcome, count in counts if count or outcome != LOST_TO_A_RULE]


def describe_losses(measured: Mapping[str, Any]) -> list[str]:
    """Return sentences on the outcomes of the positives and the loss of each stage.

    Args:
        measured: `positives`, `union_recall`, `losses` and `churn` as a run stores them.
    """
    total = sum(count for _, count in measured["positives"])
    shown = select_outcomes(measured["positives"])
    outcomes = ", ".join(f"{count:,} {outcome} ({count / max(1, total):.1%})" for outcome, count in shown)
    losses = measured["losses"]
    lost = "; ".join(
        "{:.3f} [{:.3f}, {:.3f}]".format(*losses[stage]) + f" {reason}"
        for stage, reason in _LOSS_REASONS.items()
        if stage in losses
    )
    lines = [
        f"of {format_count(total, 'positive')}: {outcomes}; {measured['union_recall']:.1%} proposed by any source",
        f"{losses['metric']}@{losses['n']} lost: {lost}",
    ]
    if changed := measured["churn"]:
        share = "{mean:.1%} [{low:.1%}, {high:.1%}]".format(**changed)
        lines.append(
            f"list items replaced since run {changed['run']}: {share} on {format_count(changed['users'], 'user')}"
        )
    return lines
