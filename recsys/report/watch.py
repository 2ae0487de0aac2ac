"""The panel of the monitor: the last night's verdict, what users did with the lists, and figures over time."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup, escape

from recsys.monitoring.monitored_nights import Night
from recsys.monitoring.watches import describe_figure
from recsys.monitoring.wording import write_figure, write_range
from recsys.progress import format_count
from recsys.report.grids import Grid, Row
from recsys.report.layout import Drawing, Panel, Stat
from recsys.report.outcome_panel import OutcomePanel, make_panel
from recsys.report.sparkline import draw_sparkline

_SHOWN = 42
# Figures with a drawing, where they were recorded.
_FIGURES = (
    "outcomes.hit_rate",
    "lists.churn",
    "lists.coverage",
    "lists.top_item_share",
    "arrival.events",
    "model.score_psi",
)


def show_watch(monitored: Sequence[Night]) -> Panel | None:
    """Show the last monitored night; None if no night was monitored.

    Args:
        monitored: nights of the config, oldest first.
    """
    if not monitored:
        return None
    nights = monitored[-_SHOWN:]
    night, outcomes = nights[-1], make_panel(nights)
    alerts = sum(not known.good for known in nights)
    stats = (
        Stat(night.verdict.capitalize(), f"night of {night.run_date}", format_count(len(night.alerts), "alert")),
        Stat(f"{alerts:,}", "nights with an alert", f"of the last {format_count(len(nights), 'night')}"),
    )
    drawings = [*_draw_outcomes(outcomes), *_draw_figures(nights)]
    return Panel(
        "monitor",
        "Monitor and outcomes",
        "What did users do with the lists, and did a night look unusual?",
        stats=stats,
        drawings=tuple(drawings),
        grids=_list_alerts(night),
        notes=(*((outcomes.headline,) if outcomes else ()), "All figures are on the page of 'recsys monitor'."),
    )


def _draw_outcomes(outcomes: OutcomePanel | None) -> list[Drawing]:
    if outcomes is None or not outcomes.chart:
        return []
    return [
        Drawing(
            "nDCG over a week: ours, the blend and popularity",
            outcomes.chart + outcomes.narrow_chart,
            "Ours with its 95% interval. Vertical lines: another model version. Marks below: nights with an alert.",
        )
    ]


def _draw_figures(nights: Sequence[Night]) -> list[Drawing]:
    """Return small drawings of the figures that most nights have, in a grid."""
    night = nights[-1]
    cells = []
    for name in (name for name in _FIGURES if name in night.figures):
        normal = night.expected.get(name, {})
        points = [
            (f"{known.run_date}: {write_figure(name, known.figures[name])}", known.figures[name], not known.good)
            if name in known.figures
            else (known.run_date, None, False)
            for known in nights
        ]
        chart = draw_sparkline(points, normal.get("low"), normal.get("high"), describe_figure(name))
        value = escape(write_figure(name, night.figures[name]))
        range_ = escape(f"normal {write_range(normal, name)}" if normal else "not judged")
        cells.append(
            Markup("<div><dt>{}</dt><dd><span class=value>{}</span>{}<span class=aside>{}</span></dd></div>").format(
                describe_figure(name), value, chart, range_
            )
        )
    if not cells:
        return []
    grid = Markup('<dl class="stats figures-over-time">') + Markup("").join(cells) + Markup("</dl>")
    return [
        Drawing(
            "Figures of the last nights",
            grid,
            "Green: the normal range. Orange dots: nights with an alert. The last dot is tonight.",
        )
    ]


def _list_alerts(night: Night) -> tuple[Grid, ...]:
    if not night.alerts:
        return ()
    rows = tuple(
        Row((alert["sentence"], write_figure(alert["figure"], alert["value"]), write_range(alert)), failed=True)
        for alert in night.alerts
    )
    return (Grid(f"Alerts of {night.run_date}", ("alert", "value", "expected"), rows),)
