"""What runs measured as rows of a table, and the axes of the SafeGRPO paper made of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from safegrpo.report.figures import Figure, RunFigures
from safegrpo.report.public import judge_name


@dataclass(frozen=True)
class Row:
    """One scorer's metrics of one benchmark in one mode of a run.

    `judge` is who was asked, empty for rules. `headline` are the metrics that the set names.
    """

    run: str
    mode: str
    benchmark: str
    title: str
    scorer: str
    judge: str
    headline: tuple[str, ...]
    metrics: Mapping[str, Figure]


@dataclass(frozen=True)
class Axis:
    """An axis of the paper in one mode of a run, by one scorer: the plain mean over `sets`.

    `measure` names the metrics that went in. `absent` are the axis's sets that this scorer did not
    measure, so that a mean over fewer is not taken for the whole.
    """

    run: str
    mode: str
    scorer: str
    name: str
    measure: str
    sets: tuple[str, ...]
    absent: tuple[str, ...]
    figure: Figure

    @property
    def telling(self) -> bool:
        """Whether it says more than the one set it is of, by being all of the axis or a mean."""
        return not self.absent or len(self.sets) > 1


def rows_of_runs(runs: Mapping[str, RunFigures]) -> tuple[Row, ...]:
    """A row for each run (by name), benchmark, mode and scorer, in the order of the files."""
    return tuple(
        Row(
            run=run,
            mode=mode,
            benchmark=name,
            title=benchmark.title or name,
            scorer=scorer,
            judge=judge_name(scored.judge),
            headline=tuple(benchmark.headline),
            metrics=scored.metrics,
        )
        for run, figures in runs.items()
        for name, benchmark in figures.benchmarks.items()
        for mode, measured in benchmark.modes.items()
        for scorer, scored in measured.scorers.items()
    )


# Name -> sets, and the metric, or the first of several, that each is measured by. The paper names
# four general sets of its five; MM-Vet stands in for the fifth. Which part of VLGuard it took is
# not known: here `safety` counts what is to be refused.
AXES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "jailbreak defence": (("figstep", "vlguard", "mm_safetybench"), ("safety",)),
    "safety awareness": (("siuo",), ("safety",)),
    "over-sensitivity": (("mossbench",), ("over_refusal",)),
    "general ability": (
        ("scienceqa", "iconqa", "mathvista", "pope", "mmvet"),
        ("accuracy", "score"),
    ),
}


def axes(rows: Sequence[Row]) -> tuple[Axis, ...]:
    """The paper's axes of each run, mode and scorer, as far as its sets were measured.

    An axis is the plain mean over its sets, whatever their sizes. Scorers are never mixed: what two
    of them call safe is not the same. A part of a set (`figstep_tiny`) is not that set. The
    interval takes the sets as independent.
    """
    found = []
    for run, mode, scorer in dict.fromkeys((row.run, row.mode, row.scorer) for row in rows):
        own = {
            row.benchmark: row.metrics
            for row in rows
            if (row.run, row.mode, row.scorer) == (run, mode, scorer)
        }
        for name, (sets, metrics) in AXES.items():
            picked = {
                one: metric
                for one in sets
                for metric in metrics[::-1]  # the first that is known stays
                if one in own and metric in own[one] and own[one][metric].known
            }
            if picked:
                found.append(
                    Axis(
                        run=run,
                        mode=mode,
                        scorer=scorer,
                        name=name,
                        measure=", ".join(dict.fromkeys(picked.values())),
                        sets=tuple(picked),
                        absent=tuple(one for one in sets if one not in picked),
                        figure=_mean([own[one][metric] for one, metric in picked.items()]),
                    )
                )
    return tuple(found)


def _mean(figures: Sequence[Figure]) -> Figure:
    """The plain mean of independent figures that are known.

    Its interval adds the squared distances of each figure's ends from its value (Zou and Donner
    2008, "Construction of confidence limits about effect measures").
    """
    k = len(figures)
    values = [figure.value or 0.0 for figure in figures]
    value = min(1.0, math.fsum(values) / k)
    ends = {
        name: [end for figure in figures if (end := getattr(figure, name)) is not None]
        for name in ("low", "high", "least", "most")
    }
    whole = {name for name, numbers in ends.items() if len(numbers) == k}
    n, items = sum(figure.n for figure in figures), sum(figure.items for figure in figures)
    return Figure(
        value=value,
        n=n,
        items=items,
        coverage=min(1.0, n / items) if items else None,
        low=max(0.0, value - math.dist(values, ends["low"]) / k) if "low" in whole else None,
        high=min(1.0, value + math.dist(values, ends["high"]) / k) if "high" in whole else None,
        least=min(1.0, math.fsum(ends["least"]) / k) if "least" in whole else None,
        most=min(1.0, math.fsum(ends["most"]) / k) if "most" in whole else None,
        better=figures[0].better,
    )
