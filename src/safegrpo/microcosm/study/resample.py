"""Resamples of runs and clusters together, fast without numpy and the same on every machine.

A string of outcomes becomes an integer of bits and a resample's counts become bit planes; a
weighted sum is then a few ANDs and bit counts.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random


@dataclass(frozen=True)
class Bits:
    """Units of a run that count 1, that count -1, and that count at all; the first unit is the
    highest bit."""

    up: int
    down: int
    known: int


def ones(text: str) -> int:
    """The units of a string of outcomes that are "1", as bits."""
    return int(text.replace("-", "0"), 2)


def known(text: str) -> int:
    """The units of a string of outcomes that have a value, as bits."""
    return int(text.replace("0", "1").replace("-", "0"), 2)


def resampled(
    runs: Sequence[Bits], clusters: tuple[int, ...], draws: int, seed: int
) -> list[float]:
    """The mean over drawn runs of the mean over the units of drawn clusters, for each resample,
    ascending. `clusters` holds the cluster of each unit, from 0 on.

    n - 1 of n runs are drawn, and how far they leave the mean of all is stretched at random, as
    Student's t stretches a normal: a plain bootstrap of few runs is too narrow by far.
    """
    units = (1 << len(clusters)) - 1
    whole = all(run.known == units for run in runs)
    means: list[float] = []
    for planes, (times, stretch) in zip(
        _unit_draws(clusters, draws, seed), _run_draws(len(runs), draws, seed), strict=True
    ):
        total = drawn = weight = 0.0
        n, having = _sum(planes, units) if whole else 0, 0
        for run, often in zip(runs, times, strict=True):
            if not whole:
                n = _sum(planes, run.known)
            if not n:
                continue
            got = _sum(planes, run.up)
            if run.down:
                got -= _sum(planes, run.down)
            total, having = total + got / n, having + 1
            drawn, weight = drawn + often * got / n, weight + often
        if weight:
            mean = total / having
            means.append(mean + stretch * (drawn / weight - mean))
    return sorted(means)


def _sum(planes: Sequence[int], bits: int) -> int:
    total = 0
    for place, plane in enumerate(planes):
        total += (plane & bits).bit_count() << place
    return total


_BITS = [bytes(ord("0") + (count >> bit & 1) for count in range(256)) for bit in range(8)]


@lru_cache(maxsize=64)  # metrics with the same units share their draws
def _unit_draws(clusters: tuple[int, ...], draws: int, seed: int) -> tuple[tuple[int, ...], ...]:
    """For each resample of the clusters, how often each unit was drawn: plane k holds bit k."""
    of = max(clusters) + 1
    rng, places = Random(f"clusters {of} {seed}"), range(of)
    found = []
    for _ in range(draws):
        counts = bytearray(of)
        for place in rng.choices(places, k=of):
            counts[place] += 1
        by_unit = bytes(map(counts.__getitem__, clusters))
        bits = range(max(counts).bit_length())
        found.append(tuple(int(by_unit.translate(_BITS[bit]), 2) for bit in bits))
    return tuple(found)


@lru_cache(maxsize=64)
def _run_draws(runs: int, draws: int, seed: int) -> tuple[tuple[tuple[int, ...], float], ...]:
    """For each resample of the runs, how often each was drawn, and by what to stretch it."""
    rng, free = Random(f"runs {runs} {seed}"), runs - 1
    found = []
    for _ in range(draws):
        times = Counter(rng.choices(range(runs), k=max(1, free)))
        stretch = math.sqrt(free / 2 / rng.gammavariate(free / 2, 1)) if free else 1.0
        found.append((tuple(times[run] for run in range(runs)), stretch))
    return tuple(found)
