"""A challenger before the gate: the evidence is gathered here, and `recsys.registry.gate` decides."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl

from recsys.artifacts.runs import Run
from recsys.config import Config
from recsys.errors import ArtifactError, DataError, Refused
from recsys.evaluation.beyond_accuracy import churn
from recsys.evaluation.comparison import OURS, WITHOUT_RULES
from recsys.evaluation.paired import Pairs, pair_values
from recsys.evaluation.segments import Segment, parse_segments, score_segment
from recsys.evaluation.tied_ranks import TiedRanks
from recsys.pipelines.compare import Evidence, measure_champion, pair_up, read_figures, read_logged_run
from recsys.pipelines.list_timing import time_lists
from recsys.progress import format_count, log_stage, logger
from recsys.registry.gate.case import Case, Figure, FigureName, Rival, SegmentMargin, SegmentPairs
from recsys.registry.gate.decide import BLEND, decide
from recsys.registry.gate.decision import Decision
from recsys.registry.tracking import Store
from recsys.registry.versions import CHALLENGER, CHAMPION, Version

ANCHOR = "anchor"
# Segments with a margin of their own; those of the item columns share one.
_SEGMENT_MARGINS: dict[str, SegmentMargin] = {
    "users: new": "new_users",
    "users: light": "light_users",
    "items: cold": "cold_item_recall",
}
_COMPARED: tuple[FigureName, ...] = ("coverage", "fallback_share", "bytes")


def judge_challenger(
    config: Config,
    home: Path,
    store: Store,
    challenger: Version,
    champion: Version | None,
    anchor: Version | None,
    *,
    spent: float,
    tries: int,
) -> Decision:
    """Hold a challenger against champion, anchor, the baselines of its own run and the guardrails.

    Champion and anchor are measured on the challenger's test window, where their stored values are not from it.

    Args:
        config: `registry.gate`, and in the evaluation section how models are compared.
        home: the folder of the snapshots.
        store: from `connect`.
        challenger: to be judged.
        champion: what serves; None: the challenger would be the first champion.
        anchor: the best champion so far; None: the champion takes its place.
        spent: loss of all promotions since the anchor, as a share of the metric.
        tries: number of challengers that were judged on the same window before.

    Raises:
        Refused: both bundles of the champion have seen the challenger's test window.
        DataError: the challenger was not measured with the config's metric and n.
        RegistryError: a version cannot be read.
    """
    mine = read_logged_run(store, challenger)
    values = _select(mine.user_metrics, OURS, config)
    metric = _name_metric(config)
    if values.is_empty():
        raise DataError(
            f"version {challenger.number} of '{challenger.name}': no user has {metric}; train again with this "
            "evaluation section"
        )
    own = Case(metric, float(values["value"].to_numpy().mean()), values.height, None)
    baselines = _pair_baselines(mine, config)
    gate, confidence = config.registry.gate, config.evaluation.confidence
    if champion is None:
        return decide(replace(own, baselines=baselines), gate, confidence)
    with log_stage("gate") as done:
        theirs = measure_champion(config, home, store, challenger, champion)
        rival = _pair_rival(f"{CHAMPION} version {champion.number}", values, theirs, config)
        best, champion_to_anchor = _measure_anchor(config, home, store, challenger, champion, anchor, theirs, values)
        done(f"{metric} of {theirs.name} on {format_count(theirs.user_metrics['user_id'].n_unique(), 'user')}")
    case = replace(
        own,
        champion=rival,
        anchor=best,
        champion_to_anchor=champion_to_anchor,
        baselines=baselines,
        segments=_pair_segments(mine, theirs, config),
        figures=(
            *_list_figures(mine, read_figures(mine), theirs, config),
            *_time_lists(config, home, store, challenger, champion),
        ),
        fresher=_is_fresher(challenger, champion),
        spent=spent,
        tries=tries,
    )
    return decide(case, gate, confidence)


def _measure_anchor(
    config: Config,
    home: Path,
    store: Store,
    challenger: Version,
    champion: Version,
    anchor: Version | None,
    theirs: Evidence,
    values: pl.DataFrame,
) -> tuple[Rival, Pairs | None]:
    """Return the anchor as a rival, and the champion's values paired with the anchor's.

    Nothing is measured where champion and anchor are one version; an anchor that has seen the window is not compared.
    """
    if anchor is None or anchor.number == champion.number:
        return _pair_rival(f"{ANCHOR} ({CHAMPION})", values, theirs, config), None
    name = f"{ANCHOR} version {anchor.number}"
    try:
        best = measure_champion(config, home, store, challenger, anchor, ANCHOR)
    except Refused as error:
        return Rival(name, None, why_not=str(error)), None
    champion_values, anchor_values = (_select(evidence.user_metrics, OURS, config) for evidence in (theirs, best))
    return _pair_rival(name, values, best, config), _pair(champion_values, anchor_values)


def _name_metric(config: Config) -> str:
    return f"{config.evaluation.metric}@{config.evaluation.n}"


def _select(user_metrics: pl.DataFrame, model: str, config: Config) -> pl.DataFrame:
    """Return a model's `user_id` and `value` of the metric that models are compared by."""
    evaluation = config.evaluation
    wanted = user_metrics.filter(
        pl.col("model") == model, pl.col("metric") == evaluation.metric, pl.col("n") == evaluation.n
    )
    return wanted.select("user_id", "value")


