"""docs/results.md from the result files: every number on it comes from them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

from safegrpo.data.jsonl import write_text_atomic
from safegrpo.microcosm.study import plots as draw
from safegrpo.microcosm.study import words
from safegrpo.microcosm.study.cost import cost_table, ratio_table, read_cost, target_text
from safegrpo.microcosm.study.pattern import pattern
from safegrpo.microcosm.study.results import COST_FILE, METRICS, Result, read_results
from safegrpo.microcosm.study.sweeps import (
    DRAWN,
    curve_table,
    is_wide,
    step_lines,
    sweep_lines,
    sweeps,
)
from safegrpo.microcosm.study.tables import (
    HOME,
    Study,
    comparison_table,
    controls_table,
    estimate,
    forced_table,
    main_table,
    slices_table,
    table,
)
from safegrpo.report.tables import code, in_cell

BARS = ("safety", "twin_accuracy", "over_refusal", "usefulness", "vqa_accuracy")

HOMES, PLAIN = (HOME, HOME), ("direct", "direct")
PAIRS = (
    *(("base", "published", HOMES), ("base", "ours", HOMES), ("base", "ours", PLAIN)),
    *(("guide", "ours", HOMES), ("vlguard", "ours", HOMES), ("think", "ours", HOMES)),
    *(("ecso", "ours", HOMES), ("labels", "ours", PLAIN), ("published", "ours", HOMES)),
    ("published-small", "ours", HOMES),
)
"""What is compared first; every other row is compared with the one that it varies."""

OURS, REFERENCE = "ours", "published-small"
"""The rows that others vary: those called `ours-…` the one, the rest the other."""


class Shown(Protocol):
    """What a page needs to know of a row: its title, and the mode that it was made for."""

    @property
    def title(self) -> str: ...
    @property
    def home(self) -> str: ...


def render(
    results_folder: Path,
    rows: Mapping[str, Shown],
    out: Path,
    plots: Path,
    *,
    own: Mapping[str, str] | None = None,
) -> None:
    """Write the page `out`, and the SVG files it shows into the folder `plots`.

    `rows` stand in the order of the tables; those of sweeps are found by their names. `own` says
    which value of a swept setting a row itself has, by `ROW@KEY`. What has no results yet is left
    out. Raises what `read_results` raises.
    """
    titles = tuple((name, row.title) for name, row in rows.items())
    homes = {name: row.home for name, row in rows.items()}
    study = Study(read_results(results_folder), titles, homes)
    page = _Page(study, out.parent, plots)
    text = words.HEAD.format(folder=page.link(results_folder))
    parts = [text, *page.waiting(), *page.rows(), *page.comparisons(), *page.claims()]
    parts += [*page.controls(), *page.slices(), *page.sweeps(own or {}), *page.steps()]
    parts += [*_cost(results_folder / COST_FILE), *page.made()]
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

    def waiting(self) -> Iterator[str]:
        """What is not run yet, what belongs to no table, and whose runs do not belong together."""
        named = [row for row, _ in self.study.rows]
        left = [row for row in named if not self.study.of(row)]
        if left:
            yield f"Not run yet: {', '.join(map(code, left))}.\n"
        others = [r for r in self.study.results if "@" not in r and r not in named]
        if others:
            yield f"Results of rows that are not shown: {', '.join(map(code, others))}.\n"
        mixed = [
            row
            for row, runs in self.study.results.items()
            if len({run.hash for run in runs.values()}) > 1
        ]
        if mixed:
            yield f"Made in part by other settings or sources: {', '.join(map(code, mixed))}.\n"

    def rows(self) -> Iterator[str]:
        """The main tables and the bars."""
        titles = {
            HOME: "## Every row as it was made to be asked",
            "guided": "## Asked with the guide",
            "direct": "## Asked plainly",
        }
        for mode, title in titles.items():
            shown = main_table(self.study, mode)
            if shown:
                yield f"{title}\n"
                yield shown
                if mode == HOME:
                    yield self._bars()

    def _bars(self) -> str:
        names = [(row, title) for row, title in self.study.rows if self.study.asked(row, HOME)]
        panels = {
            METRICS[m].title: [estimate(self.study.runs(row, m, HOME)) for row, _ in names]
            for m in BARS
        }
        title = "Every row as it was made to be asked, percent with 95 % intervals"
        return self.plot("rows", title, draw.bars(title, [name for _, name in names], panels))

    def comparisons(self) -> Iterator[str]:
        """The pairs that matter, then every other row against the one that it varies."""
        named = {row for *rows, _ in PAIRS for row in rows}
        pairs = list(PAIRS)
        for row in (row for row, _ in self.study.rows if row not in named):
            if row.startswith(f"{OURS}-"):
                pairs += [(OURS, row, HOMES), (OURS, row, PLAIN)]
            else:
                pairs.append((REFERENCE, row, HOMES))
        said = False
        for a, b, modes in pairs:
            shown = comparison_table(self.study, a, b, modes=modes)
            if shown and not said:
                yield "## Compared\n"
                yield words.COMPARED
                said = True
            if shown:
                how = ", both asked plainly" if modes == PLAIN else ""
                yield f"### {code(b)} against {code(a)}{how}\n"
                yield shown

    def claims(self) -> Iterator[str]:
        """The paper's claims, and what became of them."""
        findings = pattern(self.study)
        if findings:
            yield "## The paper's claims\n"
            yield words.PATTERN
            for found in findings:
                said = "\n".join(f"  - {sentence}" for sentence in found.sentences)
                yield f"- {found.claim} **{found.verdict.capitalize()}.**\n{said}\n"

    def controls(self) -> Iterator[str]:
        """Blank pictures and forced tags."""
        blank, forced = controls_table(self.study), forced_table(self.study)
        if blank or forced:
            yield "## Controls\n"
        if blank:
            yield "With a blank picture nobody can tell twins apart: what is left was text alone.\n"
            yield blank
        if forced:
            yield (
                "The model's own thought up to its combined tag, then a word that is put there: "
                "an answer that follows the tag refuses behind `unsafe` only. Intervals are "
                "Wilson's over one run's answers.\n"
            )
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
                said = f" {words.SLICES[name]}" if name in words.SLICES else ""
                yield f"### {in_cell(name)}\n"
                yield f"Beside the items that every row is asked.{said}\n"
                yield text

    def sweeps(self, own: Mapping[str, str]) -> Iterator[str]:
        """A table and a plot for each setting that was varied."""
        found = sweeps(self.study, own)
        if found:
            yield "## One setting at several values\n"
        for sweep in found:
            items = "development" if sweep.split == "dev" else "test"
            yield f"### {code(sweep.row)}, {code(sweep.key)}\n"
            yield f"Asked {self.study.home(sweep.row)}, {items} items.\n"
            yield curve_table(self.study, sweep)
            drawn = sweep_lines(self.study, sweep)
            if drawn:
                title = f"{sweep.row}: {sweep.key}"
                svg = draw.lines(title, sweep.key, "percent", drawn, log_x=is_wide(drawn))
                yield self.plot(f"sweep-{sweep.row}-{sweep.key}-{sweep.split}", code(title), svg)

    def steps(self) -> Iterator[str]:
        """How rates moved while rows were trained."""
        found = {metric: step_lines(self.study, metric) for metric in DRAWN}
        if any(found.values()):
            yield "## Over the steps\n"
            yield (
                "Held-out rates measured while training: the mean of the seeds, and from the "
                "lowest to the highest.\n"
            )
        for metric, drawn in found.items():
            if drawn:
                title = f"{METRICS[metric].title} over the steps"
                svg = draw.lines(title, "step", "percent", drawn)
                yield self.plot(f"steps-{metric}", title, svg)

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
        yield (
            "The hash covers all that decides a row's numbers but the seed. Where runs had a "
            "command each, the first and the last are shown.\n"
        )
        yield table(["row", "seeds", "hash", "command", "versions", "machine"], lines)


def _cost(path: Path) -> Iterator[str]:
    cost = read_cost(path)
    if cost is None or not cost.runs:
        return
    yield "## Cost to the target\n"
    yield (
        f"Target: {target_text(cost)}. {code(cost.command)}. Medians over seeds with their range; "
        "≥ marks lower bounds, from runs that ended before the target.\n"
    )
    yield cost_table(cost)
    ratios = ratio_table(cost)
    if ratios:
        yield "Ratios of medians, and their range over seeds that both have.\n"
        yield ratios
