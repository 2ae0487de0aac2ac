"""The evidence on a challenger, and the gate's answer."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from recsys.config import Config
from recsys.evaluation.comparison import OURS
from recsys.evaluation.intervals import compare_paired
from recsys.pipelines.compare import measure_champion, read_logged_run
from recsys.progress import format_count
from recsys.registry.gate.decision import Answer, Check, Decision
from recsys.registry.tracking import Store
from recsys.registry.versions import Version

_FIRST_RIVAL = "popular"


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
    """Compare the challenger with the champion; without one, with the popularity baseline of its own run."""
    measured = read_logged_run(store, challenger).user_metrics
    ours = measured.filter(pl.col("model") == OURS)
    if champion is None:
        theirs, name = measured.filter(pl.col("model") == _FIRST_RIVAL), _FIRST_RIVAL
    else:
        evidence = measure_champion(config, home, store, challenger, champion)
        theirs, name = evidence.user_metrics, evidence.name
    evaluation = config.evaluation
    wanted = (pl.col("metric") == evaluation.metric) & (pl.col("n") == evaluation.n)
    pairs = (
        ours.filter(wanted)
        .select("user_id", "value")
        .join(theirs.filter(wanted).select("user_id", pl.col("value").alias("rival")), on="user_id")
        .sort("user_id")
    )
    a, b = pairs["value"].to_numpy(), pairs["rival"].to_numpy()
    estimate = compare_paired(a, b, evaluation.bootstrap_samples, evaluation.confidence, config.seed)
    allowed_loss = config.registry.max_relative_loss * float(b.mean())
    first = champion is None
    bound, value = ("mean", estimate.mean) if first else ("lower bound", estimate.low)
    promoted = bool(value >= -allowed_loss)
    metric = f"{evaluation.metric}@{evaluation.n}"
    reason = (
        f"{metric} {a.mean():.4f} against {b.mean():.4f} of {name} on {format_count(pairs.height, 'user')}: "
        f"{estimate.mean:+.4f} [{estimate.low:+.4f}, {estimate.high:+.4f}]; {bound} "
        f"{'is within' if promoted else 'exceeds'} the allowed loss of {allowed_loss:.4f}"
    )
    answer: Answer = "as good" if promoted else "worse"
    check = Check(
        name,
        "rival",
        metric,
        float(a.mean()),
        float(b.mean()),
        float(estimate.mean),
        float(estimate.low),
        float(estimate.high),
        allowed_loss,
        answer,
        pairs.height,
        reason,
    )
    return Decision(answer, promoted, reason, (check,), 0.0, first)
