"""All results of a study together: what each row was asked, its intervals, two rows compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from safegrpo.microcosm.study.clusters import combinations
from safegrpo.microcosm.study.results import Asked, Result, Results, rate
from safegrpo.microcosm.study.statistics import (
    Comparison,
    Estimate,
    Runs,
    compare,
    mean_interval,
)

HOME = "home"
"""In place of a mode: each row in the mode that it was made for."""

Split = Literal["dev", "test"]

OURS = "ours"
"""The row of our default recipe."""


@dataclass(frozen=True)
class Study:
    """All results, and how they are shown: rows as (name, title) in order, each row's home mode."""

    results: Results
    rows: tuple[tuple[str, str], ...]
    homes: Mapping[str, str]

    def home(self, row: str) -> str:
        """The mode that a row was made for; a sweep's rows have that of the row they vary."""
        return self.homes.get(row.partition("@")[0], "guided")

    def of(self, row: str, split: Split = "test") -> dict[int, Result]:
        """A row's results on a split, by seed."""
        return {k: v for k, v in self.results.get(row, {}).items() if v.split == split}

    def asked(
        self, row: str, mode: str, place: str = "", split: Split = "test"
    ) -> dict[int, Asked]:
        """What a row was asked in a mode, by seed; `place` is "", "blank" or a slice."""
        mode = self.home(row) if mode == HOME else mode
        found = {seed: result.asked(mode, place) for seed, result in self.of(row, split).items()}
        return {seed: asked for seed, asked in found.items() if asked is not None}

    def runs(
        self, row: str, metric: str, mode: str, place: str = "", split: Split = "test"
    ) -> dict[int, str]:
        """A metric's outcomes by seed, without runs in which no unit has a value."""
        asked = self.asked(row, mode, place, split)
        found = {seed: one.outcomes.get(metric, "") for seed, one in asked.items()}
        return {seed: text for seed, text in found.items() if rate(text) is not None}

    def clusters(
        self, metric: str, runs: Runs, place: str = "", split: Split = "test"
    ) -> tuple[str, ...] | None:
        """The combination that each unit of a metric's `runs` shows; None where it is not known, as
        of items that are not the microcosm's."""
        found = combinations(split, self._sizes.get(split, 1.0), place)[metric]
        return found if {len(found)} == {len(text) for text in runs.values()} else None

    @cached_property
    def _sizes(self) -> dict[str, float]:
        # All files of a split have one size: read_results sees to it.
        return {run.split: run.size for runs in self.results.values() for run in runs.values()}

    def estimate(
        self, row: str, metric: str, mode: str, place: str = "", split: Split = "test"
    ) -> Estimate | None:
        """A row's mean by a metric with its interval; None if it was not asked."""
        runs = self.runs(row, metric, mode, place, split)
        return mean_interval(runs, self.clusters(metric, runs, place, split)) if runs else None

    def compared(
        self,
        a: str,
        b: str,
        metric: str,
        modes: tuple[str, str] = (HOME, HOME),
        level: float = 0.95,
        place: str = "",
    ) -> Comparison | None:
        """Row b against row a by one metric; None if they share no seed or lack the metric."""
        first, second = (
            self.runs(row, metric, mode, place) for row, mode in zip((a, b), modes, strict=True)
        )
        trained_a, trained_b = (any(r.trained for r in self.of(row).values()) for row in (a, b))
        if trained_a and trained_b:
            # A trained row of which there is but one run so far does not stand for its seeds.
            shared = first.keys() & second.keys()
            first = {seed: first[seed] for seed in shared}
            second = {seed: second[seed] for seed in shared}
        if not first or not second:
            return None
        clusters = self.clusters(metric, first, place)
        return compare(first, second, clusters, seeded=trained_a or trained_b, level=level)
