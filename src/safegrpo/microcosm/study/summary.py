"""What the study found, in a few lines, each from the results and with where to read on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby

from safegrpo.microcosm.study.compared import FAMILY
from safegrpo.microcosm.study.cost import Cost, median_ratio, ratio, spread, target_text
from safegrpo.microcosm.study.hypothesis import HARDER, MODES, NEAR, Carried, Part
from safegrpo.microcosm.study.pattern import Finding, claims, is_papers
from safegrpo.microcosm.study.results import METRICS
from safegrpo.microcosm.study.study import OURS, Study
from safegrpo.microcosm.study.tables import percent, points
from safegrpo.report.tables import code, in_cell

PUBLISHED, INTERNALISED = "published", "published-internalised"
"""The rows that ours is held against here: with the guide, and plainly too."""

UNLINKED = (
    *("published-unlinked", "published-small-unlinked", "published-started-unlinked"),
    "started-unlinked",
)
"""And these, from the base model whose answers do not heed its tags."""

ITEMS = {"test": "Test items", "paraphrases": "Reworded requests", "looks": "Words in new looks"}


def summary(
    study: Study,
    parts: Sequence[Part],
    carried: Sequence[Carried],
    cost: Cost | None,
    findings: Sequence[Finding],
) -> Iterator[str]:
    """Lines of a list: ours against the published recipe, on harder items, without the guide, what
    it cost, and what became of the paper's claims; as far as there is something to say."""
    own = [part for part in parts if part.published in (PUBLISHED, INTERNALISED, *UNLINKED)]
    for (row, mode), of_mode in groupby(own, key=lambda part: (part.published, part.mode)):
        yield _against(row, mode, list(of_mode))
    if own and not any(part.published == INTERNALISED for part in own):
        yield (
            f"- {code(INTERNALISED)}, the published recipe with what ours does after GRPO, is not "
            "run yet: how much of what ours is plainly comes from that alone is not known."
        )
    yield from _harder(study)
    of_ours = [one for one in carried if one.row == OURS]
    if of_ours:
        yield _without_guide(of_ours)
    for base, race in cost.races().items() if cost is not None else ():
        if len(race.recipes()) > 1:
            yield _costs(base, race)
    if findings:
        yield _claims(findings)


def _against(row: str, mode: str, parts: Sequence[Part]) -> str:
    better = [part for part in parts if part.p is not None]
    verdicts = [part.verdict for part in better]
    told = f"better in {verdicts.count('reached')} of {len(better)}"
    if "too few seeds" in verdicts:
        told = "too few to tell"
    said = [
        f"{METRICS[part.metric].title} {percent(part.found.rate_b)} against "
        f"{percent(part.found.rate_a)}{' (better)' if part.verdict == 'reached' else ''}"
        for part in better
    ]
    said += [
        f"{METRICS[part.metric].title} {percent(part.found.rate_b)} against "
        f"{percent(part.found.rate_a)}, no worse: {part.verdict}"
        for part in parts
        if part.p is None
    ]
    seeds = min(part.found.n_seeds for part in parts)
    asked = f"Asked {MODES[mode]}"
    if row in UNLINKED:
        asked = f"From a base model whose answers do not heed its tags, asked {MODES[mode]}"
    return (
        f"- {asked}, [{code(parts[0].ours)} against {code(row)}]"
        f"(#ours-against-safegrpo-as-published), {seeds} {'seed' if seeds == 1 else 'seeds'}: "
        f"{told}: {'; '.join(said)}."
    )


def _harder(study: Study) -> Iterator[str]:
    for place in HARDER:
        made = {metric: study.compared(PUBLISHED, OURS, metric, place=place) for metric in FAMILY}
        found = {metric: one for metric, one in made.items() if one is not None and one.enough}
        if found:
            beyond = [
                f"{METRICS[metric].title} {points(one)} points"
                for metric, one in found.items()
                if not one.low <= 0 <= one.high
            ]
            yield (
                f"- [{ITEMS[place]}](#harder-items), {code(OURS)} minus {code(PUBLISHED)}: "
                f"{'; '.join(beyond) or 'no difference'} with an interval beyond 0, of "
                f"{len(found)} metrics, not corrected."
            )


def _without_guide(carried: Sequence[Carried]) -> str:
    said = []
    for items, of_items in groupby(carried, key=lambda one: one.items):
        by_verdict: dict[str, list[str]] = {}
        for one in of_items:
            by_verdict.setdefault(one.verdict, []).append(METRICS[one.metric].title)
        told = (f"{verdict} for {', '.join(names)}" for verdict, names in by_verdict.items())
        said.append(f"{ITEMS[items]}: {'; '.join(told)}.")
    return (
        f"- [Without the guide as with it](#without-the-guide-as-with-it), {code(OURS)} to within "
        f"{100 * NEAR:g} points. {' '.join(said)}"
    )


def _costs(base: str, cost: Cost) -> str:
    (name, own), *others = cost.recipes().items()
    # Behind a colon stands a variant: those are for the table.
    whole = [other for other in others if ":" not in other[0]] or others
    whole.sort(key=lambda other: median_ratio(other[1], own, "seconds"))
    ends = dict((whole[0], whole[-1]))  # one entry where there is but one other
    times = " to ".join(
        f"{ratio(runs, own, 'seconds')} times that ({in_cell(recipe)})"
        for recipe, runs in ends.items()
    )
    start = f" from {code(base)}" if base else ""
    return (
        f"- [Up to the target](#cost-to-the-target){start}, {target_text(cost)}, {in_cell(name)} "
        f"needed {spread(own, 'rollouts')} rollouts and {spread(own, 'seconds')} seconds, medians "
        f"of {len(own)} seeds. In seconds the others needed {times}; engines and learning rates "
        "are part of that."
    )


def _claims(findings: Sequence[Finding]) -> str:
    papers = [found for found in findings if is_papers(found.claim)]
    counts = Counter(found.verdict for found in papers)
    said = ", ".join(f"{n} {verdict}" for verdict, n in counts.most_common())
    all_claims = sum(is_papers(claim) for claim, _ in claims())
    return (
        f"- Of [the paper's claims](#the-papers-claims) {len(papers)} of {all_claims} could be "
        f"checked: {said.replace('does not hold', 'do not hold').replace('holds', 'hold')}."
    )
