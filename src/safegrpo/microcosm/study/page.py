"""docs/results.md from the result files: every number on it comes from them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from safegrpo.data.jsonl import write_text_atomic
from safegrpo.microcosm.study import plots as draw
from safegrpo.microcosm.study import words
from safegrpo.microcosm.study.clusters import APART
from safegrpo.microcosm.study.compared import comparisons, harder_comparisons
from safegrpo.microcosm.study.cost import Cost, cost_table, ratio_table, read_cost, target_text
from safegrpo.microcosm.study.hypothesis import (
    Carried,
    Part,
    carried,
    carried_table,
    hypothesis,
    hypothesis_table,
)
from safegrpo.microcosm.study.pattern import Finding, pattern
from safegrpo.microcosm.study.results import COST_FILE, METRICS, Result, read_results
from safegrpo.microcosm.study.study import HOME, Study
from safegrpo.microcosm.study.summary import summary
from safegrpo.microcosm.study.sweeps import (
    ROLLOUTS,
    ShownSweep,
    against_table,
    chosen_lines,
    is_wide,
    step_charts,
    sweep_charts,
    sweep_table,
    sweeps,
)
from safegrpo.microcosm.study.tables import (
    Shown,
    controls_table,
    forced_table,
    main_table,
    rows_table,
    slices_table,
    table,
)
from safegrpo.report.tables import code, in_cell

BARS = ("safety", "twin_accuracy", "over_refusal", "usefulness", "vqa_accuracy")


def render(
    results_folder: Path,
    rows: Mapping[str, Shown],
    out: Path,
    plots: Path,
    *,
    own: Mapping[str, str] | None = None,
    shown_sweeps: Mapping[str, ShownSweep] | None = None,
    hashes: Mapping[str, str] | None = None,
) -> None:
    """Write the page `out`, and the SVG files it shows into the folder `plots`.

    `rows` stand in the order of the tables; those of sweeps are found by their names, and shown as
    `shown_sweeps` say, in that order. `own` says which value of a swept setting a row itself has,
    by `ROW@KEY`.
    `hashes` says by row, those of sweeps too, what hash a run made now would have: the page tells
    which results have another. What has no results yet is left out. Raises what `read_results`
    raises.
    """
    titles = tuple((name, row.title) for name, row in rows.items())
    homes = {name: row.home for name, row in rows.items()}
    study = Study(read_results(results_folder), titles, homes)
    page = _Page(study, out.parent, plots)
    text = words.HEAD.format(folder=page.link(results_folder))
    asked, without, findings = hypothesis(study), carried(study), pattern(study)
    cost = read_cost(results_folder / COST_FILE)
    short = list(summary(study, asked, without, cost, findings))
    parts = [text]
    parts += ["## In short\n", "\n".join(short) + "\n"] if short else []
    parts += [
        *page.waiting(hashes or {}),
        *page.about(rows),
        *page.home(),
        *_hypothesis(asked, without),
        *page.modes(),
    ]
    parts += [*page.comparisons(), *_claims(findings), *page.controls(), *page.slices()]
    parts += [*page.sweeps(own or {}, shown_sweeps or {}), *page.steps()]
    parts += [*_cost(cost), *page.made()]
    write_text_atomic(out, "\n".join(parts))


class _Page:
    """Sections of a page that lies in `folder`, as blocks of Markdown; plots go to `plots`."""

    def __init__(self, study: Study, folder: Path, plots: Path) -> None:
        self.study, self.folder, self.plots = study, folder, plots

    def link(self, path: Path) -> str:
        """The way from the page to a file or folder."""
        return Path(os.path.relpath(path, self.folder)).as_posix()

    def plot(self, name: str, alt: str, svg: str) -> str:
        """Write a plot, and return the Markdown that shows it."""
        path = self.plots / f"{name}.svg"
        write_text_atomic(path, svg)
        return f"![{alt}]({self.link(path)})\n"

    def waiting(self, hashes: Mapping[str, str]) -> Iterator[str]:
        """What is not run yet, what belongs to no table, and whose runs do not belong together."""
        named = [row for row, _ in self.study.rows]
        left = [row for row in named if not self.study.of(row)]
        if left:
            yield f"Not run yet: {', '.join(map(code, left))}.\n"
        others = [r for r in self.study.results if "@" not in r and r not in named]
        if others:
            yield f"Results of rows that are not shown: {', '.join(map(code, others))}.\n"
        earlier, mixed = [], []
        for row, runs in self.study.results.items():
            old = sum(run.hash != hashes.get(row, run.hash) for run in runs.values())
            if old:
                earlier.append(f"{code(row)} ({old} of {len(runs)})")
            elif len({run.hash for run in runs.values()}) > 1:
                mixed.append(code(row))
        if earlier:
            yield f"Made by earlier settings or sources: {', '.join(earlier)}.\n"
        if mixed:
            yield f"Made in part by other settings or sources: {', '.join(mixed)}.\n"

    def about(self, rows: Mapping[str, Shown]) -> Iterator[str]:
        """What each row is."""
        if self.study.results:
            yield "## The rows\n"
            yield rows_table(self.study, rows)

    def home(self) -> Iterator[str]:
        """The first table, and its bars."""
        shown = main_table(self.study, HOME)
        if shown:
            yield "## Every row as it was made to be asked\n"
            yield shown
            yield self._bars()

    def modes(self) -> Iterator[str]:
        """The same rows, all asked in one mode."""
        titles = {"guided": "## Asked with the guide", "direct": "## Asked plainly"}
        for mode, title in titles.items():
            shown = main_table(self.study, mode)
            if shown:
                yield f"{title}\n"
                yield shown

    def _bars(self) -> str:
        names = [(row, title) for row, title in self.study.rows if self.study.asked(row, HOME)]
        panels = {
            METRICS[m].title: [self.study.estimate(row, m, HOME) for row, _ in names] for m in BARS
        }
        title = "Every row as it was made to be asked, percent with 95 % intervals"
        return self.plot("rows", title, draw.bars(title, [name for _, name in names], panels))

    def comparisons(self) -> Iterator[str]:
        """Two rows at a time."""
        shown = list(comparisons(self.study))
        if shown:
            yield "## Compared\n"
            yield words.COMPARED
            yield from shown

    def controls(self) -> Iterator[str]:
        """Blank pictures and forced tags."""
        blank, forced = controls_table(self.study), forced_table(self.study)
        if blank or forced:
            yield "## Controls\n"
        if blank:
            yield words.BLANK
            yield blank
        if forced:
            yield words.FORCED
            yield forced

    def slices(self) -> Iterator[str]:
        """Harder items, a table for each slice."""
        runs = [run for by_seed in self.study.results.values() for run in by_seed.values()]
        names = sorted({name for run in runs for name in run.slices})
        shown = {name: slices_table(self.study, name) for name in names}
        if any(shown.values()):
            yield "## Harder items\n"
        for name, text in shown.items():
            if text:
                yield f"### {words.SLICES.get(name, in_cell(name))}\n"
                if name in APART:
                    yield words.APART
                yield text
                yield from harder_comparisons(self.study, name)

    def sweeps(self, own: Mapping[str, str], shown: Mapping[str, ShownSweep]) -> Iterator[str]:
        """Tables and a plot for each setting that was varied, in the order of `shown`."""
        order = {key: place for place, key in enumerate(shown)}
        found = sweeps(self.study, own)
        found.sort(key=lambda sweep: order.get(sweep.key, len(order)))
        if found:
            yield "## One setting at several values\n"
            yield words.SWEEPS
        for sweep in found:
            known = shown.get(sweep.key)
            title, axis = (known.title, known.axis) if known else (sweep.key, "")
            items = "development" if sweep.split == "dev" else "test"
            yield f"### {in_cell(title)}, {items} items\n"
            chosen = list(chosen_lines(self.study, sweep))
            if chosen:
                yield words.RATES
                yield "\n".join(chosen) + "\n"
            yield sweep_table(self.study, sweep, axis)
            against = "" if axis == ROLLOUTS else against_table(self.study, sweep)
            if against:
                yield words.AGAINST
                yield against
            drawn = sweep_charts(self.study, sweep, axis)
            if drawn:
                across = ROLLOUTS if axis == ROLLOUTS else sweep.key
                svg = draw.charts(title, across, "percent", drawn, log_x=is_wide(drawn))
                yield self.plot(f"sweep-{sweep.key}-{sweep.split}", in_cell(title), svg)

    def steps(self) -> Iterator[str]:
        """How rates moved while rows were trained."""
        drawn = step_charts(self.study)
        if drawn:
            yield "## Over the steps\n"
            yield words.STEPS
            title = "While training"
            yield self.plot(
                "steps", title, draw.charts(title, "percent of its steps", "percent", drawn)
            )

    def made(self) -> Iterator[str]:
        """Command, seeds, hash, versions and machine of every run, alike ones on one line."""
        groups: dict[tuple[str, ...], list[Result]] = {}
        for row, runs in self.study.results.items():
            for run in runs.values():
                versions = ", ".join(f"{name} {v}" for name, v in sorted(run.versions.items()))
                key = (row, run.hash, versions, run.machine)
                groups.setdefault(key, []).append(run)
        if not groups:
            return
        lines = []
        for (row, given, versions, machine), made in groups.items():
            first, last = made[0], made[-1]
            commands = dict.fromkeys((first.command, last.command))
            seeds = ", ".join(str(run.seed) for run in made)
            said = " … ".join(map(code, commands))
            lines.append([code(row), seeds, code(given), said, code(versions), code(machine)])
        yield "## How each number was made\n"
        yield words.MADE
        yield table(["row", "seeds", "hash", "command", "versions", "machine"], lines)


def _hypothesis(parts: Sequence[Part], without: Sequence[Carried]) -> Iterator[str]:
    if parts:
        yield "## Ours against SafeGRPO as published\n"
        yield words.HYPOTHESIS
        yield hypothesis_table(parts)
    if without:
        yield "## Without the guide as with it?\n"
        yield words.CARRIED
        yield carried_table(without)


def _claims(findings: Sequence[Finding]) -> Iterator[str]:
    if findings:
        yield "## The paper's claims\n"
        yield words.PATTERN
    for found in findings:
        said = "\n".join(f"  - {sentence}" for sentence in found.sentences)
        yield f"- {found.claim} **{found.verdict.capitalize()}.**\n{said}\n"


def _cost(cost: Cost | None) -> Iterator[str]:
    if cost is None or not cost.runs:
        return
    yield "## Cost to the target\n"
    asked = f", on {cost.items} development items" if cost.items else ""
    yield f"Target: {target_text(cost)}{asked}. {code(cost.command)}.\n"
    yield words.COST
    races = cost.races()
    for base, race in races.items():
        if len(races) > 1:
            yield f"### From the {f'base model {code(base)}' if base else 'shipped base model'}\n"
        yield cost_table(race)
        ratios = ratio_table(race)
        if ratios:
            yield "Ratios of medians, and their range over seeds that both have.\n"
            yield ratios
