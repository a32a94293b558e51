"""The tagged pair, and how one is read from a row and written back as one.

The columns of a row are the contract of a tagged set; every check of a row's content is here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safegrpo.data.images import ImageRef, quoted, resolve_image
from safegrpo.errors import DataError
from safegrpo.thinking import HUB_NAMES, TAG_NAMES, Tags

IMAGE_PLACEHOLDER = "<image>"
COLUMNS = (
    *("id", "images", "prompt", "image_tag", "text_tag", "combine_tag"),
    *("scores", "confidences", "source", "license", "answer"),
)
"""The columns of a tagged set, in the order in which they are written."""

_MISNAMED = frozenset({"image", "images", "image_path", "image_paths", "image_file", "img"})

META_JSON = "meta_json"
"""The column of extra values that parquet has no type for: one JSON object a row."""


@dataclass(frozen=True)
class TaggedPair:
    """Images and the prompt asked about them, with what is known about their safety.

    `scores` and `confidences` are numbers from 0 to 10 for each of visual, text and combined.
    `answer` is the right answer of a general question; only with it may `tags` be None. `meta`
    holds all other columns (a null there is the same as an absent key). The prompt holds no
    `<image>` placeholder: images come first, in order. `place` says where a loader found it.
    Raises `DataError`.
    """

    id: str
    images: tuple[ImageRef, ...]
    prompt: str
    tags: Tags | None
    scores: Mapping[str, float] | None = None
    confidences: Mapping[str, float] | None = None
    source: str | None = None
    license: str | None = None
    answer: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    place: str | None = field(default=None, compare=False, repr=False)

    @property
    def where(self) -> str:
        """How messages call this pair: where it was loaded from, or by its id."""
        return self.place or f"id {quoted(self.id)}"

    def __post_init__(self) -> None:
        for name in ("id", "prompt", "source", "license", "answer"):
            check_text(name, getattr(self, name), optional=name not in ("id", "prompt"))
        if IMAGE_PLACEHOLDER in self.prompt:
            raise DataError(f"prompt holds {IMAGE_PLACEHOLDER}; images go before the prompt")
        if self.tags is None and self.answer is None:
            raise DataError("no tags; only a row with an answer may go without")
        reserved = sorted({*COLUMNS, META_JSON} & set(self.meta))
        if reserved:
            raise DataError(f"meta holds {quoted(reserved[0])}, which is a column of its own")
        object.__setattr__(self, "images", tuple(self.images))
        object.__setattr__(self, "scores", _ratings("scores", self.scores))
        object.__setattr__(self, "confidences", _ratings("confidences", self.confidences))
        kept = {key: value for key, value in self.meta.items() if value is not None}
        object.__setattr__(self, "meta", kept)


def pair_from_row(
    row: Mapping[str, Any], default_id: str, root: Path | None, place: str | None = None
) -> TaggedPair:
    """The pair in a row; image paths are taken below `root`, and refused if that is None.

    `default_id` is for a row without id, `place` is the pair's. Raises `DataError` with the reason
    alone: the caller knows which row it was.
    """
    misnamed = [name for name in row if name != "images" and str(name).casefold() in _MISNAMED]
    if misnamed and row.get("images") is None:
        # Kept as an extra column it would make every row text-only without a word.
        raise DataError(
            f'column {quoted(misnamed[0])} is not known; a tagged set calls it "images"'
        )
    if row.get("prompt") is None:
        raise DataError(f"no prompt (columns: {', '.join(sorted(map(str, row)))[:200]})")
    images = tuple(image_refs(row.get("images"), root))
    tag_columns = _tag_columns(row)
    meta = {key: v for key, v in row.items() if key not in (*COLUMNS, *tag_columns, META_JSON)}
    return TaggedPair(
        id=default_id if row.get("id") is None else _as_text("id", row["id"]),
        images=images,
        prompt=prompt_text(row["prompt"], len(images)),
        tags=Tags.from_row({key: row[key] for key in tag_columns}),
        scores=_null_struct_as_none(row.get("scores")),
        confidences=_null_struct_as_none(row.get("confidences")),
        source=row.get("source"),
        license=row.get("license"),
        answer=None if row.get("answer") is None else _as_text("answer", row["answer"]),
        meta={**meta, **_unpacked(row.get(META_JSON))},
        place=place,
    )


def _tag_columns(row: Mapping[str, Any]) -> list[str]:
    """The columns of a row that hold its tags: under the hub's names, under ours, or under both."""
    hub = [name for name in HUB_NAMES.values() if name in row]
    # "text" alone is somebody's column of text, not a tag; so is what stands beside filled columns
    # of the hub's and is no tag.
    ours = [n for n in TAG_NAMES if n in row] if "visual" in row or "combined" in row else []
    filled = any(row[name] is not None for name in hub)
    if filled and not all(row[name] in ("safe", "unsafe") for name in ours):
        return hub
    return hub + ours


