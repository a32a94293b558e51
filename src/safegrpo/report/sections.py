"""The other parts of a page with numbers; each returns HTML, empty where it has nothing."""

from __future__ import annotations

from safegrpo.report import tradeoff
from safegrpo.report.comparison import places
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
        f"{head}All by one scorer: {html(found.by)}. Safety over "
        f"{html(', '.join(found.safety))}; over-refusal over "
        f"{html(', '.join(found.over_refusal))}. "
        f"Where there are several, each weighs the same. {html(tradeoff.marks(found))}; "
        f"lines are 95&nbsp;% intervals.</p>{tradeoff.figure(found)}</section>"
    )


def confusion(runs: Runs) -> str:
    """Tags as they are against tags as they were stated."""
    tables = []
    for run in runs.evaluations:
        for name in run.figures.benchmarks:
            for mode, scorer in places(runs, name):
                scored = run.figures.scored(name, mode, scorer)
                for tag in TAG_NAMES:
                    cells = (scored.confusion or {}).get(tag) if scored else None
                    if cells and any(sum(row.values()) for row in cells.values()):
                        label = f"{run.name} · {name} · {mode_label(mode)} · {scorer}"
                        tables.append(_matrix(tag, label, cells))
    if not tables:
        return ""
    return (
        '<section id="tags"><h2>Stated tags</h2><p class="lead">Rows: what is true. Columns: what '
        "the response states. Read along a row; the framed cells are right.</p>"
        f'<div class="matrices">{"".join(tables)}</div></section>'
    )


def _matrix(tag: str, label: str, cells: dict[str, dict[str, int]]) -> str:
    heads = ("safe", "unsafe", "none")
    rows = []
    for true in ("safe", "unsafe"):
        counts = cells.get(true, {})
        total = sum(counts.values())
        row = "".join(
            f'<td class="{"right" if true == head else ""} f{_tenth(counts.get(head, 0), total)}">'
            f"{counts.get(head, 0)}</td>"
            for head in heads
        )
        rows.append(f'<tr><th scope="row">{true}</th>{row}</tr>')
    columns = "".join(f'<th scope="col">{head}</th>' for head in heads)
    name = {"visual": "Image", "text": "Text", "combined": "Together"}[tag]
    return (
        f'<div class="matrix"><table><caption><b>{name}</b> <small>{html(label)}</small></caption>'
        f"<thead><tr><td></td>{columns}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _tenth(count: int, total: int) -> int:
    return round(10 * count / total) if total else 0


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
                    ("prompt tokens", "–" if tokens.prompt is None else f"{tokens.prompt:,}"),
                    ("completion tokens",
                     "–" if tokens.completion is None else f"{tokens.completion:,}"),
                    ("mean completion", "–" if mean is None else f"{mean:,.1f}"),
                )  # fmt: skip
                tds = "".join(f'<td data-run="{head}">{said}</td>' for head, said in cells)
                where = f"{html(name)} <small>{html(run.name)} · {html(mode_label(mode))}</small>"
                rows.append(f'<tr><th scope="row">{where}</th>{tds}</tr>')
    if not rows:
        return ""
    heads = "".join(
        f'<th scope="col">{head}</th>'
        for head in ("Answers", "Errors", "Prompt tokens", "Completion tokens", "Mean completion")
    )
    return (
        '<section id="cost"><h2>Cost</h2><div class="wide"><table class="results small"><thead><tr>'
        f"<td></td>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div></section>"
    )


def left_out(runs: Runs) -> list[str]:
    """What benchmarks skipped, in words."""
    return [
        f"{run.name}: {name}: {count} items skipped ({plain(reason)})"
        for run in runs.evaluations
        for name, one in run.figures.benchmarks.items()
        for reason, count in one.skipped.items()
        if count
    ]
