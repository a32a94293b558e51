"""The study's plots as SVG files of their own: white ground, text as text, no library.

Unlike the report's plots they bring their colors along, since no page styles them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from safegrpo.microcosm.study.statistics import Estimate
from safegrpo.report.plots import nice_ticks, value_range

COLORS = ("#0072b2", "#c44e00", "#00795b", "#a8487e", "#8a6100", "#5d5d5d", "#7a3db8")
"""Told apart by most color-blind people, and dark enough for text on white."""

DASHES = ("", "7 3", "2 3")
TOP = 54  # where a plot begins below its title
CHART_WIDTH, CHART_HEIGHT = 380, 230
LEFT, RIGHT, ABOVE, BELOW = 48, 16, 26, 40  # of a chart
LETTER, LEGEND = 6.4, 20  # the width of a letter, about; the height of a line of the legend
BAR, NAMES, PANEL = 22, 280, 190  # the height of a row; the widths of its name and of a panel

Points = Sequence[tuple[float, float, float, float]]
Place = Callable[[float, float], tuple[float, float]]


def charts(
    title: str,
    x_label: str,
    y_label: str,
    panels: Mapping[str, Mapping[str, Points]],
    log_x: bool = False,
) -> str:
    """A chart for each measure, two beside each other; in each a line for every name over its
    points (x, mean, low, high), with a band from low to high.

    A name has the same color in all of them, and stands in the legend at the top. `log_x` needs x
    above 0. Raises ValueError without any point.
    """
    drawn = {
        measure: {name: sorted(points) for name, points in lines.items() if points}
        for measure, lines in panels.items()
        if any(lines.values())
    }
    places = sorted({p[0] for lines in drawn.values() for points in lines.values() for p in points})
    if not places:
        raise ValueError("there is nothing to draw")
    if log_x and places[0] <= 0:
        raise ValueError(f"a logarithmic axis has no place for {places[0]:g}")
    names = list(dict.fromkeys(name for lines in drawn.values() for name in lines))
    styles = {name: _style(index) for index, name in enumerate(names)}
    width = CHART_WIDTH * min(2, len(drawn))
    parts, top = _legend(styles, width)
    for index, (measure, lines) in enumerate(drawn.items()):
        down, across = divmod(index, 2)
        place = (across * CHART_WIDTH, top + down * CHART_HEIGHT)
        chart = _Chart(*place, tuple(places), log_x, x_label, y_label)
        parts += chart.drawn(measure, lines, styles)
    return _svg(title, width, top + CHART_HEIGHT * math.ceil(len(drawn) / 2), parts)


@dataclass(frozen=True)
class _Chart:
    """One chart, its corner at (left, top); `places` are the values of x in all charts."""

    left: float
    top: float
    places: tuple[float, ...]
    log_x: bool
    x_label: str
    y_label: str

    def drawn(
        self, measure: str, lines: Mapping[str, Points], styles: Mapping[str, tuple[str, str]]
    ) -> list[str]:
        spans = [tuple((x, y) for x, *ends in points for y in ends) for points in lines.values()]
        ticks = nice_ticks(*value_range(spans), 5)
        at = self._scales(ticks)
        said = f"{measure}, {self.y_label}"
        parts = [_text(self.left + LEFT, self.top + 14, said, weight="bold")]
        parts += self._axes(ticks, at)
        for name, points in lines.items():
            color, dash = styles[name]
            edge = [at(x, low) for x, _, low, _ in points]
            edge += [at(x, high) for x, _, _, high in reversed(points)]
            parts.append(f'<path d="{_way(edge)}Z" fill="{color}" fill-opacity="0.1"/>')
            way = [at(x, mean) for x, mean, _, _ in points]
            parts.append(_stroke(way, color, dash))
            parts += [f'<circle cx="{x}" cy="{y}" r="2.6" fill="{color}"/>' for x, y in way]
        return parts

    def _scales(self, ticks: Sequence[float]) -> Place:
        scale = math.log if self.log_x else float
        first, last = scale(self.places[0]), scale(self.places[-1])
        bottom, height = self.top + CHART_HEIGHT - BELOW, CHART_HEIGHT - ABOVE - BELOW

        def at(x: float, y: float) -> tuple[float, float]:
            across = (scale(x) - first) / (last - first) if last > first else 0.5
            up = (y - ticks[0]) / (ticks[-1] - ticks[0])
            inside = CHART_WIDTH - LEFT - RIGHT - 16
            return round(self.left + LEFT + 8 + across * inside, 1), round(bottom - up * height, 1)

        return at

    def _axes(self, ticks: Sequence[float], at: Place) -> list[str]:
        left, right = self.left + LEFT, self.left + CHART_WIDTH - RIGHT
        first, last = self.places[0], self.places[-1]
        parts = []
        for tick in ticks:
            y = at(first, tick)[1]
            parts.append(f'<path d="M{left} {y}H{right}" stroke="#ddd"/>')
            parts.append(_text(left - 7, y + 4, f"{tick:g}", anchor="end", size=11))
        marks: Sequence[float] = self.places
        if len(marks) > 7 and not self.log_x:
            marks = [x for x in nice_ticks(first, last, 6) if first <= x <= last]
        bottom, end = self.top + CHART_HEIGHT - BELOW, -math.inf
        for x in marks:
            across = at(x, ticks[0])[0]
            if across - end >= 34:  # so that numbers keep apart
                parts.append(_text(across, bottom + 16, f"{x:g}", anchor="middle", size=11))
                end = across
        middle = (left + right) / 2
        parts.append(_text(middle, bottom + 32, self.x_label, anchor="middle", size=11))
        return parts


def _style(index: int) -> tuple[str, str]:
    """A color and a dash for the line of this number."""
    return COLORS[index % len(COLORS)], DASHES[index // len(COLORS) % len(DASHES)]


def _legend(styles: Mapping[str, tuple[str, str]], width: float) -> tuple[list[str], float]:
    """The names with their lines, in as many lines as they need; and where it ends."""
    parts, left, top = [], 14.0, 38.0
    for name, (color, dash) in styles.items():
        long = 34 + LETTER * len(name) + 14
        if left > 14 and left + long > width:
            left, top = 14.0, top + LEGEND
        parts.append(_stroke([(left, top), (left + 28, top)], color, dash))
        parts.append(_text(left + 34, top + 4, name, fill=color))
        left += long
    return parts, top + 16


def _stroke(way: Sequence[tuple[float, float]], color: str, dash: str) -> str:
    style = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<path d="{_way(way)}" fill="none" stroke="{color}" stroke-width="2"{style}/>'


def bars(title: str, names: Sequence[str], panels: Mapping[str, Sequence[Estimate | None]]) -> str:
    """A panel for each measure, side by side; in each a bar with its interval for every name.

    Estimates are fractions, shown on an axis of 0 to 100 %; None leaves a gap. Raises ValueError
    if a panel has not as many of them as there are names.
    """
    width = NAMES + PANEL * len(panels) + 12
    top, bottom = TOP + 8, TOP + 8 + BAR * len(names)
    height = bottom + 28
    parts = [
        _text(NAMES - 8, top + BAR * i + 15, _short(name, 40), anchor="end")
        for i, name in enumerate(names)
    ]
    for index, (measure, estimates) in enumerate(panels.items()):
        left, span, color = NAMES + PANEL * index, PANEL - 50, COLORS[index % len(COLORS)]
        parts.append(_text(left, TOP - 4, measure, weight="bold"))
        for share in (0, 0.5, 1):
            x = left + share * span
            parts.append(f'<path d="M{x} {top}V{bottom}" stroke="#ddd"/>')
            parts.append(_text(x, bottom + 16, f"{100 * share:g}", anchor="middle", size=11))
        for i, (_, found) in enumerate(zip(names, estimates, strict=True)):
            if found is not None:
                parts.append(_bar(found, left, top + BAR * i, span, color))
    return _svg(title, width, height, parts)


def _bar(found: Estimate, left: float, top: float, span: float, color: str) -> str:
    mean, low, high = (round(left + span * part, 1) for part in found)
    middle = top + BAR / 2
    return (
        f'<rect x="{left}" y="{top + 4}" width="{round(mean - left, 1)}" height="{BAR - 8}" '
        f'fill="{color}" fill-opacity="0.35"/>'
        f'<path d="M{low} {middle}H{high}M{low} {middle - 4}v8M{high} {middle - 4}v8" '
        f'stroke="{color}" stroke-width="1.5"/>'
        + _text(max(high, mean) + 6, middle + 4, f"{100 * found[0]:.1f}", size=11)
    )


def _way(points: Sequence[tuple[float, float]]) -> str:
    return f"M{'L'.join(f'{x} {y}' for x, y in points)}"


def _short(name: str, limit: int) -> str:
    return name if len(name) <= limit else name[: limit - 1].rstrip() + "…"


def _text(
    x: float,
    y: float,
    text: str,
    *,
    anchor: str = "start",
    fill: str = "#222",
    size: int = 12,
    weight: str = "normal",
) -> str:
    return (
        f'<text x="{round(x, 1)}" y="{round(y, 1)}" text-anchor="{anchor}" fill="{fill}" '
        f'font-size="{size}" font-weight="{weight}">{escape(text)}</text>'
    )


def _svg(title: str, width: float, height: float, parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img" aria-label="{escape(title)}" '
        f'font-family="system-ui, Helvetica, Arial, sans-serif">\n<title>{escape(title)}</title>\n'
        f'<rect width="{width}" height="{height}" fill="#fff"/>\n'
        + _text(14, 18, title, size=14, weight="bold")
        + "\n".join(["", *parts])
        + "\n</svg>\n"
    )
