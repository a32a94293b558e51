"""The study's main question: is our recipe better than SafeGRPO as published, and as safe?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from safegrpo.evaluation.stats import holm
from safegrpo.microcosm.study.compared import FAMILY, OURS_UNLINKED, behind
from safegrpo.microcosm.study.results import METRICS
from safegrpo.microcosm.study.statistics import Comparison, no_worse
from safegrpo.microcosm.study.study import OURS, Study
from safegrpo.microcosm.study.tables import p_value, percent, points, table
from safegrpo.report.tables import code

PAIRS = (
    ("published", "ours", ("guided", "direct")),
    ("published-twins", "ours", ("guided", "direct")),
    ("published-internalised", "ours", ("direct",)),
    ("published-short", "ours-short", ("guided",)),
    ("published-small-short", "ours-short", ("guided",)),
    ("published-unlinked", OURS_UNLINKED, ("guided", "direct")),
    ("published-small-unlinked", OURS_UNLINKED, ("guided", "direct")),
    ("published-started-unlinked", OURS_UNLINKED, ("guided",)),
    ("started-unlinked", OURS_UNLINKED, ("guided",)),
)
"""(a published row, one of ours, asked how): as published, and the same recipe on our very pairs,
also with what ours does after GRPO; then those with few rollouts and nothing after; then those from
the base model whose answers do not heed its tags, also after a cold start as ours has, and that
cold start without GRPO."""

BETTER = ("compositional_safety", "twin_accuracy", "over_refusal", "usefulness")
NO_WORSE = "safety"
CARRIED = (OURS, "ours-answer", "published-internalised", "rejection", OURS_UNLINKED)
"""Rows that learn to do without the guide."""
HARDER = ("paraphrases", "looks")
"""Slices on which they are held against themselves as well."""
NEAR = 0.02
FEWEST = 10
"""Combinations below which "near" says too little."""

P = 0.01
LEVEL = 1 - P
MODES = {"guided": "with the guide", "direct": "plainly"}


@dataclass(frozen=True)
class Part:
    """A part of the hypothesis, held against one published row in one mode; `p` is corrected, None
    for what is only to be no worse."""

    published: str
    ours: str
    mode: str
    metric: str
    found: Comparison
    p: float | None

    @property
    def verdict(self) -> str:
        """What became of it."""
        return reached(self.found, self.metric, self.p)


@dataclass(frozen=True)
class Carried:
    """What of a row's guided behavior, by one metric on some items, is there without the guide."""

    row: str
    items: str
    metric: str
    found: Comparison

    @property
    def verdict(self) -> str:
        """Shown if the 95 % interval stays within `NEAR` on the bad side, lost if all of it lies
        beyond."""
        found, better = self.found, METRICS[self.metric].better
        if not found.enough:
            return "too few seeds"
        if found.n_clusters < FEWEST:
            return "too few combinations"
        if found.high < -NEAR if better == "higher" else found.low > NEAR:
            return "lost"
        return "shown" if no_worse(found, better, NEAR) else "unclear"


def hypothesis(study: Study) -> list[Part]:
    """Each part of the hypothesis, against each published row, asked in either mode, as far as
    there are results.

    Better: p below `P` after Holm's correction over the four parts, and the interval beyond 0. No
    worse: the interval within the margin. All intervals are of `LEVEL`.
    """
    parts = []
    for row, ours, modes in PAIRS:
        for mode in modes:
            made = {
                metric: found
                for metric in (*BETTER, NO_WORSE)
                if (found := study.compared(row, ours, metric, (mode, mode), LEVEL)) is not None
            }
            tested = [metric for metric in made if metric in BETTER]
            p = dict(zip(tested, holm([made[metric].p for metric in tested]), strict=True))
            parts += [Part(row, ours, mode, m, found, p.get(m)) for m, found in made.items()]
    return parts


def hypothesis_table(parts: Sequence[Part]) -> str:
    """A line for each part; empty if there are none."""
    lines = [
        [
            code(part.published),
            code(part.ours),
            MODES[part.mode],
            f"{METRICS[part.metric].title}, {'no worse' if part.p is None else 'better'}",
            percent(part.found.rate_a),
            percent(part.found.rate_b),
            points(part.found),
            "–" if part.p is None else p_value(part.p),
            behind(part.found),
            part.verdict,
        ]
        for part in parts
    ]
    head = [
        *("against", "ours", "asked", "part", "published", "ours", "difference, points"),
        *("p (Holm)", "seeds / units / combinations", "verdict"),
    ]
    return table(head, lines) if lines else ""


def carried(study: Study) -> list[Carried]:
    """Rows that learn to do without the guide, asked with it and plainly: the test items and
    `HARDER` ones, metric by metric."""
    both = ("guided", "direct")
    return [
        Carried(row, place or "test", metric, found)
        for row in CARRIED
        for place in ("", *HARDER)
        for metric in FAMILY
        if (found := study.compared(row, row, metric, both, place=place)) is not None
    ]


def carried_table(made: Sequence[Carried]) -> str:
    """A line for each row and metric; empty if nothing was asked both ways."""
    lines = [
        [
            code(one.row),
            one.items,
            METRICS[one.metric].title,
            percent(one.found.rate_a),
            percent(one.found.rate_b),
            points(one.found),
            behind(one.found),
            one.verdict,
        ]
        for one in made
    ]
    head = [
        *("row", "items", "metric", "with the guide", "plainly", "difference, points"),
        *("seeds / units / combinations", f"within {100 * NEAR:g} points"),
    ]
    return table(head, lines) if lines else ""


def reached(found: Comparison, metric: str, p: float | None) -> str:
    """Whether a part of the hypothesis is reached; `p` is None for what is only to be no worse."""
    fewest = len(BETTER) * 2 / 2**found.n_seeds  # no p after the correction is smaller
    if not found.enough or (p is not None and fewest >= P):
        return "too few seeds"
    better = METRICS[metric].better
    if p is None:
        holds = no_worse(found, better)
    else:
        holds = p < P and (found.low > 0 if better == "higher" else found.high < 0)
    return "reached" if holds else "not reached"
