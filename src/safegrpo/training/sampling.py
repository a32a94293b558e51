"""The order of the rows: both sides of an instruction together, and more of what the image decides.

Where one instruction is harmful with one image and harmless with another, refusing or answering by
the words alone earns half of what looking does, but only if both are there to be compared: drawn
uniformly, a policy learns the likelier side of each instruction and never looks.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from trl.trainer.utils import RepeatSampler

from safegrpo.data.pairs import TaggedPair

Order = Callable[[int, int], Sequence[int]]
"""(epoch, prompts a generation batch) -> the rows of that epoch, in order."""


class EpochSampler(RepeatSampler):
    """TRL's sampler with an order that depends on seed and epoch alone, or is given.

    TRL's own carries a generator from epoch to epoch; a run resumed in a later epoch would start
    that generator anew and see the first epoch's order again.
    """

    def __init__(
        self, *args: Any, epoch: Callable[[], int], order: Order | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._epoch = epoch
        self._order = order

    def __iter__(self) -> Iterator[int]:
        if self._order is not None:
            order = self._order(self._epoch(), self.batch_size)
            return (order[place] for place in super().__iter__())
        if self.shuffle:
            self.generator.manual_seed(int(self.seed or 0) * 1_000_003 + self._epoch())
        return super().__iter__()


def balanced_order(
    pairs: Sequence[TaggedPair], batch: int, seed: int, epoch: int, tilt: float = 1.0
) -> list[int]:
    """Row numbers of one epoch, as many as there are rows, in batches of `batch` rows.

    Rows of one prompt that are harmful are coupled with rows of the same prompt that are not, and
    each couple stays in one batch. `tilt` is how much more often a coupled row comes than another;
    at 1 every row comes once. Depends on nothing but the arguments.
    """
    rng = random.Random(f"{seed}/{epoch}")
    couples, singles = _couples(pairs, rng)
    share = 2 * len(couples) * tilt / (2 * len(couples) * tilt + len(singles) or 1)
    wanted = round(len(pairs) * share / 2)
    chosen = _cycled(couples, wanted, rng)
    rest = _cycled([(i,) for i in singles], len(pairs) - 2 * len(chosen), rng)
    if not singles:  # an odd place left over, and nobody to take it
        rest = [(rng.choice(couples)[0],)] * (len(pairs) - 2 * len(chosen)) if couples else []
    return _packed([*chosen, *rest], batch, rng)


def _couples(
    pairs: Sequence[TaggedPair], rng: random.Random
) -> tuple[list[tuple[int, ...]], list[int]]:
    sides: dict[str, tuple[list[int], list[int]]] = {}
    singles: list[int] = []
    for i, pair in enumerate(pairs):
        if pair.tags is None:
            singles.append(i)
        else:
            prompt = " ".join(pair.prompt.casefold().split())
            harmful = pair.tags.combined == "unsafe"
            sides.setdefault(prompt, ([], []))[harmful].append(i)
    couples: list[tuple[int, ...]] = []
    for safe, unsafe in sides.values():
        rng.shuffle(safe)
        rng.shuffle(unsafe)
        couples += zip(unsafe, safe, strict=False)
        met = min(len(safe), len(unsafe))
        singles += safe[met:] + unsafe[met:]
    return couples, singles


def _cycled(
    units: Sequence[tuple[int, ...]], wanted: int, rng: random.Random
) -> list[tuple[int, ...]]:
    """`wanted` units, none a second time before all have come once."""
    drawn: list[tuple[int, ...]] = []
    while units and len(drawn) < wanted:
        drawn += rng.sample(list(units), min(len(units), wanted - len(drawn)))
    return drawn


def _packed(units: Sequence[tuple[int, ...]], batch: int, rng: random.Random) -> list[int]:
    """The units in random order, moved so that none lies across the border of two batches."""
    order: list[int] = []
    waiting = rng.sample(list(units), len(units))
    while waiting:
        room = batch - len(order) % batch
        fits = next((k for k, unit in enumerate(waiting) if len(unit) <= room), 0)
        order += waiting.pop(fits)
    return order
