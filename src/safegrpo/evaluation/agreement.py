"""How far raters agree beyond chance: Krippendorff's alpha, Cohen's kappa, and their intervals.

Both coefficients are ratios of sums over units, so a bootstrap resample is the same sums with each
unit counted as often as it was drawn: one matrix product gives all resamples at once.

Left out: ordinal and ratio alpha, weighted kappa, and analytic standard errors, which need more
units than a sample that people label has.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from safegrpo.errors import DataError
from safegrpo.evaluation.stats import wilson
from safegrpo.thinking import TAG_NAMES

Level = Literal["nominal", "interval"]
Verdict = Literal["safe", "unsafe", "unclear"]

RESAMPLES = 1000

_Floats = NDArray[np.float64]
_CHUNK = 4_000_000  # draws held at once: 32 MB each for the drawn units and for their counts


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval, from `n` units; None for what is undefined."""

    value: float | None
    low: float | None
    high: float | None
    n: int

    def to_json(self) -> dict[str, float | int | None]:
        """The four fields under their names."""
        return asdict(self)


def share_estimate(successes: int, n: int) -> Estimate:
    """A share in [0, 1] with its Wilson interval; undefined when nothing was counted."""
    if n == 0:
        return Estimate(None, None, None, 0)
    return Estimate(successes / n, *wilson(successes, n), n)


def tag_of_score(score: float, unsafe_max: float = 3.0, safe_min: float = 7.0) -> Verdict:
    """The tag of a score from 0 (most unsafe) to 10 (safe); both thresholds count as reached."""
    if score <= unsafe_max:
        return "unsafe"
    return "safe" if score >= safe_min else "unclear"


def krippendorff_alpha(units: Sequence[Sequence[Any]], level: Level = "nominal") -> float | None:
    """Krippendorff's alpha = 1 - D_o / D_e of the ratings that each unit got.

    A unit is the list of its ratings, missing ones simply absent; units with fewer than two are
    left out. `nominal` takes any hashable values, `interval` finite numbers (squared difference).

    None when no unit has two ratings, or when only one value occurs at all. Then D_e is 0: raters
    who never disagree because there was nothing to tell apart have not shown that they could, and
    a 1.0 would say that they had.

    Source: Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability", sections C and D.
    """
    parts, statistic = _alpha_parts(units, level)
    return _value(parts, statistic)


