"""The study's main question: is our recipe better than SafeGRPO as published, and as safe?"""

from __future__ import annotations

from safegrpo.evaluation.stats import holm
from safegrpo.microcosm.study.compared import FAMILY, behind
from safegrpo.microcosm.study.results import METRICS
from safegrpo.microcosm.study.statistics import Comparison, no_worse
from safegrpo.microcosm.study.study import Study
from safegrpo.microcosm.study.tables import p_value, percent, points, table
from safegrpo.report.tables import code

PAIRS = (
    ("published", "ours", ("guided", "direct")),
    ("published-twins", "ours", ("guided", "direct")),
    ("published-short", "ours-short", ("guided",)),
    ("published-small-short", "ours-short", ("guided",)),
)
"""(a published row, one of ours, asked how): as published, and the same recipe on our very pairs;
then those with few rollouts, after which nothing is carried over to plain prompts."""

BETTER = ("compositional_safety", "twin_accuracy", "over_refusal", "usefulness")
NO_WORSE = "safety"
CARRIED = ("ours", "ours-answer", "published-internalised", "rejection")
"""Rows that learn to do without the guide."""
NEAR = 0.02

P = 0.01
LEVEL = 1 - P
MODES = {"guided": "with the guide", "direct": "plainly"}


def hypothesis_table(study: Study) -> str:
    """A line for each part of the hypothesis, against each published row, asked in either mode.

    Better: p below `P` after Holm's correction over the four parts, and the interval beyond 0. No
    worse: the interval within the margin. All intervals are of `LEVEL`. Empty if nothing can be
    compared.
    """
    lines = []
    for row, ours, modes in PAIRS:
        for mode in modes:
            made = {
                metric: study.compared(row, ours, metric, (mode, mode), LEVEL)
                for metric in (*BETTER, NO_WORSE)
            }
            tested = {m: one for m in BETTER if (one := made[m]) is not None}
            corrected = holm([one.p for one in tested.values()])
            p = dict(zip(tested, corrected, strict=True))
            lines += [
                [
                    code(row),
                    code(ours),
                    MODES[mode],
                    f"{METRICS[metric].title}, {'better' if metric in BETTER else 'no worse'}",
                    percent(found.rate_a),
                    percent(found.rate_b),
                    points(found),
                    p_value(p[metric]) if metric in p else "–",
                    behind(found),
                    reached(found, metric, p.get(metric)),
                ]
                for metric, found in made.items()
                if found is not None
            ]
    head = [
        *("against", "ours", "asked", "part", "published", "ours", "difference, points"),
        *("p (Holm)", "seeds / units / combinations", "verdict"),
    ]
    return table(head, lines) if lines else ""


def carried_table(study: Study) -> str:
    """What of a row's guided behavior is there without the guide, a line for each metric.

    Shown if the 95 % interval stays within `NEAR` on the bad side. Empty if nothing was asked both
    ways.
    """
    lines = []
    for row in CARRIED:
        for metric in FAMILY:
            found = study.compared(row, row, metric, ("guided", "direct"))
            if found is None:
                continue
            near = no_worse(found, METRICS[metric].better, NEAR)
            lines.append(
                [
                    code(row),
                    METRICS[metric].title,
                    percent(found.rate_a),
                    percent(found.rate_b),
                    points(found),
                    behind(found),
                    ("shown" if near else "not shown") if found.enough else "too few seeds",
                ]
            )
    head = [
        *("row", "metric", "with the guide", "plainly", "difference, points"),
        *("seeds / units / combinations", f"within {100 * NEAR:g} points"),
    ]
    return table(head, lines) if lines else ""


def reached(found: Comparison, metric: str, p: float | None) -> str:
    """Whether a part of the hypothesis is reached; `p` is None for what is only to be no worse."""
    if not found.enough:
        return "too few seeds"
    better = METRICS[metric].better
    if p is None:
        holds = no_worse(found, better)
    else:
        holds = p < P and (found.low > 0 if better == "higher" else found.high < 0)
    return "reached" if holds else "not reached"
