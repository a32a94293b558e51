"""JSON lines and whole files, read with clear errors and written so that a crash costs one row."""

import fcntl
import json
import os
import secrets
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from safegrpo.errors import ConfigError, DataError, InputFileError

BOM = b"\xef\xbb\xbf"


def read_jsonl(path: str | Path, torn_tail: bool = False) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each row of a file as (line number from 1, object); "-" reads standard input.

    Blank lines are skipped and a byte order mark is tolerated. With `torn_tail` a last line that a
    crash cut short (no newline, no JSON) is left out instead of being an error.
    Raises InputFileError if there is no such file, DataError naming the line if one is no object.
    """
    with _open(path) as (file, name):
        for number, line in enumerate(file, start=1):
            raw = line.removeprefix(BOM) if number == 1 else line
            if not raw.strip():
                continue
            try:
                yield number, parse_object(raw, f"{name} line {number}")
            except DataError:
                if torn_tail and not line.endswith(b"\n"):
                    return
                raise


@contextmanager
def _open(path: str | Path) -> Iterator[tuple[BinaryIO, str]]:
    if str(path) == "-":
        yield sys.stdin.buffer, "standard input"
        return
    path = Path(path)
    if not path.exists():
        raise InputFileError(f'file "{path}" not found')
    if path.is_dir():
        raise InputFileError(f'"{path}" is a folder, not a file of JSON lines')
    with path.open("rb") as file:
        yield file, f'file "{path}"'


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of JSON's `pairs`, for `object_pairs_hook`; ValueError if a key is there twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        # Python would keep the last of them, and a wrong tag could hide behind a right one.
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f'"{key[:80]}" is there twice')
            seen.add(key)
    return found


def parse_object(raw: bytes, place: str) -> dict[str, Any]:
    """The JSON object of one line; DataError, which begins with `place`, if it is none."""
    try:
        value = json.loads(raw.decode("utf-8"), object_pairs_hook=unique_keys)
    except UnicodeDecodeError as error:
        raise DataError(f"{place}: not UTF-8 (byte {error.start})") from error
    except json.JSONDecodeError as error:
        raise DataError(f"{place}: not JSON ({error.msg}, column {error.colno})") from error
    except (RecursionError, ValueError) as error:  # too deep, a key twice, 5,000 digits
        raise DataError(f"{place}: JSON that cannot be read ({error})") from error
    if not isinstance(value, dict):
        raise DataError(f"{place}: a JSON object is wanted, this is a {type(value).__name__}")
    return value


def append_jsonl(path: str | Path, row: Mapping[str, Any]) -> None:
    """Append one row and have it on the disk before returning; makes missing folders.

    What a crash left of an earlier row is cut away first, so that it cannot spoil this one.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps(row, ensure_ascii=True).encode() + b"\n"
    with path.open("a+b") as file:
        _mend_tail(file)
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


class JsonlWriter:
    """A file of rows that stays open for appending.

    Each row is handed to the system before `append` returns its (offset, length) in bytes, so a
    killed process loses none; the disk is waited for once a second and at `close`.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a+b")
        _mend_tail(self._file)
        self._end = self._file.seek(0, os.SEEK_END)
        self._synced = time.monotonic()

    def append(self, row: Mapping[str, Any]) -> tuple[int, int]:
        line = json.dumps(row, ensure_ascii=True).encode() + b"\n"
        self._file.write(line)
        self._file.flush()
        if time.monotonic() - self._synced >= 1:
            self.sync()
        place = self._end, len(line)
        self._end += len(line)
        return place

    def sync(self) -> None:
        """Wait until all of it is on the disk."""
        os.fsync(self._file.fileno())
        self._synced = time.monotonic()

    def close(self) -> None:
        self.sync()
        self._file.close()


def _mend_tail(file: BinaryIO) -> None:
    end = file.seek(0, os.SEEK_END)
    if end == 0:
        return
    file.seek(end - 1)
    if file.read(1) == b"\n":
        return
    file.seek(0)
    start, last = 0, b""
    for line in file:
        start, last = start + len(last), line
    try:
        parse_object(last.removeprefix(BOM), "last line")
    except DataError:
        file.truncate(start)
    else:
        file.write(b"\n")  # whole, only its newline is missing


def read_text(path: str | Path, limit: int, what: str = "file") -> str:
    """The text of a whole file of at most `limit` bytes; a byte order mark is left out.

    Raises InputFileError if there is no such file, DataError if it is larger or not UTF-8.
    """
    path = Path(path)
    if not path.exists():
        raise InputFileError(f'{what} "{path}" not found')
    if path.is_dir():
        raise InputFileError(f'"{path}" is a folder, not a {what}')
    with path.open("rb") as file:
        raw = file.read(limit + 1)
    if len(raw) > limit:
        size = f"{limit // 2**20} MiB" if limit >= 2**20 else f"{limit // 1024} KiB"
        raise DataError(f'{what} "{path}" is larger than {size}')
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f'{what} "{path}" is not UTF-8 (byte {error.start})') from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place, synced to disk, if all went well."""
    # In the same folder, for a rename is only atomic within one file system.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text_atomic(path: str | Path, text: str) -> None:
    """Write a whole file as UTF-8: readers see the old one or the new one, never a part."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_bytes(text.encode("utf-8"))


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """This process alone, until it ends in whatever way; DataError if another is at work."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        # A link that somebody put there is not followed.
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        raise DataError(f"{path} cannot be locked: {error.strerror}") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DataError(f"another run is at work in {path.parent}/") from error
        yield
    finally:
        os.close(lock)


def check_folder(folder: Path, ours: Sequence[str], command: str) -> None:
    """ConfigError unless `folder` is new, empty, or has something that `command` leaves behind.

    `ours` are such names.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"-o {folder} is a file; name a folder")
    others = [p.name for p in folder.iterdir() if p.name[0] != "."] if folder.is_dir() else []
    if others and not set(ours) & set(others):
        raise ConfigError(
            f"-o {folder} holds other files ({min(others)}); name a new folder, or one that "
            f"safegrpo {command} has made"
        )