def _pair(ours: pl.DataFrame, theirs: pl.DataFrame) -> Pairs | None:
    """Return the values of the users that both have; None where there are none."""
    pairs = ours.join(theirs.rename({"value": "rival"}), on="user_id").sort("user_id")
    if pairs.is_empty():
        return None
    return pair_values(pairs["value"].to_numpy(), pairs["rival"].to_numpy())


def _pair_rival(name: str, values: pl.DataFrame, theirs: Evidence, config: Config) -> Rival:
    pairs = _pair(values, _select(theirs.user_metrics, OURS, config))
    return Rival(name, pairs, theirs.name, f"no user has {_name_metric(config)} with both")


def _pair_baselines(run: Run, config: Config) -> tuple[Rival, ...]:
    """Return the blend and every single source of the run; they have no rules, so neither has the challenger here."""
    models = run.user_metrics["model"].unique(maintain_order=True).to_list()
    ours = WITHOUT_RULES if WITHOUT_RULES in models else OURS
    values = {model: _select(run.user_metrics, model, config) for model in models}
    return tuple(
        Rival(BLEND if model == BLEND else f"source {model}", _pair(values[ours], values[model]))
        for model in models
        if model not in (OURS, WITHOUT_RULES)
    )


def _pair_segments(run: Run, theirs: Evidence, config: Config) -> tuple[SegmentPairs, ...]:
    """Return both in the segments that have a margin, on the positives that both were measured on."""
    shared = run.positives.join(theirs.positives, on=["user_id", "item_id"], how="semi", maintain_order="left")
    positives = pair_up(shared, theirs.positives, CHAMPION)
    users = positives["user_id"].rank("dense").cast(pl.Int32).to_numpy() - 1
    size, n = positives["user_id"].n_unique(), config.evaluation.n
    ranks = {
        model: TiedRanks.from_ranks(users, positives[column], size, n)
        for model, column in ((OURS, "rank"), (CHAMPION, f"{CHAMPION}_rank"))
    }
    margins = [(segment, _find_margin(segment, config)) for segment in parse_segments(positives["segments"])]
    measured = [
        SegmentPairs(segment.label, _name(margin, config), margin, _score(segment, ranks, margin, config))
        for segment, margin in margins
        if margin is not None
    ]
    names = {segment.name for segment in measured}
    missing = [
        SegmentPairs(name, _name(margin, config), margin, None)
        for name, margin in _SEGMENT_MARGINS.items()
        if name not in names
    ]
    return (*measured, *missing)


def _find_margin(segment: Segment, config: Config) -> SegmentMargin | None:
    """Return the setting with the segment's margin; None for segments without one."""
    if segment.dimension in config.evaluation.segments.item_columns:
        return "segments"
    return _SEGMENT_MARGINS.get(segment.label)


def _score(segment: Segment, ranks: dict[str, TiedRanks], margin: SegmentMargin, config: Config) -> Pairs | None:
    metric = "recall" if margin == "cold_item_recall" else config.evaluation.metric
    cube = score_segment(segment, ranks, [metric], config.evaluation.n)
    return pair_values(cube[:, 0, 0], cube[:, 1, 0]) if len(cube) else None


def _name(margin: SegmentMargin, config: Config) -> str:
    return f"recall@{config.evaluation.n}" if margin == "cold_item_recall" else _name_metric(config)


def _list_figures(run: Run, ours: dict[str, float], theirs: Evidence, config: Config) -> tuple[Figure, ...]:
    users = run.user_metrics["user_id"].n_unique()
    changed = churn(run.lists, theirs.lists, config.evaluation.n)["churn"].to_numpy()
    mean_churn = float(np.mean(changed)) if len(changed) else None
    return (
        *(Figure(name, ours.get(name), theirs.figures.get(name), users) for name in _COMPARED),
        Figure("churn", mean_churn, None, len(changed)),
    )


def _time_lists(config: Config, home: Path, store: Store, challenger: Version, champion: Version) -> tuple[Figure, ...]:
    """Return the figure of the guardrail `seconds`; nothing is timed where it is switched off.

    It is left out in a home that does not have the challenger's snapshot.
    """
    if config.registry.gate.guardrails.seconds is None:
        return ()
    try:
        seconds, users = time_lists(config, home, store, {CHALLENGER: challenger, CHAMPION: champion})
    except ArtifactError as error:
        logger.warning("%s; list generation times are not compared", error)
        return (Figure("seconds", None, None, 0),)
    return (Figure("seconds", seconds[CHALLENGER], seconds[CHAMPION], users),)


def _is_fresher(challenger: Version, champion: Version) -> bool:
    """Return whether the challenger learned from newer data; without times, from another snapshot."""
    ends = [version.tags.get("end") for version in (challenger, champion)]
    if ends[0] and ends[1]:
        return datetime.fromisoformat(ends[0]) > datetime.fromisoformat(ends[1])
    return challenger.tags.get("snapshot") != champion.tags.get("snapshot")
