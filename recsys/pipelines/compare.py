"""Two versions of the registry side by side, on the same users: for the gate, and for whoever asks why."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys.artifacts.runs import Run, open_run
from recsys.artifacts.snapshots import Snapshot, read_snapshot
from recsys.config import Config
from recsys.dataset.windows import Window, cut, find_positives
from recsys.errors import DataError, Refused
from recsys.evaluation.candidate_ledger import OUTCOMES
from recsys.evaluation.comparison import OURS, summarise
from recsys.evaluation.segments import measure_segments, read_segments
from recsys.evaluation.summaries import find_row, judge, shorten, tell_difference, tell_segments
from recsys.evaluation.tied_ranks import TiedRanks
from recsys.registry.tracking import Store, connect, open_run_folder
from recsys.registry.versions import (
    BUNDLE,
    CHALLENGER,
    CHAMPION,
    TWIN,
    Version,
    need_version,
    open_bundle,
)
from recsys.serving.bundle import Bundle
from recsys.storage.folders import verify_folder
from recsys.tables import SegmentTable, empty
from recsys.training.measurement import measure

_PAIR = ["user_id", "item_id"]
_CUT = ["dimension", "segment"]


@dataclass(frozen=True)
class Evidence:
    """What is known of the champion on the challenger's users.

    Attributes:
        name: who was measured, such as `champion version 3` or `the twin of champion version 3`.
        user_metrics: `UserMetrics` of its lists, under the model name `ours`.
        positives: `TestPositives`.
        config: the settings of its training.
    """

    name: str
    user_metrics: pl.DataFrame
    positives: pl.DataFrame
    config: Config


@dataclass(frozen=True)
class Comparison:
    """Why one version is ahead of another.

    Attributes:
        aliases: of the first version and of the second; tables name them so.
        names: the same in full, such as `challenger version 4` and `the twin of champion version 3`.
        same: both aliases name one version.
        metric, n: what the evaluation section compares models by.
        settings: `setting`, and its value in either; only those that differ.
        metrics: `MetricTable`; `difference` is the first minus the second.
        segments: `SegmentTable`, likewise; ranks as served, so ties count as the list showed them.
        outcomes: positives by what became of them in the first (rows) and in the second (columns).
        lost: `TestPositives` that the second listed and the first did not, told by the first; beside them the second's
            rank and sources, each with its alias in front.
    """

    aliases: tuple[str, str]
    names: tuple[str, str]
    same: bool
    metric: str
    n: int
    settings: pl.DataFrame
    metrics: pl.DataFrame
    segments: pl.DataFrame
    outcomes: pl.DataFrame
    lost: pl.DataFrame

    def describe(self) -> list[str]:
        """Return the answer in sentences: how far ahead or behind, what was changed, and where positives were lost."""
        first, second = self.aliases
        if self.same:
            return [
                f"{self.names[0]} is {second} as well: there is nothing to compare yet; "
                "change a setting and run 'recsys train' to have another challenger"
            ]
        mine, theirs = (find_row(self.metrics, model=one, metric=self.metric, n=self.n) for one in self.aliases)
        changed = [f"{name} {a or 'not set'} against {b or 'not set'}" for name, a, b in self.settings.iter_rows()]
        return [
            f"{self.names[0]} is {judge(theirs)} {self.names[1]}: {self.metric}@{self.n} {mine['mean']:.4f} against "
            f"{theirs['mean']:.4f}, difference {tell_difference(theirs)}",
            f"settings that differ: {shorten(changed, at_most=10) or 'none'}",
            *_tell_losses(self.outcomes, self.lost, first, second),
            tell_segments(self.segments, self.metric, first, second),
        ]


def compare_versions(config: Config, home: Path, first: str = CHALLENGER, second: str = CHAMPION) -> Comparison:
    """Compare two versions by alias, as the gate does: on the first one's test window.

    Args:
        config: names the model; its evaluation section says how the comparison is made.
        home: where the snapshots lie.
        first: alias of the version in question.
        second: alias of the one it is held against.

    Raises:
        RegistryError: an alias names nothing.
        Refused: all parts of the second have seen the first one's test window.
        DataError: the two were measured on no user in common, or the first not with the config's metric at its n.
    """
    store = connect(home, config)
    ours, theirs = (need_version(store, config.model_name, alias, "train twice first") for alias in (first, second))
    mine = read_logged_run(store, ours)
    evidence = measure_champion(config, home, store, ours, theirs, second)
    pairs = _pair_up(mine.positives, evidence.positives, second)
    return Comparison(
        aliases=(first, second),
        names=(f"{first} version {ours.number}", evidence.name),
        same=ours.number == theirs.number,
        metric=config.evaluation.metric,
        n=config.evaluation.n,
        settings=_list_changes(mine.config, evidence.config, first, second),
        metrics=_compare_users(mine.user_metrics, evidence.user_metrics, config, first, second),
        # In the order that the training told them.
        segments=mine.segments.select(_CUT)
        .unique(maintain_order=True)
        .join(_cut(pairs, config, first, second), on=_CUT, maintain_order="left_right"),
        outcomes=_count_outcomes(pairs, first, second),
        lost=pairs.filter(pl.col("outcome") != "listed", pl.col(f"{second}_outcome") == "listed").drop(
            f"{second}_outcome"
        ),
    )


def measure_champion(
    config: Config, home: Path, store: Store, challenger: Version, champion: Version, alias: str = CHAMPION
) -> Evidence:
    """Return what the champion, or the version of another alias, does on the challenger's test window.

    Where both were measured on the very same pairs, their stored values serve; without a common clock each one's own
    held-out pairs do. Otherwise the champion makes lists for the window: what serves if it has not seen the window,
    else its measured twin.

    Raises:
        Refused: every part of the champion has seen the window.
    """
    name = f"{alias} version {champion.number}"
    clocked = bool(challenger.tags.get("test_start"))
    if not clocked or _same_window(challenger, champion):
        stored = read_logged_run(store, champion)
        metrics = stored.user_metrics.filter(pl.col("model") == OURS)
        told = name if clocked else f"{name} (each on its own held-out pairs)"
        return Evidence(told, metrics, stored.positives, stored.config)
    part = _find_unseeing_part(champion, challenger)
    if part is None:
        raise Refused(
            f"'{challenger.name}' version {challenger.number} against {name}: the test window starts at "
            f"{challenger.tags['test_start']}, and all parts of {name} learned from later events; "
            "train with a later --run-date"
        )
    bundle = load_bundle(store, champion, part)
    ours_now = {"evaluation": config.evaluation, "dataset": config.dataset}
    measured_as = replace(bundle, config=bundle.config.model_copy(update=ours_now))
    snapshot = _read_snapshot(config, home, challenger)
    window = _find_window(config, snapshot, challenger)
    measured = measure(measured_as, window, snapshot.items, baselines=False)
    told = name if part == BUNDLE else f"the twin of {name}"
    return Evidence(told, measured.user_metrics, measured.positives, bundle.config)


def load_bundle(store: Store, version: Version, part: str) -> Bundle:
    """Fetch one of a version's bundles, check its hashes and load it."""
    with open_bundle(store, version, part) as folder:
        verify_folder(folder, "train and promote again, or roll back")
        return Bundle.load(folder)


