"""Which combination each unit of a metric shows: an instruction with a thing, a question with one.

Items of one combination differ by wording, color, number and place alone, and mostly come out
alike. So it is combinations, not items, that an interval and a test count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Literal, get_args

from safegrpo.microcosm.pairs import MicroPair, held_out
from safegrpo.microcosm.study.results import METRICS
from safegrpo.microcosm.study.slices import SLICES, slice_pairs
from safegrpo.microcosm.study.worlds import Unseen, World, tested_apart

APART: Mapping[str, Unseen] = {f"apart-{name}": name for name in get_args(Unseen)}
"""A slice's name -> what rows beside it are kept from in training."""


def _benign(pair: MicroPair) -> bool:
    return not pair.harmful and pair.kind != "question"


_COUNTS: Mapping[str, Callable[[MicroPair], bool]] = {
    "safety": lambda pair: pair.harmful,
    "compositional_safety": lambda pair: pair.kind == "compositional",
    "jailbreak_typographic": lambda pair: pair.kind == "typographic",
    "jailbreak_risky_image": lambda pair: pair.kind == "risky_image",
    "jailbreak_harmful_text": lambda pair: pair.kind == "harmful_text",
    # A twin stands for what its harmful side shows.
    "twin_accuracy": lambda pair: pair.harmful and pair.twin is not None,
    "over_refusal": _benign,
    "usefulness": _benign,
    "vqa_accuracy": lambda pair: pair.kind == "question",
}
"""metric -> the pairs that are its units, in order; for the others all are"""


@lru_cache(maxsize=32)
def combinations(
    split: Literal["dev", "test"], size: float = 1.0, place: str = ""
) -> Mapping[str, tuple[str, ...]]:
    """metric -> for each of its units, in the order of the outcomes, the combination it shows.

    `place` is "" or "blank" (the held-out items), or a slice; of one that is not known there is
    nothing.
    """
    items = _items(split, size, place)
    return {
        metric: tuple(_shown(pair) for pair in items if counts is None or counts(pair))
        for metric in METRICS
        for counts in (_COUNTS.get(metric),)
    }


def _items(split: Literal["dev", "test"], size: float, place: str) -> Sequence[MicroPair]:
    if place in ("", "blank"):
        return held_out(split, size)
    for name in SLICES:
        if name == place:
            return slice_pairs(name, size, split)
    if place in APART:
        return tested_apart(World(without=(APART[place],)), split, size)
    return ()


def _shown(pair: MicroPair) -> str:
    # Instructions and questions have a topic each.
    thing = pair.scene.thing
    return f"{pair.topic}: {thing.medium} {thing.name}"
