"""Intervals and tests over seeds and items together: does it hold for new runs, on new items?

Seeds and items are crossed, since all runs answer the same items. So both are resampled, the items
alike for all runs, and a difference must hold over both. Items come in clusters that mostly come
out alike (a combination of instruction and thing), so it is clusters that are drawn, and whose
signs are flipped. Outcomes are strings as results keep them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean, stdev
from typing import Literal

from safegrpo.evaluation.stats import sign_flip, wilson
from safegrpo.microcosm.study.resample import Bits, known, ones, resampled
from safegrpo.microcosm.study.results import rate

Runs = Mapping[int, str]
"""seed -> outcomes of one metric, the same units in each"""

Estimate = tuple[float, float, float]
"""mean, low, high"""

DRAWS = 4000
ALPHA = 0.05
MARGIN = 0.05
"""What counts as no worse, in rate: 88 combinations in which nothing moves can tell no less."""

FEW = 5
"""Clusters: with fewer that ever came out otherwise, resampling knows too little of them."""

ENOUGH = 5
"""Seeds: with fewer there is no verdict."""


@dataclass(frozen=True)
class Comparison:
    """Row b against row a, over `n_seeds` pairs of runs and the `n_units` that both know, which
    make up `n_clusters`.

    Rates and `difference` (b - a) are fractions, means over the seeds; `low` to `high` is its
    interval. `p_seeds` is None where no seed had anything to decide. `h` is Cohen's effect size of
    the two rates, `d_z` the mean difference over its standard deviation between seeds (None if
    there is none).
    """

    rate_a: float
    rate_b: float
    difference: float
    low: float
    high: float
    p_seeds: float | None
    p_items: float
    h: float
    d_z: float | None
    n_seeds: int
    n_units: int
    n_clusters: int

    @property
    def p(self) -> float:
        """The larger of the two: it must hold over new seeds and over new items."""
        return self.p_items if self.p_seeds is None else max(self.p_seeds, self.p_items)

    @property
    def enough(self) -> bool:
        """Whether there are seeds enough for a verdict, or none had anything to decide."""
        return self.p_seeds is None or self.n_seeds >= ENOUGH


def mean_interval(
    strings_by_seed: Runs,
    clusters: Sequence[str] | None = None,
    *,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> Estimate:
    """The mean of the runs' rates, and its percentile interval over `draws` two-way resamples.

    `clusters` names the cluster of each unit; by default each is its own. Of one run only clusters
    are resampled. Where fewer than `FEW` clusters ever came out otherwise than the rest, the
    interval reaches at least as far as Wilson's for one run's clusters: 0/n and n/n never get an
    interval without width. Raises ValueError if no unit has a value, or a run has another number
    of units.
    """
    strings = tuple(sorted(strings_by_seed.items()))
    return _mean_interval(
        strings, None if clusters is None else tuple(clusters), level, draws, seed
    )


@lru_cache(maxsize=4096)  # tables and plots ask for the same
def _mean_interval(
    strings: tuple[tuple[int, str], ...],
    clusters: tuple[str, ...] | None,
    level: float,
    draws: int,
    seed: int,
) -> Estimate:
    rates = {text: found for _, text in strings if (found := rate(text)) is not None}
    texts = [text for _, text in strings if text in rates]
    if not texts:
        raise ValueError("no unit has a value in any run")
    groups = _groups(texts, clusters)
    mean = fmean(rates[text] for text in texts)
    runs = [Bits(ones(text), 0, known(text)) for text in texts]
    low, high = _ends(resampled(runs, groups, draws, seed), level)
    up, down = (
        {group for text in texts for group, mark in zip(groups, text, strict=True) if mark == said}
        for said in "10"
    )
    if min(len(up), len(down)) < FEW:
        n = len(up | down)
        least, most = wilson(mean * n, n, level)
        low, high = min(low, least), max(high, most)
    return mean, max(0.0, low), min(1.0, high)


def compare(
    strings_a_by_seed: Runs,
    strings_b_by_seed: Runs,
    clusters: Sequence[str] | None = None,
    *,
    seeded: bool = True,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> Comparison | None:
    """Row b against row a; None if no seed, or no unit, is known in both.

    Runs are paired by seed. A row of one run, such as the untrained model, is paired with every
    run of the other. `seeded=False` is for two rows that no seed decides: only items are tested.
    `clusters` and ValueError as in `mean_interval`. Where fewer than `FEW` clusters ever moved (or
    did not move like the rest), what gained and what lost are each a rate with Wilson's interval,
    and the difference's reaches at least as far as the two together.
    """
    pairs = [
        (a, b)
        for a, b in _paired(strings_a_by_seed, strings_b_by_seed)
        if any(x != "-" and y != "-" for x, y in zip(a, b, strict=True))
    ]
    if not pairs:
        return None
    groups = _groups([text for pair in pairs for text in pair], clusters)
    runs, rates_a, rates_b = [], [], []
    for a, b in pairs:
        both = known(a) & known(b)
        n, ones_a, ones_b = both.bit_count(), ones(a) & both, ones(b) & both
        runs.append(Bits(ones_b & ~ones_a, ones_a & ~ones_b, both))
        rates_a.append(ones_a.bit_count() / n)
        rates_b.append(ones_b.bit_count() / n)
    by_seed = [b - a for a, b in zip(rates_a, rates_b, strict=True)]
    by_unit = _unit_differences(pairs)
    by_cluster: dict[int, float] = {}
    for unit, value in by_unit.items():
        by_cluster[groups[unit]] = by_cluster.get(groups[unit], 0.0) + value
    difference = fmean(by_seed)
    low, high = _ends(resampled(runs, groups, draws, seed), level)
    moves: dict[int, set[int]] = {1: set(), 0: set(), -1: set()}
    for a, b in pairs:
        for group, x, y in zip(groups, a, b, strict=True):
            if x != "-" and y != "-":
                moves[(y == "1") - (x == "1")].add(group)
    if any(len(moves[one] | moves[other]) < FEW for one, other in ((1, -1), (1, 0), (-1, 0))):
        least, most = _by_wilson(runs, len(by_cluster), level)
        low, high = min(low, least), max(high, most)
    spread = stdev(by_seed) if len(by_seed) > 1 else 0.0
    rate_a, rate_b = fmean(rates_a), fmean(rates_b)
    return Comparison(
        rate_a=rate_a,
        rate_b=rate_b,
        difference=difference,
        low=max(-1.0, low),
        high=min(1.0, high),
        p_seeds=sign_flip(by_seed) if seeded else None,
        p_items=sign_flip(list(by_cluster.values())),
        h=2 * (math.asin(math.sqrt(rate_b)) - math.asin(math.sqrt(rate_a))),
        d_z=difference / spread if spread > 1e-12 else None,
        n_seeds=len(by_seed),
        n_units=len(by_unit),
        n_clusters=len(by_cluster),
    )


def no_worse(found: Comparison, better: Literal["higher", "lower"], margin: float = MARGIN) -> bool:
    """Whether b falls behind a by less than `margin` at the interval's worse end."""
    return found.low > -margin if better == "higher" else found.high < margin


