"""Anybody's pairs: JSON lines, JSON, CSV, parquet, a folder, a set on the hub."""

from __future__ import annotations

import csv
import gzip
import itertools
import json
import lzma
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from safegrpo.data.hub_layout import (
    is_hub_name,
    read_hub,
    read_parquet,
    split_files,
    split_of,
)
from safegrpo.data.images import quoted
from safegrpo.data.jsonl import parse_object, read_jsonl, read_text
from safegrpo.data.pairs import image_refs, prompt_text
from safegrpo.data.sources.pair import Pair, SourceSpec, Unusable, tags_of_row, usable
from safegrpo.errors import DataError, InputFileError
from safegrpo.thinking import HUB_NAMES, TAG_NAMES

NAMES = {
    "id": ("id",),
    "images": ("images", "image", "image_path", "image_paths", "file_name", "img"),
    "prompt": ("prompt", "question", "instruction", "query", "text"),
    "source": ("source",),
    "license": ("license",),
}
"""The names that a table's columns may have, the likelier first."""

_PACKED: Mapping[str, Callable[..., IO[Any]]] = {".gz": gzip.open, ".xz": lzma.open}
_JSON_LIMIT = 512 * 2**20
_CELL_LIMIT = 2**20
_PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")
_Numbered = Iterator[tuple[int, Mapping[str, Any]]]


def read_plain(spec: SourceSpec) -> Iterator[Pair | Unusable]:
    """The pairs of a table or folder, in order.

    Raises InputFileError if there is nothing, DataError if it cannot be read as a table or its
    columns are not known; a row that is no pair is given as Unusable.
    """
    rows, name, root = table(spec)
    first = next(rows, None)
    if first is None:
        raise DataError(f"{spec.place} holds no rows")
    columns = _columns(first[1], spec)
    for number, row in itertools.chain([first], rows):
        given = row.get(columns.get("id", "id"))
        pair_id = str(given).strip() if isinstance(given, str | int) else ""
        pair_id = pair_id or f"{name}-{number}"
        yield usable(pair_id, lambda row=row, i=pair_id: _pair(row, i, columns, spec, root))  # type: ignore[misc]


def table(spec: SourceSpec) -> tuple[_Numbered, str, Path | None]:
    """(numbered rows, the split's name, the folder of its images) of what a spec names."""
    path = spec.path
    root = Path(spec.images) if spec.images is not None else None
    if path.is_dir():
        listed = next((f for f in _metadata_files(path, spec.split)), None)
        if listed is not None:
            return _rows(listed), path.name, root or listed.parent
        if not any(path.rglob("*.parquet")) and not any(path.rglob("*.jsonl")):
            return _loose(path), path.name, root or path
        files, split = split_files(path, spec.split)
        numbered = (
            (number, row)
            for number, row in enumerate((row for f in files for _, row in _rows(f)), start=1)
        )
        return numbered, split, root or files[0].parent
    if path.is_file():
        return _rows(path), split_of(path), root or path.parent
    if is_hub_name(spec.place):
        found, split = read_hub(spec.place, spec.split)
        return enumerate(found, start=1), split, root
    raise InputFileError(f"pairs {quoted(spec.place)} not found")


def _rows(path: Path) -> _Numbered:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packed = suffixes.pop() if suffixes and suffixes[-1] in _PACKED else None
    kind = suffixes[-1] if suffixes else ""
    if kind == ".jsonl" and packed is None:
        yield from read_jsonl(path)
    elif kind == ".jsonl":
        with _PACKED[str(packed)](path, "rb") as file:
            yield from _unpacked(file, path)
    elif kind == ".parquet" and packed is None:
        yield from enumerate(read_parquet(path), start=1)
    elif kind == ".json" and packed is None:
        yield from enumerate(json_list(path), start=1)
    elif kind in (".csv", ".tsv") and packed is None:
        yield from _csv_rows(path, "\t" if kind == ".tsv" else ",")
    else:
        raise DataError(f"{path}: pairs come as .jsonl, .json, .csv, .tsv or .parquet")


def _unpacked(file: IO[Any], path: Path) -> _Numbered:
    try:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield number, parse_object(line, f'file "{path}" line {number}')
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise DataError(f"{path} cannot be unpacked: {error}") from error


