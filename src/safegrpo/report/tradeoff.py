"""Safety against over-refusal: where each run stands between harm and silence, as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from safegrpo.report.figures import Figure
from safegrpo.report.names import mode_label
from safegrpo.report.plots import Interval
from safegrpo.report.runs import Evaluation
from safegrpo.report.text import html

SCORERS = ("rubric", "official", "rules")
"""Whose figures a plot takes where there are several, the best reader first."""

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
    """Points that can be compared: each is a mean over these benchmarks, told with the scorer."""

    points: tuple[Point, ...]
    safety: tuple[str, ...]
    over_refusal: tuple[str, ...]


def scorer_of(runs: Sequence[Evaluation], benchmark: str, mode: str, metric: str) -> str | None:
    """The best scorer that has a value for this metric in all of `runs`."""
    for scorer in SCORERS:
        if all(_known(run, benchmark, mode, scorer, metric) for run in runs):
            return scorer
    return None


def tradeoff(runs: Sequence[Evaluation]) -> Tradeoff | None:
    """The trade-off over the benchmarks that all of `runs` have; None where a side is missing."""
    benchmarks = [b for b in (runs[0].figures.benchmarks if runs else ())
                  if all(b in run.figures.benchmarks for run in runs)]  # fmt: skip
    modes = [m for m in _modes(runs) if all(m in _modes([run]) for run in runs)]
    used: dict[str, list[tuple[str, str, dict[str, str]]]] = {"safety": [], "over_refusal": []}
    for benchmark in benchmarks:
        for side, names in (("safety", ("safety", "attack_success")),
                            ("over_refusal", ("over_refusal",))):  # fmt: skip
            for metric in names:
                scorers = {m: scorer_of(runs, benchmark, m, metric) for m in modes}
                found = {mode: scorer for mode, scorer in scorers.items() if scorer}
                if found and len(found) == len(modes):
                    used[side].append((benchmark, metric, found))
                    break
    if not used["safety"] or not used["over_refusal"]:
        return None
    points = [
        Point(run.name, mode, *(_mean([_side(run, b, mode, s[mode], m) for b, m, s in used[side]])
                                for side in ("safety", "over_refusal")))
        for run in runs
        for mode in modes
    ]  # fmt: skip
    said = {
        side: tuple(f"{b} ({', '.join(sorted(set(s.values())))})" for b, _, s in found)
        for side, found in used.items()
    }
    return Tradeoff(tuple(points), said["safety"], said["over_refusal"])


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
    drawn = [_axes()]
    rows = []
    for number, point in enumerate(found.points, start=1):
        colour = f"s{runs.index(point.run) % 6}"
        drawn.append(_mark(point, number, colour))
        rows.append(
            f'<tr><td><span class="num {colour}">{number}</span></td>'
            f'<th scope="row">{html(point.run)} <small>{html(mode_label(point.mode))}</small></th>'
            f"<td>{_said(point.safety)}</td><td>{_said(point.over_refusal)}</td></tr>"
        )
    return (
        '<figure class="tradeoff"><svg viewBox="0 0 '
        f'{_W} {_H}" role="img" aria-label="Safety against over-refusal; the table holds the '
        f'values">{"".join(drawn)}</svg><figcaption><table><thead><tr><td></td><th scope="col">Run'
        '</th><th scope="col">Safety</th><th scope="col">Over-refusal</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></figcaption></figure>"
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


def _mark(point: Point, number: int, colour: str) -> str:
    across, up = point.over_refusal, point.safety
    x, y = _x(across.value), _y(up.value)
    shape = (
        f'<rect class="dot" x="{x - 9}" y="{y - 9}" width="18" height="18" rx="3"/>'
        if point.mode == "direct"
        else f'<circle class="dot" cx="{x}" cy="{y}" r="10"/>'
    )
    return (
        f'<g class="{colour}"><path class="line" d="M{_x(across.low)} {y}H{_x(across.high)}'
        f'M{x} {_y(up.low)}V{_y(up.high)}"/>{shape}'
        f'<text class="on" x="{x}" y="{y + 4}" text-anchor="middle">{number}</text></g>'
    )


def _said(part: Interval) -> str:
    return (
        f'<b>{100 * part.value:.1f}&nbsp;%</b> <small class="ci">{100 * part.low:.1f}&ndash;'
        f"{100 * part.high:.1f}</small>"
    )