def _by_wilson(runs: Sequence[Bits], clusters: int, level: float) -> tuple[float, float]:
    """The ends of a difference whose gains and losses are each a rate over so many clusters."""
    up, down = (
        fmean(getattr(run, side).bit_count() / run.known.bit_count() for run in runs)
        for side in ("up", "down")
    )
    (up_low, up_high), (down_low, down_high) = (
        wilson(share * clusters, clusters, level) for share in (up, down)
    )
    return (
        up - down - math.hypot(up - up_low, down_high - down),
        up - down + math.hypot(up_high - up, down - down_low),
    )


def _paired(a: Runs, b: Runs) -> list[tuple[str, str]]:
    if len(a) == 1 or len(b) == 1:
        return [(x, y) for _, x in sorted(a.items()) for _, y in sorted(b.items())]
    return [(a[key], b[key]) for key in sorted(a.keys() & b.keys())]


def _unit_differences(pairs: Sequence[tuple[str, str]]) -> dict[int, float]:
    """The mean of b - a over the seeds, for each unit that both know in some seed."""
    sums, counts = [0] * len(pairs[0][0]), [0] * len(pairs[0][0])
    for a, b in pairs:
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            if x != "-" and y != "-":
                sums[i] += (y == "1") - (x == "1")
                counts[i] += 1
    return {i: sums[i] / n for i, n in enumerate(counts) if n}


def _groups(texts: Sequence[str], clusters: Sequence[str] | None) -> tuple[int, ...]:
    """The cluster of each unit by number."""
    lengths = {len(text) for text in texts}
    if len(lengths) > 1:
        raise ValueError(f"runs of {min(lengths)} and of {max(lengths)} units are not the same")
    units = lengths.pop()
    if clusters is None:
        return tuple(range(units))
    if len(clusters) != units:
        raise ValueError(f"{len(clusters)} units have a cluster, and there are {units}")
    number = {name: i for i, name in enumerate(dict.fromkeys(clusters))}
    return tuple(number[name] for name in clusters)


def _ends(ascending: Sequence[float], level: float) -> tuple[float, float]:
    """The values that (1 - level) / 2 of all lie at or beyond, on either side."""
    beyond = max(1, math.ceil((1 - level) / 2 * len(ascending) - 1e-9))
    return ascending[beyond - 1], ascending[-beyond]
