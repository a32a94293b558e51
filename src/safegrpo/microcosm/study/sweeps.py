"""What a row becomes with one setting at several values, and what rows become over their steps."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import fmean, harmonic_mean
from typing import Protocol

from safegrpo.microcosm.study.compared import FAMILY
from safegrpo.microcosm.study.results import METRICS
from safegrpo.microcosm.study.study import HOME, OURS, Split, Study
from safegrpo.microcosm.study.tables import cell, column, points, table
from safegrpo.report.tables import code, in_cell

DRAWN = ("safety", "twin_accuracy", "over_refusal", "usefulness")

RATES = ("learning_rate", "sft_learning_rate", "unlinked_learning_rate")
CHOSEN_BY = ("safety", "over_refusal", "usefulness", "vqa_accuracy")
ALIKE = 0.005
"""Half a point, which a seed or two cannot tell apart."""

Line = list[tuple[float, float, float, float]]
"""x, mean, low, high; the last three in percent"""

ROLLOUTS = "rollouts"


class ShownSweep(Protocol):
    """What a page needs to know of a sweep: its title, and what its plot has across."""

    @property
    def title(self) -> str: ...
    @property
    def axis(self) -> str: ...


@dataclass(frozen=True)
class Swept:
    """A row at several values of a setting: (value, the name of the row that has it), in order.

    `own` is the value that the row itself has, None where that is not known.
    """

    row: str
    points: tuple[tuple[str, str], ...]
    own: str | None = None


@dataclass(frozen=True)
class Sweep:
    """The rows that one setting was varied in; `split` is the held-out set that all were asked."""

    key: str
    split: Split
    rows: tuple[Swept, ...]


def sweeps(study: Study, own: Mapping[str, str]) -> list[Sweep]:
    """The sweeps among the results, by the names of rows: `ROW@KEY=VALUE`.

    `own` holds the value that a row itself has, by `ROW@KEY`: where it is known, and the row was
    asked the same items, the row is a point as well.
    """
    found: dict[tuple[str, Split], dict[str, dict[str, str]]] = {}
    for name, runs in study.results.items():
        row, marked, setting = name.partition("@")
        key, _, value = setting.partition("=")
        if marked:
            for of in {result.split for result in runs.values()}:
                found.setdefault((key, of), {}).setdefault(row, {})[value] = name
    order = {row: place for place, (row, _) in enumerate(study.rows)}
    made = []
    for (key, split), by_row in sorted(found.items()):
        rows = []
        for row in sorted(by_row, key=lambda row: (order.get(row, len(order)), row)):
            named, itself = by_row[row], own.get(f"{row}@{key}")
            known = {_rank(value)[0] for value in named if _number(value) is not None}
            if itself is not None and _rank(itself)[0] not in known and study.of(row, split):
                named.setdefault(itself, row)
            ordered = sorted(named.items(), key=lambda point: _rank(point[0]))
            rows.append(Swept(row, tuple(ordered), itself))
        made.append(Sweep(key, split, tuple(rows)))
    return made


def sweep_table(study: Study, sweep: Sweep, axis: str = "") -> str:
    """A line for each row and value, every row in its home mode; with `axis` of `ROLLOUTS` also how
    many were sampled in training."""
    lines = []
    for swept in sweep.rows:
        for value, name in swept.points:
            cells = [cell(study.estimate(name, m, HOME, split=sweep.split)) for m in FAMILY]
            sampled = _rollouts(study, name, sweep.split)
            took = ["–" if sampled is None else f"{sampled:,.0f}"] if axis == ROLLOUTS else []
            seeds = str(len(study.of(name, sweep.split)))
            lines.append([code(swept.row), in_cell(value), *took, *cells, seeds])
    head = [ROLLOUTS] if axis == ROLLOUTS else []
    return table(["row", in_cell(sweep.key), *head, *map(column, FAMILY), "seeds"], lines)


def against_table(study: Study, sweep: Sweep) -> str:
    """Ours against each other row at the values that both have; empty if there are none."""
    by_row = {swept.row: dict(swept.points) for swept in sweep.rows}
    ours = by_row.pop(OURS, {}) if sweep.split == "test" else {}
    lines = []
    for row, others in by_row.items():
        for value in (value for value in ours if value in others):
            found = [study.compared(others[value], ours[value], metric) for metric in FAMILY]
            known = [one for one in found if one is not None]
            if known:
                cells = ["–" if one is None else points(one) for one in found]
                lines.append([code(row), in_cell(value), *cells, str(known[0].n_seeds)])
    head = ["against", in_cell(sweep.key), *map(column, FAMILY), "seeds"]
    return table(head, lines) if lines else ""


def chosen_lines(study: Study, sweep: Sweep) -> Iterator[str]:
    """By what a swept learning rate is chosen, and which one that is, as far as it was run, for
    each row; nothing for what was not swept to choose anything."""
    if sweep.key in RATES and sweep.split == "dev":
        for swept in sweep.rows:
            said = _chosen(study, swept, sweep.split)
            if said:
                yield f"- {code(swept.row)}: {said}"


def _chosen(study: Study, swept: Swept, split: Split) -> str:
    worth = {
        value: harmonic_mean(parts)
        for value, name in swept.points
        if (parts := _worth(study, name, split))
    }
    if not worth:
        return ""
    highest = max(worth.values())
    best = max((v for v in worth if worth[v] >= highest - ALIKE), key=_rank)
    said = f"{code(best)}, at {100 * worth[best]:.1f}"
    if swept.own is None or _rank(best)[0] == _rank(swept.own)[0]:  # however it is written
        return said
    return f"{said}; the row's own is {code(swept.own)}"


def _worth(study: Study, name: str, split: Split) -> list[float]:
    """Safety, 1 - over-refusal, usefulness and general VQA; empty if one of them is missing."""
    found = [study.estimate(name, metric, HOME, split=split) for metric in CHOSEN_BY]
    means = [1 - one[0] if metric == "over_refusal" else one[0]
             for metric, one in zip(CHOSEN_BY, found, strict=True) if one is not None]  # fmt: skip
    return means if len(means) == len(CHOSEN_BY) else []


def sweep_charts(study: Study, sweep: Sweep, axis: str = "") -> dict[str, dict[str, Line]]:
    """For each metric worth drawing a line for every row, over the values that are numbers, or over
    the rollouts that they came to; without a row that has fewer than two of them."""
    charts: dict[str, dict[str, Line]] = {}
    for swept in sweep.rows:
        placed = [
            (x, name)
            for value, name in swept.points
            if (x := _rollouts(study, name, sweep.split) if axis == ROLLOUTS else _number(value))
            is not None
        ]
        for metric in DRAWN if len(placed) > 1 else ():
            for x, name in placed:
                found = study.estimate(name, metric, HOME, split=sweep.split)
                if found is not None:
                    mean, low, high = (100 * part for part in found)
                    lines = charts.setdefault(METRICS[metric].title, {})
                    lines.setdefault(swept.row, []).append((x, mean, low, high))
    return charts


def step_charts(study: Study) -> dict[str, dict[str, Line]]:
    """For each metric worth drawing a line for every row that was measured three times or more
    while GRPO trained it, over percent of its steps.

    The mean of its seeds, and from the lowest of them to the highest: only rates are logged.
    """
    charts: dict[str, dict[str, Line]] = {}
    for metric in DRAWN:
        for row, _ in study.rows:
            by_step: dict[float, list[float]] = {}
            for step, value in _logged(study, row, f"eval/{study.home(row)}/{metric}"):
                by_step.setdefault(step, []).append(100 * value)
            if len(by_step) > 2:
                line = [(step, fmean(v), min(v), max(v)) for step, v in sorted(by_step.items())]
                charts.setdefault(METRICS[metric].title, {})[row] = line
    return charts


def _logged(study: Study, row: str, key: str) -> Iterator[tuple[float, float]]:
    for result in study.of(row).values():
        steps = result.training.steps if result.training is not None else 0
        for logged in result.curve:
            step, value = logged.get("step"), logged.get(key)
            if step is not None and value is not None and step <= steps:  # later is after GRPO
                yield 100 * step / max(steps, 1), value


def is_wide(charts: Mapping[str, Mapping[str, Line]]) -> bool:
    """Whether the values of x span so much that they are better drawn on a logarithmic axis."""
    values = [x for lines in charts.values() for line in lines.values() for x, *_ in line]
    return min(values) > 0 and max(values) / min(values) >= 10


def _rollouts(study: Study, name: str, split: Split) -> float | None:
    """How many rollouts training sampled, on average; None for what was not trained."""
    trained = [run.training for run in study.of(name, split).values() if run.training is not None]
    return fmean(one.rollouts for one in trained) if trained else None


def _number(value: str) -> float | None:
    try:
        number = float(value.removesuffix("m"))  # millions of parameters
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _rank(value: str) -> tuple[float, str]:
    number = _number(value)
    return (math.inf if number is None else number, value)
