"""Intervals and tests over seeds and items together: does it hold for new runs, on new items?

Seeds and items are crossed, since all runs answer the same items. So both are resampled, the items
alike for all runs, and a difference must hold over both. Outcomes are strings as results keep them.

A string becomes an integer of bits and a resample's counts become bit planes; a weighted sum is
then a few ANDs and bit counts. That is fast without numpy, and exact, so a number is the same on
every machine.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from statistics import fmean, stdev
from typing import Literal

from safegrpo.evaluation.stats import sign_flip, wilson
from safegrpo.microcosm.study.results import rate

Runs = Mapping[int, str]
"""seed -> outcomes of one metric, the same units in each"""

Estimate = tuple[float, float, float]
"""mean, low, high"""

DRAWS = 4000
MARGIN = 0.02
"""What counts as no worse: two points of a rate."""

FEW = 5
"""Units: with fewer that ever came out otherwise, resampling knows too little of them."""


@dataclass(frozen=True)
class Comparison:
    """Row b against row a, over `n_seeds` pairs of runs and the `n_units` that both know.

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

    @property
    def p(self) -> float:
        """The larger of the two: it must hold over new seeds and over new items."""
        return self.p_items if self.p_seeds is None else max(self.p_seeds, self.p_items)


def mean_interval(
    strings_by_seed: Runs, level: float = 0.95, draws: int = DRAWS, seed: int = 0
) -> Estimate:
    """The mean of the runs' rates, and its percentile interval over `draws` two-way resamples.

    Of one run only the units are resampled. Where fewer than `FEW` units ever came out otherwise
    than the rest, the interval reaches at least as far as Wilson's for one run's units: 0/n and n/n
    never get an interval without width. Of two or three runs it may be too narrow, as any
    bootstrap. Raises ValueError if no unit has a value.
    """
    return _mean_interval(tuple(sorted(strings_by_seed.items())), level, draws, seed)


@lru_cache(maxsize=4096)  # tables and plots ask for the same
def _mean_interval(
    strings: tuple[tuple[int, str], ...], level: float, draws: int, seed: int
) -> Estimate:
    known = [text for _, text in strings if rate(text) is not None]
    if not known:
        raise ValueError("no unit has a value in any run")
    units = _same_length(known)
    runs = [_Run(_ones(text), 0, _known(text)) for text in known]
    mean = fmean(_rates(known))
    low, high = _ends(_resampled(runs, units, draws, seed), level)
    ever, other, any_known = 0, 0, 0
    for run in runs:
        ever, other = ever | run.up, other | (run.known & ~run.up)
        any_known |= run.known
    if min(ever.bit_count(), other.bit_count()) < FEW:
        n = any_known.bit_count()
        least, most = wilson(mean * n, n, level)
        low, high = min(low, least), max(high, most)
    return mean, low, high


