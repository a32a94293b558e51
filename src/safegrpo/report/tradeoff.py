"""Safety against over-refusal: where each run stands between harm and silence, as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from safegrpo.report.changes import judge_of
from safegrpo.report.figures import Figure
from safegrpo.report.names import mode_label
from safegrpo.report.plots import Interval
from safegrpo.report.runs import Evaluation
from safegrpo.report.text import html

SCORERS = ("rubric", "official", "rules")
"""By whom a plot is made where there are several, the best reader first."""

_W, _H, _L, _R, _T, _B = 560, 400, 54, 14, 14, 44


@dataclass(frozen=True)
class Point:
    """A run in one mode; both are means over benchmarks, in [0, 1]."""

    run: str
    mode: str
    safety: Interval
    over_refusal: Interval


@dataclass(frozen=True)
class Tradeoff:
    """Points that can be compared: means over these benchmarks, all told by one scorer (`by`)."""

    points: tuple[Point, ...]
    by: str
    safety: tuple[str, ...]
    over_refusal: tuple[str, ...]


_SIDES = {"safety": ("safety", "attack_success"), "over_refusal": ("over_refusal",)}
_Set = tuple[str, str]  # a benchmark, and the metric taken of it


def tradeoff(runs: Sequence[Evaluation]) -> Tradeoff | str | None:
    """The trade-off over the benchmarks that all of `runs` have.

    Every point and every set is by one scorer with one judge, since what two of them call safe is
    not the same. A text says why there is no such scorer; None: a side was not measured at all.
    """
    modes = [m for m in _modes(runs) if all(m in _modes([run]) for run in runs)]
    sides = {scorer: _sets(runs, modes, scorer) for scorer in SCORERS}
    why = ""
    for scorer, used in sides.items():
        if not all(used.values()):
            continue
        judges = list(dict.fromkeys(
            judge_of(run, (benchmark, mode, scorer))
            for sets in used.values() for benchmark, _ in sets for run in runs for mode in modes
        ))  # fmt: skip
        if len(judges) > 1:
            named = " and ".join(one or "a judge not named" for one in judges)
            why = why or f"answers were judged by {named}, whose numbers are not comparable"
            continue
        points = [
            Point(run.name, mode, *(_mean([_side(run, b, mode, scorer, m) for b, m in used[side]])
                                    for side in _SIDES))
            for run in runs
            for mode in modes
        ]  # fmt: skip
        by = f"{scorer} by {judges[0]}" if judges[0] else scorer
        safety, over_refusal = (tuple(b for b, _ in used[side]) for side in _SIDES)
        return Tradeoff(tuple(points), by, safety, over_refusal)
    if why:
        return why
    if all(any(_any(run, side) for run in runs) for side in _SIDES):
        return "no one scorer has told safety and over-refusal of all runs in the same modes"
    return None


def _sets(runs: Sequence[Evaluation], modes: Sequence[str], scorer: str) -> dict[str, list[_Set]]:
    """For each side the benchmarks of which `scorer` knows it, in all runs and modes."""
    benchmarks = [b for b in (runs[0].figures.benchmarks if runs else ())
                  if all(b in run.figures.benchmarks for run in runs)]  # fmt: skip
    found: dict[str, list[_Set]] = {side: [] for side in _SIDES}
    for side, metrics in _SIDES.items():
        for b in benchmarks:
            known = (m for m in metrics
                     if modes and all(_known(run, b, mode, scorer, m)
                                      for run in runs for mode in modes))  # fmt: skip
            if (metric := next(known, None)) is not None:
                found[side].append((b, metric))
    return found


def _any(run: Evaluation, side: str) -> bool:
    """Whether anybody has told this side of a run."""
    return any(
        metric in scored.metrics and scored.metrics[metric].known
        for one in run.figures.benchmarks.values()
        for mode in one.modes.values()
        for scored in mode.scorers.values()
        for metric in _SIDES[side]
    )


def _modes(runs: Sequence[Evaluation]) -> list[str]:
    return list(dict.fromkeys(
        mode for run in runs for one in run.figures.benchmarks.values() for mode in one.modes
    ))  # fmt: skip


def _known(run: Evaluation, benchmark: str, mode: str, scorer: str, metric: str) -> Figure | None:
    scored = run.figures.scored(benchmark, mode, scorer)
    figure = scored.metrics.get(metric) if scored else None
    return figure if figure and figure.known else None


def _side(run: Evaluation, benchmark: str, mode: str, scorer: str, metric: str) -> Interval:
    figure = _known(run, benchmark, mode, scorer, metric)
    assert figure is not None
    assert figure.value is not None
    found = interval(figure)
    if metric != "attack_success":
        return found
    return Interval(1 - found.value, 1 - found.high, 1 - found.low)


def interval(figure: Figure) -> Interval:
    """A known figure's value between its ends; without ends it has no width."""
    value = figure.value or 0.0
    low, high = (value if end is None else end for end in (figure.low, figure.high))
    return Interval(value, min(low, value), max(high, value))


