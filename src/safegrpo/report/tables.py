"""Tables of results, for a page, a paper, a spreadsheet and a program.

A number is never shown without its interval and its n, nor, where some items are missing, without
how many. Names come from files: each format escapes them in its own way.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from safegrpo.evaluation.metrics import TITLES
from safegrpo.report.figures import Figure
from safegrpo.report.names import plain
from safegrpo.report.results import Axis, Row, axes

COLUMNS = (
    *("run", "mode", "benchmark", "scorer", "metric", "value", "low", "high"),
    *("n", "items", "coverage", "least", "most", "better"),
)
"""Of the long table: one row for each metric."""

_HEAD = ("run", "mode", "benchmark", "scorer")
_AXES_HEAD = ("run", "mode", "scorer", "axis", "value", "sets")
_ARROWS = {"higher": " ↑", "lower": " ↓"}
_NOTE = (
    "Percent, with the 95 % interval in brackets and n, the items behind it. Where items are "
    "missing, the share that is known follows, and what the value would be if all the others "
    "counted 0, or 1. A dash: nothing is known. Blank: not measured by this scorer."
)
_AXES_NOTE = (
    "Axes as in the SafeGRPO paper: plain means over the sets named, by one scorer. An axis that "
    "lacks sets is not comparable with one that has them."
)


def as_json(rows: Sequence[Row]) -> str:
    """`{"format", "rows": [one for each metric], "axes": [...]}`; values are fractions."""
    said = {
        "format": 1,
        "rows": list(_long(rows)),
        "axes": [
            {**{k: v for k, v in vars(axis).items() if k != "figure"}, **axis.figure.model_dump()}
            for axis in axes(rows)
        ],
    }
    return json.dumps(said, indent=2, allow_nan=False) + "\n"


def as_csv(rows: Sequence[Row]) -> str:
    """One line for each metric, under `COLUMNS`; values are fractions, empty where unknown."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for said in _long(rows):
        values = (said[name] for name in COLUMNS)
        writer.writerow([_inert(v) if isinstance(v, str) else v for v in values])
    return out.getvalue()


