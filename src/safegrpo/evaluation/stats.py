"""Intervals for rates: a number without its interval and its n is not a result.

Pure functions of counts, no numpy. Left out: paired tests, which need the items themselves and
not only their sums.
"""

import math
from statistics import NormalDist


def wilson(successes: float, n: int, level: float = 0.95) -> tuple[float, float]:
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
