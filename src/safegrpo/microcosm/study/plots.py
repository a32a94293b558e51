"""The study's plots as SVG files of their own: white ground, text as text, no library.

Unlike the report's plots they bring their colors along, since no page styles them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape

from safegrpo.microcosm.study.statistics import Estimate
from safegrpo.report.plots import nice_ticks, value_range

COLORS = ("#0072b2", "#c44e00", "#00795b", "#a8487e", "#8a6100", "#2b6f99", "#5d5d5d", "#7a3db8")
"""Told apart by most color-blind people, and dark enough for text on white."""

WIDTH, HEIGHT = 660, 360
LEFT, RIGHT, TOP, BOTTOM = 56, 160, 54, 46
DASHES = ("", "7 3", "2 3")
BAR, NAMES, PANEL = 22, 280, 190  # the height of a row; the widths of its name and of a panel

Points = Sequence[tuple[float, float, float, float]]
Place = Callable[[float, float], tuple[float, float]]


def lines(
    title: str, x_label: str, y_label: str, series: Mapping[str, Points], log_x: bool = False
) -> str:
    """A line for each name over points (x, mean, low, high), with a band from low to high.

    Names stand at the lines' ends. `log_x` needs x above 0. Raises ValueError without any point.
    """
    drawn = {name: sorted(points) for name, points in series.items() if points}
    if not drawn:
        raise ValueError("there is nothing to draw")
    places = sorted({point[0] for points in drawn.values() for point in points})
    if log_x and places[0] <= 0:
        raise ValueError(f"a logarithmic axis has no place for {places[0]:g}")
    spans = [tuple((x, y) for x, *ends in points for y in ends) for points in drawn.values()]
    ticks = nice_ticks(*value_range(spans), 5)
    scale = math.log if log_x else float
    first, last = scale(places[0]), scale(places[-1])

    def at(x: float, y: float) -> tuple[float, float]:
        across = (scale(x) - first) / (last - first) if last > first else 0.5
        up = (y - ticks[0]) / (ticks[-1] - ticks[0])
        return (
            round(LEFT + 8 + across * (WIDTH - LEFT - RIGHT - 16), 1),
            round(HEIGHT - BOTTOM - up * (HEIGHT - BOTTOM - TOP), 1),
        )

    parts = [_y_axis(ticks, at, places[0])]
    marks = places if log_x or len(places) <= 7 else nice_ticks(places[0], places[-1], 6)
    end = -math.inf
    for x in (x for x in marks if places[0] <= x <= places[-1]):
        across = at(x, ticks[0])[0]
        if across - end >= 34:  # so that numbers keep apart
            parts.append(_text(across, HEIGHT - BOTTOM + 16, f"{x:g}", anchor="middle"))
            end = across
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(_text(middle, HEIGHT - 8, x_label, anchor="middle"))
    for index, points in enumerate(drawn.values()):
        color = COLORS[index % len(COLORS)]
        dash = DASHES[index // len(COLORS) % len(DASHES)]
        edge = [at(x, low) for x, _, low, _ in points]
        edge += [at(x, high) for x, _, _, high in reversed(points)]
        parts.append(f'<path d="{_way(edge)}Z" fill="{color}" fill-opacity="0.12"/>')
        way = [at(x, mean) for x, mean, _, _ in points]
        style = f' stroke-dasharray="{dash}"' if dash else ""
        parts.append(
            f'<path d="{_way(way)}" fill="none" stroke="{color}" stroke-width="2"{style}/>'
        )
        parts += [f'<circle cx="{x}" cy="{y}" r="2.6" fill="{color}"/>' for x, y in way]
    ends = {name: at(points[-1][0], points[-1][1])[1] for name, points in drawn.items()}
    heights = _apart(list(ends.values()), 14, TOP + 6, HEIGHT - BOTTOM)
    for index, (name, height) in enumerate(zip(ends, heights, strict=True)):
        color = COLORS[index % len(COLORS)]
        parts.append(_text(WIDTH - RIGHT + 6, height + 4, _short(name, 22), fill=color))
    parts.append(_text(14, TOP - 10, y_label, size=11))
    return _svg(title, WIDTH, HEIGHT, parts)


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


def _y_axis(ticks: Sequence[float], at: Place, x: float) -> str:
    parts = []
    for tick in ticks:
        y = at(x, tick)[1]
        parts.append(f'<path d="M{LEFT} {y}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        parts.append(_text(LEFT - 7, y + 4, f"{tick:g}", anchor="end", size=11))
    return "".join(parts)


def _apart(heights: Sequence[float], gap: float, least: float, most: float) -> list[float]:
    """The heights, pushed apart so that none is nearer to another than `gap`, if there is room."""
    order = sorted(range(len(heights)), key=heights.__getitem__)
    placed = [min(max(heights[i], least), most) for i in order]
    for k in range(1, len(placed)):
        placed[k] = max(placed[k], placed[k - 1] + gap)
    over = placed[-1] - most
    if over > 0:  # too far down: what stands close above gives way
        placed[-1] -= over
        for k in range(len(placed) - 2, -1, -1):
            placed[k] = min(placed[k], placed[k + 1] - gap)
    found = [0.0] * len(heights)
    for i, height in zip(order, placed, strict=True):
        found[i] = height
    return found


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
