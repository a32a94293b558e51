"""Markdown tables of the study: what rows are, how they did, under controls, on harder items."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Protocol

from safegrpo.evaluation.stats import wilson
from safegrpo.microcosm.study.clusters import APART
from safegrpo.microcosm.study.results import METRICS
from safegrpo.microcosm.study.statistics import Comparison, Estimate
from safegrpo.microcosm.study.study import HOME, Study
from safegrpo.report.tables import code, in_cell, one_line

COLUMNS = (
    *("jailbreak_typographic", "jailbreak_risky_image", "jailbreak_harmful_text"),
    *("compositional_safety", "twin_accuracy", "over_refusal", "usefulness", "vqa_accuracy"),
    "tag_accuracy/combined",
)
CONTROLLED = ("safety", "twin_accuracy", "over_refusal", "vqa_accuracy")
SLICED = ("safety", "compositional_safety", "twin_accuracy", "over_refusal", "usefulness")


class Shown(Protocol):
    """What a page needs to know of a row: what it is, the mode that it was made for, its seeds."""

    @property
    def title(self) -> str: ...
    @property
    def about(self) -> str: ...
    @property
    def home(self) -> str: ...
    def seed_numbers(self) -> Sequence[int]: ...


def rows_table(study: Study, rows: Mapping[str, Shown]) -> str:
    """What each row is, and of how many of its seeds there are results."""
    lines = [
        [code(name), titled(row.title), titled(row.about, 1000),
         f"{len(study.of(name))} of {len(row.seed_numbers())}"]
        for name, row in rows.items()
    ]  # fmt: skip
    return table(["row", "title", "what it is", "seeds"], lines)


def main_table(study: Study, mode: str) -> str:
    """Every row in one mode (or `HOME`), and below it what stands behind the columns.

    Empty if no row was asked in that mode.
    """
    lines, runs = [], {metric: dict[int, str]() for metric in COLUMNS}
    for row, title in study.rows:
        asked = study.asked(row, mode)
        if not asked:
            continue
        for metric in COLUMNS:
            runs[metric] = study.runs(row, metric, mode) or runs[metric]
        used = [result for seed, result in study.of(row).items() if seed in asked]
        tokens = [one.tokens for one in asked.values() if one.tokens is not None]
        seconds = [r.training.seconds for r in used if r.trained and r.training is not None]
        how = [study.home(row)] if mode == HOME else []
        cells = [cell(study.estimate(row, metric, mode)) for metric in COLUMNS]
        lines.append(
            [titled(title), *how, *cells, _mean(tokens, 1), _mean(seconds, 0),
             str(len(asked)) if seconds else "–"]
        )  # fmt: skip
    if not lines:
        return ""
    how = ["asked"] if mode == HOME else []
    head = ["row", *how, *map(column, COLUMNS), "tokens an answer", "training, s", "seeds"]
    return f"{table(head, lines)}\n{_units(study, runs, '')}\n"


def _units(study: Study, runs: Mapping[str, Mapping[int, str]], place: str) -> str:
    said = []
    for metric, found in runs.items():
        if found:
            n = len(next(iter(found.values())))
            clusters = study.clusters(metric, found, place)
            of = n if clusters is None else len(set(clusters))
            said.append(f"{METRICS[metric].title} {n} ({of})")
    return f"Units, and the combinations that they show: {', '.join(said)}."


def controls_table(study: Study) -> str:
    """Every row with its pictures and with blank ones, in each mode; empty if none was asked so."""
    lines = []
    for row, title in study.rows:
        for mode in _modes(study, row, "blank"):
            for shown, place in (("real", ""), ("blank", "blank")):
                cells = [cell(study.estimate(row, m, mode, place)) for m in CONTROLLED]
                lines.append([titled(title), mode, shown, *cells])
    head = ["row", "asked", "picture", *map(column, CONTROLLED)]
    return table(head, lines) if lines else ""


def forced_table(study: Study) -> str:
    """How far answers follow a combined tag that was put there; empty if nobody tried.

    Intervals are Wilson's over one run's answers, since only their rates are kept.
    """
    lines = []
    for row, title in study.rows:
        forced = [r.controls.forced_tag for r in study.of(row).values()]
        known = [one for one in forced if one is not None and one.n]
        if not known:
            continue
        n = min(one.n for one in known)
        sides = [
            [share for one in known if (share := getattr(one, side)) is not None]
            for side in ("safe", "unsafe")
        ]
        cells = []
        for shares in sides:
            mean = fmean(shares)
            cells.append(cell((mean, *wilson(mean * n, n))))
        lines.append([titled(title), *cells, str(n), str(len(known))])
    head = ["row", "refuses behind `safe`", "refuses behind `unsafe`", "answers", "runs"]
    return table(head, lines) if lines else ""


def slices_table(study: Study, name: str) -> str:
    """Rows that were asked a slice, beside the test items, in each mode; empty if none.

    Of what was kept from training (`apart-…`), rows that were kept from it beside the rows that
    they vary; of other slices all rows but those of sweeps.
    """
    rows = _kept_apart(study, APART[name]) if name in APART else study.rows
    asked = [(row, title, mode) for row, title in rows for mode in _modes(study, row, name)]
    runs = {
        metric: {
            i: text
            for i, (row, _, mode) in enumerate(asked)
            for text in study.runs(row, metric, mode, name).values()
        }
        for metric in SLICED
    }
    shown = [metric for metric, found in runs.items() if found]
    lines = []
    for row, title, mode in asked if shown else ():
        for said, place in (("test", ""), (in_cell(name), name)):
            cells = [cell(study.estimate(row, metric, mode, place)) for metric in shown]
            lines.append([titled(title), mode, said, *cells])
    head = ["row", "asked", "items", *map(column, shown)]
    return f"{table(head, lines)}\n{_units(study, runs, name)}\n" if lines else ""


def _kept_apart(study: Study, what: str) -> list[tuple[str, str]]:
    """Each row of which there is one that was kept from seeing `what`, and after it that one."""
    found: list[tuple[str, str]] = []
    for row, title in study.rows:
        split = (name.partition("@without=") for name in sorted(study.results))
        kept = [
            f"{row}@without={v}" for name, _, v in split if name == row and what in v.split(",")
        ]
        if kept:
            found += [(row, title), *((name, f"{title}, not trained on it") for name in kept)]
    return found


def _modes(study: Study, row: str, place: str) -> list[str]:
    """The modes in which a row was asked the items of a place, its home first."""
    home = study.home(row)
    modes = [home, *(m for m in ("guided", "direct", "ecso") if m != home)]
    return [mode for mode in modes if study.asked(row, mode, place)]


def titled(title: str, limit: int = 200) -> str:
    """A row's title for a cell: ours, from the study's recipes, so that only a bar could hurt."""
    return one_line(title, limit).replace("|", "/")


def column(metric: str) -> str:
    """The heading of a metric, with an arrow where lower is better."""
    return METRICS[metric].title + (" ↓" if METRICS[metric].better == "lower" else "")


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table; cells are escaped already."""
    shown = [head, ["---"] * len(head), *lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in shown)


def cell(found: Estimate | None) -> str:
    """`97.2 (95.1–98.6)`, in percent; a dash for None."""
    if found is None:
        return "–"
    mean, low, high = found
    return f"{percent(mean)} ({percent(low)}–{percent(high)})"


def percent(share: float) -> str:
    """A share of 1 as percent, without the sign."""
    return f"{100 * share:.1f}"


def points(found: Comparison) -> str:
    """`+4.0 (+1.2 to +6.9)`, in points."""
    ends = [f"{100 * x:+.1f}" for x in (found.difference, found.low, found.high)]
    mean, low, high = ("0.0" if end in ("+0.0", "-0.0") else end for end in ends)
    return f"{mean} ({low} to {high})"


def p_value(p: float) -> str:
    """With three digits, and never as 0."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _mean(values: Sequence[float], digits: int) -> str:
    return f"{fmean(values):.{digits}f}" if values else "–"
