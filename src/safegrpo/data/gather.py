"""Pairs of several sources in one folder: a table with their images beside it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safegrpo.data.images import keep_image, quoted
from safegrpo.data.jsonl import replacing, write_text_atomic
from safegrpo.data.sources import Pair, SourceSpec, Unusable, read_source
from safegrpo.errors import DataError


@dataclass(frozen=True)
class Gathered:
    """How many pairs there are, from which sources, and the rows that are none."""

    pairs: int
    sources: Mapping[str, int]
    unusable: list[Unusable]


def gather(specs: Iterable[SourceSpec], folder: Path) -> Gathered:
    """Write `pairs.jsonl`, `images/` and `unusable.jsonl` into `folder`, one pair at a time.

    Images are kept byte for byte, each once, under a name made from its content. Raises DataError
    if an id stands for two pairs, and as the sources' readers do.
    """
    folder.mkdir(parents=True, exist_ok=True)
    seen: set[str] = set()
    sources: Counter[str] = Counter()
    unusable: list[Unusable] = []
    with replacing(folder / "pairs.jsonl") as temporary, temporary.open("wb") as file:
        for spec in specs:
            for pair in read_source(spec):
                if pair.id in seen:
                    raise DataError(
                        f"id {quoted(pair.id)} stands for more than one pair; give each source "
                        "ids of its own"
                    )
                seen.add(pair.id)
                if isinstance(pair, Unusable):
                    unusable.append(pair)
                    continue
                try:
                    file.write(json.dumps(_row(pair, folder / "images")).encode() + b"\n")
                except DataError as error:  # an image that went away, or is too large
                    unusable.append(Unusable(pair.id, str(error)))
                    continue
                sources[pair.source or "unknown"] += 1
    lines = (json.dumps({"id": one.id, "problem": one.problem}) for one in unusable)
    write_text_atomic(folder / "unusable.jsonl", "".join(f"{line}\n" for line in lines))
    return Gathered(sum(sources.values()), dict(sources), unusable)


def _row(pair: Pair, images: Path) -> dict[str, Any]:
    names = [f"{images.name}/{keep_image(ref.read_bytes(), images)}" for ref in pair.images]
    row: dict[str, Any] = {"id": pair.id, "images": names, "prompt": pair.prompt}
    row |= {"source": pair.source, "license": pair.license, "known_tags": dict(pair.known_tags)}
    return row | {key: value for key, value in pair.meta.items() if _plain(value)}


def _plain(value: object) -> bool:
    """Whether JSON can hold a value; encoded images in other columns and the like it cannot."""
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True
