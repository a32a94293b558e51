"""Markdown tables of the study: rows side by side, compared, under controls, on harder items."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from safegrpo.evaluation.stats import holm, wilson
from safegrpo.microcosm.study.results import METRICS, Asked, Result, Results, rate
from safegrpo.microcosm.study.statistics import (
    Comparison,
    Estimate,
    Runs,
    compare,
    mean_interval,
    no_worse,
)
from safegrpo.report.tables import code, in_cell, one_line

HOME = "home"
"""In place of a mode: each row in the mode that it was made for."""

COLUMNS = (
    *("jailbreak_typographic", "jailbreak_risky_image", "jailbreak_harmful_text"),
    *("compositional_safety", "twin_accuracy", "over_refusal", "usefulness", "vqa_accuracy"),
    "tag_accuracy/combined",
)
FAMILY = (
    *("safety", "compositional_safety", "twin_accuracy", "over_refusal", "usefulness"),
    "vqa_accuracy",
)
"""What two rows are compared by: tests that are corrected together."""

CONTROLLED = ("safety", "twin_accuracy", "over_refusal", "vqa_accuracy")
SLICED = ("safety", "compositional_safety", "twin_accuracy", "over_refusal", "usefulness")
ALPHA = 0.05

Verdict = Literal["better", "worse", "no worse", "unclear"]


@dataclass(frozen=True)
class Study:
    """All results, and how they are shown: rows as (name, title) in order, each row's home mode."""

    results: Results
    rows: tuple[tuple[str, str], ...]
    homes: Mapping[str, str]

    def home(self, row: str) -> str:
        """The mode that a row was made for; a sweep's rows have that of the row they vary."""
        return self.homes.get(row.partition("@")[0], "guided")

    def of(self, row: str, split: str = "test") -> dict[int, Result]:
        """A row's results on a split, by seed."""
        return {k: v for k, v in self.results.get(row, {}).items() if v.split == split}

    def asked(self, row: str, mode: str, place: str = "", split: str = "test") -> dict[int, Asked]:
        """What a row was asked in a mode, by seed; `place` is "", "blank" or a slice."""
        mode = self.home(row) if mode == HOME else mode
        found = {seed: result.asked(mode, place) for seed, result in self.of(row, split).items()}
        return {seed: asked for seed, asked in found.items() if asked is not None}

    def runs(
        self, row: str, metric: str, mode: str, place: str = "", split: str = "test"
    ) -> dict[int, str]:
        """A metric's outcomes by seed, without runs in which no unit has a value."""
        asked = self.asked(row, mode, place, split)
        found = {seed: one.outcomes.get(metric, "") for seed, one in asked.items()}
        return {seed: text for seed, text in found.items() if rate(text) is not None}

    def compared(
        self, a: str, b: str, metric: str, modes: tuple[str, str] = (HOME, HOME)
    ) -> Comparison | None:
        """Row b against row a by one metric; None if they share no seed or lack the metric."""
        first, second = self.runs(a, metric, modes[0]), self.runs(b, metric, modes[1])
        trained_a, trained_b = (any(r.trained for r in self.of(row).values()) for row in (a, b))
        if trained_a and trained_b:
            # A trained row of which there is but one run so far does not stand for its seeds.
            shared = first.keys() & second.keys()
            first = {seed: first[seed] for seed in shared}
            second = {seed: second[seed] for seed in shared}
        if not first or not second:
            return None
        return compare(first, second, seeded=trained_a or trained_b)


def estimate(runs: Runs) -> Estimate | None:
    """`mean_interval` of runs, None for none."""
    return mean_interval(runs) if runs else None


def main_table(study: Study, mode: str) -> str:
    """Every row in one mode (or `HOME`), and below it how many units stand behind the columns.

    Empty if no row was asked in that mode.
    """
    lines, sizes = [], dict.fromkeys(COLUMNS, 0)
    for row, title in study.rows:
        asked = study.asked(row, mode)
        if not asked:
            continue
        runs = [study.runs(row, metric, mode) for metric in COLUMNS]
        for metric, found in zip(COLUMNS, runs, strict=True):
            sizes[metric] = max([sizes[metric], *map(len, found.values())])
        used = [result for seed, result in study.of(row).items() if seed in asked]
        tokens = [one.tokens for one in asked.values() if one.tokens is not None]
        seconds = [r.training.seconds for r in used if r.trained and r.training is not None]
        how = [study.home(row)] if mode == HOME else []
        lines.append(
            [titled(title), *how, *map(cell, runs), _mean(tokens, 1), _mean(seconds, 0),
             str(len(asked)) if seconds else "–"]
        )  # fmt: skip
    if not lines:
        return ""
    how = ["asked"] if mode == HOME else []
    head = ["row", *how, *map(column, COLUMNS), "tokens an answer", "training, s", "seeds"]
    units = ", ".join(f"{METRICS[m].title} {n}" for m, n in sizes.items() if n)
    return f"{table(head, lines)}\nUnits: {units}.\n"


