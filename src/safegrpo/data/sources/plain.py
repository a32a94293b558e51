"""Anybody's pairs: the columns of a table, and what a row says."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safegrpo.data.images import ImageRef, quoted
from safegrpo.data.pairs import image_refs, prompt_text
from safegrpo.data.sources.pair import (
    COLUMN_NAMES,
    Pair,
    SourceSpec,
    Unusable,
    id_text,
    is_missing,
)
from safegrpo.data.sources.tables import table
from safegrpo.errors import DataError
from safegrpo.thinking import HUB_NAMES, TAG_NAMES

NAMES: Mapping[str, tuple[str, ...]] = {
    "id": ("id",),
    "images": ("images", "image", "image_path", "image_paths", "file_name", "img"),
    "prompt": ("prompt", "question", "instruction", "query", "text"),
    "source": ("source",),
    "license": ("license",),
}
"""The names that a table's columns may have, the likelier first."""

_OURS = frozenset({*COLUMN_NAMES, *HUB_NAMES.values(), "known_tags"})
_TAGS = ("safe", "unsafe")


def read_plain(spec: SourceSpec) -> Iterator[Pair | Unusable]:
    """The pairs of a table or folder, in order.

    Raises InputFileError if there is nothing, DataError if it cannot be read as a table, has no
    rows, or its first one lacks a column of prompts, of images, or one that was named; a row that
    is no pair is given as Unusable. A row without id gets `<table>-<row>`.
    """
    rows, name, root = table(spec)
    number = 0
    checked = False
    for number, row in rows:
        pair_id = f"{name}-{number}"
        if isinstance(row, Unusable):
            yield Unusable(pair_id, row.problem)
            continue
        if not checked:
            _check_columns(row, spec)
            checked = True
        # Found for each row: objects of JSON need not have the same keys.
        columns = _columns(row, spec)
        try:
            pair_id = id_text(row.get(columns.get("id", "")), pair_id)
            pair = _pair(row, pair_id, columns, spec, root)
        except DataError as error:
            yield Unusable(pair_id, str(error))
            continue
        yield pair
    if number == 0:
        raise DataError(f"{spec.place} holds no rows")


def _columns(row: Mapping[str, Any], spec: SourceSpec) -> dict[str, str]:
    """Our names of columns -> the row's, without those that it lacks."""
    likely = {ours: next((n for n in names if n in row), "") for ours, names in NAMES.items()}
    return {ours: name for ours, name in {**likely, **spec.columns}.items() if name in row}


def _check_columns(row: Mapping[str, Any], spec: SourceSpec) -> None:
    has = "its columns are " + ", ".join(map(str, row))[:200]
    for name in spec.columns.values():
        if name not in row:
            raise DataError(f"{spec.place} has no column {quoted(name)}; {has}")
    found = _columns(row, spec)
    for ours, what in (("prompt", "prompts"), ("images", "images")):
        if ours not in found:
            mend = f"name it with --column {ours}=NAME"
            raise DataError(f"{spec.place} has no column of {what} that is known; {mend}; {has}")


def _pair(
    row: Mapping[str, Any],
    pair_id: str,
    columns: Mapping[str, str],
    spec: SourceSpec,
    root: Path | None,
) -> Pair:
    said = {ours: row[name] for ours, name in columns.items() if not is_missing(row[name])}
    if "prompt" not in said:
        raise DataError("no prompt")
    if "images" not in said:
        raise DataError("no image (an empty list would say that there is none)")
    images = _images(said["images"], root)
    tags = {ours: row[name] for ours, name in HUB_NAMES.items() if row.get(name) in _TAGS}
    used = {*columns.values(), *(HUB_NAMES[ours] for ours in tags)}
    kept = row.get("known_tags")
    if isinstance(kept, Mapping):  # what `safegrpo pairs` wrote of a source that states some
        used.add("known_tags")
        tags = tags or {ours: kept[ours] for ours in TAG_NAMES if kept.get(ours) in _TAGS}
    return Pair(
        id=pair_id,
        images=images,
        prompt=prompt_text(said["prompt"], len(images)),
        source=spec.source or said.get("source"),
        license=spec.license or said.get("license"),
        known_tags=tags,
        meta={
            f"original_{name}" if name in _OURS else name: value
            for name, value in row.items()
            if name not in used and not is_missing(value)
        },
    )


def _images(cell: object, root: Path | None) -> tuple[ImageRef, ...]:
    if isinstance(cell, str) and cell.strip().startswith("[") and cell.strip().endswith("]"):
        try:
            cell = json.loads(cell)  # a list in a cell of CSV
        except (ValueError, RecursionError) as error:
            raise DataError(f"the list of images is not JSON: {error}") from error
    many = cell if isinstance(cell, list) else [cell]
    bare = [{"bytes": one} if isinstance(one, bytes) else one for one in many]
    if any(is_missing(one) for one in bare):
        raise DataError("one of the images is null or empty")
    return tuple(image_refs(bare, root))
