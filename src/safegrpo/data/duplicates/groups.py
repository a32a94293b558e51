"""Classes of what is alike, and pairs of candidates taken a few thousand at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Index = NDArray[np.intp]
Mask = NDArray[np.bool_]
Pairs = tuple[Index, Index]

INSTALL = "pip install 'safegrpo[judge]'"
CHUNK = 1 << 18
"""Pairs that are written out together."""

_BATCH = 2048  # pairs that are looked at together; a fit of them takes about 100 MB


class Groups:
    """The classes of 0 .. n - 1 under what has been joined; `labels` names each one's class."""

    def __init__(self, n: int) -> None:
        self.labels: Index = np.arange(n)
        self._members: dict[int, list[int]] = {}  # only classes of two and more

    def join(self, a: int, b: int) -> bool:
        """Make one class of those of `a` and `b`; False if it was one already."""
        small, large = int(self.labels[a]), int(self.labels[b])
        if small == large:
            return False
        few, many = (self._members.pop(k, [k]) for k in (small, large))
        # The smaller is renamed, so that nobody is renamed more than log2(n) times.
        if len(few) > len(many):
            few, many, large = many, few, small
        self.labels[few] = large
        many += few
        self._members[large] = many
        return True

    def lists(self) -> list[list[int]]:
        """All classes, singletons too, each ascending, ordered by their first member."""
        classes: dict[int, list[int]] = {}
        for index, label in enumerate(self.labels.tolist()):
            classes.setdefault(label, []).append(index)
        return list(classes.values())


def spans(low: Index, high: Index) -> Iterator[Pairs]:
    """(k, every value from low[k] to below high[k]) for all k, about `CHUNK` pairs at a time."""
    total = np.cumsum(high - low)
    start = 0
    while start < len(low):
        before = int(total[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(total, before + CHUNK, side="right")))
        count = (high - low)[start:stop]
        row = np.repeat(np.arange(start, stop), count)
        offset = low[start:stop] - (total[start:stop] - count - before)
        yield row, np.arange(len(row)) + np.repeat(offset, count)
        start = stop


def distinct_keys(keys: Sequence[Any]) -> tuple[list[int], list[tuple[int, int]]]:
    """(where each distinct key first stands, (first, later) for each repetition)."""
    first: dict[Any, int] = {}
    repeats = [(at, i) for i, key in enumerate(keys) if (at := first.setdefault(key, i)) != i]
    return list(first.values()), repeats


def joined(
    groups: Groups,
    chunks: Iterable[Pairs],
    near: Callable[[Index, Index], Mask],
    sure: Callable[[int, int], bool] | None = None,
) -> Iterator[tuple[int, int]]:
    """The pairs that `near` and then `sure` accept and that join two classes of `groups`."""
    for all_left, all_right in chunks:
        for start in range(0, len(all_left), _BATCH):
            left, right = (side[start : start + _BATCH] for side in (all_left, all_right))
            apart = groups.labels[left] != groups.labels[right]
            left, right = left[apart], right[apart]
            if not len(left):
                continue
            good = near(left, right)
            for a, b in zip(left[good].tolist(), right[good].tolist(), strict=True):
                if groups.labels[a] == groups.labels[b] or (sure and not sure(a, b)):
                    continue
                groups.join(a, b)
                yield min(a, b), max(a, b)
