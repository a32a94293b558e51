"""Pairs of several sources in one folder: a table with their images beside it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from safegrpo.data.images import FORMATS, image_suffix, keep_image, quoted
from safegrpo.data.jsonl import check_folder, replacing, write_text_atomic
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

    Images are kept byte for byte, each once, under a name made from its content; they are not
    decoded here. Other columns are kept if JSON can hold them. Every source is opened before the
    first is read to its end. Raises DataError if an id stands for two rows, and as the sources'
    readers do; `folder` then keeps the table that it had.
    """
    check_folder(folder, ("unusable.jsonl",), "pairs")
    specs = list(specs)
    for spec in specs:
        next(read_source(replace(spec, limit=None)), None)
    folder.mkdir(parents=True, exist_ok=True)
    places: dict[str, str] = {}
    sources: Counter[str] = Counter()
    unusable: list[Unusable] = []
    with replacing(folder / "pairs.jsonl") as temporary, temporary.open("wb") as file:
        for spec in specs:
            for pair in read_source(spec):
                if pair.id in places:
                    raise DataError(
                        f"id {quoted(pair.id)} is there twice, in {places[pair.id]} and in "
                        f"{spec.place}; give each row an id of its own, or name the column that "
                        "has it (--column id=NAME)"
                    )
                places[pair.id] = spec.place
                if isinstance(pair, Unusable):
                    unusable.append(pair)
                    continue
                try:
                    file.write(json.dumps(_row(pair, folder / "images")).encode() + b"\n")
                except DataError as error:  # an image that went away, is too large, or none
                    unusable.append(Unusable(pair.id, str(error)))
                    continue
                sources[pair.source or "unknown"] += 1
    lines = (json.dumps({"id": one.id, "problem": one.problem}) for one in unusable)
    write_text_atomic(folder / "unusable.jsonl", "".join(f"{line}\n" for line in lines))
    return Gathered(sum(sources.values()), dict(sources), unusable)


def _row(pair: Pair, images: Path) -> dict[str, Any]:
    names = []
    for ref in pair.images:
        encoded = ref.read_bytes()
        if image_suffix(encoded) == ".bin":
            raise DataError(f"image {quoted(ref.name)} is none of {', '.join(FORMATS)}")
        names.append(f"{images.name}/{keep_image(encoded, images)}")
    own = {
        "id": pair.id,
        "images": names,
        "prompt": pair.prompt,
        "source": pair.source,
        "license": pair.license,
        "known_tags": dict(pair.known_tags),
    }
    extra = {key: value for key, value in pair.meta.items() if key not in own and _plain(value)}
    return own | extra


def _plain(value: object) -> bool:
    """Whether JSON can hold a value; encoded images in other columns and the like it cannot."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return False
    return True
