"""What changed between two runs on the same questions: each metric paired unit by unit.

Two runs answer the same items, so their intervals overlapping tells little: the items that both
get right, or both wrong, are most of each interval and say nothing of the change.

Left out: a correction for looking at many metrics at once. It belongs to whoever knows how many
are shown together; see `stats.holm`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from safegrpo.evaluation.metrics import Better
from safegrpo.evaluation.stats import mcnemar, paired_bootstrap, sign_flip

Verdict = Literal["better", "worse", "unclear"]

LEVEL = 0.95


@dataclass(frozen=True)
class Change:
    """A metric in two runs, over the `n` units that both know; values are fractions in [0, 1].

    `difference` is `after - before`, `low` to `high` its 95 % interval, `p` two-sided.
    `only_before` and `only_after` count units whose value is known in one run only: they are left
    out, so with many of them the change is that of the rest.
    """

    metric: str
    n: int
    before: float
    after: float
    difference: float
    low: float
    high: float
    p: float
    better: Better
    only_before: int
    only_after: int

    @property
    def verdict(self) -> Verdict:
        """Whether it got better or worse; `unclear` unless the interval excludes 0 and p < 0.05.

        The test is asked as well because the percentile interval is too narrow for few changed
        units: with one unit it has no width at all. `unclear` too where neither side is better.
        """
        if self.low <= 0 <= self.high or self.p >= 1 - LEVEL or self.better == "neither":
            return "unclear"
        return "better" if (self.difference > 0) == (self.better == "higher") else "worse"

    def to_json(self) -> dict[str, Any]:
        """Its fields and the verdict."""
        return {**asdict(self), "verdict": self.verdict}


def change(
    metric: str,
    before: Mapping[str, float | None],
    after: Mapping[str, float | None],
    better: Better,
) -> Change | None:
    """What became of `metric`, given each unit's value in both runs (None where it is missing).

    p is McNemar's exact one where all values are 0 or 1, otherwise that of random sign flips, which
    is the same test for values of any size. None when no unit is known in both runs. Raises
    ValueError for a value outside of [0, 1].
    """
    first, second = _known(metric, before), _known(metric, after)
    both = sorted(first.keys() & second.keys())  # in an order that the files do not decide
    if not both:
        return None
    pairs = [(first[unit], second[unit]) for unit in both]
    n = len(pairs)
    if all(value in (0, 1) for pair in pairs for value in pair):
        p = mcnemar(pairs.count((1, 0)), pairs.count((0, 1)))
    else:
        p = sign_flip([b - a for a, b in pairs])
    low, high = paired_bootstrap(pairs, LEVEL)
    return Change(
        metric=metric,
        n=n,
        before=math.fsum(a for a, _ in pairs) / n,
        after=math.fsum(b for _, b in pairs) / n,
        difference=math.fsum(b - a for a, b in pairs) / n,
        low=low,
        high=high,
        p=p,
        better=better,
        only_before=len(first) - n,
        only_after=len(second) - n,
    )


def _known(metric: str, values: Mapping[str, float | None]) -> dict[str, float]:
    known = {unit: value for unit, value in values.items() if value is not None}
    for unit, value in known.items():
        if not 0 <= value <= 1:  # no comparison holds for NaN
            raise ValueError(f"{metric} of unit {unit!r:.80} is {value}, not between 0 and 1")
    return known
