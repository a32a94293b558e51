"""Intervals and tests for rates: a number without its interval and its n is not a result.

Pure functions without numpy, so that a number is the same on every machine. Left out: cluster and
mixed models, and tests between more than two runs.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from itertools import accumulate
from random import Random
from statistics import NormalDist


def wilson(successes: float, n: float, level: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of a rate, as (low, high) in [0, 1]; (0, 1) when nothing was counted.

    Unlike p ± z·se it stays inside [0, 1] and keeps a width at 0/n and n/n. `successes` may be a
    fraction, because rates are often stored without their counts.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    if n < 0 or not -1e-9 <= successes <= n + 1e-9:
        raise ValueError(f"{successes} successes out of {n} is not a rate")
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + level / 2)
    rate = min(max(successes / n, 0.0), 1.0)
    shrink = 1 + z * z / n
    centre = (rate + z * z / (2 * n)) / shrink
    half = z * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n)) / shrink
    # At 0/n and n/n the ends are exactly 0 and 1; rounding would leave 1e-17 instead.
    low = 0.0 if rate == 0 else max(0.0, centre - half)
    high = 1.0 if rate == 1 else min(1.0, centre + half)
    return low, high


def newcombe(
    rate_a: float, n_a: int, rate_b: float, n_b: int, level: float = 0.95
) -> tuple[float, float]:
    """Interval of `rate_b - rate_a` from two Wilson intervals (Newcombe's hybrid score).

    It takes the two samples as independent. For the same items measured twice that is on the
    careful side whenever the two answers agree more often than by chance.
    """
    low_a, high_a = wilson(rate_a * n_a, n_a, level)
    low_b, high_b = wilson(rate_b * n_b, n_b, level)
    change = rate_b - rate_a
    return (
        max(-1.0, change - math.hypot(rate_b - low_b, high_a - rate_a)),
        min(1.0, change + math.hypot(high_b - rate_b, rate_a - low_a)),
    )


def format_rate(rate: float | None, n: int, level: float = 0.95) -> str:
    """A rate as people read it, `85.0 % (95 % interval 64.0-94.8, n = 20)`; "-" for none."""
    if rate is None or n == 0:
        return "-"
    low, high = wilson(rate * n, n, level)
    span = f"{100 * low:.1f}-{100 * high:.1f}"
    return f"{100 * rate:.1f} % ({100 * level:g} % interval {span}, n = {n})"


def mcnemar(only_first: int, only_second: int) -> float:
    """Exact two-sided p of McNemar's test.

    The counts are of items that only the one run, or only the other, got right. Items on which both
    agree tell nothing. p doubles the smaller binomial tail at 1/2, and is 1 when there are none.
    """
    if only_first < 0 or only_second < 0:
        raise ValueError(f"counts are not negative, got {only_first} and {only_second}")
    n = only_first + only_second
    tail = ways = 1
    for k in range(min(only_first, only_second)):
        ways = ways * (n - k) // (k + 1)
        tail += ways
    return min(1.0, 2 * tail / 2**n)


def sign_flip(differences: Sequence[float], draws: int = 10_000, seed: int = 0) -> float:
    """Two-sided p that paired differences are centred on 0, by flipping their signs at random.

    McNemar's exact test for differences of any size, and equal to it where all are -1, 0 or 1.
    All flips are counted if there are at most `draws` of them. Otherwise p comes from `draws`
    random ones, counting what was seen as one more, so that it is never 0.
    """
    moved = [value for value in differences if value]
    seen = abs(math.fsum(moved))
    # What is equal but for rounding counts as equally far from 0.
    least = seen - 1e-9 * math.fsum(map(abs, moved))
    if 2 ** len(moved) <= draws:
        sums = _signed_sums(moved)
        return sum(abs(one) >= least for one in sums) / len(sums)
    # Eight signs at a time: a random byte picks one of the 256 sums of eight differences.
    moved += [0.0] * (-len(moved) % 8)
    tables = [_signed_sums(moved[i : i + 8]) for i in range(0, len(moved), 8)]
    rng = Random(seed)
    flips = (sum(map(list.__getitem__, tables, rng.randbytes(len(tables)))) for _ in range(draws))
    return (1 + sum(abs(one) >= least for one in flips)) / (1 + draws)


def _signed_sums(values: Sequence[float]) -> list[float]:
    """The sums of `values` under all 2^len(values) choices of signs."""
    sums = [0.0]
    for value in values:
        sums = [one + value for one in sums] + [one - value for one in sums]
    return sums


def paired_bootstrap(
    pairs: Sequence[tuple[float, float]], level: float = 0.95, draws: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean of `second - first` over pairs.

    Where every pair moves by the same step or not at all, as with 0/1 values, the bootstrap's
    distribution is known and its percentiles are exact: nothing is drawn. Otherwise they come from
    `draws` resamples. Only pairs that moved are drawn one by one; how many of them a resample
    holds is a binomial number. Raises ValueError for no pairs.
    """
    if not pairs:
        raise ValueError("there are no pairs to draw from")
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    moved = [second - first for first, second in pairs if second != first]
    n = len(pairs)
    if not moved:
        return 0.0, 0.0
    if len({abs(value) for value in moved}) == 1:
        ups = sum(value > 0 for value in moved)
        weights: defaultdict[float, float] = defaultdict(float)
        for count, weight in _binomial(n, len(moved) / n):
            for up, share in _binomial(count, ups / len(moved)):
                weights[2 * up - count] += weight * share
        low, high = _percentiles(weights, level)
        step = abs(moved[0])
        return low * step / n, high * step / n
    rng = Random(seed)
    counts = _binomial(n, len(moved) / n)
    ladder = list(accumulate(weight for _, weight in counts))
    sums: defaultdict[float, float] = defaultdict(float)
    for _ in range(draws):
        rung = bisect_right(ladder, rng.random() * ladder[-1])
        size = counts[min(rung, len(counts) - 1)][0]
        sums[sum(rng.choices(moved, k=size)) / n] += 1
    return _percentiles(sums, level)


def _binomial(n: int, p: float) -> list[tuple[int, float]]:
    """(count, probability) of n trials, but for counts too rare to matter."""
    if p <= 0 or p >= 1 or n == 0:
        return [(n if p >= 1 else 0, 1.0)]
    # From the most likely count outwards: nothing can overflow, and the ends need no logarithms.
    peak, odds = min(n, int((n + 1) * p)), p / (1 - p)
    above, below = [(peak, 1.0)], []
    while above[-1][1] > 1e-12 and above[-1][0] < n:
        count, weight = above[-1]
        above.append((count + 1, weight * odds * (n - count) / (count + 1)))
    count, weight = peak, 1.0
    while weight > 1e-12 and count > 0:
        weight *= count / (odds * (n - count + 1))
        count -= 1
        below.append((count, weight))
    found = below[::-1] + above
    total = math.fsum(weight for _, weight in found)
    return [(count, weight / total) for count, weight in found]


def _percentiles(weights: dict[float, float], level: float) -> tuple[float, float]:
    """The least and the greatest value that at least (1 - level) / 2 lies at or beyond."""
    tail = (1 - level) / 2 * math.fsum(weights.values()) * (1 - 1e-9)
    values = sorted(weights)

    def first(ordered: Sequence[float]) -> float:
        sums = accumulate(weights[value] for value in ordered)
        return next(value for value, total in zip(ordered, sums, strict=True) if total >= tail)

    return first(values), first(values[::-1])


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for being several, in the order given (Holm's step-down Bonferroni).

    Calling those up to 0.05 a change keeps the chance of even one false call at 5 %, however the
    tests depend on each other. Raises ValueError for what is no p-value.
    """
    if not all(0 <= p <= 1 for p in p_values):
        raise ValueError("p-values lie between 0 and 1")
    adjusted, largest, m = [0.0] * len(p_values), 0.0, len(p_values)
    for rank, index in enumerate(sorted(range(m), key=p_values.__getitem__)):
        # A larger p never ends up below a smaller one.
        largest = max(largest, min(1.0, (m - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted
