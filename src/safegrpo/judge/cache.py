"""Replies that were paid for, kept in SQLite: whatever becomes of the process, none is asked twice.

A reply is kept raw, and read anew each time, so that a better reading costs no call. Its key is a
hash of everything that changes the answer. What came back is kept even if it says nothing (a
refusal, a text cut short): it stands for that asking only and is never taken for a judgement.
"""

from __future__ import annotations

import json
import sqlite3
import time
from pathlib import Path

from safegrpo.errors import DataError
from safegrpo.judge.question import Reply

_TABLE = """\
CREATE TABLE IF NOT EXISTS replies (
  key TEXT PRIMARY KEY, about TEXT NOT NULL, reply TEXT NOT NULL, at REAL NOT NULL
) WITHOUT ROWID"""


class ReplyCache:
    """The replies in one file (None: in memory); DataError if the file is something else.

    One process writes it at a time (the caller's lock sees to that).
    """

    def __init__(self, path: Path | None, read_only: bool = False) -> None:
        self._path = path
        try:
            if path is None:
                self._db = sqlite3.connect(":memory:", isolation_level=None)
            elif read_only:
                self._db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
                return
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._db = sqlite3.connect(path, isolation_level=None)
            # Committed when `put` returns, as far as a killed process goes; NORMAL leaves the
            # last replies to a power cut, and saves a wait for the disk at each of them.
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute(_TABLE)
        except sqlite3.Error as error:
            raise DataError(f"{path} is no cache of replies that can be used: {error}") from error

    def get(self, key: str) -> Reply | None:
        """The reply under a key, or None; DataError if the file is damaged."""
        try:
            found = self._db.execute("SELECT reply FROM replies WHERE key = ?", (key,))
            row = found.fetchone()
            return None if row is None else Reply.from_json(json.loads(row[0]))
        except (sqlite3.Error, TypeError, ValueError, RecursionError) as error:
            raise DataError(f"{self._path}: a reply cannot be read: {error}") from error

    def put(self, key: str, about: str, reply: Reply) -> None:
        """Keep a reply; `about` says what it was about, for people who look into the file.

        Raises OSError if it cannot be kept: a full disk, a file that somebody else has locked.
        """
        values = (key, about, json.dumps(reply.to_json()), time.time())
        try:
            self._db.execute("INSERT OR REPLACE INTO replies VALUES (?, ?, ?, ?)", values)
        except (sqlite3.Error, UnicodeEncodeError) as error:
            raise OSError(f"{self._path}: a reply cannot be kept: {error}") from error

    def close(self) -> None:
        """Close the file."""
        self._db.close()