def compare(
    strings_a_by_seed: Runs,
    strings_b_by_seed: Runs,
    *,
    seeded: bool = True,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> Comparison | None:
    """Row b against row a; None if no seed, or no unit, is known in both.

    Runs are paired by seed. A row of one run, such as the untrained model, is paired with every
    run of the other. `seeded=False` is for two rows that no seed decides: only items are tested.
    """
    pairs = [
        (a, b)
        for a, b in _paired(strings_a_by_seed, strings_b_by_seed)
        if any(x != "-" and y != "-" for x, y in zip(a, b, strict=True))
    ]
    if not pairs:
        return None
    units = _same_length([text for pair in pairs for text in pair])
    runs, rates_a, rates_b = [], [], []
    for a, b in pairs:
        both = _known(a) & _known(b)
        n, ones_a, ones_b = both.bit_count(), _ones(a) & both, _ones(b) & both
        runs.append(_Run(ones_b & ~ones_a, ones_a & ~ones_b, both))
        rates_a.append(ones_a.bit_count() / n)
        rates_b.append(ones_b.bit_count() / n)
    by_seed = [b - a for a, b in zip(rates_a, rates_b, strict=True)]
    by_unit = _unit_differences(pairs)
    difference = fmean(by_seed)
    low, high = _ends(_resampled(runs, units, draws, seed), level)
    if low == high:
        # Every unit moved alike. A share of units this large would have shown up among them,
        # but for one time in 1 / (1 - level): the rule of three.
        reach = 1 - (1 - level) ** (1 / len(by_unit))
        low, high = max(-1.0, difference - reach), min(1.0, difference + reach)
    spread = stdev(by_seed) if len(by_seed) > 1 else 0.0
    rate_a, rate_b = fmean(rates_a), fmean(rates_b)
    return Comparison(
        rate_a=rate_a,
        rate_b=rate_b,
        difference=difference,
        low=low,
        high=high,
        p_seeds=sign_flip(by_seed) if seeded else None,
        p_items=sign_flip(by_unit),
        h=2 * (math.asin(math.sqrt(rate_b)) - math.asin(math.sqrt(rate_a))),
        d_z=difference / spread if spread > 1e-12 else None,
        n_seeds=len(by_seed),
        n_units=len(by_unit),
    )


def no_worse(found: Comparison, better: Literal["higher", "lower"], margin: float = MARGIN) -> bool:
    """Whether b falls behind a by less than `margin` at the interval's worse end."""
    return found.low > -margin if better == "higher" else found.high < margin


def _paired(a: Runs, b: Runs) -> list[tuple[str, str]]:
    if len(a) == 1 or len(b) == 1:
        return [(x, y) for _, x in sorted(a.items()) for _, y in sorted(b.items())]
    return [(a[key], b[key]) for key in sorted(a.keys() & b.keys())]


def _unit_differences(pairs: Sequence[tuple[str, str]]) -> list[float]:
    """The mean of b - a over the seeds, for each unit that both know in some seed."""
    sums, counts = [0] * len(pairs[0][0]), [0] * len(pairs[0][0])
    for a, b in pairs:
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            if x != "-" and y != "-":
                sums[i] += (y == "1") - (x == "1")
                counts[i] += 1
    return [total / n for total, n in zip(sums, counts, strict=True) if n]


def _rates(texts: Sequence[str]) -> list[float]:
    return [found for text in texts if (found := rate(text)) is not None]


def _same_length(texts: Sequence[str]) -> int:
    lengths = {len(text) for text in texts}
    if len(lengths) > 1:
        raise ValueError(f"runs of {min(lengths)} and of {max(lengths)} units are not the same")
    return lengths.pop()


# The bits of a text, its first unit the highest.
def _ones(text: str) -> int:
    return int(text.replace("-", "0"), 2)


def _known(text: str) -> int:
    return int(text.replace("0", "1").replace("-", "0"), 2)


@dataclass(frozen=True)
class _Run:
    """Units that count 1, that count -1, and that count at all, as bits."""

    up: int
    down: int
    known: int


def _resampled(runs: Sequence[_Run], units: int, draws: int, seed: int) -> list[float]:
    """The mean over drawn runs of the mean over drawn units, for each resample, ascending."""
    whole = all(run.known.bit_count() == units for run in runs)
    means: list[float] = []
    for planes, chosen in zip(
        _unit_draws(units, draws, seed), _run_draws(len(runs), draws, seed), strict=True
    ):
        total, weight = 0.0, 0
        for index, times in chosen:
            run, got, n = runs[index], 0, units
            for bit, plane in enumerate(planes):
                got += ((plane & run.up).bit_count() - (plane & run.down).bit_count()) << bit
            if not whole:
                n = sum((plane & run.known).bit_count() << bit for bit, plane in enumerate(planes))
            if n:
                total += times * got / n
                weight += times
        if weight:
            means.append(total / weight)
    return sorted(means)


_BITS = [bytes(ord("0") + (count >> bit & 1) for count in range(256)) for bit in range(8)]


@lru_cache(maxsize=64)  # metrics with as many units share their draws
def _unit_draws(units: int, draws: int, seed: int) -> tuple[tuple[int, ...], ...]:
    """For each resample of the units, how often each was drawn: plane k holds bit k of it."""
    rng, places = Random(f"units {units} {seed}"), range(units)
    found = []
    for _ in range(draws):
        counts = bytearray(units)
        for place in rng.choices(places, k=units):
            counts[place] += 1
        bits = range(max(counts).bit_length())
        found.append(tuple(int(counts.translate(_BITS[bit]), 2) for bit in bits))
    return tuple(found)


@lru_cache(maxsize=64)
def _run_draws(runs: int, draws: int, seed: int) -> tuple[tuple[tuple[int, int], ...], ...]:
    """For each resample of the runs, (index, how often it was drawn)."""
    rng = Random(f"runs {runs} {seed}")
    return tuple(
        tuple(sorted(Counter(rng.choices(range(runs), k=runs)).items())) for _ in range(draws)
    )


def _ends(ascending: Sequence[float], level: float) -> tuple[float, float]:
    """The values that (1 - level) / 2 of all lie at or beyond, on either side."""
    beyond = max(1, math.ceil((1 - level) / 2 * len(ascending) - 1e-9))
    return ascending[beyond - 1], ascending[-beyond]
