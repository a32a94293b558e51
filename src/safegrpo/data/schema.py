"""The tagged set: pairs of images and prompt with their safety tags, loaded and saved.

A set is a JSON lines file with image paths, a parquet file with the images inside, a folder in
the hub's layout, or the name of a set on the hub. Every row is checked; a row that cannot be used
is an error that names it, never a row less.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from safegrpo.data.hub_layout import (
    is_hub_name,
    read_hub,
    read_parquet,
    split_files,
    split_of,
    write_parquet,
)
from safegrpo.data.images import keep_image, quoted
from safegrpo.data.jsonl import read_jsonl, write_text_atomic
from safegrpo.data.pairs import COLUMNS, TaggedPair, pair_from_row, row_from_pair
from safegrpo.errors import DataError, InputFileError

__all__ = ["TaggedPair", "load_tagged", "save_tagged", "tag_cells"]

_SHOWN_PROBLEMS = 5
_KNOWN_SPLITS = ("train", "test", "validation")
_NumberedRow = tuple[int, Mapping[str, Any], Path | None]
"""(number in the split, from 1; the row; the folder of its images)"""


def load_tagged(
    path: str | Path, images_root: str | Path | None = None, split: str | None = None
) -> list[TaggedPair]:
    """All pairs of a set: a .jsonl or .parquet file, a folder in the hub's layout, a hub name.

    Image paths are taken below `images_root`, or else below the folder of the file that names
    them. `split` chooses among several; rows are numbered from 1 (lines, for JSON lines), and a
    row without id gets `<split>-<row>`. Images are located but not decoded here.

    Raises `InputFileError` if there is no such set, and `DataError` with the first five bad rows
    and their count if any row is bad, if ids repeat, or if the set is empty.
    """
    place = Path(path)
    if place.is_dir():
        files, split = split_files(place, split)
        rows = _rows_of_files(files, images_root)
    elif place.is_file():
        if place.suffix not in (".jsonl", ".parquet"):
            raise DataError(f"{path} is neither .jsonl nor .parquet; save the set as one of them")
        named = split_of(place)
        if split not in (None, named) and named in _KNOWN_SPLITS:
            # Any other name says nothing of splits, so there `split` asks for nothing.
            raise DataError(f"{path} is the split {named}, but {quoted(str(split))} was asked for")
        rows, split = _rows_of_files([place], images_root), named
    elif is_hub_name(str(path)):
        found, split = read_hub(str(path), split)
        root = Path(images_root) if images_root is not None else None
        rows = ((number, row, root) for number, row in enumerate(found, start=1))
    else:
        raise InputFileError(f"tagged set {quoted(str(path))} not found")
    return _checked(rows, str(path), split)


def save_tagged(rows: Iterable[TaggedPair], path: str | Path) -> None:
    """Write pairs to a .jsonl file (images beside it, in `images/`) or to one .parquet file.

    Images are kept byte for byte; beside JSON lines each is named after its content. What
    `load_tagged` then gives is equal, but for the names of images. Raises `DataError` for no
    rows, a repeated id, another suffix, or values that JSON cannot hold.
    """
    target = Path(path)
    pairs = list(rows)
    if not pairs:
        raise DataError(f"no rows to save to {target}")
    repeated = [pair_id for pair_id, n in Counter(pair.id for pair in pairs).items() if n > 1]
    if repeated:
        raise DataError(f"id {quoted(repeated[0])} stands for more than one row")
    if target.suffix not in (".jsonl", ".parquet"):
        raise DataError(f"cannot save to {target}: name a .jsonl or .parquet file")
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.suffix == ".parquet":
        write_parquet(target, [(row_from_pair(pair), pair.images, pair.meta) for pair in pairs])
        return
    folder = target.parent / "images"
    write_text_atomic(target, "".join(f"{_json_line(pair, folder)}\n" for pair in pairs))


def tag_cells(rows: Iterable[TaggedPair]) -> dict[str, int]:
    """How many pairs each cell visual/text/combined holds, such as `safe/safe/unsafe`.

    Cells that hold none are left out; pairs without tags count as `untagged`.
    """
    counts = Counter(
        "/".join((pair.tags.visual, pair.tags.text, pair.tags.combined))
        if pair.tags
        else "untagged"
        for pair in rows
    )
    return dict(sorted(counts.items()))


def _rows_of_files(files: Sequence[Path], images_root: str | Path | None) -> Iterator[_NumberedRow]:
    """Each row of a split's files, numbered through."""
    number = before = 0
    for file in files:
        root = Path(images_root) if images_root is not None else file.parent
        numbered = read_jsonl(file) if file.suffix == ".jsonl" else enumerate(read_parquet(file), 1)
        for in_file, row in numbered:
            number = before + in_file
            yield number, row, root
        before = number


def _checked(rows: Iterable[_NumberedRow], name: str, split: str) -> list[TaggedPair]:
    pairs: list[TaggedPair] = []
    first_row: dict[str, int] = {}
    problems: list[str] = []
    total = 0
    for number, row, root in rows:
        total += 1
        given = row.get("id")
        where = f"row {number}" if given is None else f"row {number} (id {quoted(str(given))})"
        try:
            pair = pair_from_row(row, f"{split}-{number}", root, where)
            if pair.id in first_row:
                raise DataError(f"the same id as row {first_row[pair.id]}")
        except DataError as error:
            problems.append(f"{where}: {error}")
            continue
        first_row[pair.id] = number
        pairs.append(pair)
    if len(problems) == 1:
        raise DataError(f"{name}: {problems[0]}")
    if problems:
        shown = "; ".join(problems[:_SHOWN_PROBLEMS])
        more = len(problems) - _SHOWN_PROBLEMS
        shown += f"; and {more} more" if more > 0 else ""
        raise DataError(f"{name}: {len(problems)} of {total} rows cannot be used: {shown}")
    if not pairs:
        raise DataError(f"{name}: the set is empty")
    return pairs


def _json_line(pair: TaggedPair, folder: Path) -> str:
    """The pair's row as JSON, its images copied into `folder`."""
    images = [f"{folder.name}/{keep_image(ref.read_bytes(), folder)}" for ref in pair.images]
    cells = {**row_from_pair(pair), "images": images}
    row = {**{name: cells[name] for name in COLUMNS}, **pair.meta}
    try:
        line = json.dumps(row, ensure_ascii=False)
        line.encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(row)  # a lone surrogate in an extra column: only an escape can hold it
    except (TypeError, ValueError) as error:
        raise DataError(f"id {quoted(pair.id)}: {error}; save as .parquet instead") from error
    return line
