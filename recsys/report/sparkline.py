"""A figure over the last nights as a small inline drawing, without a script."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup, escape

_WIDTH, _HEIGHT, _MARGIN = 200.0, 40.0, 4.0


def draw_sparkline(
    points: Sequence[tuple[str, float | None, bool]], low: float | None, high: float | None, title: str
) -> Markup:
    """Return an SVG: the normal range as a band, the values as a line, nights with an alert as marked dots.

    Args:
        points: label, value (None: there is none) and whether the night had an alert; the last is tonight.
        low: lower end of the normal range; None: no limit.
        high: upper end.
        title: what is drawn, for readers that do not see it.
    """
    known = [value for _, value, _ in points if value is not None]
    if not known:
        return Markup("")
    # A limit far away from all values would flatten the line.
    spread = max(known) - min(known) or abs(known[-1]) or 1.0
    ends = [end for end in (low, high) if end is not None and min(known) - spread <= end <= max(known) + spread]
    bottom, top = min(known + ends), max(known + ends)
    scale = (_HEIGHT - 2 * _MARGIN) / ((top - bottom) or 1.0)

    def y(value: float) -> float:
        return round(_HEIGHT - _MARGIN - (min(max(value, bottom), top) - bottom) * scale, 1)

    def x(index: int) -> float:
        return round(_MARGIN + index * (_WIDTH - 2 * _MARGIN) / max(1, len(points) - 1), 1)

    upper, lower = y(top if high is None else high), y(bottom if low is None else low)
    band = f'<rect class="band" x="0" y="{upper}" width="{_WIDTH:g}" height="{max(0.5, lower - upper):.1f}"/>'
    line = " ".join(f"{x(index)},{y(value)}" for index, (_, value, _) in enumerate(points) if value is not None)
    dots = [
        f'<circle class="{"bad" if bad else "good"}" cx="{x(index)}" cy="{y(value)}" '
        f'r="{2.5 if bad or index == len(points) - 1 else 1.2}"><title>{escape(label)}</title></circle>'
        for index, (label, value, bad) in enumerate(points)
        if value is not None
    ]
    return Markup(
        f'<svg viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" role="img" aria-label="{escape(title)}, last nights">'
        f'{band if low is not None or high is not None else ""}<polyline points="{line}"/>{"".join(dots)}</svg>'
    )
