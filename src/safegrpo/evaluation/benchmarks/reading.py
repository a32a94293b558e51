"""The rows of a set's files, and the items that are made of them: none lost, no id twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from safegrpo.data.jsonl import BOM, parse_object
from safegrpo.data.sources.pair import Unusable
from safegrpo.data.sources.tables import Numbered, rows_of
from safegrpo.errors import DataError
from safegrpo.evaluation.benchmarks.base import BAD_ROW, NO_PROMPT, bad_row, text_of, unique
from safegrpo.evaluation.item import Expected, Item
from safegrpo.terminal import printable

Row = Mapping[str, Any]
Placed = Iterable[tuple[str, Row | Unusable]]
"""(where it is, row); a row that cannot be read is Unusable."""

_LINE = 16 * 2**20
_LINES_TRIED = 20


def placed_rows(files: Sequence[Path], folder: Path) -> Iterator[tuple[str, Row | Unusable]]:
    """The rows of files, placed as `data/test.json row 3`; DataError for a file without any."""
    for file in files:
        shown = file.relative_to(folder) if file.is_relative_to(folder) else file
        number = 0
        for number, row in rows_in(file):
            yield f"{shown.as_posix()} row {number}", row
        if number == 0:
            raise DataError(f"{file} holds no rows")


def rows_in(path: Path) -> Numbered:
    """The rows of a file by its suffix; of .json also those of sets whose .json is JSON lines."""
    if path.suffix.lower() != ".json":
        return rows_of(path)
    return _lines(path) if _holds_lines(path) else rows_of(path)


def _holds_lines(path: Path) -> bool:
    """Whether the first line that is JSON by itself is a row; a few broken ones may come before."""
    with path.open("rb") as file:
        lines = (line for line in iter(lambda: file.readline(_LINE), b"") if line.strip())
        for line in islice(lines, _LINES_TRIED):
            if line.lstrip().startswith(b"["):
                return False
            try:
                value = json.loads(line)
            except (ValueError, RecursionError):
                continue
            # A line that is an object by itself is a row, unless it holds rows by their ids.
            if isinstance(value, dict):
                return not all(isinstance(one, dict) for one in value.values())
    return False


def _lines(path: Path) -> Numbered:
    """The rows of JSON lines; a line that is none, or is endless, is Unusable; the next is read."""
    with path.open("rb") as file:
        number = 0
        while line := file.readline(_LINE):
            number += 1
            whole = line.endswith(b"\n") or len(line) < _LINE
            while not line.endswith(b"\n") and (more := file.readline(_LINE)):
                line = more
            if not whole:
                yield number, Unusable("", f"a line of {_LINE >> 20} MiB or more")
            elif raw := (line.removeprefix(BOM) if number == 1 else line).strip():
                try:
                    yield number, parse_object(raw, "this line")
                except DataError as error:
                    yield number, Unusable("", str(error))


def items_of(
    benchmark: str,
    rows: Placed,
    make: Callable[[str, Row], Iterable[Item]],
    expected: Expected | None = None,
    category: str = "",
    subset: str = "",
) -> Iterator[Item]:
    """The items that `make` gives for each (place, row).

    A row that cannot be read, or for which `make` raises DataError, becomes an item that is skipped
    and is called by its place; `expected`, `category` and `subset` are what is certain of it. An
    item without a prompt is skipped, too.
    """
    return unique(_items(benchmark, rows, make, expected, category, subset))


def _items(
    benchmark: str,
    rows: Placed,
    make: Callable[[str, Row], Iterable[Item]],
    expected: Expected | None,
    category: str,
    subset: str,
) -> Iterator[Item]:
    for place, row in rows:
        try:
            if isinstance(row, Unusable):
                raise DataError(row.problem)
            made = list(make(place, row))
        except DataError as error:
            yield bad_row(benchmark, place, f"{place}: {error}", expected, category, subset)
            continue
        for item in made:
            if item.prompt.strip() or item.skip == BAD_ROW:
                yield item
            else:
                problem = printable(f"{place}: the prompt is empty")
                yield replace(item, skip=NO_PROMPT, problem=problem)


def noted(row: Row, **columns: str) -> dict[str, str]:
    """note -> the text of its column, for those columns that are there and hold one."""
    texts = {note: text_of(row, name) for note, name in columns.items() if name in row}
    return {note: text for note, text in texts.items() if text.strip()}