def _long(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    for row in rows:
        for metric, figure in row.metrics.items():
            yield {
                **{name: getattr(row, name) for name in _HEAD},
                "metric": metric,
                **figure.model_dump(),
            }


def _inert(text: str) -> str:
    """`text` on one line, and with a quote before what a spreadsheet would compute."""
    text = one_line(text)
    first = unicodedata.normalize("NFKC", text.lstrip(" '\""))[:1]
    return f"'{text}" if first and first in "=+-@" else text


def as_markdown(rows: Sequence[Row]) -> str:
    """The headline metrics, a row for each run, mode, benchmark and scorer; then the axes."""
    if not rows:
        return "Nothing was measured.\n"
    metrics = _headlines(rows)
    head = [*_HEAD, *(in_cell(_heading(rows, one)) for one in metrics)]
    table = _markdown(head, ([*map(in_cell, _names(row)), *_cells(row, metrics)] for row in rows))
    found = axes(rows)
    if not found:
        return f"{table}\n{_NOTE}\n"
    return (
        f"{table}\n{_NOTE}\n\n{_markdown(_AXES_HEAD, _axis_rows(found, in_cell))}\n{_AXES_NOTE}\n"
    )


def _markdown(head: Sequence[str], lines: Iterator[list[str]]) -> str:
    shown = [list(head), ["---"] * len(head), *lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in shown)


def as_latex(rows: Sequence[Row]) -> str:
    """The same two tables as `tabular`s for the package booktabs, whose notes are comments."""
    metrics = _headlines(rows)
    head = [*_HEAD, *(_heading(rows, one) for one in metrics)]
    lines = [[*map(latex, _names(row)), *map(latex, _cells(row, metrics))] for row in rows]
    text = f"% {_NOTE}\n{_tabular('llll' + 'r' * len(metrics), head, lines)}"
    found = axes(rows)
    if found:
        shown = [[*line[:4], latex(line[4]), line[5]] for line in _axis_rows(found, latex)]
        text += f"\n% {_AXES_NOTE}\n{_tabular('llllrl', _AXES_HEAD, shown)}"
    return text


def _tabular(form: str, head: Sequence[str], lines: Sequence[list[str]]) -> str:
    body = "".join(f"{' & '.join(line)} \\\\\n" for line in lines)
    return (
        f"\\begin{{tabular}}{{{form}}}\n\\toprule\n{' & '.join(map(latex, head))} \\\\\n"
        f"\\midrule\n{body}\\bottomrule\n\\end{{tabular}}\n"
    )


def _names(row: Row) -> tuple[str, ...]:
    return row.run, row.mode, row.title, row.scorer


def _headlines(rows: Sequence[Row]) -> list[str]:
    """The columns, in order of appearance; all the metrics of a set that names none."""
    return list(dict.fromkeys(one for row in rows for one in row.headline or row.metrics))


def _heading(rows: Sequence[Row], metric: str) -> str:
    better = next((row.metrics[metric].better for row in rows if metric in row.metrics), None)
    return f"{TITLES.get(metric) or plain(metric)}{_ARROWS.get(better or '', '')}"


def _cells(row: Row, metrics: Sequence[str]) -> list[str]:
    return [percent(row.metrics[one]) if one in row.metrics else "" for one in metrics]


def _axis_rows(found: Sequence[Axis], escape: Callable[[str], str]) -> Iterator[list[str]]:
    """Only names are escaped: values are our own words, which Markdown takes as they are."""
    for axis in found:
        sets = escape(", ".join(axis.sets))
        if axis.absent:
            sets += f" (without {escape(', '.join(axis.absent))})"
        name = f"{axis.name}: {axis.measure}{_ARROWS.get(axis.figure.better or '', '')}"
        names = (axis.run, axis.mode, axis.scorer, name)
        yield [*map(escape, names), percent(axis.figure), sets]


def percent(figure: Figure) -> str:
    """As people read it, such as `12.0 [9.4, 15.2] n = 498, 99.6 % known: 12.0 to 12.4`."""
    if figure.value is None or not figure.known:
        return f"– n = 0 of {figure.items}"
    text = f"{100 * figure.value:.1f}"
    if figure.low is not None and figure.high is not None:
        text += f" [{100 * figure.low:.1f}, {100 * figure.high:.1f}]"
    text += f" n = {figure.n}"
    if figure.coverage is not None and figure.coverage < 1:
        # Cut and not rounded: 99.97 % is not all.
        text += f", {math.floor(1000 * figure.coverage + 1e-9) / 10:.1f} % known"
        if figure.least is not None and figure.most is not None:
            text += f": {100 * figure.least:.1f} to {100 * figure.most:.1f}"
    return text


def one_line(text: str, limit: int = 200) -> str:
    """`text` on one line of printable characters, of at most `limit`."""
    return " ".join("".join(c if c.isprintable() else " " for c in text[:limit]).split())


def code(text: str, limit: int = 200) -> str:
    """Somebody's text as Markdown's code, in which nothing is markup, link or cell; one line."""
    kept = one_line(text, limit).replace("`", "'").replace("|", "/")
    return f"`{kept or '(empty)'}`"


# Words and the marks between them. What could be emphasis, a link, a cell or an entity is not here.
_HARMLESS = re.compile(r"(?:[^\W_]|(?<=[^\W_])_(?=[^\W_])|(?<=\w):(?= )|[ .,()%/+↑↓–-])+")


def in_cell(text: str, limit: int = 200) -> str:
    """Somebody's text for a cell or heading of Markdown: as it is where nothing in it could be
    markup, else as code."""
    kept = one_line(text, limit)
    safe = _HARMLESS.fullmatch(kept) and "www." not in kept.lower()
    return kept if safe else code(text, limit)


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "–": "--",
    # At the start of a row they would be options of the row's end.
    "[": "{[}",
    "*": "{*}",
    **{c: f"\\{c}" for c in "&%$#_{}"},
}


def latex(text: str) -> str:
    """`text` for LaTeX, in which nothing is a command, comment, cell or option."""
    return "".join(_LATEX.get(c, c) for c in one_line(text))
