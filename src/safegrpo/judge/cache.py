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
    """The replies in one file; DataError if the file is something else.

    One process writes it at a time (the caller's lock sees to that).
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        try:
            self._db = sqlite3.connect(path, isolation_level=None)
            # Committed when `put` returns, as far as a killed process goes; NORMAL leaves the
            # last replies to a power cut, and saves a wait for the disk at each of them.
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute(_TABLE)
        except sqlite3.DatabaseError as error:
            raise DataError(f"{path} is no cache of replies: {error}") from error

    def get(self, key: str) -> Reply | None:
        """The reply under a key, or None."""
        row = self._db.execute("SELECT reply FROM replies WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        try:
            return Reply(**json.loads(row[0]))
        except (TypeError, ValueError) as error:
            raise DataError(f"{self._path}: the reply {key} cannot be read: {error}") from error

    def put(self, key: str, about: str, reply: Reply) -> None:
        """Keep a reply; `about` says what it was about, for people who look into the file."""
        self._db.execute(
            "INSERT OR REPLACE INTO replies VALUES (?, ?, ?, ?)",
            (key, about, json.dumps(reply.to_json()), time.time()),
        )

    def close(self) -> None:
        """Close the file."""
        self._db.close()