def prompt_text(value: object, images: int) -> str:
    """The prompt's text without its image placeholders, of which there are none or `images`."""
    if isinstance(value, list):
        turn = value[0] if len(value) == 1 else None
        if not isinstance(turn, Mapping) or turn.get("role") != "user":
            raise DataError("prompt is a chat; only a single turn of the user can be used")
        value = turn.get("content")
    if not isinstance(value, str):
        raise DataError("prompt is not a text, nor a chat of one user turn with a text")
    placeholders = value.count(IMAGE_PLACEHOLDER)
    if placeholders == 0:
        return value
    if placeholders != images:
        raise DataError(
            f"prompt has {placeholders} {IMAGE_PLACEHOLDER} but the row {images} images"
        )
    bare = value.replace(f"{IMAGE_PLACEHOLDER}\n", "").replace(IMAGE_PLACEHOLDER, "")
    return bare.strip()


def image_refs(value: object, root: Path | None) -> Iterator[ImageRef]:
    """The images of a cell: one or a list of paths below `root`, bytes, or both in a mapping."""
    value = _null_struct_as_none(value)
    many = value if isinstance(value, list) else [] if value is None else [value]
    for number, one in enumerate(many, start=1):
        struct = one if isinstance(one, Mapping) else {"path": one}
        data, name = struct.get("bytes"), struct.get("path")
        if isinstance(data, bytes) and data:
            known = isinstance(name, str) and bool(name)
            yield ImageRef(data=data, name=str(name) if known else f"image {number}")
        elif data is None and isinstance(name, str):
            if root is None:
                raise DataError(f"image {quoted(name)} is a file's name; pass --images DIR")
            yield ImageRef(path=resolve_image(root, name), name=name)
        else:
            raise DataError(f"image {number} is neither a path nor bytes")


def _null_struct_as_none(value: Any) -> Any:
    # A null in a column of structs comes back from some writers as a struct of nulls.
    structs = isinstance(value, Mapping) and bool(value)
    return None if structs and all(v is None for v in value.values()) else value


def _unpacked(value: object) -> dict[str, Any]:
    if value is None:
        return {}
    try:
        unpacked = json.loads(value) if isinstance(value, str) else None
    except (ValueError, RecursionError):
        unpacked = None
    if not isinstance(unpacked, dict):
        raise DataError(f"{META_JSON} is not a JSON object")
    return unpacked


def _as_text(name: str, value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise DataError(f"{name} is neither a text nor a number")
    if isinstance(value, float) and not math.isfinite(value):
        raise DataError(f"{name} is {value}, which is no number")
    return str(value)


def check_text(name: str, value: object, optional: bool) -> None:
    """Raises DataError unless `value` is a text with something in it; None passes if `optional`."""
    if value is None and optional:
        return
    if not isinstance(value, str):
        raise DataError(f"{name} is not a text")
    if not value.strip():
        raise DataError(f"{name} is empty" + ("; leave it null" if optional else ""))
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(f"{name} is not valid Unicode at character {error.start}") from error


def _ratings(name: str, value: object) -> dict[str, float] | None:
    if value is None:
        return None
    if not isinstance(value, Mapping) or set(value) != set(TAG_NAMES):
        raise DataError(f"{name} need visual, text and combined, and nothing else")
    for key, number in value.items():
        known = isinstance(number, int | float) and not isinstance(number, bool)
        if not known or not math.isfinite(number) or not 0 <= number <= 10:
            raise DataError(f'{name}: "{key}" is not a number from 0 to 10')
    return {key: float(value[key]) for key in TAG_NAMES}


def row_from_pair(pair: TaggedPair) -> dict[str, Any]:
    """The fixed columns of a pair, but for its images."""
    tags = pair.tags
    return {
        "id": pair.id,
        "prompt": pair.prompt,
        **{HUB_NAMES[name]: getattr(tags, name) if tags else None for name in TAG_NAMES},
        "scores": pair.scores,
        "confidences": pair.confidences,
        "source": pair.source,
        "license": pair.license,
        "answer": pair.answer,
    }
