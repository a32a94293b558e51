"""The paper's claims as checks over the results, decided by intervals and tests, not by eye.

The claims are those of SafeGRPO's main table and ablation (arXiv 2511.12982): supervised training
and ECSO gain safety, the former at the price of refusals and general ability; SafeGRPO gains more
and pays nothing; either part of its reward alone helps, and both together help more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from safegrpo.evaluation.stats import holm
from safegrpo.microcosm.study.results import METRICS
from safegrpo.microcosm.study.statistics import ALPHA, MARGIN, Comparison, no_worse
from safegrpo.microcosm.study.study import OURS, Study
from safegrpo.microcosm.study.tables import p_value, points
from safegrpo.report.tables import code

BASE, ECSO = "base", "ecso"
SUPERVISED = ("vlguard", "think")
METHODS = ("published", OURS)
TAGS, BEHAVIOR, BOTH = "tags-only", "behavior-only", "published-small"
"""The ablations, and the row that they leave something out of."""

ABLATED = (
    ("", BASE, TAGS, BEHAVIOR, BOTH),
    (
        *(", from the base model whose answers do not heed its tags", "guide-unlinked"),
        *(f"{TAGS}-unlinked", f"{BEHAVIOR}-unlinked", f"{BOTH}-unlinked"),
    ),
)
"""Where, and there the base model, the ablations and what they are of."""

FAR = 0.10
"""Far above: by more than ten points at the interval's lower end."""

ABOUT = 0.05
"""About the same: within five points at both ends of the interval."""

Kind = Literal["above", "far above", "no worse", "about"]
TESTED: tuple[Kind, ...] = ("above", "no worse")
"""Kinds of checks that a p decides, the latter's where they do not hold."""

Answer = Literal["holds", "does not hold", "unclear"]


@dataclass(frozen=True)
class Check:
    """Row `b` stands so to row `a` by `metric`, each asked in its home mode."""

    kind: Kind
    a: str
    b: str
    metric: str


@dataclass(frozen=True)
class Finding:
    """A claim, what became of it, and a sentence with the numbers of each check."""

    claim: str
    verdict: Answer
    sentences: tuple[str, ...]


def is_papers(claim: str) -> bool:
    """Whether the paper claims it, and not only we: it says nothing of base models that do not
    heed their tags."""
    return not claim.startswith(code(OURS)) and not any(
        where and where in claim for where, *_ in ABLATED
    )


def claims() -> list[tuple[str, list[Check]]]:
    """Each claim with the checks that it stands for.

    They hold 23 tests. More than 25 could never be told with ten seeds: 2 / 2^10 * 26 > 0.05.
    """
    found = [
        ("Supervised training is safer than the base model.",
         [Check("above", BASE, row, "safety") for row in SUPERVISED]),
        ("ECSO is safer than the base model.", [Check("above", BASE, ECSO, "safety")]),
        ("Supervised training refuses far more benign pairs than the base model.",
         [Check("far above", BASE, row, "over_refusal") for row in SUPERVISED]),
        ("Supervised training loses general ability.",
         [Check("above", row, BASE, "vqa_accuracy") for row in SUPERVISED]),
    ]  # fmt: skip
    for row in METHODS:
        name = code(row)
        found += [
            (f"{name} is safer than the base model and supervised training.",
             [Check("above", other, row, "safety") for other in (BASE, *SUPERVISED)]),
            (f"{name} refuses no more benign pairs than the base model.",
             [Check("no worse", BASE, row, "over_refusal")]),
            (f"{name} keeps general ability.",
             [Check("no worse", BASE, row, "vqa_accuracy")]),
        ]  # fmt: skip
    for where, base, tags, behavior, both in ABLATED:
        found += [
            ("Either part of the reward alone makes the model safer, and about as much as the "
             f"other{where}.",
             [Check("above", base, tags, "safety"), Check("above", base, behavior, "safety"),
              Check("about", tags, behavior, "safety")]),
            (f"Both parts together make it safer than either{where}.",
             [Check("above", part, both, "safety") for part in (tags, behavior)]),
        ]  # fmt: skip
    return found


def pattern(study: Study) -> list[Finding]:
    """What became of each claim of which at least one check has seeds enough.

    A claim holds if all its checks can be made and hold, and does not if one does not. All tests
    that have seeds enough, of "above" and of "no worse", are corrected together, over all claims;
    the other kinds are decided by the interval.
    """
    made = [
        (claim, [(check, study.compared(check.a, check.b, check.metric)) for check in checks])
        for claim, checks in claims()
    ]
    tests = {
        check: found
        for _, checks in made
        for check, found in checks
        if found is not None and found.enough and check.kind in TESTED
    }
    adjusted = dict(zip(tests, holm([found.p for found in tests.values()]), strict=True))
    findings = []
    for claim, checks in made:
        known = [(check, found) for check, found in checks if found is not None]
        if not any(found.enough for _, found in known):
            continue
        answers: list[Answer] = []
        sentences = []
        for check, found in known:
            p = adjusted.get(check, 1.0)
            answers.append(decide(check, found, p))
            sentences.append(_sentence(check, found, p, answers[-1]))
        missing = [f"{code(c.b)} against {code(c.a)}" for c, found in checks if found is None]
        if missing:
            sentences.append(f"Not to be had yet: {', '.join(missing)}.")
        findings.append(Finding(claim, _together(answers, bool(missing)), tuple(sentences)))
    return findings


def decide(check: Check, found: Comparison, p: float) -> Answer:
    """Whether a check holds: shown, shown to be otherwise, or neither (or with too few seeds)."""
    if not found.enough:
        return "unclear"
    low, high = found.low, found.high
    if check.kind == "above":
        holds = p < ALPHA and low > 0
        fails = high < MARGIN  # if there is a gain at all, it is none to speak of
    elif check.kind == "far above":
        holds, fails = low > FAR, high < FAR
    elif check.kind == "about":
        holds, fails = low > -ABOUT and high < ABOUT, low > ABOUT or high < -ABOUT
    else:
        better = METRICS[check.metric].better
        holds = no_worse(found, better)
        fails = p < ALPHA and (high < 0 if better == "higher" else low > 0)
    return "holds" if holds else "does not hold" if fails else "unclear"


def _together(answers: Sequence[Answer], missing: bool) -> Answer:
    if "does not hold" in answers:
        return "does not hold"
    return "unclear" if missing or "unclear" in answers else "holds"


def _sentence(check: Check, found: Comparison, p: float, answer: Answer) -> str:
    metric, n = METRICS[check.metric].title, found.n_seeds
    said = (
        f"{metric[0].upper()}{metric[1:]}, {code(check.b)} minus {code(check.a)}: "
        f"{points(found)} points"
    )
    if check.kind in TESTED and found.enough:
        said += f", p {'' if p < 0.001 else '= '}{p_value(p)}"
    said += f", {n} {'seed' if n == 1 else 'seeds'}, {found.n_units} units"
    said += f" in {found.n_clusters} combinations: {answer}"
    return f"{said}." if found.enough else f"{said} (too few seeds)."