def json_list(path: Path) -> list[Mapping[str, Any]]:
    """The objects in a .json file: of a list, or of a mapping from ids; DataError otherwise."""
    try:
        value = json.loads(read_text(path, _JSON_LIMIT))
    except (ValueError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} is not JSON: {error}") from error
    if isinstance(value, Mapping):
        value = [{"id": key, **one} for key, one in value.items() if isinstance(one, Mapping)]
    if not isinstance(value, list) or not all(isinstance(one, Mapping) for one in value):
        raise DataError(f"{path} holds no list of objects")
    return value


def _csv_rows(path: Path, delimiter: str) -> _Numbered:
    csv.field_size_limit(_CELL_LIMIT)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, delimiter=delimiter, strict=True)
            for number, row in enumerate(reader, start=1):
                if None in row or None in row.values():
                    raise DataError(f"{path} row {number}: another number of cells than columns")
                yield number, {key: value or None for key, value in row.items()}
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as CSV: {error}") from error


def _metadata_files(folder: Path, split: str | None) -> Iterator[Path]:
    """The tables of a folder of images, as `datasets` lays them out."""
    for place in (folder / split if split else folder, folder):
        for name in ("metadata.jsonl", "metadata.csv", "metadata.parquet"):
            if (place / name).is_file():
                yield place / name


def _loose(folder: Path) -> _Numbered:
    """Images that each have their prompt in a .txt file of the same name."""
    pictures = sorted(p for p in folder.rglob("*") if p.suffix.lower() in _PICTURES)
    if not pictures:
        raise DataError(f"{folder}/ holds neither a table of pairs nor images")
    for number, picture in enumerate(pictures, start=1):
        name = picture.relative_to(folder)
        prompt = picture.with_suffix(".txt")
        text = read_text(prompt, _CELL_LIMIT, "prompt").strip() if prompt.is_file() else None
        yield number, {"id": name.as_posix(), "images": [name.as_posix()], "prompt": text}


def _columns(row: Mapping[str, Any], spec: SourceSpec) -> dict[str, str]:
    """Our names of columns -> the table's."""
    unknown = sorted(set(spec.columns) - set(NAMES))
    if unknown:
        raise DataError(f"columns can be named for {', '.join(NAMES)}; not for {unknown[0]}")
    missing = [name for name in spec.columns.values() if name not in row]
    if missing:
        raise DataError(f"{spec.place} has no column {quoted(missing[0])}: {_listed(row)}")
    found = {ours: next((n for n in names if n in row), "") for ours, names in NAMES.items()}
    found = {ours: name for ours, name in {**found, **spec.columns}.items() if name}
    if "prompt" not in found:
        raise DataError(f"{spec.place} has no column of prompts ({_listed(row)}); name it")
    return found


def _listed(row: Mapping[str, Any]) -> str:
    return "its columns are " + ", ".join(map(str, row))[:200]


def _pair(
    row: Mapping[str, Any],
    pair_id: str,
    columns: Mapping[str, str],
    spec: SourceSpec,
    root: Path | None,
) -> Pair:
    cell = row.get(columns.get("images", "images"))
    if isinstance(cell, str) and cell.lstrip().startswith("["):
        try:
            cell = json.loads(cell)  # a list in a CSV cell
        except ValueError as error:
            raise DataError(f"the list of images is not JSON: {error}") from error
    images = tuple(image_refs(cell, root))
    if row.get(columns["prompt"]) is None:
        raise DataError("no prompt")
    used = {*columns.values(), *HUB_NAMES.values(), "known_tags"}
    return Pair(
        id=pair_id,
        images=images,
        prompt=prompt_text(row[columns["prompt"]], len(images)),
        source=spec.source or row.get(columns.get("source", "")),
        license=spec.license or row.get(columns.get("license", "")),
        known_tags=tags_of_row(row) or _known(row.get("known_tags")),
        meta={key: value for key, value in row.items() if key not in used and value is not None},
    )


def _known(value: object) -> dict[str, str]:
    """Tags that `safegrpo pairs` has kept from a source that states some of them."""
    tags = value if isinstance(value, Mapping) else {}
    return {n: str(tags[n]) for n in TAG_NAMES if tags.get(n) in ("safe", "unsafe")}
