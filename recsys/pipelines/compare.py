"""Two registered versions compared on the same users: for the gate, and to explain its verdict."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys.artifacts.runs import Run, open_run
from recsys.artifacts.snapshots import OpenSnapshot, open_snapshot
from recsys.config import Config
from recsys.dataset.known_events import KnownEvents
from recsys.dataset.windows import Window, make_time_windows
from recsys.errors import DataError, Refused
from recsys.evaluation.candidate_ledger import OUTCOMES
from recsys.evaluation.comparison import OURS, summarise
from recsys.evaluation.segments import compute_segments, parse_segments
from recsys.evaluation.summaries import describe_segments, describe_verdict, format_difference, format_names, select_row
from recsys.evaluation.tied_ranks import TiedRanks
from recsys.progress import format_count, waiting
from recsys.registry.tracking import Store, connect, open_run_folder
from recsys.registry.versions import (
    BUNDLE,
    CHALLENGER,
    CHAMPION,
    EVALUATION_MODEL,
    Version,
    find_version,
    need_version,
    open_bundle,
)
from recsys.serving.block_lists import BlockLists
from recsys.serving.bundle import Bundle, name_writer
from recsys.storage.folders import verify_folder
from recsys.tables import SegmentTable, empty
from recsys.training.measurement import measure

_PAIR = ["user_id", "item_id"]
_CUT = ["dimension", "segment"]


@dataclass(frozen=True)
class Evidence:
    """The champion's measurement on the challenger's users.

    Attributes:
        name: the measured model, such as `champion version 3` or `the evaluation model of champion version 3`.
        user_metrics: `UserMetrics` of its lists, under the model name `ours`.
        positives: `TestPositives`.
        config: the settings of its training.
        lists: `user_id`, `rank`, `item_id`, `score` of its lists.
        figures: what has no value per user, by the names of `registry.gate.guardrails`; what the run of an older
            version of recsys does not have is missing.
    """

    name: str
    user_metrics: pl.DataFrame
    positives: pl.DataFrame
    config: Config
    lists: pl.DataFrame
    figures: dict[str, float]


@dataclass(frozen=True)
class Comparison:
    """How one version differs from another, and why.

    Attributes:
        aliases: of the first version and of the second, as in the tables.
        names: the same in full, such as `challenger version 4` and `the evaluation model of champion version 3`.
        same: both aliases name the same version.
        metric, n: the metric and list length that models are compared by.
        settings: `setting` and its value in both versions, for settings that differ.
        metrics: `MetricTable`; `difference` is the first minus the second.
        segments: `SegmentTable`, likewise; ranks as served, so ties are in the order of the list.
        outcomes: number of positives by their outcome in the first (rows) and in the second (columns).
        lost: `TestPositives` of the first that the second listed and the first did not, with the second's rank and
            sources in columns that start with its alias.
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
        """Return sentences: the difference with its interval, the changed settings, and where positives were lost."""
        first, second = self.aliases
        if self.same:
            return [
                f"{self.names[0]} is also the {second}, so there is nothing to compare; change a setting and run "
                "'recsys train' for another challenger"
            ]
        mine, theirs = (select_row(self.metrics, model=one, metric=self.metric, n=self.n) for one in self.aliases)
        changed = [f"{name} {a or 'not set'} against {b or 'not set'}" for name, a, b in self.settings.iter_rows()]
        return [
            f"{self.names[0]} is {describe_verdict(theirs)} {self.names[1]}: {self.metric}@{self.n} {mine['mean']:.4f} "
            f"against {theirs['mean']:.4f}, difference {format_difference(theirs)}",
            f"settings that differ: {format_names(changed, max_names=10) or 'none'}",
            *_describe_losses(self.outcomes, self.lost, first, second),
            describe_segments(self.segments, self.metric, first, second),
        ]


