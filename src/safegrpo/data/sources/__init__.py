"""Where pairs come from: published sets in their own layouts, and anybody's tables and folders.

A source is read as a stream, as often as it is needed: rating a pair and writing the selected ones
are two passes, and no image is kept between them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from safegrpo.data.sources.pair import Pair, SourceSpec, Unusable
from safegrpo.data.sources.plain import read_plain
from safegrpo.data.sources.published import (
    read_beavertails,
    read_figstep,
    read_safetag,
    read_spa_vl,
    read_vlguard,
)
from safegrpo.errors import ConfigError

__all__ = ["KINDS", "Pair", "SourceSpec", "Unusable", "read_source", "spec_from_argument"]

KINDS: Mapping[str, Callable[[SourceSpec], Iterator[Pair | Unusable]]] = {
    "plain": read_plain,
    "safetag": read_safetag,
    "vlguard": read_vlguard,
    "spa_vl": read_spa_vl,
    "beavertails": read_beavertails,
    "figstep": read_figstep,
}


def read_source(spec: SourceSpec) -> Iterator[Pair | Unusable]:
    """The pairs of a source in order, each read when it is asked for.

    Raises ConfigError for an unknown kind; InputFileError and DataError as the kind's reader does.
    """
    reader = KINDS.get(spec.kind)
    if reader is None:
        raise ConfigError(f'no kind of source "{spec.kind}"; there are {", ".join(KINDS)}')
    if spec.limit is None or spec.kind == "beavertails":  # that one draws its sample before images
        yield from reader(spec)
        return
    yield from _sample(reader(spec), spec.limit, spec.seed)


def _sample(pairs: Iterator[Pair | Unusable], limit: int, seed: int) -> Iterator[Pair | Unusable]:
    """`limit` of them at random, in their order."""
    rng = random.Random(seed)
    kept: list[tuple[int, Pair | Unusable]] = []
    for number, pair in enumerate(pairs):
        if len(kept) < limit:
            kept.append((number, pair))
        elif (place := rng.randrange(number + 1)) < limit:
            kept[place] = (number, pair)
    yield from (pair for _, pair in sorted(kept, key=lambda one: one[0]))


def spec_from_argument(argument: str, **options: Any) -> SourceSpec:
    """The spec in `PLACE` or `KIND=PLACE`, as the command line takes them."""
    kind, equals, place = argument.partition("=")
    if equals and kind in KINDS:
        return SourceSpec(kind, place, **options)
    return SourceSpec("plain", argument, **options)
