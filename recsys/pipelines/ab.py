"""`recsys ab`: what users did with the lists of two variants, and which variant is better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, time
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from recsys.artifacts.snapshots import OpenSnapshot, open_snapshot
from recsys.config import Config
from recsys.errors import ArtifactError, DataError
from recsys.monitoring.ab import Plan, Result
from recsys.monitoring.experiment import Experiment, MetricName, collect_events, collect_totals
from recsys.monitoring.nights import VariantNight, find_test
from recsys.monitoring.outcome_files import OutcomeFile, read_outcomes
from recsys.monitoring.verdict import judge
from recsys.progress import format_count, log_stage


@dataclass(frozen=True)
class Question:
    """Which lists are compared, and what is asked of them.

    Attributes:
        plan: looks and what else decides; where it has no share, that of the canary's manifest is used.
        metric: decides; None: `hit`, or `value` for a table of one value per user.
        control: variant that the other is held against.
        treatment: the other variant; None: the only other one.
        first: earliest run date, YYYY-MM-DD; None: where the test begins.
        last: latest run date; None: the newest.
        served_from: time of day (UTC) at which new lists reach users.
        history_days: length of the period before the test that outcomes are adjusted by; 0: none.
    """

    plan: Plan = field(default_factory=Plan)
    metric: MetricName | None = None
    control: str = "champion"
    treatment: str | None = None
    first: str | None = None
    last: str | None = None
    served_from: time = time()
    history_days: float = 28.0


def run_ab(config: Config, home: Path, outcomes: str | None, question: Question, now: datetime) -> Result:
    """Join outcomes to the published lists of two variants and compare them.

    Args:
        config: what events mean, the segments, and the confidence of the caller's plan.
        home: the folder of snapshots and lists.
        outcomes: file of events or of one value per user (see `read_outcomes`); None: the newest snapshot's events.
        question: which lists are compared, and how.
        now: later events than a day after it are rejected.

    Raises:
        DataError: no night shows two variants, or the outcomes cannot be used.
        ArtifactError: lists are damaged, or no outcomes are given and there is no snapshot.
    """
    nights, treatment = find_test(
        home, question.control, question.treatment, question.first, question.last, question.served_from
    )
    variants = (question.control, treatment)
    notes: list[str] = []
    snapshot = _open_snapshot(config, home, outcomes, notes)
    with log_stage("outcomes") as done:
        experiment, form = _collect(config, outcomes, question, now, nights, variants, snapshot)
        done(
            f"{form}: {format_count(experiment.users.height, 'user')}, {format_count(len(experiment.nights), 'night')}"
        )
    plan = replace(question.plan, metric=question.metric or experiment.metrics[0])
    if plan.share is None:
        plan = replace(plan, share=_planned_share(nights))
    with log_stage("comparison"):
        return judge(experiment, nights, variants, plan, config.evaluation.segments, notes)


def _open_snapshot(config: Config, home: Path, outcomes: str | None, notes: list[str]) -> OpenSnapshot | None:
    """Open the newest snapshot; a file of outcomes can do without one."""
    try:
        return open_snapshot(home, config.name, config.dataset.model_dump(mode="json"))
    except ArtifactError as error:
        if outcomes is None:
            raise
        notes.append(f"no snapshot for users' histories ({error})")
        return None


def _collect(
    config: Config,
    outcomes: str | None,
    question: Question,
    now: datetime,
    nights: Sequence[VariantNight],
    variants: tuple[str, str],
    snapshot: OpenSnapshot | None,
) -> tuple[Experiment, str]:
    history = _select_history(snapshot, question.history_days)
    if outcomes is None and snapshot is not None:
        _require_times(snapshot)
        # With the last event, so that an error can say when it was.
        wanted = (pl.col("time") >= nights[0].served.start) | (pl.col("time") == pl.col("time").max())
        events = snapshot.interactions.filter(wanted).collect(engine="streaming")
        return collect_events(nights, variants, events, history, question.history_days), f"snapshot {snapshot.id}"
    content = _read_file(config, str(outcomes), nights, snapshot, now)
    if content.users is not None:
        return collect_totals(nights, variants, content.users, history, question.history_days), content.form
    events = pl.DataFrame() if content.events is None else content.events
    return collect_events(nights, variants, events, history, question.history_days), content.form


def _read_file(
    config: Config,
    outcomes: str,
    nights: Sequence[VariantNight],
    snapshot: OpenSnapshot | None,
    now: datetime,
) -> OutcomeFile:
    """Read a file of outcomes; items that have left the catalogue are known if they were shown."""
    shown = [night.lists.select("item_id").unique().collect(engine="streaming")["item_id"] for night in nights]
    known = pl.concat([*shown, *([] if snapshot is None else [snapshot.items["item_id"]])]).unique().sort()
    with TemporaryDirectory() as scratch:
        return read_outcomes(outcomes, config.dataset, known, now, Path(scratch))


def _select_history(snapshot: OpenSnapshot | None, days: float) -> pl.LazyFrame | None:
    return None if snapshot is None or not days else snapshot.interactions


def _require_times(snapshot: OpenSnapshot) -> None:
    timed = snapshot.interactions.select(pl.col("time").is_not_null().any()).collect(engine="streaming").item()
    if not timed:
        raise DataError(
            f"snapshot {snapshot.id}: its events have no times, so the list that a user saw is unknown; pass a table "
            "with one value per user (user_id, value)"
        )


def _planned_share(nights: Sequence[VariantNight]) -> float | None:
    """Return the share of users that the canary was planned for, as the lists' manifests record it."""
    shares = {night.canary.get("share") for night in nights}
    share = shares.pop() if len(shares) == 1 else None
    return float(share) if isinstance(share, int | float) and 0 < share < 1 else None
