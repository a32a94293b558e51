"""A table of results: a metric's rows by mode and scorer, and in each a cell for every run."""

from __future__ import annotations

from collections.abc import Sequence

from safegrpo.report.changes import (
    SIGNIFICANT,
    Change,
    Changes,
    Delta,
    NotCompared,
    Place,
    judges_of,
)
from safegrpo.report.figures import Figure
from safegrpo.report.names import METRICS, metric_label, mode_label
from safegrpo.report.plots import interval_bar
from safegrpo.report.runs import Evaluation, Runs
from safegrpo.report.text import html
from safegrpo.report.tradeoff import interval

_SCALE = '<span class="scale" aria-hidden="true"><i>0</i><i>50</i><i>100&nbsp;%</i></span>'


def table(runs: Runs, body: Sequence[str]) -> str:
    """`body` (groups of rows) under the names of the runs, each with the scale of its bars."""
    heads = "".join(
        f'<th scope="col"><div class="cell"><span class="said">{html(run.name)}'
        + ("<small>baseline</small>" if run is runs.baseline else "")
        + f"</span>{_SCALE}</div></th>"
        for run in runs.evaluations
    )
    kind = {1: " solo"}.get(len(runs.evaluations), " many" if len(runs.evaluations) > 4 else "")
    focus = ' tabindex="0" role="region" aria-label="Results, to scroll"' if kind == " many" else ""
    return (
        f'<div class="wide"{focus}><table class="results{kind}"><thead><tr><td></td><td></td>'
        f"{heads}</tr></thead>{''.join(body)}</table></div>"
    )


def places(runs: Runs, benchmark: str) -> list[tuple[str, str]]:
    """The modes and scorers of any run."""
    return list(dict.fromkeys(
        (mode, scorer)
        for run in runs.evaluations if benchmark in run.figures.benchmarks
        for mode, answers in run.figures.benchmarks[benchmark].modes.items()
        for scorer in answers.scorers
    ))  # fmt: skip


def metric_rows(runs: Runs, changes: Changes | None, benchmark: str, metric: str) -> str:
    """A metric's group of rows; empty where no run has it."""
    rows = []
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
        judges = judges_of(runs.evaluations, place)
        by = f"{scorer} by {' and '.join(judges)}" if judges else scorer
        where = html(f"{mode_label(mode)} · {by}")
        rows.append(f'<th class="where" scope="row">{where}</th>{"".join(cells)}</tr>')
    if not rows:
        return ""
    short = METRICS[metric][1] if metric in METRICS else ""
    return (
        f'<tbody><tr><th rowspan="{len(rows)}" scope="rowgroup">{html(metric_label(metric))}'
        f"<small>{short}</small></th>{'<tr>'.join(rows)}</tbody>"
    )


def _figure(run: Evaluation, place: Place, metric: str) -> Figure | None:
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
        f'<div class="cell"><p class="said"><b>{100 * now.value:.1f}<i>%</i></b> '
        f'<small class="ci">{100 * now.low:.1f}&ndash;{100 * now.high:.1f} · '
        f"n&nbsp;{figure.n}</small></p>{bar}</div>{_coverage(figure)}"
    )


def _coverage(figure: Figure) -> str:
    """How much is known, where that is not all."""
    if figure.coverage is None or figure.coverage >= 1:
        return ""
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
    word = {"unclear": "may be chance"}.get(delta.verdict, delta.verdict)
    if abs(points) < 1e-9:
        word = "no change"
    kind = delta.verdict if delta.verdict in ("better", "worse") else "unsure"
    n = " · taken as independent" if delta.n is None else f" · {delta.n} in both"
    if delta.n is not None and delta.of and max(delta.of) > delta.n:
        n += f", of {delta.of[0]} and {delta.of[1]}"
    return (
        f'<p class="delta"><span class="change {kind}">{arrow} {_signed(points)} <em>{word}</em>'
        f'</span> <small class="ci">{_signed(100 * delta.low)} to {_signed(100 * delta.high)}'
        f"{_p(delta)}{n}</small></p>"
    )


def _p(delta: Delta) -> str:
    """The p; where the interval leaves out zero, and it is unclear all the same, also why."""
    if delta.p is None:
        return ""
    p = "p &lt; 0.001" if delta.p < 0.001 else f"p {delta.p:.3f}"
    if delta.verdict != "unclear" or delta.low <= 0 <= delta.high:
        return f" · {p}"
    if delta.alone is not None and delta.alone < SIGNIFICANT:
        return f" · {p} after Holm"
    return f" · too few to tell: {p}"


def _signed(points: float) -> str:
    return f"{points:+.1f}".replace("-", "\N{MINUS SIGN}") if abs(points) >= 0.05 else "0.0"
