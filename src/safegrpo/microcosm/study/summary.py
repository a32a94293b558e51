"""What the study found, in a few lines, each from the results and with where to read on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby

from safegrpo.microcosm.study.cost import Cost, ratio, spread
from safegrpo.microcosm.study.hypothesis import MODES, NEAR, PAIRS, Carried, Part
from safegrpo.microcosm.study.pattern import Finding
from safegrpo.microcosm.study.results import METRICS
from safegrpo.microcosm.study.tables import percent
from safegrpo.report.tables import code, in_cell

PUBLISHED, OURS, _ = PAIRS[0]
"""The rows that the study's question is about."""


def summary(
    parts: Sequence[Part],
    carried: Sequence[Carried],
    cost: Cost | None,
    findings: Sequence[Finding],
) -> Iterator[str]:
    """Lines of a list: ours against the published recipe, without the guide, what it cost, and what
    became of the paper's claims; as far as there is something to say."""
    own = [part for part in parts if part.published == PUBLISHED]
    for mode, of_mode in groupby(own, key=lambda part: part.mode):
        yield _against(mode, list(of_mode))
    of_ours = [one for one in carried if one.row == OURS]
    if of_ours:
        yield _without_guide(of_ours)
    if cost is not None and len(cost.recipes()) > 1:
        yield _costs(cost)
    if findings:
        counts = Counter(found.verdict for found in findings)
        said = ", ".join(f"{verdict}: {n}" for verdict, n in counts.most_common())
        yield f"- [The paper's claims](#the-papers-claims), as far as they were checked; {said}."


def _against(mode: str, parts: Sequence[Part]) -> str:
    said = [
        f"{METRICS[part.metric].title} {percent(part.found.rate_b)} against "
        f"{percent(part.found.rate_a)}, {'no worse' if part.p is None else 'better'}: "
        f"{part.verdict}"
        for part in parts
    ]
    seeds = min(part.found.n_seeds for part in parts)
    return (
        f"- Asked {MODES[mode]}, [{code(OURS)} against {code(PUBLISHED)}]"
        f"(#ours-against-safegrpo-as-published), {seeds} {'seed' if seeds == 1 else 'seeds'}: "
        f"{'; '.join(said)}."
    )


def _without_guide(carried: Sequence[Carried]) -> str:
    said = []
    for items, of_items in groupby(carried, key=lambda one: one.items):
        by_verdict: dict[str, list[str]] = {}
        for one in of_items:
            by_verdict.setdefault(one.verdict, []).append(METRICS[one.metric].title)
        told = (f"{verdict} for {', '.join(names)}" for verdict, names in by_verdict.items())
        said.append(f"{in_cell(items)} items: {'; '.join(told)}")
    return (
        f"- [Without the guide as with it](#without-the-guide-as-with-it), {code(OURS)} to within "
        f"{100 * NEAR:g} points. {'. '.join(one[0].upper() + one[1:] for one in said)}."
    )


def _costs(cost: Cost) -> str:
    (name, own), *others = cost.recipes().items()
    times = "; ".join(
        f"{in_cell(recipe)} {ratio(runs, own, 'seconds')} times" for recipe, runs in others
    )
    return (
        f"- [Up to the target](#cost-to-the-target) {in_cell(name)} took "
        f"{spread(own, 'rollouts')} rollouts and {spread(own, 'seconds')} seconds. In seconds, the "
        f"others took: {times}."
    )