def compare_versions(config: Config, home: Path, first: str = CHALLENGER, second: str = CHAMPION) -> Comparison:
    """Compare two versions by alias, as the gate does: on the first one's test window.

    Args:
        config: the model's name, and in its evaluation section how models are compared.
        home: the folder of the snapshots.
        first: alias of the version that is explained.
        second: alias of the version that it is compared with.

    Raises:
        RegistryError: an alias names no version.
        Refused: both bundles of the second have seen the first version's test window.
        DataError: no user was measured with both, or the first was not measured with the config's metric and n.
    """
    store = connect(home, config)
    theirs = need_version(store, config.model_name, second, "train twice first")
    ours = _find_first(store, config.model_name, first, theirs)
    mine = read_logged_run(store, ours)
    evidence = measure_champion(config, home, store, ours, theirs, second)
    pairs = pair_up(mine.positives, evidence.positives, second)
    return Comparison(
        aliases=(first, second),
        names=(f"{first} version {ours.number}", evidence.name),
        same=ours.number == theirs.number,
        metric=config.evaluation.metric,
        n=config.evaluation.n,
        settings=_list_changes(mine.config, evidence.config, first, second),
        metrics=_compare_users(mine.user_metrics, evidence.user_metrics, config, first, second),
        # In the order of the training.
        segments=mine.segments.select(_CUT)
        .unique(maintain_order=True)
        .join(_cut(pairs, config, first, second), on=_CUT, maintain_order="left_right"),
        outcomes=_count_outcomes(pairs, first, second),
        lost=pairs.filter(pl.col("outcome") != "listed", pl.col(f"{second}_outcome") == "listed").drop(
            f"{second}_outcome"
        ),
    )


def _find_first(store: Store, name: str, alias: str, champion: Version) -> Version:
    """Return the version of an alias; once the challenger was promoted there is none, and the champion is returned."""
    if alias == CHALLENGER and find_version(store, name, alias) is None:
        return champion
    return need_version(store, name, alias, "train twice first")


def measure_champion(
    config: Config, home: Path, store: Store, challenger: Version, champion: Version, alias: str = CHAMPION
) -> Evidence:
    """Measure the champion, or the version of another alias, on the challenger's test window.

    Where both were measured on the same pairs with the same rules, the stored values are used. Without a common clock
    they are used too, each from its own held-out pairs. Otherwise the champion makes lists for the window: with the
    bundle that serves if that has not seen the window, else with its evaluation model.

    Raises:
        Refused: both bundles of the champion have seen the window.
        RegistryError: the version was registered by an older version of recsys.
    """
    name = f"{alias} version {champion.number}"
    clocked = bool(challenger.tags.get("test_start"))
    if not clocked or _same_window(challenger, champion):
        stored = read_logged_run(store, champion)
        metrics = stored.user_metrics.filter(pl.col("model") == OURS)
        measured_name = name if clocked else f"{name} (each on its own hold-out pairs)"
        figures = read_figures(stored)
        return Evidence(measured_name, metrics, stored.positives, stored.config, stored.lists, figures)
    part = _select_unseen_part(champion, challenger)
    if part is None:
        raise Refused(
            f"'{challenger.name}' version {challenger.number} against {name}: the test window starts at "
            f"{challenger.tags['test_start']}, and both bundles of {name} were trained on later events; train with a "
            "later --run-date"
        )
    bundle = load_bundle(store, champion, part)
    snapshot = _open_snapshot(config, home, challenger)
    current = {"evaluation": config.evaluation, "dataset": config.dataset, "generation": config.generation}
    measured_as = replace(
        bundle,
        config=bundle.config.model_copy(update=current),
        block_lists=BlockLists.read(config.generation.rules, snapshot.items["item_id"], config.dataset),
    )
    window = _find_window(config, snapshot, challenger)
    measured = measure(measured_as, window, snapshot.items, baselines=False)
    measured_name = name if part == BUNDLE else f"the evaluation model of {name}"
    figures = {
        "coverage": _select_coverage(measured.catalogue),
        "fallback_share": measured.costs.fallback_share,
        "bytes": measured.costs.bytes_per_1000_users,
    }
    return Evidence(measured_name, measured.user_metrics, measured.positives, bundle.config, measured.lists, figures)


def load_bundle(store: Store, version: Version, part: str) -> Bundle:
    """Fetch a version's `BUNDLE` or `EVALUATION_MODEL`, check its hashes and load it."""
    with waiting("loading the model"), open_bundle(store, version, part) as folder:
        verify_folder(folder, f"{name_writer(folder)}; train and promote again, or roll back")
        return Bundle.load(folder)


def read_logged_run(store: Store, version: Version) -> Run:
    """Read the run of the training that made a version."""
    with open_run_folder(store, version.run_id) as folder:
        return open_run(folder)


def read_figures(run: Run) -> dict[str, float]:
    """Return what a training recorded without values per user, by the names of `registry.gate.guardrails`."""
    recorded = {
        "coverage": _select_coverage(run.catalogue),
        "fallback_share": run.measured.get("fallback_share"),
        "bytes": run.measured.get("bytes_per_1000_users"),
    }
    return {name: float(figure) for name, figure in recorded.items() if figure is not None}


def _select_coverage(catalogue: pl.DataFrame) -> float:
    return float(catalogue.row(by_predicate=pl.col("model") == OURS, named=True)["coverage"])


