"""What runs measured, beside each other: the summary, and each benchmark to unfold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from safegrpo.report.cells import metric_rows, places, table
from safegrpo.report.changes import Changes, Place
from safegrpo.report.figures import BenchmarkFigures, Figure, Figures
from safegrpo.report.names import METRICS, by_interest, headlines, metric_label, mode_label
from safegrpo.report.plots import interval_bar
from safegrpo.report.runs import Evaluation, Runs
from safegrpo.report.text import html, visible
from safegrpo.report.tradeoff import interval

READING = """<p><b>Guided</b> answers were given with the thinking guide in the prompt,
<b>direct</b> answers to the plain prompt. In small print: the 95&nbsp;% interval, and n, the items
counted. What could not be judged is not counted as anything: where that is some of it,
<b>coverage</b> says how much was judged, and “between” what the number would be if all the rest had
gone one way or the other.</p>
<p>Runs are compared on the questions that both have, item for item and not by id alone; “in both”
says how many. Each of these changes has a p, and since all of them are looked at, they are adjusted
together (Holm): those of the summary with each other, those of further metrics below with all. A
change is better or worse if its 95&nbsp;% interval leaves out zero and its adjusted p is below
0.05; otherwise it may be chance, also if the interval alone says otherwise: it knows nothing of the
other comparisons (“after Holm”), and is too narrow where few answers changed (“too few to tell”).
Where answers are not at hand, the two numbers are taken as
independent, and the interval alone decides, for that comparison alone. Numbers of different judges
are not compared.</p>"""


def benchmarks_of(runs: Runs) -> dict[str, BenchmarkFigures]:
    """Every benchmark of any run, told as the first run that has it tells it."""
    found: dict[str, BenchmarkFigures] = {}
    for run in runs.evaluations:
        for name, one in run.figures.benchmarks.items():
            found.setdefault(name, one)
    return found


def summary(runs: Runs, changes: Changes | None) -> str:
    """The headline of every benchmark, one column a run."""
    shown = {name: _headlines(runs, name) for name in benchmarks_of(runs)}
    if changes:
        changes.settle(
            one for name, metrics in shown.items() for one in _shown(runs, name, metrics)
        )
    body = []
    for name, one in benchmarks_of(runs).items():
        found = [metric_rows(runs, changes, name, metric) for metric in shown[name]]
        if any(found):
            said = ", ".join(filter(None, (one.measures, _part_of_set(runs, name))))
            measures = f"<small>{html(said)}</small>" if said else ""
            flaws = "".join(f'<p class="flaw">{html(flaw)}</p>' for flaw in _flaws(runs, name))
            body.append(
                '<tbody><tr class="group"><th scope="rowgroup" '
                f'colspan="{len(runs.evaluations) + 2}">{html(runs.titles[name])}{measures}{flaws}'
                "</th></tr></tbody>"
            )
            body += found
    if not body:
        return ""
    terms = "".join(f"<dt>{label}</dt><dd>{said}</dd>" for label, _, said in METRICS.values())
    return (
        f'<section id="summary"><h2>Summary</h2>{table(runs, body)}'
        f'<details class="reading"><summary>How to read this</summary>{READING}<dl>{terms}</dl>'
        "</details></section>"
    )


def _headlines(runs: Runs, benchmark: str) -> list[str]:
    return headlines(benchmarks_of(runs)[benchmark].headline, _measured(runs, benchmark))


def _measured(runs: Runs, benchmark: str) -> list[str]:
    """The metrics of any run, mode and scorer, in the order of interest."""
    return by_interest(
        metric
        for mode, scorer in places(runs, benchmark)
        for run in runs.evaluations
        if (scored := run.figures.scored(benchmark, mode, scorer))
        for metric in scored.metrics
    )


def _flaws(runs: Runs, benchmark: str) -> Iterator[str]:
    """Where many responses were cut or are empty: numbers of those say less than they seem to."""
    for run in runs.evaluations:
        one = run.figures.benchmarks.get(benchmark)
        of = f"{run.name}, " if len(runs.evaluations) > 1 else ""
        for mode, answers in one.modes.items() if one else ():
            yield from (f"{of}{mode_label(mode)}: {said}" for said in answers.silent)


def _shown(
    runs: Runs, benchmark: str, metrics: Sequence[str]
) -> Iterator[tuple[Evaluation, Place, str]]:
    """Every comparison in the rows of these metrics."""
    for metric in metrics:
        for mode, scorer in places(runs, benchmark):
            for run in runs.evaluations:
                yield run, (benchmark, mode, scorer), metric


def _extent(runs: Runs, benchmark: str) -> str:
    """How many items there are; by run where runs differ."""
    said = {
        run.name: run.figures.benchmarks[benchmark].extent
        for run in runs.evaluations
        if benchmark in run.figures.benchmarks
    }
    if len(set(said.values())) == 1:
        return next(iter(said.values()))
    return "; ".join(f"{run}: {extent}" for run, extent in said.items())


def _part_of_set(runs: Runs, benchmark: str) -> str:
    """The extent, unless all runs have all of the set, as far as its size is known."""
    found = (run.figures.benchmarks.get(benchmark) for run in runs.evaluations)
    return _extent(runs, benchmark) if any(one and one.partial for one in found) else ""


def by_benchmark(runs: Runs, changes: Changes | None) -> str:
    """All metrics of each benchmark, and its headline by category and subset, to unfold."""
    blocks = []
    shown = {name: _measured(runs, name) for name in benchmarks_of(runs)}
    if changes:
        changes.settle(
            one for name, metrics in shown.items() for one in _shown(runs, name, metrics)
        )
    for name, one in benchmarks_of(runs).items():
        body = [metric_rows(runs, changes, name, metric) for metric in shown[name]]
        if not any(body):
            continue
        extent = ", ".join(filter(None, (one.measures, _extent(runs, name))))
        said = f"<small>{html(extent)}</small>"
        blocks.append(
            f"<details><summary>{html(runs.titles[name])} {said}</summary>{table(runs, body)}"
            f"{_parts(runs, name, 'categories')}{_parts(runs, name, 'subsets')}</details>"
        )
    return (
        f'<section id="benchmarks"><h2>By benchmark</h2>{"".join(blocks)}</section>'
        if blocks
        else ""
    )


def _parts(runs: Runs, benchmark: str, what: str) -> str:
    """Bars of the headline metrics by category or subset, one row a run and mode."""
    said = []
    for metric in _headlines(runs, benchmark):
        parts: dict[str, list[str]] = {}
        for run in runs.evaluations:
            for mode, scorer in places(runs, benchmark):
                scored = run.figures.scored(benchmark, mode, scorer)
                groups: dict[str, Figures] = getattr(scored, what) if scored else {}
                for group, figures in groups.items():
                    figure = figures.get(metric)
                    if figure is not None and figure.known:
                        label = f"{mode_label(mode)} · {scorer}"
                        if len(runs.evaluations) > 1:
                            label = f"{run.name} · {label}"
                        parts.setdefault(group, []).append(
                            _part_row(label, figure, run is runs.baseline)
                        )
        groups_said = "".join(
            f'<div class="part"><h4>{html(group or "no name")}</h4>{"".join(rows)}</div>'
            for group, rows in parts.items()
        )
        if groups_said:
            title = f"{metric_label(metric)} by {'category' if what == 'categories' else 'subset'}"
            said.append(f'<h3>{html(title)}</h3><div class="parts">{groups_said}</div>')
    return "".join(said)


def _part_row(label: str, figure: Figure, is_base: bool) -> str:
    now = interval(figure)
    said = f"{label}: {100 * now.value:.1f} %"
    bar = interval_bar(now if is_base else None, None if is_base else now, visible(said))
    return (
        f'<p class="row"><span>{html(label)}</span>{bar}<span><b>{100 * now.value:.1f}&nbsp;%</b> '
        f'<small class="ci">{100 * now.low:.1f}&ndash;{100 * now.high:.1f} · n&nbsp;{figure.n}'
        "</small></span></p>"
    )
