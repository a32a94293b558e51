"""A file of rows that grows while a run goes on, the last of a key being the one that counts."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

from safegrpo.data.jsonl import JsonlWriter, parse_object, replacing
from safegrpo.errors import DataError

R = TypeVar("R")
K = TypeVar("K", bound=Hashable)
B = TypeVar("B")


class RowLog(Generic[K, B]):
    """The rows of one file; some 300 bytes of memory a row.

    `brief` gives the key of a row, and what is kept of it in memory; it raises DataError for what
    is no row. Making one mends a line that a crash tore.
    """

    def __init__(self, path: Path, brief: Callable[[Mapping[str, Any]], tuple[K, B]]) -> None:
        self._path, self._brief = path, brief
        for left in path.parent.glob(f".{path.name}.*.tmp"):  # of a run that was killed
            left.unlink(missing_ok=True)
        self._writer: JsonlWriter | None = JsonlWriter(path)
        self._rows = {
            key: (offset, length, kept) for offset, length, (key, kept) in placed_rows(path, brief)
        }

    def get(self, key: K) -> B | None:
        """What is kept of a row."""
        found = self._rows.get(key)
        return None if found is None else found[2]

    def items(self) -> Iterator[tuple[K, B]]:
        """Each key with what is kept of its row."""
        return ((key, kept) for key, (_, _, kept) in self._rows.items())

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a row, which replaces an earlier one of its key."""
        assert self._writer is not None
        key, kept = self._brief(row)
        self._rows[key] = (*self._writer.append(row), kept)

    def finish(self, keys: Iterable[K]) -> None:
        """Put the file in the order of `keys`, one row each; keys without a row are left out, and
        rows of other keys fall away."""
        self.close()
        with (
            replacing(self._path) as temporary,
            temporary.open("wb") as new,
            self._path.open("rb") as old,
        ):
            for key in keys:
                found = self._rows.get(key)
                if found is not None:
                    old.seek(found[0])
                    new.write(old.read(found[1]))

    def close(self) -> None:
        """Close the file; what is in it stays as it was appended."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def last_rows(
    path: Path, read: Callable[[Mapping[str, Any]], R], key: Callable[[R], Hashable]
) -> Iterator[R]:
    """What `read` makes of the last row of each key, in the file's order; read twice for that."""
    last = {key(row): offset for offset, _, row in placed_rows(path, read)}
    for offset, _, row in placed_rows(path, read):
        if last[key(row)] == offset:
            yield row


def placed_rows(path: Path, read: Callable[[Mapping[str, Any]], R]) -> Iterator[tuple[int, int, R]]:
    """(offset, length, what `read` makes of it) of every whole line; DataError names the line."""
    offset = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                place = f'file "{path}" line {number}'
                try:
                    value = parse_object(line, place)
                except DataError:
                    if line.endswith(b"\n"):
                        raise
                    return  # being written just now, or torn
                try:
                    row = read(value)
                except DataError as error:
                    raise DataError(f"{place}: {error}") from error
                yield offset, len(line), row
            offset += len(line)