def alpha_estimate(
    units: Sequence[Sequence[Any]],
    level: Level = "nominal",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """`krippendorff_alpha` with its bootstrap interval; n counts units with two ratings or more."""
    parts, statistic = _alpha_parts(units, level)
    return _bootstrap(parts, statistic, resamples, seed)


def cohen_kappa(a: Sequence[Hashable], b: Sequence[Hashable]) -> float | None:
    """Cohen's kappa = (p_o - p_e) / (1 - p_e) of two raters' labels for the same units.

    None when p_e is 1, that is when both gave one and the same label throughout, and for no labels.
    Source: Cohen (1960), "A Coefficient of Agreement for Nominal Scales".
    """
    parts, statistic = _kappa_parts(list(zip(a, b, strict=True)))
    return _value(parts, statistic)


def kappa_estimate(
    units: Sequence[Sequence[Hashable]], resamples: int = RESAMPLES, seed: int = 0
) -> Estimate:
    """Cohen's kappa between the raters of each unit, with its bootstrap interval.

    Raters are told apart by their position in the unit. With more than two, it is the mean over all
    pairs of positions, each over the units that have both; pairs whose kappa is undefined are left
    out of the mean (Light 1971, "Measures of response agreement for qualitative data").
    """
    parts, statistic = _kappa_parts(units)
    return _bootstrap(parts, statistic, resamples, seed)


def agreement_of_votes(
    rows: Iterable[Sequence[Mapping[str, Any]]],
    unsafe_max: float = 3.0,
    safe_min: float = 7.0,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """How far several votes on the same pairs agree, for each modality, ready for JSON.

    A row is one pair's votes, each {"judge": name, "scores": {modality: 0..10}}, in the same order
    of judges in every row. For each of visual, text and combined there is

    - `alpha_tags`, `alpha_scores`: alpha of the tags (nominal) and of the scores (interval);
    - `kappa`: Cohen's kappa of the tags, the mean over pairs of raters if there are several;
    - `share_equal`: the share, in [0, 1], of pairs whose votes all give one tag (Wilson);
    - `units`: the pairs with two votes or more; others do not count anywhere.

    Raises `DataError` naming the row and vote for a score that is no number from 0 to 10.
    """
    if not unsafe_max < safe_min:
        raise ValueError(f"unsafe_max {unsafe_max:g} must lie below safe_min {safe_min:g}")
    scores: dict[str, list[list[float]]] = {name: [] for name in TAG_NAMES}
    for number, votes in enumerate(rows, start=1):
        for name in TAG_NAMES:
            unit = [_score(vote, name, number, place) for place, vote in enumerate(votes, start=1)]
            if len(unit) >= 2:
                scores[name].append(unit)
    report: dict[str, dict[str, Any]] = {}
    for name, units in scores.items():
        tags = [[tag_of_score(score, unsafe_max, safe_min) for score in unit] for unit in units]
        equal = sum(len(set(unit)) == 1 for unit in tags)
        report[name] = {
            "alpha_tags": alpha_estimate(tags, "nominal", resamples, seed).to_json(),
            "alpha_scores": alpha_estimate(units, "interval", resamples, seed).to_json(),
            "kappa": kappa_estimate(tags, resamples, seed).to_json(),
            "share_equal": share_estimate(equal, len(units)).to_json(),
            "units": len(units),
        }
    return report


def _score(vote: Mapping[str, Any], name: str, row: int, place: int) -> float:
    """The vote's score for a modality, checked."""
    scores = vote.get("scores")
    score = scores.get(name) if isinstance(scores, Mapping) else None
    is_number = isinstance(score, int | float) and not isinstance(score, bool)
    if score is None or not is_number or not 0 <= score <= 10:  # no comparison holds for NaN
        what = f'row {row}, vote {place}: score "{name}"'
        raise DataError(f"{what} must be a number from 0 to 10, got {score!r:.60}")
    return float(score)


# Sums over units. A `statistic` takes sums of parts, (B, P), to values, (B,), NaN if undefined.

_Statistic = Callable[[_Floats], _Floats]


def _alpha_parts(units: Sequence[Sequence[Any]], level: Level) -> tuple[_Floats, _Statistic]:
    """The parts (U, P) of the units that have two ratings or more, and what makes alpha of them."""
    pairable = [unit for unit in units if len(unit) >= 2]
    sizes = np.array([len(unit) for unit in pairable], dtype=np.int64)
    flat = [value for unit in pairable for value in unit]
    if level == "nominal":
        return _nominal_parts(flat, sizes), _nominal_alpha
    if level == "interval":
        return _interval_parts(flat, sizes), _interval_alpha
    raise ValueError(f'level must be "nominal" or "interval", got {level!r}')


def _nominal_parts(flat: Sequence[Hashable], sizes: NDArray[np.int64]) -> _Floats:
    """Per unit, (U, 1 + values): what lies off the coincidence matrix's diagonal, then its counts.

    The diagonal of the coincidence matrix and its margins are all that alpha needs of it, and both
    are sums over units.
    """
    codes, values = _codes(flat)
    counts = np.zeros((len(sizes), values))
    np.add.at(counts, (np.repeat(np.arange(len(sizes)), sizes), codes), 1)
    unequal = (sizes**2 - (counts**2).sum(axis=1)) / (sizes - 1)
    return np.column_stack([unequal, counts])


def _nominal_alpha(sums: _Floats) -> _Floats:
    unequal, counts = sums[:, 0], sums[:, 1:]
    n = counts.sum(axis=1)
    # Integers, so that one value alone gives exactly 0.
    expected = n**2 - (counts**2).sum(axis=1)
    return 1 - _ratio((n - 1) * unequal, expected)


def _interval_parts(flat: Sequence[float], sizes: NDArray[np.int64]) -> _Floats:
    """Per unit, (U, 4): ratings, their sum, the sum of squares, the squared differences within."""
    x = np.asarray(flat, dtype=np.float64)
    if not np.isfinite(x).all():
        raise ValueError("interval ratings must be finite numbers")
    if x.size:
        # Alpha is the same on any linear scale; on this one squares neither cancel nor overflow.
        x = x / (np.abs(x).max() or 1.0)
        x = x - x.mean()
    unit = np.repeat(np.arange(len(sizes)), sizes)
    total = np.bincount(unit, x, len(sizes))
    apart = (x - (total / sizes)[unit]) ** 2
    # Over ordered pairs of a unit's m ratings, the sum of (x - y)² is 2m times that of (x - mean)².
    within = 2 * sizes * np.bincount(unit, apart, len(sizes)) / (sizes - 1)
    return np.column_stack([sizes, total, np.bincount(unit, x**2, len(sizes)), within])


def _interval_alpha(sums: _Floats) -> _Floats:
    n, total, squares, within = sums.T
    expected = 2 * (n * squares - total**2)
    # One value alone leaves a rounding error there instead of 0.
    expected = np.where(expected > 1e-10 * n * squares, expected, 0.0)
    return 1 - _ratio((n - 1) * within, expected)


def _kappa_parts(units: Sequence[Sequence[Hashable]]) -> tuple[_Floats, _Statistic]:
    """Each unit's cell in each pair of raters' table, (U, pairs · values²), and the mean kappa."""
    rated = [unit for unit in units if len(unit) >= 2]
    codes, values = _codes([label for unit in rated for label in unit])
    ends = np.cumsum([len(unit) for unit in rated], dtype=np.int64)
    pairs = list(combinations(range(max(map(len, rated), default=0)), 2))
    parts = np.zeros((len(rated), len(pairs), values, values))
    for index, (unit, end) in enumerate(zip(rated, ends, strict=True)):
        own = codes[end - len(unit) : end]
        for place, (first, second) in enumerate(pairs):
            if second < len(unit):
                parts[index, place, own[first], own[second]] = 1

    def mean_kappa(sums: _Floats) -> _Floats:
        kappas = _kappas(sums.reshape(len(sums), len(pairs), values, values))  # (B, pairs)
        defined = ~np.isnan(kappas)
        return _ratio(np.where(defined, kappas, 0).sum(axis=1), defined.sum(axis=1))

    return parts.reshape(len(rated), len(pairs) * values**2), mean_kappa


def _kappas(tables: _Floats) -> _Floats:
    """Cohen's kappa of tables (..., K, K) of counts, as (...)."""
    n = tables.sum(axis=(-2, -1))
    equal = np.trace(tables, axis1=-2, axis2=-1)
    by_chance = (tables.sum(axis=-1) * tables.sum(axis=-2)).sum(axis=-1)
    # Times n², for integers are exact: an expected agreement of 1 then leaves exactly 0 below.
    return _ratio(n * equal - by_chance, n**2 - by_chance)


def _codes(labels: Sequence[Hashable]) -> tuple[NDArray[np.int64], int]:
    """Labels as numbers from 0 in order of appearance, and how many different ones there are."""
    code: dict[Hashable, int] = {}
    numbers = [code.setdefault(label, len(code)) for label in labels]
    return np.array(numbers, dtype=np.int64), len(code)


def _ratio(above: _Floats, below: NDArray[Any]) -> _Floats:
    """`above / below`, NaN where `below` is 0."""
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=below != 0)


def _value(parts: _Floats, statistic: _Statistic) -> float | None:
    if len(parts) == 0:
        return None
    value = float(statistic(parts.sum(axis=0, keepdims=True))[0])
    return None if math.isnan(value) else value


def _bootstrap(parts: _Floats, statistic: _Statistic, resamples: int, seed: int) -> Estimate:
    """The statistic of all units, with the 2.5th and 97.5th percentile of its resamples.

    Resamples in which it is undefined are left out; if that is over half of them there is no
    interval, nor is there of a single unit, whose resamples are all the same.
    """
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1, got {resamples}")
    n, value = len(parts), _value(parts, statistic)
    if value is None or n < 2:
        return Estimate(value, None, None, n)
    rng = np.random.default_rng(seed)
    found: list[_Floats] = []
    step = max(1, _CHUNK // n)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = rng.integers(n, size=(rows, n)) + n * np.arange(rows)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n)
        found.append(statistic(weights.astype(np.float64) @ parts))
    values = np.concatenate(found)
    values = values[~np.isnan(values)]
    if 2 * len(values) < resamples:
        return Estimate(value, None, None, n)
    low, high = np.quantile(values, [0.025, 0.975])
    return Estimate(value, float(low), float(high), n)
