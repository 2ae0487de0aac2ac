"""The candidate ledger: what each source found, and where every positive was lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl
from rich.table import Table

_PAIR = ["user_index", "item_index"]


@dataclass(frozen=True)
class Ledger:
    """Counts over some users; the ledgers of several runs of users add up.

    Attributes:
        sources: per `source` the `proposed` items, the positives it `found`, those `found_alone` by no other source,
            and the rows of the final lists that it proposes (`listed`).
        fates: positives by what became of them, in the order of the pipeline; each counts once.
        rows: rows of the final lists.
    """

    sources: pl.DataFrame
    fates: dict[str, int]
    rows: int

    def __add__(self, other: Ledger) -> Ledger:
        sources = pl.concat([self.sources, other.sources]).group_by("source", maintain_order=True).sum()
        fates = {fate: count + other.fates[fate] for fate, count in self.fates.items()}
        return Ledger(sources, fates, self.rows + other.rows)

    @property
    def union_recall(self) -> float:
        """Share of the positives that any source proposed: the ceiling of recall."""
        proposed = self.fates["listed"] + self.fates["ranked below n"]
        return proposed / max(1, sum(self.fates.values()))

    def summarise(self) -> pl.DataFrame:
        """Return the `CandidateLedger`: the counts with their shares of all positives and of all list rows."""
        positives = max(1, sum(self.fates.values()))
        return self.sources.select(
            "source",
            "proposed",
            "found",
            (pl.col("found") / positives).alias("recall"),
            (pl.col("found_alone") / positives).alias("recall_alone"),
            (pl.col("listed") / max(1, self.rows)).alias("list_share"),
        )


def render_ledger(table: pl.DataFrame) -> Table:
    """Lay a `CandidateLedger` out for the terminal."""
    rendered = Table(title="candidate ledger: shares of the positives, and of the rows of our lists")
    for name in ("source", "proposed", "recall", "recall without others", "share of lists"):
        rendered.add_column(name, justify="left" if name == "source" else "right")
    for row in table.iter_rows(named=True):
        shares = [f"{row[name]:.1%}" for name in ("recall", "recall_alone", "list_share")]
        rendered.add_row(row["source"], f"{row['proposed']:,}", *shares)
    return rendered


def keep_ledger(
    candidates: pl.DataFrame,
    positives: pl.DataFrame,
    lists: pl.DataFrame,
    recommendable: pl.Series,
    sources: Sequence[str],
) -> Ledger:
    """Count what became of some users' positives.

    Args:
        candidates: `Candidates` with `S_rank` of every source, null where S does not propose the item.
        positives: `user_index`, `item_index`, distinct: what these users took.
        lists: `user_index`, `item_index` of the final lists, drawn from the candidates.
        recommendable: (n_items) Boolean; other items could be proposed by nobody.
        sources: their names.
    """
    ranks = [pl.col(f"{source}_rank").is_not_null().alias(source) for source in sources]
    proposed = candidates.select(*_PAIR, *ranks)
    found = proposed.join(positives, on=_PAIR, how="semi")
    counts = {
        "proposed": proposed,
        "found": found,
        "found_alone": found.filter(pl.sum_horizontal(pl.col(list(sources)).cast(pl.UInt32)) == 1),
        "listed": proposed.join(lists, on=_PAIR, how="semi"),
    }
    sums = {
        name: pl.Series([frame[source].sum() for source in sources], dtype=pl.UInt64) for name, frame in counts.items()
    }
    known = positives.filter(recommendable.gather(positives["item_index"])).height
    hits = found.join(lists, on=_PAIR, how="semi").height
    fates = {
        "not recommendable": positives.height - known,
        "found by no source": known - found.height,
        "ranked below n": found.height - hits,
        "listed": hits,
    }
    return Ledger(pl.DataFrame({"source": list(sources), **sums}), fates, lists.height)