def _same_window(challenger: Version, champion: Version) -> bool:
    same = ("snapshot", "test_start", "test_end", "protocol", "test_pairs", "rules")
    return all(challenger.tags.get(key) == champion.tags.get(key) for key in same)


def _select_unseen_part(champion: Version, challenger: Version) -> str | None:
    """Return the bundle of the champion that has not seen the challenger's test window; None where both have.

    The bundle that serves is preferred; the evaluation model stopped before the champion's own test window.
    """
    start = datetime.fromisoformat(challenger.tags["test_start"])
    for part, tag in ((BUNDLE, "end"), (EVALUATION_MODEL, "test_start")):
        cutoff = champion.tags.get(tag)
        if cutoff and datetime.fromisoformat(cutoff) <= start:
            return part
    return None


def _find_window(config: Config, snapshot: OpenSnapshot, challenger: Version) -> Window:
    """Return the challenger's test window; its protocol has a common clock."""
    start, end = (datetime.fromisoformat(challenger.tags[tag]) for tag in ("test_start", "test_end"))
    [window] = make_time_windows(KnownEvents(snapshot.interactions, end), [(start, end)], config.dataset.repeats)
    return window


def _open_snapshot(config: Config, home: Path, challenger: Version) -> OpenSnapshot:
    """Open the challenger's snapshot: an ingest since its training may have changed the events of the window."""
    return open_snapshot(home, config.name, config.dataset.model_dump(mode="json"), challenger.tags["snapshot"])


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


def pair_up(mine: pl.DataFrame, theirs: pl.DataFrame, second: str) -> pl.DataFrame:
    """Return the positives that both were measured on, in the order of the first, with their outcome in both."""
    other = theirs.select(*_PAIR, pl.col("outcome", "rank", "sources").name.prefix(f"{second}_"))
    return mine.join(other, on=_PAIR, maintain_order="left")


def _cut(pairs: pl.DataFrame, config: Config, first: str, second: str) -> pl.DataFrame:
    if pairs.is_empty():
        return empty(SegmentTable)
    users = pairs["user_id"].rank("dense").cast(pl.Int32).to_numpy() - 1
    size, n = pairs["user_id"].n_unique(), config.evaluation.n
    ranks_by_model = {
        name: TiedRanks.from_ranks(users, pairs[column], size, n)
        for name, column in ((first, "rank"), (second, f"{second}_rank"))
    }
    return compute_segments(parse_segments(pairs["segments"]), ranks_by_model, first, config.evaluation, config.seed)


def _count_outcomes(pairs: pl.DataFrame, first: str, second: str) -> pl.DataFrame:
    counts = dict.fromkeys(((mine, theirs) for mine in OUTCOMES for theirs in OUTCOMES), 0)
    for mine, theirs, count in pairs.group_by("outcome", f"{second}_outcome").len().iter_rows():
        counts[mine, theirs] = count
    table = np.array(list(counts.values())).reshape(len(OUTCOMES), len(OUTCOMES))
    columns: dict[str, Any] = {f"{first} \\ {second}": list(OUTCOMES)}
    return pl.DataFrame({**columns, **{outcome: table[:, column] for column, outcome in enumerate(OUTCOMES)}})


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


def _describe_losses(outcomes: pl.DataFrame, lost: pl.DataFrame, first: str, second: str) -> list[str]:
    """Return sentences: how the lists differ, and the outcomes of the positives that only the second listed."""
    mine = outcomes.row(OUTCOMES.index("listed"), named=True)
    both = mine["listed"]
    total, alone = int(outcomes.select(OUTCOMES).to_numpy().sum()), sum(mine[outcome] for outcome in OUTCOMES) - both
    counted = (
        f"of {format_count(total, 'positive')}: {both:,} in both lists, {alone:,} only in {first}, {lost.height:,} "
        f"only in {second}"
    )
    if lost.is_empty():
        return [counted]
    counts = dict(lost.group_by("outcome").len().iter_rows())
    lost_as = ", ".join(f"{name} ({counts[name]:,})" for name in OUTCOMES if name in counts)
    sources = lost[f"{second}_sources"].explode(keep_nulls=False, empty_as_null=False).alias("source").to_frame()
    proposed = sources.group_by("source").len().sort(["len", "source"], descending=[True, False])
    proposed_by = ", ".join(f"{name} ({count:,})" for name, count in proposed.iter_rows())
    return [counted, f"why {first} missed the last group: {lost_as}; sources of {second}: {proposed_by}"]
