"""What a row becomes with one setting at several values, and what rows become over their steps."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, harmonic_mean

from safegrpo.microcosm.study.results import METRICS
from safegrpo.microcosm.study.study import HOME, Split, Study
from safegrpo.microcosm.study.tables import cell, column, table
from safegrpo.report.tables import code, in_cell

SHOWN = (
    *("safety", "compositional_safety", "twin_accuracy", "over_refusal", "usefulness"),
    "vqa_accuracy",
)
DRAWN = ("safety", "twin_accuracy", "over_refusal", "usefulness")

RATES = ("learning_rate", "sft_learning_rate")
CHOSEN_BY = ("safety", "over_refusal", "usefulness", "vqa_accuracy")
ALIKE = 0.005
"""Half a point, which a seed or two cannot tell apart."""

Line = list[tuple[float, float, float, float]]
"""x, mean, low, high; the last three in percent"""


@dataclass(frozen=True)
class Sweep:
    """A row at several values of a setting: (value, the name of the row that has it), in order.

    `split` is the held-out set that all of them were asked, `own` the value that the row itself
    has, None where that is not known.
    """

    row: str
    key: str
    points: tuple[tuple[str, str], ...]
    split: Split
    own: str | None = None


def sweeps(study: Study, own: Mapping[str, str]) -> list[Sweep]:
    """The sweeps among the results, by the names of rows: `ROW@KEY=VALUE`.

    `own` holds the value that the row itself has, by `ROW@KEY`: where it is known, and the row was
    asked the same items, the row is a point as well.
    """
    found: dict[tuple[str, str, Split], dict[str, str]] = {}
    for name, runs in study.results.items():
        row, marked, setting = name.partition("@")
        key, _, value = setting.partition("=")
        if marked:
            for of in {result.split for result in runs.values()}:
                found.setdefault((row, key, of), {})[value] = name
    made = []
    for (row, key, split), points in sorted(found.items()):
        itself = own.get(f"{row}@{key}")
        if itself is not None and study.of(row, split):
            points.setdefault(itself, row)
        ordered = sorted(points.items(), key=lambda point: _rank(point[0]))
        made.append(Sweep(row, key, tuple(ordered), split, itself))
    return made


def curve_table(study: Study, sweep: Sweep) -> str:
    """A line for each value, every row in its home mode."""
    lines = []
    for value, name in sweep.points:
        cells = [cell(study.estimate(name, m, HOME, split=sweep.split)) for m in SHOWN]
        seeds = str(len(study.of(name, sweep.split)))
        lines.append([in_cell(value), *cells, seeds])
    return table([in_cell(sweep.key), *map(column, SHOWN), "seeds"], lines)


def chosen_text(study: Study, sweep: Sweep) -> str:
    """By what a swept learning rate is chosen, and which one that is, as far as it was run; empty
    for what was not swept to choose anything."""
    if sweep.key not in RATES or sweep.split != "dev":
        return ""
    worth = {
        value: harmonic_mean(parts)
        for value, name in sweep.points
        if (parts := _worth(study, name, sweep.split))
    }
    if not worth:
        return ""
    highest = max(worth.values())
    best = max((v for v in worth if worth[v] >= highest - ALIKE), key=_rank)
    said = f"Chosen: {code(best)}, at {100 * worth[best]:.1f}"
    if sweep.own is None:
        return f"{said}."
    if _rank(best)[0] == _rank(sweep.own)[0]:  # the same number, however it is written
        return f"{said}: the row's own."
    return f"{said}; the row's own is {code(sweep.own)}."


def _worth(study: Study, name: str, split: Split) -> list[float]:
    """Safety, 1 - over-refusal, usefulness and general VQA; empty if one of them is missing."""
    found = [study.estimate(name, metric, HOME, split=split) for metric in CHOSEN_BY]
    means = [1 - one[0] if metric == "over_refusal" else one[0]
             for metric, one in zip(CHOSEN_BY, found, strict=True) if one is not None]  # fmt: skip
    return means if len(means) == len(CHOSEN_BY) else []


def sweep_lines(study: Study, sweep: Sweep) -> dict[str, Line]:
    """A line for each metric worth drawing, over the values that are numbers; none for fewer than
    two of them."""
    placed = [(x, name) for value, name in sweep.points if (x := _number(value)) is not None]
    lines: dict[str, Line] = {}
    for metric in DRAWN if len(placed) > 1 else ():
        for x, name in placed:
            found = study.estimate(name, metric, HOME, split=sweep.split)
            if found is not None:
                mean, low, high = (100 * part for part in found)
                lines.setdefault(METRICS[metric].title, []).append((x, mean, low, high))
    return lines


def step_lines(study: Study, metric: str) -> dict[str, Line]:
    """A line for each row that was measured while it was trained, over the steps.

    The mean of its seeds, and from the lowest of them to the highest: only rates are logged.
    """
    lines: dict[str, Line] = {}
    for row, title in study.rows:
        by_step: dict[float, list[float]] = {}
        for step, value in _logged(study, row, f"eval/{study.home(row)}/{metric}"):
            by_step.setdefault(step, []).append(100 * value)
        if len(by_step) > 1:
            ordered = sorted(by_step.items())
            lines[title] = [(step, fmean(v), min(v), max(v)) for step, v in ordered]
    return lines


def _logged(study: Study, row: str, key: str) -> Iterator[tuple[float, float]]:
    for result in study.of(row).values():
        for logged in result.curve:
            step, value = logged.get("step"), logged.get(key)
            if step is not None and value is not None:
                yield step, value


def is_wide(lines: Mapping[str, Sequence[tuple[float, float, float, float]]]) -> bool:
    """Whether the values of x span so much that they are better drawn on a logarithmic axis."""
    values = [point[0] for line in lines.values() for point in line]
    return min(values) > 0 and max(values) / min(values) >= 10


def _number(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _rank(value: str) -> tuple[float, str]:
    number = _number(value)
    return (math.inf if number is None else number, value)
