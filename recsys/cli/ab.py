"""The command that compares two variants by what users did."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from recsys.cli.options import ConfigOption, JsonOption
from recsys.cli.output import print_facts, print_json, print_table, print_text
from recsys.cli.setup import load_settings
from recsys.errors import ConfigError

if TYPE_CHECKING:
    from datetime import time

_METRICS = ("hit", "hits", "ndcg", "conversion", "events", "value")
_LOOKS = ("once", "daily")


def ab(
    config: ConfigOption,
    outcomes: Annotated[
        str | None,
        typer.Argument(
            metavar="[OUTCOMES]",
            help="Event files as in the config, a table user_id, item_id, time (event, value), or a table user_id, "
            "value. Default: the newest snapshot's events.",
        ),
    ] = None,
    first: Annotated[
        str | None,
        typer.Option("--from", metavar="YYYY-MM-DD", help="First run date. Default: the start of the newest test."),
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="YYYY-MM-DD", help="Last run date. Default: the newest.")] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help=(
                "Metric that decides the verdict: hit, hits, ndcg, conversion, events, value. Default: hit; value for "
                "a table."
            ),
        ),
    ] = None,
    control: Annotated[str, typer.Option(metavar="VARIANT", help="Control variant.")] = "champion",
    treatment: Annotated[
        str | None, typer.Option(metavar="VARIANT", help="Variant under test. Default: the only other variant.")
    ] = None,
    share: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="Planned share of users in the treatment. Default: the canary's share."),
    ] = None,
    looks: Annotated[
        str, typer.Option(metavar="WHEN", help="once: one look on a planned day; daily: as often as you like.")
    ] = "once",
    horizon_days: Annotated[
        float, typer.Option(min=1, metavar="DAYS", help="Days after which daily looks are most precise.")
    ] = 28,
    effect: Annotated[
        float | None, typer.Option(metavar="LIFT", help="Smallest relative effect that matters, such as 0.02.")
    ] = None,
    history_days: Annotated[
        float, typer.Option(min=0, metavar="DAYS", help="Days before the test used for adjustment (CUPED); 0: none.")
    ] = 28,
    served_from: Annotated[
        str, typer.Option(metavar="HH:MM", help="Time (UTC) at which new lists reach users.")
    ] = "00:00",
    segments: Annotated[bool, typer.Option("--segments", help="Compare new, light and heavy users too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Compare two variants by user outcomes: difference, confidence interval, verdict.

    Read-only. An event counts for the list that its user saw at the time. Users who saw both variants are excluded. If
    the numbers of users do not match the planned share, the verdict is "not valid"; the exit code is 0.

    Example: `recsys ab new_events.csv --config configs/demo.yaml --looks daily`
    """
    settings = load_settings(config, "pipelines.ab")
    _check_choice("--metric", metric or "hit", _METRICS)
    _check_choice("--looks", looks, _LOOKS)
    _check_share("--share", share)
    _check_share("--effect", effect)
    start = _parse_time(served_from)
    from recsys.cli.ab_tables import list_remarks, metric_table, segment_effect_table
    from recsys.config import home
    from recsys.monitoring.ab import Plan
    from recsys.pipelines.ab import Question, run_ab

    plan = Plan(
        looks=looks,  # type: ignore[arg-type]
        confidence=settings.evaluation.confidence,
        horizon_days=horizon_days,
        share=share,
        lift=effect,
        segments=segments,
    )
    question = Question(plan, metric, control, treatment, first, until, start, history_days)  # type: ignore[arg-type]
    result = run_ab(settings, home(), outcomes, question, datetime.now(UTC))
    if as_json:
        print_json(result.to_dict())
        return
    print_text(result.sentence, "")
    print_table(metric_table(result))
    if result.segments:
        print_table(segment_effect_table(result))
    print_facts(list_remarks(result))
    print_text(*(f"note: {note}" for note in result.notes))


def _check_choice(option: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(f"{option} '{value}': expected one of {', '.join(choices)}")


def _check_share(option: str, value: float | None) -> None:
    if value is not None and not 0 < value < 1:
        raise ConfigError(f"{option} {value}: expected a number between 0 and 1, such as 0.05")


def _parse_time(text: str) -> time:
    try:
        return datetime.strptime(text, "%H:%M").replace(tzinfo=UTC).time()
    except ValueError as error:
        raise ConfigError(f"--served-from '{text}': expected a time of day in UTC, such as 03:30") from error
