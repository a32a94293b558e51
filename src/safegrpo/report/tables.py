"""Tables of results, for a page, a paper, a spreadsheet and a program.

A number is never shown without its interval and its n, nor, where some items are missing, without
how many. Names come from files: each format escapes them in its own way.
"""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from safegrpo.evaluation.metrics import TITLES
from safegrpo.report.figures import Figure
from safegrpo.report.names import headlines, plain
from safegrpo.report.results import Axis, Row, axes

COLUMNS = (
    *("run", "mode", "benchmark", "scorer", "metric", "value", "low", "high"),
    *("n", "items", "coverage", "least", "most", "better"),
)
"""Of the long table: one row for each metric."""

_NAMES = ("run", "mode", "benchmark", "scorer")
_HEAD = ("run", "mode", "benchmark", "scorer (judge)", "metric", "%, 95 % interval", "n/items")
_AXES_HEAD = ("run", "mode", "scorer", "axis", "%, 95 % interval", "n/items", "sets")
_ARROWS = {"higher": " ↑", "lower": " ↓"}
_NOTE = (
    "Percent, with the 95 % interval in brackets, and n, how many of the items are known. Where "
    "that is not all, what the value would be if the others all counted 0, or 1. A dash: nothing "
    "is known."
)
_AXES_NOTE = (
    "Axes as in the SafeGRPO paper: plain means over the sets named, by one scorer. An axis that "
    "lacks sets is not comparable with one that has them."
)

_Escape = Callable[[str], str]


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
                **{name: getattr(row, name) for name in _NAMES},
                "metric": metric,
                **figure.model_dump(),
            }


def _inert(text: str) -> str:
    """`text` on one line, and with a quote before what a spreadsheet would compute."""
    text = one_line(text)
    first = unicodedata.normalize("NFKC", text.lstrip(" '\""))[:1]
    return f"'{text}" if first and first in "=+-@" else text


def as_markdown(rows: Sequence[Row]) -> str:
    """The headline metrics, one a line; then the axes of which there is more than a single set."""
    if not rows:
        return "Nothing was measured.\n"
    text = f"{_markdown(_HEAD, _metric_lines(rows, in_cell, str))}\n{_NOTE}\n"
    found = _telling(rows)
    if found:
        text += f"\n{_markdown(_AXES_HEAD, _axis_lines(found, in_cell, str))}\n{_AXES_NOTE}\n"
    return text


def _markdown(head: Sequence[str], lines: Iterable[list[str]]) -> str:
    shown = [list(head), ["---"] * len(head), *lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in shown)


def as_latex(rows: Sequence[Row]) -> str:
    """The same two tables as `tabular`s for the package booktabs, whose notes are comments."""
    text = f"% {_NOTE}\n{_tabular('lllllrr', _HEAD, _metric_lines(rows, latex, latex))}"
    found = _telling(rows)
    if found:
        text += f"\n% {_AXES_NOTE}\n"
        text += _tabular("llllrrl", _AXES_HEAD, _axis_lines(found, latex, latex))
    return text


def _tabular(form: str, head: Sequence[str], lines: Iterable[list[str]]) -> str:
    body = "".join(f"{' & '.join(line)} \\\\\n" for line in lines)
    return (
        f"\\begin{{tabular}}{{{form}}}\n\\toprule\n{' & '.join(map(latex, head))} \\\\\n"
        f"\\midrule\n{body}\\bottomrule\n\\end{{tabular}}\n"
    )


def _metric_lines(rows: Sequence[Row], foreign: _Escape, own: _Escape) -> Iterator[list[str]]:
    """`foreign` escapes names, which come from files, `own` our words and numbers."""
    for row in rows:
        scorer = f"{row.scorer} ({row.judge})" if row.judge else row.scorer
        for metric in headlines(row.headline, row.metrics):
            if (figure := row.metrics.get(metric)) is not None:
                title = f"{TITLES.get(metric) or plain(metric)}{_ARROWS.get(figure.better, '')}"
                names = (row.run, row.mode, row.title, scorer, title)
                yield [*map(foreign, names), own(percent(figure)), own(known(figure))]


def _telling(rows: Sequence[Row]) -> list[Axis]:
    return [axis for axis in axes(rows) if axis.telling]


def _axis_lines(found: Sequence[Axis], foreign: _Escape, own: _Escape) -> Iterator[list[str]]:
    for axis in found:
        sets = foreign(", ".join(axis.sets))
        if axis.absent:
            sets += f" (without {foreign(', '.join(axis.absent))})"
        name = f"{axis.name}: {axis.measure}{_ARROWS.get(axis.figure.better, '')}"
        names = map(foreign, (axis.run, axis.mode, axis.scorer, name))
        yield [*names, own(percent(axis.figure)), own(known(axis.figure)), sets]


def percent(figure: Figure) -> str:
    """As people read it, such as `12.0 [9.4, 15.2]`; a dash where nothing is known."""
    if figure.value is None or not figure.known:
        return "–"
    text = f"{100 * figure.value:.1f}"
    if figure.low is not None and figure.high is not None:
        text += f" [{100 * figure.low:.1f}, {100 * figure.high:.1f}]"
    return text


def known(figure: Figure) -> str:
    """How many of the items are known, and what the rest leaves open: `498/500: 12.0 to 12.4`."""
    n = figure.n if figure.known else 0
    text = f"{n}/{max(figure.items, n)}"
    partial = figure.coverage is not None and figure.coverage < 1
    if n and partial and figure.least is not None and figure.most is not None:
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
