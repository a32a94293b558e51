"""What runs measured, beside each other: the summary, and each benchmark to unfold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from safegrpo.report.changes import Change, Changes, NotCompared, Place, judges_of
from safegrpo.report.figures import BenchmarkFigures, Figure, Figures
from safegrpo.report.names import METRICS, by_interest, metric_label, mode_label
from safegrpo.report.plots import interval_bar
from safegrpo.report.runs import Evaluation, Runs
from safegrpo.report.text import html, visible
from safegrpo.report.tradeoff import interval

READING = """<p><b>Guided</b> answers were given with the thinking guide in the prompt,
<b>direct</b> answers to the plain prompt. In small print: the 95&nbsp;% interval, and n, the items
counted. What could not be judged is not counted as anything: <b>coverage</b> says how much was
judged, and “between” what the number would be if all the rest had gone one way or the other.</p>
<p>Runs are compared on the questions that both have, item for item and not by id alone; “in both”
says how many. Each of these changes has a p, and since all of them are looked at, they are adjusted
together (Holm): those of the summary with each other, those of further metrics below with all. A
change is better or worse if its 95&nbsp;% interval leaves out zero and its adjusted p is below
0.05; otherwise it may be chance. Where answers are not at hand, the two numbers are taken as
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
    body = []
    if changes:
        changes.settle(
            one
            for name, benchmark in benchmarks_of(runs).items()
            for one in _shown(runs, name, benchmark.headline)
        )
    for name, one in benchmarks_of(runs).items():
        found = list(_rows(runs, changes, name, one.headline))
        if found:
            said = ", ".join(filter(None, (one.measures, _part_of_set(runs, name))))
            measures = f"<small>{html(said)}</small>" if said else ""
            title = html(one.title or name)
            body.append(
                '<tbody><tr class="group"><th scope="rowgroup" '
                f'colspan="{len(runs.evaluations) + 1}">{title}{measures}</th></tr>'
                f"{''.join(found)}</tbody>"
            )
    if not body:
        return ""
    terms = "".join(f"<dt>{label}</dt><dd>{said}</dd>" for label, _, said in METRICS.values())
    return (
        f'<section id="summary"><h2>Summary</h2>{_table(runs, body)}'
        f'<details class="reading"><summary>How to read this</summary>{READING}<dl>{terms}</dl>'
        "</details></section>"
    )


def _table(runs: Runs, body: Sequence[str]) -> str:
    heads = "".join(
        f'<th scope="col">{html(run.name)}'
        + ("<small>baseline</small>" if run is runs.baseline else "")
        + "</th>"
        for run in runs.evaluations
    )
    many = " many" if len(runs.evaluations) > 4 else ""
    focus = ' tabindex="0" role="region" aria-label="Results, to scroll"' if many else ""
    return (
        f'<div class="wide"{focus}><table class="results{many}"><thead><tr><td></td>{heads}</tr>'
        f"</thead>{''.join(body)}</table></div>"
    )


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
    extent = _extent(runs, benchmark)
    return extent if " of the set" in extent else ""


def _rows(
    runs: Runs, changes: Changes | None, benchmark: str, metrics: Sequence[str]
) -> Iterator[str]:
    for metric in metrics:
        for mode, scorer in places(runs, benchmark):
            place = (benchmark, mode, scorer)
            figures = [_figure(run, place, metric) for run in runs.evaluations]
            if not any(figures):
                continue
            cells = []
            base = _figure(runs.baseline, place, metric) if runs.baseline else None
            for run, figure in zip(runs.evaluations, figures, strict=True):
                delta = changes.of(run, place, metric) if changes else None
                old = None if run is runs.baseline or isinstance(delta, NotCompared) else base
                cells.append(
                    f'<td data-run="{html(run.name)}">'
                    f"{_cell(figure, old, run is runs.baseline)}{_change(delta)}</td>"
                )
            short = METRICS[metric][1] if metric in METRICS else ""
            judges = judges_of(runs.evaluations, place)
            by = f"{scorer} by {' and '.join(judges)}" if judges else scorer
            yield (
                f'<tr><th scope="row">{html(metric_label(metric))} <span class="where">'
                f"{html(mode_label(mode))} · {html(by)}</span><small>{short}</small></th>"
                f"{''.join(cells)}</tr>"
            )


def places(runs: Runs, benchmark: str) -> list[tuple[str, str]]:
    return list(dict.fromkeys(
        (mode, scorer)
        for run in runs.evaluations if benchmark in run.figures.benchmarks
        for mode, answers in run.figures.benchmarks[benchmark].modes.items()
        for scorer in answers.scorers
    ))  # fmt: skip


