"""Inline SVG: lines over training steps, and before/after interval bars.

No plotting library: a page of plots costs milliseconds, weighs kilobytes, takes its colours from
the page's style sheet (light, dark, print), and is read back by page.js for hover values.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

WIDTH, HEIGHT = 360, 196
LEFT, RIGHT, TOP, BOTTOM = 42, 12, 10, 26
MAX_POINTS = 240  # drawn for one line; longer histories are averaged into bins
SMOOTH_FROM = 40  # lines with fewer points are drawn as they are

MAX_OTHER = 24  # plots of values this page does not know
REWARD_KEYS = ("reward", "tag_score", "behavior_score")
RATE_KEYS = (
    "format_rate",
    "refusal_rate",
    "benign_refusal_rate",
    "frac_reward_zero_std",
    "completions/clipped_ratio",
)
CONDITION_KEYS = (
    "kl",
    "entropy",
    "completions/mean_length",
    "grad_norm",
    "learning_rate",
    "step_seconds",
)

Points = tuple[tuple[float, float], ...]
Place = Callable[[float, float], tuple[float, float]]  # (step, value) -> SVG x and y


@dataclass(frozen=True)
class Series:
    """One line: (step, value) pairs in the order of the steps."""

    label: str
    points: Points


@dataclass(frozen=True)
class Interval:
    """A rate and the ends of its interval, all in [0, 1]."""

    value: float
    low: float
    high: float


def line_plot(title: str, series: Sequence[Series], rates: bool = False) -> str:
    """A <figure> with a legend that shows the last value, or the hovered one.

    With `rates` the axis is 0 to 100 %. Long lines are drawn twice: faint as they are, bold as a
    running mean; values read off the plot are those of the bold line.
    """
    raw = [thin(line.points) for line in series]
    windows = [running_window(points) for points in raw]
    bold = [running_mean(points, window) for points, window in zip(raw, windows, strict=True)]
    window = max(windows)
    steps = [x for points in raw for x, _ in points]
    x0, x1 = min(steps), max(steps)
    ticks = [0.0, 0.25, 0.5, 0.75, 1.0] if rates else nice_ticks(*value_range(raw))
    y0, y1 = ticks[0], ticks[-1]

    def at(x: float, y: float) -> tuple[float, float]:
        across = (x - x0) / (x1 - x0) if x1 > x0 else 0.5
        up = min(max((y - y0) / (y1 - y0), 0.0), 1.0)
        return (
            round(LEFT + across * (WIDTH - LEFT - RIGHT), 2),
            round(HEIGHT - BOTTOM - up * (HEIGHT - BOTTOM - TOP), 2),
        )

    parts = [_axes(ticks, x0, x1, rates, at)]
    for index, (points, line) in enumerate(zip(raw, bold, strict=True)):
        name = f"s{index % 6}"
        if line is not points:
            parts.append(_path([at(x, y) for x, y in points], f"faint {name}"))
        parts.append(_path([at(x, y) for x, y in line], f"line {name}"))
        if len(line) <= 25:
            parts += [_dot(at(x, y), 2.4, name) for x, y in line]
    data = {
        "steps": [x0, x1],
        "box": [LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM],
        "rates": rates,
        "lines": [[[x, float(f"{y:.6g}")] for x, y in line] for line in bold],
    }
    said = "; ".join(
        f"{line.label} from {number(p[0][1], rates)} to {number(p[-1][1], rates)}"
        for line, p in zip(series, bold, strict=True)
    )
    note = f"bold: mean of {window} points" if window > 1 else ""
    return (
        f'<figure class="plot" data-plot="{escape(json.dumps(data))}">'
        f'<figcaption><strong>{escape(title)}</strong><span class="at">{note}</span></figcaption>'
        f'<ul class="legend">{_legend(title, series, bold, rates)}</ul>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" tabindex="0" '
        f'aria-label="{escape(f"{title}, steps {x0:g} to {x1:g}: {said}")}">'
        f'{"".join(parts)}<g class="cursor"></g></svg></figure>'
    )


def curves(
    history: Sequence[Mapping[str, float]], metrics: Sequence[str]
) -> list[tuple[str, list[str]]]:
    """(heading, figures) for every number logged over the steps; `metrics` in order of interest."""
    lines: dict[str, dict[float, float]] = {}
    for row in history:
        for key, value in row.items():
            if key != "step":
                # A step logged twice belongs to a resumed run: the later one counts.
                lines.setdefault(key, {})[row["step"]] = value
    left = {key: Series(_name(key), tuple(sorted(line.items()))) for key, line in lines.items()}

    def take(keys: Iterable[str]) -> list[Series]:
        return [left.pop(key) for key in keys if key in left]

    def plots(title: str, series: list[Series], rates: bool = False) -> list[str]:
        rates = rates and all(0 <= y <= 1 for line in series for _, y in line.points)
        # At most six lines to a plot, since there are six colors; about as many on each.
        count = math.ceil(len(series) / 6)
        cuts = [i * len(series) // count for i in range(count + 1)] if count else []
        return [line_plot(title, series[a:b], rates) for a, b in pairwise(cuts)]

    parts = sorted(key for key in left if key.startswith("rewards/") and key.endswith("/mean"))
    learning = plots("Reward and its parts", take([*REWARD_KEYS, *parts]))
    learning += plots("Rates in the rollouts", take(RATE_KEYS), rates=True)
    held_out: dict[str, list[str]] = {}
    order = {metric: i for i, metric in enumerate(metrics)}
    evals = [key for key in left if key.startswith("eval/")]
    for key in sorted(evals, key=lambda key: (order.get(key.rpartition("/")[2], len(order)), key)):
        held_out.setdefault(key.rpartition("/")[0], []).append(key)
    for group in sorted(held_out, key=lambda group: (group.count("/"), group != "eval/guided")):
        title = "Held out, " + group.removeprefix("eval/").replace("/", ": ").replace("_", " ")
        learning += plots(title, take(held_out[group]), rates=True)
    condition = [line_plot(s.label, [s]) for key in CONDITION_KEYS for s in take([key])]
    other = [line_plot(s.label, [s]) for s in take(sorted(left)[:MAX_OTHER])]
    groups = [("Learning", learning), ("Optimisation", condition), ("Other logged values", other)]
    return [(title, figures) for title, figures in groups if figures]


def interval_bar(before: Interval | None, after: Interval | None, label: str) -> str:
    """Two whiskers on one 0 to 100 % axis: before above (hollow), after below (filled).

    As wide as there is room. One alone stands on the axis's middle. Raises ValueError where there
    is none.
    """
    if before is None and after is None:
        raise ValueError("a bar shows an interval")
    both = before is not None and after is not None
    height = 26 if both else 16

    def line(x1: float, y1: float, x2: float, y2: float) -> str:
        return f'<line x1="{100 * x1:.2f}%" y1="{y1}" x2="{100 * x2:.2f}%" y2="{y2}"/>'

    parts = [f'<g class="grid">{"".join(line(v, 1, v, height - 1) for v in (0, 0.5, 1))}</g>']
    for name, y, interval in (("before", 8, before), ("after", 18 if both else 8, after)):
        if interval is not None:
            low, high = interval.low, interval.high
            ends = "".join(line(x, y - 3, x, y + 3) for x in (low, high))
            parts.append(
                f'<g class="whisker {name}">{line(low, y, high, y)}{ends}</g>'
                f'<circle class="mark {name}" cx="{100 * interval.value:.2f}%" cy="{y}" r="4"/>'
            )
    return (
        f'<svg class="bar" height="{height}" role="img" aria-label="{escape(label)}">'
        f"{''.join(parts)}</svg>"
    )


def thin(points: Points) -> Points:
    """At most MAX_POINTS points, each the mean of a bin of neighbours."""
    if len(points) <= MAX_POINTS:
        return points
    edges = [i * len(points) // MAX_POINTS for i in range(MAX_POINTS + 1)]
    bins = [points[a:b] for a, b in pairwise(edges)]
    return tuple(
        (round(sum(x for x, _ in b) / len(b), 2), sum(y for _, y in b) / len(b)) for b in bins
    )


def running_window(points: Points) -> int:
    """An odd window of about a sixteenth of the line; 1 where it is short or smooth already."""
    values = [y for _, y in points]
    bends = [abs(a - 2 * b + c) for a, b, c in zip(values, values[1:], values[2:], strict=False)]
    if len(points) < SMOOTH_FROM or sum(bends) <= 0.02 * len(bends) * (max(values) - min(values)):
        return 1
    return 2 * max(2, len(points) // 32) + 1


def running_mean(points: Points, window: int) -> Points:
    """Centred mean over `window` points, over those there are near the ends."""
    if window <= 1:
        return points
    reach = window // 2
    means = []
    for i, (x, _) in enumerate(points):
        near = [y for _, y in points[max(0, i - reach) : i + reach + 1]]
        means.append((x, sum(near) / len(near)))
    return tuple(means)


def value_range(lines: Sequence[Points]) -> tuple[float, float]:
    values = [y for points in lines for _, y in points]
    low, high = min(values), max(values)
    # A quantity that is never negative and comes near zero is shown with its zero.
    return (0.0 if 0 <= low < 0.6 * high else low), high


def nice_ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round tick values that enclose [low, high], about `count` intervals of 1, 2 or 5 · 10^k."""
    if high - low <= max(1e-9 * max(abs(low), abs(high)), 1e-100):  # flat, but for rounding
        pad = abs(low) * 0.5 or 1.0
        low, high = low - pad, high + pad
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next(m for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [i * step for i in range(first, last + 1)]


def number(value: float, rates: bool = False) -> str:
    """A value with about three digits: `0.123`, `1.2e-6`, `84.1 %`."""
    if rates:
        return f"{100 * value:.1f} %"
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{value:.3g}" if abs(value) < 1e3 else f"{value:.0f}"
    digits, _, power = f"{value:.1e}".partition("e")
    return f"{digits.removesuffix('.0')}e{int(power)}"


def _axes(ticks: Sequence[float], x0: float, x1: float, rates: bool, at: Place) -> str:
    parts = []
    for tick in ticks:
        _, y = at(x0, tick)
        text = f"{100 * tick:.0f}{'%' if tick == ticks[-1] else ''}" if rates else number(tick)
        parts.append(f'<path class="grid" d="M{LEFT} {y}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 7}" y="{y + 3.5}" text-anchor="end">{text}</text>')
    parts.append(f'<text x="{LEFT - 7}" y="{HEIGHT - 7}" text-anchor="end">step</text>')
    marks = [x for x in nice_ticks(x0, x1, 5) if x0 <= x <= x1] if x1 > x0 else [x0]
    for mark in marks:
        x, _ = at(mark, ticks[0])
        parts.append(f'<text x="{x}" y="{HEIGHT - 7}" text-anchor="middle">{mark:g}</text>')
    return "".join(parts)


def _legend(title: str, series: Sequence[Series], bold: Sequence[Points], rates: bool) -> str:
    if title == series[0].label:  # there is but one
        return f"<li><b>{number(bold[0][-1][1], rates)}</b></li>"
    items = []
    for i, (line, points) in enumerate(zip(series, bold, strict=True)):
        last = number(points[-1][1], rates)
        items.append(f'<li><i class="s{i % 6}"></i>{escape(line.label)} <b>{last}</b></li>')
    return "".join(items)


def _path(points: Sequence[tuple[float, float]], name: str) -> str:
    return f'<path class="{name}" d="M{"L".join(f"{x} {y}" for x, y in points)}"/>'


def _dot(point: tuple[float, float], radius: float, name: str) -> str:
    return f'<circle class="dot {name}" cx="{point[0]}" cy="{point[1]}" r="{radius}"/>'


def _name(key: str) -> str:
    """`rewards/tag/mean` -> `tag`, `eval/guided/twin_accuracy` -> `twin accuracy`."""
    known = {
        "frac_reward_zero_std": "groups without signal",
        "completions/clipped_ratio": "cut off",
        "completions/mean_length": "answer length, tokens",
        "kl": "KL to the reference",
        "grad_norm": "gradient norm",
        "step_seconds": "seconds per step",
        "vqa_accuracy": "question accuracy",
    }
    if key.startswith("eval/"):
        key = key.rpartition("/")[2]
    elif key.startswith("rewards/") and key.endswith("/mean"):
        key = key.removeprefix("rewards/").removesuffix("/mean")
    return known.get(key, key.replace("_", " "))
