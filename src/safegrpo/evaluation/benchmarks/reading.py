"""The rows of a set's files, and the items that are made of them: none lost, no id twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from safegrpo.data.jsonl import read_jsonl
from safegrpo.data.questions import ASK_LETTER, LETTERS
from safegrpo.data.sources.pair import Unusable
from safegrpo.data.sources.tables import Numbered, rows_of
from safegrpo.errors import DataError
from safegrpo.evaluation.benchmarks.base import BAD_ROW, NO_PROMPT, text_of, unique
from safegrpo.evaluation.item import Item

Row = Mapping[str, Any]
Placed = Iterable[tuple[str, Row | Unusable]]
"""(where it is, row); a row that cannot be read is Unusable."""

_FIRST_LINE = 16 * 2**20


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
    with path.open("rb") as file:
        lines = iter(lambda: file.readline(_FIRST_LINE), b"")
        first = next((line for line in lines if line.strip()), b"")
    try:
        value = json.loads(first)
    except (ValueError, RecursionError):
        return rows_of(path)
    # A line that is an object by itself is a row, unless it holds rows by their ids.
    if isinstance(value, dict) and not all(isinstance(one, dict) for one in value.values()):
        return read_jsonl(path)
    return rows_of(path)


def items_of(
    benchmark: str, rows: Placed, make: Callable[[str, Row], Iterable[Item]]
) -> Iterator[Item]:
    """The items that `make` gives for each (place, row).

    A row that cannot be read, or for which `make` raises DataError, becomes an item that is skipped
    and is called by its place. An item without a prompt is skipped, too.
    """
    return unique(_items(benchmark, rows, make))


def _items(
    benchmark: str, rows: Placed, make: Callable[[str, Row], Iterable[Item]]
) -> Iterator[Item]:
    for place, row in rows:
        try:
            if isinstance(row, Unusable):
                raise DataError(row.problem)
            made = list(make(place, row))
        except DataError as error:
            yield bad_row(benchmark, place, f"{place}: {error}")
            continue
        for item in made:
            if item.prompt.strip() or item.skip == BAD_ROW:
                yield item
            else:
                yield replace(item, skip=NO_PROMPT, problem=f"{place}: the prompt is empty")


def bad_row(benchmark: str, item_id: str, problem: str) -> Item:
    """An item that stands for what could not be read."""
    known = item_id.encode("utf-8", "replace").decode()
    return Item(benchmark, known, "", skip=BAD_ROW, problem=problem)


def noted(row: Row, **columns: str) -> dict[str, str]:
    """note -> the text of its column, for those columns that are there and hold one."""
    texts = {note: text_of(row, name) for note, name in columns.items() if name in row}
    return {note: text for note, text in texts.items() if text.strip()}


def with_choices(question: str, choices: Sequence[str]) -> str:
    """A question, its choices behind letters, and what is asked for; DataError if too many."""
    if len(choices) > len(LETTERS):
        raise DataError(f"{len(choices)} choices, and letters for {len(LETTERS)}")
    lettered = zip(LETTERS, choices, strict=False)
    shown = [f"({letter}) {choice}" for letter, choice in lettered]
    return "\n".join([question.strip(), *shown, ASK_LETTER])