def _mean(parts: Sequence[Interval]) -> Interval:
    """The mean of independent rates; the distances to the ends add up as errors do."""
    value = sum(part.value for part in parts) / len(parts)
    down = math.hypot(*(part.value - part.low for part in parts)) / len(parts)
    up = math.hypot(*(part.high - part.value for part in parts)) / len(parts)
    return Interval(value, max(0.0, value - down), min(1.0, value + up))


def figure(found: Tradeoff) -> str:
    """A <figure> with numbered points and a table that says the same in numbers."""
    runs = list(dict.fromkeys(point.run for point in found.points))
    places = _apart([(_x(p.over_refusal.value), _y(p.safety.value)) for p in found.points])
    lines, signs, rows = [], [], []
    for number, (point, place) in enumerate(zip(found.points, places, strict=True), start=1):
        colour = f"s{runs.index(point.run) % 6}"
        own = place == (_x(point.over_refusal.value), _y(point.safety.value))
        lines.append(f'<g class="{colour}">{_whiskers(point, place)}</g>')
        beside = "" if own else " beside"
        signs.append(f'<g class="{colour}{beside}">{_mark(point, number, place)}</g>')
        rows.append(
            f'<tr><td><span class="num {colour}">{number}</span></td>'
            f'<th scope="row">{html(point.run)} <small>{html(mode_label(point.mode))}</small></th>'
            f"<td>{_said(point.safety)}</td><td>{_said(point.over_refusal)}</td></tr>"
        )
    note = "Hollow marks stand beside their points, for others are there."
    said = f'<p class="ci">{note}</p>' if any("beside" in sign for sign in signs) else ""
    return (
        '<figure class="tradeoff"><svg viewBox="0 0 '
        f'{_W} {_H}" role="img" aria-label="Safety against over-refusal; the table holds the '
        f'values">{_axes()}{"".join(lines)}{"".join(signs)}</svg><figcaption><table><thead><tr>'
        '<td></td><th scope="col">Run</th><th scope="col">Safety</th><th scope="col">Over-refusal'
        f"</th></tr></thead><tbody>{''.join(rows)}</tbody></table>{said}</figcaption></figure>"
    )


def _x(value: float) -> float:
    return round(_L + value * (_W - _L - _R), 1)


def _y(value: float) -> float:
    return round(_H - _B - value * (_H - _B - _T), 1)


