"""The page of `recsys monitor`: alerts, every figure with its normal range, and the last nights as small charts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from recsys.monitoring.monitored_nights import Night
from recsys.monitoring.watches import describe_figure
from recsys.monitoring.wording import AREAS, write_figure, write_range
from recsys.report.outcome_panel import make_panel
from recsys.report.sparkline import draw_sparkline
from recsys.storage.files import replace_text
from recsys.storage.home import monitor_page_file
from recsys.visuals.palette import write_css

# Nights that a chart shows.
_SHOWN = 42


@dataclass(frozen=True)
class Row:
    """A figure as the page shows it: texts, whether it is outside its range, and its chart."""

    name: str
    meaning: str
    value: str
    normal: str
    outside: bool
    chart: Markup


def write_monitor_page(name: str, home: Path, nights: Sequence[Night], reference: Sequence[str]) -> Path:
    """Write the page of the last of some nights; it needs no script and makes no network requests.

    Args:
        name: of the config.
        home: `RECSYS_HOME`.
        nights: oldest first; the last one is shown, with its history.
        reference: run dates that it was compared with.

    Returns:
        The path of the page.

    Raises:
        ArtifactError: the file cannot be written.
    """
    path = monitor_page_file(home, name)
    replace_text(path, render_monitor_page(name, nights, reference))
    return path


def render_monitor_page(name: str, nights: Sequence[Night], reference: Sequence[str]) -> str:
    """Return the HTML of the page; the same nights give the same bytes."""
    night = nights[-1]
    environment = Environment(
        loader=PackageLoader("recsys.report", ""), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    moved = {figure for alert in night.alerts for figure in (alert["figure"], *alert["also"])}
    areas = {area: _list_rows(area, nights[-_SHOWN:], moved) for area in AREAS}
    files = resources.files("recsys.report")
    sheets = [files.joinpath(name).read_text("utf-8") for name in ("drawings.css", "monitor_page.css")]
    return environment.get_template("monitor_page.html.j2").render(
        name=name,
        night=night,
        alerts=[_describe_alert(alert, nights[-_SHOWN:]) for alert in night.alerts],
        outcomes=make_panel(nights[-_SHOWN:]),
        areas={area: rows for area, rows in areas.items() if rows},
        reference=reference,
        nights=[
            (known.run_date, known.verdict, [alert["cause"] for alert in known.alerts], known.accepted)
            for known in reversed(nights[-_SHOWN:])
        ],
        style=Markup(write_css() + "".join(sheets)),
    )


def _list_rows(area: str, nights: Sequence[Night], moved: set[str]) -> list[Row]:
    night = nights[-1]
    names = sorted(name for name in night.figures if name.startswith(f"{area}."))
    # What is outside its range comes first, what is only recorded last.
    order = sorted(names, key=lambda name: (name not in moved, name not in night.expected))
    return [_make_row(name, nights, name in moved) for name in order]


def _make_row(name: str, nights: Sequence[Night], outside: bool) -> Row:
    night, normal = nights[-1], nights[-1].expected.get(name)
    return Row(
        name=name,
        meaning=describe_figure(name),
        value=write_figure(name, night.figures[name]),
        normal=write_range(normal, name) if normal else "not judged",
        outside=outside,
        chart=_draw(name, nights),
    )


def _draw(name: str, nights: Sequence[Night]) -> Markup:
    normal = nights[-1].expected.get(name, {})
    points = [
        (f"{night.run_date}: {write_figure(name, night.figures[name])}", night.figures[name], not night.good)
        if name in night.figures
        else (night.run_date, None, False)
        for night in nights
    ]
    return draw_sparkline(points, normal.get("low"), normal.get("high"), describe_figure(name))


def _describe_alert(alert: dict[str, Any], nights: Sequence[Night]) -> dict[str, Any]:
    """Return an alert with its numbers as text."""
    figure = alert["figure"]
    segments = [
        (
            part["segment"],
            write_figure(figure, part["value"]),
            "new" if part["before"] is None else write_figure(figure, part["before"]),
        )
        for part in alert["segments"]
    ]
    return {
        **alert,
        "retrain": alert.get("retrain", False),
        "value": write_figure(figure, alert["value"]),
        "normal": write_range(alert),
        "segments": segments,
        "chart": _draw(figure, nights),
    }
