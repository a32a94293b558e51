"""Rows of anybody's files and folders, one at a time: JSON lines, JSON, CSV, parquet, images."""

from __future__ import annotations

import csv
import gzip
import json
import lzma
import os
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from safegrpo.data.hub_layout import is_hub_name, read_hub, read_parquet, split_files, split_of
from safegrpo.data.images import quoted
from safegrpo.data.jsonl import BOM, parse_object, read_jsonl, read_text, unique_keys
from safegrpo.data.sources.pair import SourceSpec, Unusable
from safegrpo.errors import DataError, InputFileError

Numbered = Iterator[tuple[int, Mapping[str, Any] | Unusable]]
"""(number from 1, row); a row that cannot be read is Unusable, with an id yet to be given."""

_FORMS = ".jsonl (also .jsonl.gz and .jsonl.xz), .json, .csv, .tsv or .parquet"
_TABLES = (".jsonl", ".jsonl.gz", ".jsonl.xz", ".json", ".csv", ".tsv", ".parquet")
_LISTS = ("pairs.jsonl", "metadata.jsonl", "metadata.csv", "metadata.parquet")
"""What a folder of images keeps its table in: ours, and those that `datasets` knows."""

_PACKED: Mapping[str, Callable[..., IO[Any]]] = {".gz": gzip.open, ".xz": lzma.open}
_JSON_LIMIT = 512 * 2**20
_LINE_LIMIT = 64 * 2**20  # of a packed file, which may unpack to anything
_PROMPT_LIMIT = 2**20
_PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")


def table(spec: SourceSpec) -> tuple[Numbered, str, Path | None]:
    """(numbered rows, the table's name, the folder of its images) of what a spec names.

    Raises InputFileError if there is nothing, DataError if it cannot be read as a table; the rows
    raise the latter as well.
    """
    path = spec.path
    root = Path(spec.images) if spec.images is not None else None
    if path.is_dir():
        return _folder(path, spec.split, root)
    if path.is_file():
        return rows_of(path), split_of(path), root or path.parent
    if is_hub_name(spec.place) and not spec.place.lower().endswith(_TABLES):
        found, split = read_hub(spec.place, spec.split)
        return enumerate(found, start=1), split, root
    raise InputFileError(f"pairs {quoted(spec.place)} not found")


def rows_of(path: Path) -> Numbered:
    """The rows of one file, by its suffix; JSON lines are numbered as lines.

    All but .json are read as a stream. The rows raise DataError where the file cannot be read on.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packed = suffixes.pop() if suffixes and suffixes[-1] in _PACKED else None
    kind = suffixes[-1] if suffixes else ""
    if kind == ".jsonl":
        return read_jsonl(path) if packed is None else _unpacked(path, _PACKED[packed])
    if kind == ".parquet" and packed is None:
        return enumerate(read_parquet(path), start=1)
    if kind == ".json" and packed is None:
        return _json_rows(path)
    if kind in (".csv", ".tsv") and packed is None:
        return _csv_rows(path, "\t" if kind == ".tsv" else ",")
    raise DataError(f"{path}: pairs come as {_FORMS}")


def _unpacked(path: Path, opened: Callable[..., IO[Any]]) -> Numbered:
    try:
        with opened(path, "rb") as file:
            lines = iter(lambda: file.readline(_LINE_LIMIT + 1), b"")
            for number, line in enumerate(lines, start=1):
                place = f'file "{path}" line {number}'
                if len(line) > _LINE_LIMIT:
                    raise DataError(f"{place} is longer than {_LINE_LIMIT >> 20} MiB")
                raw = line.removeprefix(BOM) if number == 1 else line
                if raw.strip():
                    yield number, parse_object(raw, place)
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise DataError(f"{path} cannot be unpacked: {error}") from error


def _json_rows(path: Path) -> Numbered:
    """The objects of a list, or of a mapping from ids."""
    text = read_text(path, _JSON_LIMIT)
    try:
        value = json.loads(text, object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON that can be read: {error}") from error
    if isinstance(value, Mapping) and all(isinstance(one, Mapping) for one in value.values()):
        value = [{"id": key, **one} for key, one in value.items()]
    if not isinstance(value, list):
        raise DataError(f"{path} holds neither a list of objects nor objects by their ids")
    for number, one in enumerate(value, start=1):
        yield number, one if isinstance(one, Mapping) else Unusable("", "not an object")


def _csv_rows(path: Path, delimiter: str) -> Numbered:
    """Cells by column; an empty cell is None."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        try:
            header = next(reader, [])
            twice = [name for name, count in Counter(header).items() if count > 1]
            if twice:
                raise DataError(f"{path} has two columns {quoted(twice[0])}; rename one")
            for number, cells in enumerate(filter(None, reader), start=1):
                if len(cells) == len(header):
                    row = zip(header, cells, strict=True)
                    yield number, {name: cell or None for name, cell in row}
                else:
                    ragged = f"{len(cells)} cells where the header has {len(header)}"
                    yield number, Unusable("", f"{ragged} (line {reader.line_num})")
        except (csv.Error, UnicodeDecodeError) as error:
            after = f"after line {reader.line_num}"
            raise DataError(f"{path} cannot be read as CSV in UTF-8 {after}: {error}") from error