def _axes() -> str:
    drawn = []
    for percent in (0, 25, 50, 75, 100):
        v = percent / 100
        drawn.append(
            f'<path class="grid" d="M{_x(0)} {_y(v)}H{_x(1)}M{_x(v)} {_y(0)}V{_y(1)}"/>'
            f'<text x="{_L - 8}" y="{_y(v) + 4}" text-anchor="end">{percent}</text>'
            f'<text x="{_x(v)}" y="{_H - _B + 18}" text-anchor="middle">{percent}</text>'
        )
    drawn.append(
        f'<text x="{_x(0.5)}" y="{_H - 6}" text-anchor="middle">benign pairs refused, %</text>'
        f'<text x="{_L + 6}" y="{_T + 14}">↖ best: safe, and no more silent than it must be</text>'
        f'<text transform="translate(12 {_y(0.5)}) rotate(-90)" text-anchor="middle">safe, %</text>'
    )
    return "".join(drawn)


def _drawn(*corners: tuple[int, int]) -> Callable[[float, float], str]:
    def shape(x: float, y: float) -> str:
        points = " ".join(f"{x + right:g},{y + down:g}" for right, down in corners)
        return f'<polygon class="dot" points="{points}"/>'

    return shape


_SHAPES: Mapping[str, Callable[[float, float], str]] = {
    "guided": lambda x, y: f'<circle class="dot" cx="{x}" cy="{y}" r="10"/>',
    "direct": _drawn((-9, -9), (9, -9), (9, 9), (-9, 9)),
    "ecso": _drawn((0, -13), (13, 0), (0, 13), (-13, 0)),
}
_OTHER = _drawn((-12, 9), (0, -14), (12, 9))
_SHAPE_NAMES = {"guided": "round", "direct": "square", "ecso": "a diamond"}


def marks(found: Tradeoff) -> str:
    """Which mark stands for which mode, such as `Guided is round, Direct is square`."""
    modes = dict.fromkeys(point.mode for point in found.points)
    return ", ".join(
        f"{mode_label(mode)} is {_SHAPE_NAMES.get(mode, 'a triangle')}" for mode in modes
    )


_CLEAR = 25.0  # between the middles of two marks that do not touch


def _apart(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Where marks stand: each at its point, or at the nearest free place if another stands there.

    Many that coincide may run out of room; the last ones then lie on their points.
    """
    taken: list[tuple[float, float]] = []
    for x, y in points:
        tried = [(x, y)] + [
            (x + ring * _CLEAR * math.cos(turn), y - ring * _CLEAR * math.sin(turn))
            for ring in (1, 2, 3, 4)
            for turn in (math.pi * eighth / 4 for eighth in range(8))
        ]
        inside = [
            (a, b)
            for a, b in tried
            if (a, b) == (x, y) or (_x(0) + 12 <= a <= _x(1) - 12 and _y(1) + 12 <= b <= _y(0) - 12)
        ]
        free = (one for one in inside if all(math.dist(one, t) >= _CLEAR - 0.5 for t in taken))
        taken.append(next(free, (x, y)))
    return [(round(x, 1), round(y, 1)) for x, y in taken]


def _whiskers(point: Point, place: tuple[float, float]) -> str:
    """The intervals, and a line to a mark that stands beside its point."""
    across, up = point.over_refusal, point.safety
    x, y = _x(across.value), _y(up.value)
    whiskers = (
        f'<path class="line" d="M{_x(across.low)} {y}H{_x(across.high)}'
        f'M{x} {_y(up.low)}V{_y(up.high)}"/>'
    )
    if place == (x, y):
        return whiskers
    lead = f'<path class="faint lead" d="M{x} {y}L{place[0]} {place[1]}"/>'
    return f'{whiskers}{lead}<circle class="at" cx="{x}" cy="{y}" r="3"/>'


def _mark(point: Point, number: int, place: tuple[float, float]) -> str:
    x, y = place
    return (
        f"{_SHAPES.get(point.mode, _OTHER)(x, y)}"
        f'<text class="on" x="{x}" y="{round(y + 4, 1)}" text-anchor="middle">{number}</text>'
    )


def _said(part: Interval) -> str:
    return (
        f'<b>{100 * part.value:.1f}&nbsp;%</b> <small class="ci">{100 * part.low:.1f}&ndash;'
        f"{100 * part.high:.1f}</small>"
    )