def _figure(run: Evaluation, place: tuple[str, str, str], metric: str) -> Figure | None:
    scored = run.figures.scored(*place)
    return scored.metrics.get(metric) if scored else None


def _cell(figure: Figure | None, old: Figure | None, is_base: bool) -> str:
    if figure is None:
        return '<span class="none">not measured</span>'
    if figure.value is None or not figure.known:
        return f'<span class="none">nothing to judge of {figure.items} items</span>'
    now = interval(figure)
    was = interval(old) if old and old.known else None
    said = f"{100 * now.value:.1f} %" + (f", baseline {100 * was.value:.1f} %" if was else "")
    bar = interval_bar(now, None, said) if is_base else interval_bar(was, now, said)
    return (
        f'<p><b>{100 * now.value:.1f}<i>%</i></b> <small class="ci">{100 * now.low:.1f}&ndash;'
        f"{100 * now.high:.1f} · n&nbsp;{figure.n}</small></p>{bar}{_coverage(figure)}"
    )


def _coverage(figure: Figure) -> str:
    if figure.coverage is None:
        return ""
    if figure.coverage >= 1:
        return '<p class="ci">coverage 100&nbsp;%</p>'
    bounds = ""
    if figure.least is not None and figure.most is not None:
        bounds = f", between {100 * figure.least:.1f} and {100 * figure.most:.1f}"
    share = min(100 * figure.coverage, 99.9)
    return f'<p class="ci short">coverage {share:.1f}&nbsp;%{bounds}</p>'


def _change(delta: Change) -> str:
    if delta is None:
        return ""
    if isinstance(delta, NotCompared):
        return f'<p class="delta"><small class="ci">{html(delta.why)}</small></p>'
    points = 100 * delta.difference
    arrow = "▲" if points >= 0.05 else "▼" if points <= -0.05 else "="
    word = {"unclear": "may be chance", "": "changed"}.get(delta.verdict, delta.verdict)
    if abs(points) < 1e-9:
        word = "no change"
    kind = delta.verdict if delta.verdict in ("better", "worse") else "unsure"
    p = "" if delta.p is None else f" · p {'&lt; 0.001' if delta.p < 0.001 else f'{delta.p:.3f}'}"
    n = " · taken as independent" if delta.n is None else f" · {delta.n} in both"
    if delta.n is not None and delta.of and max(delta.of) > delta.n:
        n += f", of {delta.of[0]} and {delta.of[1]}"
    return (
        f'<p class="delta"><span class="change {kind}">{arrow} {_signed(points)} <em>{word}</em>'
        f'</span> <small class="ci">{_signed(100 * delta.low)} to {_signed(100 * delta.high)}{p}{n}'
        "</small></p>"
    )


def _signed(points: float) -> str:
    return f"{points:+.1f}".replace("-", "\N{MINUS SIGN}") if abs(points) >= 0.05 else "0.0"


def by_benchmark(runs: Runs, changes: Changes | None) -> str:
    """All metrics of each benchmark, and its headline by category and subset, to unfold."""
    blocks = []
    shown = {
        name: by_interest(
            metric
            for mode, scorer in places(runs, name)
            for run in runs.evaluations
            if (scored := run.figures.scored(name, mode, scorer))
            for metric in scored.metrics
        )
        for name in benchmarks_of(runs)
    }
    if changes:
        changes.settle(
            one for name, metrics in shown.items() for one in _shown(runs, name, metrics)
        )
    for name, one in benchmarks_of(runs).items():
        body = "".join(_rows(runs, changes, name, shown[name]))
        if not body:
            continue
        extent = ", ".join(filter(None, (one.measures, _extent(runs, name))))
        said = f"<small>{html(extent)}</small>"
        blocks.append(
            f"<details><summary>{html(one.title or name)} {said}</summary>"
            f"{_table(runs, [f'<tbody>{body}</tbody>'])}"
            f"{_parts(runs, name, one, 'categories')}{_parts(runs, name, one, 'subsets')}</details>"
        )
    return (
        f'<section id="benchmarks"><h2>By benchmark</h2>{"".join(blocks)}</section>'
        if blocks
        else ""
    )


def _parts(runs: Runs, benchmark: str, one: BenchmarkFigures, what: str) -> str:
    """Bars of the headline metrics by category or subset, one row a run and mode."""
    said = []
    for metric in one.headline:
        parts: dict[str, list[str]] = {}
        for run in runs.evaluations:
            for mode, scorer in places(runs, benchmark):
                scored = run.figures.scored(benchmark, mode, scorer)
                groups: dict[str, Figures] = getattr(scored, what) if scored else {}
                for group, figures in groups.items():
                    figure = figures.get(metric)
                    if figure is not None and figure.known:
                        label = f"{run.name} · {mode_label(mode)} · {scorer}"
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
