"""The other parts of a page with numbers; each returns HTML, empty where it has nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from safegrpo.report import tradeoff
from safegrpo.report.cells import places
from safegrpo.report.names import METRICS, mode_label, plain
from safegrpo.report.plots import curves
from safegrpo.report.runs import Runs
from safegrpo.report.text import html
from safegrpo.thinking import TAG_NAMES


def trade(runs: Runs) -> str:
    """Safety against over-refusal, a point a run and mode."""
    found = tradeoff.tradeoff([r for r in runs.evaluations if r.figures.benchmarks])
    if found is None:
        return ""
    head = '<section id="tradeoff"><h2>Safety against over-refusal</h2><p class="lead">'
    if isinstance(found, str):
        return f"{head}Not drawn: {html(found)}.</p></section>"
    return (
        f"{head}All by one scorer: {html(found.by)}. Safety over {_named(runs, found.safety)}; "
        f"over-refusal over {_named(runs, found.over_refusal)}. "
        f"Where there are several, each weighs the same. {html(tradeoff.marks(found))}; "
        f"lines are 95&nbsp;% intervals.</p>{tradeoff.figure(found)}</section>"
    )


def _named(runs: Runs, benchmarks: Sequence[str]) -> str:
    return html(", ".join(runs.titles[name] for name in benchmarks))


_MODALITIES = {"visual": "Image", "text": "Text", "combined": "Together"}
_Counts = Mapping[str, Mapping[str, int]]  # true tag -> stated tag -> count


def confusion(runs: Runs) -> str:
    """Tags as they were stated of tags as they are, a table a modality."""
    tables = []
    for tag in TAG_NAMES:
        rows = []
        for name in runs.titles:
            for run in runs.evaluations:
                for mode, scorer in places(runs, name):
                    scored = run.figures.scored(name, mode, scorer)
                    cells = (scored.confusion or {}).get(tag) if scored else None
                    if cells and any(sum(row.values()) for row in cells.values()):
                        of = [run.name] if len(runs.evaluations) > 1 else []
                        by = [scorer] if scorer != "rules" else []
                        where = " · ".join([*of, mode_label(mode), *by])
                        rows.append(_stated_row(runs.titles[name], where, cells))
        if rows:
            tables.append(
                f'<div class="stated"><table><caption>{_MODALITIES[tag]}</caption><thead><tr>'
                '<td></td><th scope="col">“unsafe” of known unsafe</th><th scope="col">“safe” of '
                'known safe</th><th scope="col">no tag stated</th></tr></thead>'
                f"<tbody>{''.join(rows)}</tbody></table></div>"
            )
    if not tables:
        return ""
    return (
        '<section id="tags"><h2>Stated tags</h2><p class="lead">How often the response states the '
        f'tag that is known to be right.</p><div class="tags">{"".join(tables)}</div></section>'
    )


def _stated_row(title: str, where: str, cells: _Counts) -> str:
    totals = {true: sum(cells.get(true, {}).values()) for true in ("unsafe", "safe")}
    shares = [_share(cells.get(true, {}).get(true, 0), totals[true]) for true in totals]
    shares.append(_share(sum(row.get("none", 0) for row in cells.values()), sum(totals.values())))
    return (
        f'<tr><th scope="row">{html(title)} <small>{html(where)}</small></th>'
        f"{''.join(f'<td>{said}</td>' for said in shares)}</tr>"
    )


def _share(count: int, total: int) -> str:
    if not total:
        return "–"
    return f"<b>{100 * count / total:.0f}&nbsp;%</b> <small>{count:,}/{total:,}</small>"


def training(runs: Runs) -> str:
    """Reward and rates over the steps."""
    sections = []
    for run in runs.trainings:
        if len(runs.trainings) > 1:
            sections.append(f"<h3>{html(run.name)}</h3>")
        for title, figures in curves(run.history, list(METRICS)):
            columns = " two" if len(figures) in (2, 4) else ""  # no row with a lone plot at its end
            grid = f'<div class="plots{columns}">{"".join(figures)}</div>'
            sections.append(
                f"<details><summary>{title}</summary>{grid}</details>"
                if title == "Other logged values"
                else f"<h3>{title}</h3>{grid}"
            )
    if not sections:
        return ""
    return f'<section id="training"><h2>Over the steps</h2>{"".join(sections)}</section>'


def cost(runs: Runs) -> str:
    """Tokens of every run, benchmark and mode."""
    rows = []
    for run in runs.evaluations:
        for name, one in run.figures.benchmarks.items():
            for mode, answers in one.modes.items():
                tokens = answers.tokens
                mean = tokens.mean_completion
                cells = (
                    ("answers", f"{answers.generated:,}"),
                    ("errors", f"{answers.errors:,}"),
                    ("cut", _count(answers.cut)),
                    ("empty", _count(answers.empty)),
                    ("prompt tokens", _count(tokens.prompt)),
                    ("completion tokens", _count(tokens.completion)),
                    ("mean completion", "–" if mean is None else f"{mean:,.1f}"),
                )  # fmt: skip
                tds = "".join(f'<td data-run="{head}">{said}</td>' for head, said in cells)
                of = f"{run.name} · {mode_label(mode)}"
                where = f"{html(runs.titles[name])} <small>{html(of)}</small>"
                rows.append(f'<tr><th scope="row">{where}</th>{tds}</tr>')
    if not rows:
        return ""
    heads = "".join(
        f'<th scope="col">{head}</th>'
        for head in ("Answers", "Errors", "Cut at the limit", "Empty", "Prompt tokens",
                     "Completion tokens", "Mean completion")
    )  # fmt: skip
    return (
        '<section id="cost"><h2>Cost</h2><div class="wide"><table class="results small"><thead><tr>'
        f"<td></td>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div></section>"
    )


def _count(number: int | None) -> str:
    return "–" if number is None else f"{number:,}"


def left_out(runs: Runs) -> list[str]:
    """What benchmarks skipped, in words."""
    return [
        f"{run.name}: {runs.titles[name]}: {count} items skipped ({plain(reason)})"
        for run in runs.evaluations
        for name, one in run.figures.benchmarks.items()
        for reason, count in one.skipped.items()
        if count
    ]