def read_logged_run(store: Store, version: Version) -> Run:
    """Read the training that made a version."""
    with open_run_folder(store, version.run_id) as folder:
        return open_run(folder)


def _same_window(challenger: Version, champion: Version) -> bool:
    same = ("snapshot", "test_start", "test_end", "protocol", "test_pairs")
    return all(challenger.tags.get(key) == champion.tags.get(key) for key in same)


def _find_unseeing_part(champion: Version, challenger: Version) -> str | None:
    """Return which bundle of the champion has seen nothing of the challenger's test window.

    What serves comes first; its measured twin, which stopped at the champion's own test window, second.
    """
    start = datetime.fromisoformat(challenger.tags["test_start"])
    for part, tag in ((BUNDLE, "end"), (TWIN, "test_start")):
        cutoff = champion.tags.get(tag)
        if cutoff and datetime.fromisoformat(cutoff) <= start:
            return part
    return None


def _find_window(config: Config, snapshot: Snapshot, challenger: Version) -> Window:
    """Return the challenger's test window; its protocol has a common clock."""
    interactions = snapshot.interactions
    start, end = (datetime.fromisoformat(challenger.tags[tag]) for tag in ("test_start", "test_end"))
    history = cut(interactions, start)
    inside = cut(interactions, end).filter(pl.col("time") >= start)
    return Window("test", start, end, history, find_positives(inside, history, config.dataset.repeats))


def _read_snapshot(config: Config, home: Path, challenger: Version) -> Snapshot:
    """Not the newest snapshot: an ingest since the training may have changed what lies in the window."""
    return read_snapshot(home, config.name, config.dataset.model_dump(mode="json"), challenger.tags["snapshot"])