def comparison_table(
    study: Study,
    base_row: str,
    other_row: str,
    family: Sequence[str] = FAMILY,
    modes: tuple[str, str] = (HOME, HOME),
) -> str:
    """`other_row` against `base_row` by every metric of `family`, p corrected over these lines.

    Empty if no metric can be compared.
    """
    made = {metric: study.compared(base_row, other_row, metric, modes) for metric in family}
    found = {metric: one for metric, one in made.items() if one is not None}
    adjusted = holm([one.p for one in found.values()])
    lines = [
        [
            METRICS[metric].title,
            percent(one.rate_a),
            percent(one.rate_b),
            points(one),
            p_value(p),
            f"{one.h:+.2f}",
            "–" if one.d_z is None else f"{one.d_z:+.2f}",
            f"{one.n_seeds} / {one.n_units}",
            verdict(one, p, metric),
        ]
        for (metric, one), p in zip(found.items(), adjusted, strict=True)
    ]
    head = [
        *("metric", code(base_row), code(other_row), "difference, points", "p (Holm)"),
        *("h", "d_z", "seeds / units", "verdict"),
    ]
    return table(head, lines) if lines else ""


def verdict(found: Comparison, p: float, metric: str) -> Verdict:
    """Better or worse if the corrected `p` and the interval both say so; else whether the interval
    keeps within the margin."""
    better = METRICS[metric].better
    if p < ALPHA and not found.low <= 0 <= found.high:
        return "better" if (found.difference > 0) == (better == "higher") else "worse"
    return "no worse" if no_worse(found, better) else "unclear"


def controls_table(study: Study) -> str:
    """Every row with its pictures and with blank ones, in each mode; empty if none was asked so."""
    lines = []
    for row, title in study.rows:
        for mode in _modes(study, row, "blank"):
            for shown, place in (("real", ""), ("blank", "blank")):
                cells = [cell(study.runs(row, m, mode, place)) for m in CONTROLLED]
                lines.append([titled(title), mode, shown, *cells])
    head = ["row", "asked", "picture", *map(column, CONTROLLED)]
    return table(head, lines) if lines else ""


def forced_table(study: Study) -> str:
    """How far answers follow a combined tag that was put there; empty if nobody tried.

    Intervals are Wilson's over one run's items, since only their rates are kept.
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
            cells.append(with_interval((mean, *wilson(mean * n, n))))
        lines.append([titled(title), *cells, str(n), str(len(known))])
    head = ["row", "refuses behind `safe`", "refuses behind `unsafe`", "answers", "runs"]
    return table(head, lines) if lines else ""


def slices_table(study: Study, name: str) -> str:
    """Every row that was asked a slice, those of sweeps too, beside the items of its split, in each
    mode; empty if none."""
    asked = [
        (row, title, split, mode)
        for row, title in _with_swept(study)
        for split in ("test", "dev")
        for mode in _modes(study, row, name, split)
    ]
    sizes = {
        metric: {len(text) for row, _, split, mode in asked
                 for text in study.runs(row, metric, mode, name, split).values()}
        for metric in SLICED
    }  # fmt: skip
    shown = [metric for metric, n in sizes.items() if n]
    lines = []
    for row, title, split, mode in asked if shown else ():
        for said, place in ((split, ""), (in_cell(name), name)):
            cells = [cell(study.runs(row, metric, mode, place, split)) for metric in shown]
            lines.append([title, mode, said, *cells])
    if not lines:
        return ""
    counts = ("–".join(map(str, sorted({min(sizes[m]), max(sizes[m])}))) for m in shown)
    units = ", ".join(f"{METRICS[m].title} {n}" for m, n in zip(shown, counts, strict=True))
    head = ["row", "asked", "items", *map(column, shown)]
    return f"{table(head, lines)}\nUnits of this slice: {units}.\n"


def _with_swept(study: Study) -> list[tuple[str, str]]:
    """All rows with what they are called in a cell, those of sweeps last."""
    swept = sorted(row for row in study.results if "@" in row)
    return [*((row, titled(title)) for row, title in study.rows), *((r, code(r)) for r in swept)]


def _modes(study: Study, row: str, place: str, split: str = "test") -> list[str]:
    """The modes in which a row was asked the items of a place, its home first."""
    home = study.home(row)
    modes = [home, *(m for m in ("guided", "direct", "ecso") if m != home)]
    return [mode for mode in modes if study.asked(row, mode, place, split)]


def titled(title: str) -> str:
    """A row's title for a cell: ours, from the study's recipes, so that only a bar could hurt."""
    return one_line(title).replace("|", "/")


def column(metric: str) -> str:
    """The heading of a metric, with an arrow where lower is better."""
    return METRICS[metric].title + (" ↓" if METRICS[metric].better == "lower" else "")


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table; cells are escaped already."""
    shown = [head, ["---"] * len(head), *lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in shown)


def cell(runs: Runs) -> str:
    """`97.2 (95.1–98.6)`, in percent; a dash where nothing is known."""
    found = estimate(runs)
    return "–" if found is None else with_interval(found)


def with_interval(found: Estimate) -> str:
    """`97.2 (95.1–98.6)`, in percent."""
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
