"""Harder held-out items that nothing was trained towards: words in new looks, requests reworded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from safegrpo.data.pairs import TaggedPair
from safegrpo.microcosm.instructions import IMAGE_DECIDED
from safegrpo.microcosm.looks import LOOKS, Look, draw_in, png
from safegrpo.microcosm.pairs import MicroPair, Sampler, held_out
from safegrpo.microcosm.paraphrases import paraphrased
from safegrpo.microcosm.things import Medium
from safegrpo.microcosm.world import Split

Slice = Literal["looks", "paraphrases"]
SLICES: tuple[Slice, ...] = ("looks", "paraphrases")

_WRITTEN: tuple[Medium, ...] = ("label", "note")


@dataclass(frozen=True)
class PairInLook(MicroPair):
    """A pair whose picture has its words in another look."""

    look: Look = LOOKS[0]

    def tagged(self) -> TaggedPair:
        """As a row of a tagged set; see `MicroPair.tagged`."""
        picture = png(draw_in(self.look, self.scene), f"{self.id}.png")
        return replace(super().tagged(), images=(picture,))


def slice_pairs(
    name: Slice, size: float = 1.0, split: Literal["dev", "test"] = "test"
) -> list[MicroPair]:
    """The items of a slice, of a split's combinations, the same each time; `size` scales them.

    "looks": 72 twins of labels and notes, a quarter in each of `LOOKS`. "paraphrases": 151 items,
    53 twins among them, behind openers that nobody was trained on; no general questions.
    """
    if name == "looks":
        return list(_in_looks(size, split))
    pairs = (pair for pair in held_out(split, size / 4) if pair.kind != "question")
    return [paraphrased(pair) for pair in pairs]


def _in_looks(size: float, split: Split) -> Iterator[MicroPair]:
    sampler = Sampler(split, 1)  # not held_out's seed: other pictures than the main test's
    for medium in _WRITTEN:
        for instruction in IMAGE_DECIDED:
            if medium in instruction.media:
                for look in LOOKS * max(1, round(3 * size)):
                    for pair in sampler.twins(medium, instruction):
                        yield PairInLook(**vars(pair), look=look)