def _compare_users(mine: pl.DataFrame, theirs: pl.DataFrame, config: Config, first: str, second: str) -> pl.DataFrame:
    """Return the `MetricTable` of both on the users, metrics and list lengths that they share."""
    both = [
        frame.filter(pl.col("model") == OURS).with_columns(pl.lit(name).alias("model"))
        for name, frame in ((first, mine), (second, theirs))
    ]
    for key in (["user_id"], ["metric", "n"]):
        other = both[1].select(key).unique()
        both[0] = both[0].join(other, on=key, how="semi", maintain_order="left")
        both[1] = both[1].join(both[0].select(key).unique(), on=key, how="semi", maintain_order="left")
    wanted = both[0].filter(pl.col("metric") == config.evaluation.metric, pl.col("n") == config.evaluation.n)
    if wanted.is_empty():
        raise DataError(
            f"{first} against {second}: no user has {config.evaluation.metric}@{config.evaluation.n} with both; "
            "train both on the same data with the same evaluation section"
        )
    return summarise(pl.concat(both), first, config.evaluation, config.seed)


def _pair_up(mine: pl.DataFrame, theirs: pl.DataFrame, second: str) -> pl.DataFrame:
    """Return the positives that both were asked for, in the order of the first, with what became of them in both."""
    rival = theirs.select(*_PAIR, pl.col("outcome", "rank", "sources").name.prefix(f"{second}_"))
    return mine.join(rival, on=_PAIR, maintain_order="left")


def _cut(pairs: pl.DataFrame, config: Config, first: str, second: str) -> pl.DataFrame:
    if pairs.is_empty():
        return empty(SegmentTable)
    users = pairs["user_id"].rank("dense").cast(pl.Int32).to_numpy() - 1
    size, n = pairs["user_id"].n_unique(), config.evaluation.n
    ranks_by_model = {
        name: TiedRanks.from_ranks(users, pairs[column], size, n)
        for name, column in ((first, "rank"), (second, f"{second}_rank"))
    }
    return measure_segments(read_segments(pairs["segments"]), ranks_by_model, first, config.evaluation, config.seed)


def _count_outcomes(pairs: pl.DataFrame, first: str, second: str) -> pl.DataFrame:
    counts = dict.fromkeys(((mine, theirs) for mine in OUTCOMES for theirs in OUTCOMES), 0)
    for mine, theirs, count in pairs.group_by("outcome", f"{second}_outcome").len().iter_rows():
        counts[mine, theirs] = count
    table = np.array(list(counts.values())).reshape(len(OUTCOMES), len(OUTCOMES))
    columns: dict[str, Any] = {f"{first} \\ {second}": list(OUTCOMES)}
    return pl.DataFrame({**columns, **{outcome: table[:, place] for place, outcome in enumerate(OUTCOMES)}})


def _list_changes(mine: Config, theirs: Config, first: str, second: str) -> pl.DataFrame:
    a, b = (dict(config.flatten()) for config in (mine, theirs))
    changed = [key for key in {**a, **b} if a.get(key) != b.get(key)]
    return pl.DataFrame(
        {
            "setting": changed,
            first: [str(a.get(key, "")) for key in changed],
            second: [str(b.get(key, "")) for key in changed],
        },
        schema=dict.fromkeys(("setting", first, second), pl.String),
    )


def _tell_losses(outcomes: pl.DataFrame, lost: pl.DataFrame, first: str, second: str) -> list[str]:
    """Say how the lists differ, and what became of the positives that only the second listed."""
    mine = outcomes.row(OUTCOMES.index("listed"), named=True)
    both = mine["listed"]
    total, alone = int(outcomes.select(OUTCOMES).to_numpy().sum()), sum(mine[outcome] for outcome in OUTCOMES) - both
    told = [f"of {total:,} positives both list {both:,}, only {first} {alone:,}, only {second} {lost.height:,}"]
    if lost.is_empty():
        return told
    became = dict(lost.group_by("outcome").len().iter_rows())
    sources = lost[f"{second}_sources"].explode(keep_nulls=False, empty_as_null=False).alias("source").to_frame()
    had = sources.group_by("source").len().sort(["len", "source"], descending=[True, False])
    return [
        *told,
        f"to {first} those were {', '.join(f'{name} ({became[name]:,})' for name in OUTCOMES if name in became)}; "
        f"{second} had them from {', '.join(f'{name} ({count:,})' for name, count in had.iter_rows())}",
    ]
