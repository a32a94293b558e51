"""Two rows side by side by several metrics, tested together; and which rows are compared."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from safegrpo.evaluation.stats import holm
from safegrpo.microcosm.study.results import METRICS
from safegrpo.microcosm.study.statistics import ALPHA, Comparison, no_worse
from safegrpo.microcosm.study.study import HOME, OURS, Study
from safegrpo.microcosm.study.tables import p_value, percent, points, table
from safegrpo.report.tables import code

FAMILY = (
    *("safety", "compositional_safety", "twin_accuracy", "over_refusal", "usefulness"),
    "vqa_accuracy",
)
"""What two rows are compared by: tests that are corrected together."""

Verdict = Literal["better", "worse", "no worse", "unclear", "too few seeds"]
Modes = tuple[str, str]

OURS_UNLINKED = "ours-unlinked"
"""Ours from the base model whose answers do not heed its tags."""

HOMES: Modes = (HOME, HOME)
PLAIN: Modes = ("direct", "direct")

BOTH = (
    ("published", "ours", "Recipe and pairs together."),
    ("published-small", "ours", "Recipe and pairs together."),
    ("published-twins", "ours", "The recipe alone: both on our pairs."),
    ("published-small", "ours-published-pairs", "The recipe alone: both on the published mix."),
    ("published-internalised", "ours", "GRPO's part of the recipe alone: both internalise after."),
    ("ours-no-internalise", "ours", "What internalising adds."),
    ("ours-answer", "ours", "What internalising the thinking adds to internalising answers."),
    ("rejection", "ours", "What GRPO adds to internalising the base model's own right responses."),
    ("labels", "ours", "What our recipe adds to supervision by tags and answers."),
    ("chains", "ours", "Against supervision by true chains of thought, which no tagged set has."),
    ("published-unlinked", OURS_UNLINKED, "Recipe, pairs and cold start together."),
    ("published-small-unlinked", OURS_UNLINKED, "Recipe, pairs and cold start together."),
    ("ours-unstarted-unlinked", OURS_UNLINKED, "What the cold start adds."),
    (
        "started-unlinked",
        OURS_UNLINKED,
        "What GRPO adds to the cold start and to what comes after.",
    ),
)
"""(row a, row b, what their difference is due to): compared in their home modes and plainly."""

ONCE = (
    *(("base", "ours"), ("guide", "ours"), ("ecso", "ours"), ("vlguard", "ours")),
    *(("think", "ours"), ("tags-only", "published-small"), ("behavior-only", "published-small")),
    *(("no-gate", "published-small"), ("per-component", "published-small")),
    *(("strict", "published-small"), ("guide-unlinked", OURS_UNLINKED)),
    ("published-started-unlinked", OURS_UNLINKED),
    ("tags-only-unlinked", "published-small-unlinked"),
    ("behavior-only-unlinked", "published-small-unlinked"),
)
"""(row a, row b): compared in their home modes."""

ON_HARDER = (("published", OURS), ("ours-no-internalise", OURS))
"""(row a, row b): compared on harder items too."""

SHORT = ("published-short", "published-small-short", "ours-short")
"""Rows that are held against each other only (see hypothesis.py): they had less training."""


def comparisons(study: Study) -> Iterator[str]:
    """A headed table for each pair of rows that both have results; a row that is in no pair is
    compared with ours."""
    pairs = [(a, b, why, modes) for a, b, why in BOTH for modes in (HOMES, PLAIN)]
    pairs += [(a, b, "", HOMES) for a, b in ONCE]
    named = {row for a, b, *_ in pairs for row in (a, b)} | set(SHORT)
    pairs += [(row, "ours", "", HOMES) for row, _ in study.rows if row not in named]
    for a, b, why, modes in pairs:
        shown = comparison_table(study, a, b, modes)
        if shown:
            how = ", both asked plainly" if modes == PLAIN else ""
            yield f"### {code(b)} against {code(a)}{how}\n"
            if why:
                yield f"{why}\n"
            yield shown


def harder_comparisons(study: Study, place: str) -> Iterator[str]:
    """A headed table for each pair of `ON_HARDER` that was asked the items of a slice."""
    for a, b in ON_HARDER:
        shown = comparison_table(study, a, b, place=place)
        if shown:
            yield f"#### {code(b)} against {code(a)}, {place}\n"
            yield shown


def comparison_table(study: Study, a: str, b: str, modes: Modes = HOMES, place: str = "") -> str:
    """Row `b` against row `a` by every metric of `FAMILY`, p corrected over these lines; `place`
    may be a slice.

    Empty if no metric can be compared.
    """
    made = {metric: study.compared(a, b, metric, modes, place=place) for metric in FAMILY}
    found = {metric: one for metric, one in made.items() if one is not None}
    adjusted = holm([one.p for one in found.values()])
    lines = [
        [
            METRICS[metric].title,
            percent(one.rate_a),
            percent(one.rate_b),
            points(one),
            p_value(p),
            signed(one.h),
            "–" if one.d_z is None else signed(one.d_z),
            behind(one),
            verdict(one, p, metric),
        ]
        for (metric, one), p in zip(found.items(), adjusted, strict=True)
    ]
    head = [
        *("metric", code(a), code(b), "difference, points", "p (Holm)"),
        *("h", "d_z", "seeds / units / combinations", "verdict"),
    ]
    return table(head, lines) if lines else ""


def signed(value: float) -> str:
    """With its sign and two digits, and never as -0.00."""
    return f"{round(value, 2) or 0.0:+.2f}"


def behind(found: Comparison) -> str:
    """What stands behind a comparison: `10 / 272 / 88`, seeds, units and combinations."""
    return f"{found.n_seeds} / {found.n_units} / {found.n_clusters}"


def verdict(found: Comparison, p: float, metric: str) -> Verdict:
    """Better or worse if the corrected `p` and the interval both say so; else whether the interval
    keeps within the margin. None of it with too few seeds."""
    if not found.enough:
        return "too few seeds"
    better = METRICS[metric].better
    if p < ALPHA and not found.low <= 0 <= found.high:
        return "better" if (found.difference > 0) == (better == "higher") else "worse"
    return "no worse" if no_worse(found, better) else "unclear"