def _folder(folder: Path, split: str | None, root: Path | None) -> tuple[Numbered, str, Path]:
    name = Path(os.path.abspath(folder)).name
    listed = _lists(folder) if split is None else _lists(folder / split)
    hub = any(_files(place, (".parquet", ".jsonl")) for place in (folder, folder / "data"))
    if not listed and hub:
        files, split = split_files(folder, split)
        rows = (row for file in files for _, row in rows_of(file))
        return enumerate(rows, start=1), split, root or files[0].parent
    if not listed and split is None:
        parts = [part for part in sorted(folder.iterdir()) if part.is_dir() and _lists(part)]
        if len(parts) > 1:
            names = ", ".join(part.name for part in parts)
            raise DataError(f"{folder}/ holds several splits: {names}; name one")
        listed = _lists(parts[0]) if parts else []
    if len(listed) > 1:
        names = ", ".join(file.name for file in listed)
        raise DataError(f"{listed[0].parent}/ holds several tables: {names}; name one file")
    if listed:
        return rows_of(listed[0]), name, root or listed[0].parent
    part = folder if split is None else folder / split
    if not part.is_dir():
        raise DataError(f"{folder}/ has no split {quoted(str(split))}")
    return _loose(part), name, root or part


def _lists(folder: Path) -> list[Path]:
    return [folder / name for name in _LISTS if (folder / name).is_file()]


def _loose(folder: Path) -> Numbered:
    """Images that each have their prompt in a .txt file of the same name."""
    files = sorted(path for path in folder.rglob("*") if not path.name.startswith("."))
    pictures = [path for path in files if path.suffix.lower() in _PICTURES]
    prompts = {path for path in files if path.suffix.lower() == ".txt"}
    paired = {path.with_suffix(".txt") for path in pictures} & prompts
    if not paired:
        tables = [path.name for path in _files(folder, _TABLES)]
        mend = f"name the file ({', '.join(tables)[:200]})" if tables else f"give it {_FORMS}"
        what = "no image with its prompt in a .txt beside it" if pictures else "no images"
        raise DataError(f"{folder}/ holds no table of pairs that is known, and {what}; {mend}")
    # A prompt alone is shown as a row without image: its image may have an unknown suffix.
    for number, path in enumerate([*pictures, *sorted(prompts - paired)], start=1):
        name = path.relative_to(folder).as_posix()
        text = path.with_suffix(".txt")
        images = None if path in prompts else [name]
        try:
            prompt = read_text(text, _PROMPT_LIMIT, "prompt").strip() if text in prompts else None
        except DataError as error:
            yield number, Unusable("", str(error))
            continue
        yield number, {"id": name, "images": images, "prompt": prompt}


def _files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    seen = (path for path in files if path.is_file() and not path.name.startswith("."))
    return [path for path in seen if path.name.lower().endswith(suffixes)]
