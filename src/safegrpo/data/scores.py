"""The ratings of pairs on disk: one row a pair, appended as they come, put in order at the end."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from safegrpo.data.jsonl import parse_object, write_text_atomic
from safegrpo.data.rating import Rating
from safegrpo.data.rowlog import RowLog, placed_rows
from safegrpo.errors import DataError, InputFileError
from safegrpo.judge.question import STATUSES, Status

SCORES_FILE = "scores.jsonl"
MANIFEST_FILE = "manifest.json"
POLICY_FILE = "policy.md"
SUMMARY_FILE = "summary.json"


@dataclass(frozen=True)
class Vote:
    """What one judge said at one time."""

    judge: str
    status: Status
    rating: Rating | None
    problem: str = ""

    def to_json(self) -> dict[str, Any]:
        rated = self.rating.to_json() if self.rating else {}
        return {"judge": self.judge, "status": self.status, "problem": self.problem, **rated}


@dataclass(frozen=True)
class ScoreRow:
    """A pair's rating, or why it has none.

    `content` is the pair's content hash (empty if it could not be read), `asked` how many replies
    it took. `votes` are given where there was more than one.
    """

    id: str
    status: Status
    rating: Rating | None = None
    problem: str = ""
    asked: int = 0
    content: str = ""
    votes: tuple[Vote, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The row of `scores.jsonl`."""
        rated = self.rating.to_json() if self.rating else dict.fromkeys(_RATED)
        row = {"id": self.id, "status": self.status, **rated, "problem": self.problem or None}
        row |= {"asked": self.asked, "content": self.content}
        return row | ({"votes": [vote.to_json() for vote in self.votes]} if self.votes else {})

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> ScoreRow:
        """The row again; DataError says what is wrong with it."""
        try:
            status = row["status"]
            if status not in STATUSES:
                raise ValueError(f"no status {status!r:.40}")
            if not isinstance(row["id"], str):
                raise ValueError("the id is no text")
            rating = _rating(row) if status == "scored" else None
            votes = tuple(
                Vote(str(v["judge"]), v["status"], _rating(v) if v.get("scores") else None)
                for v in row.get("votes") or ()
            )
            asked = int(row.get("asked") or 0)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise DataError(f"no row of scores: {error}") from error
        problem, content = str(row.get("problem") or ""), str(row.get("content") or "")
        return cls(row["id"], status, rating, problem, asked, content, votes)


_RATED = ("scores", "confidences", "reasons")


def _rating(row: Mapping[str, Any]) -> Rating:
    return Rating.from_reply({name: row.get(name) for name in _RATED})


class Brief(NamedTuple):
    """What is kept in memory of a row."""

    status: str
    asked: int
    content: str


def score_log(path: Path) -> RowLog[str, Brief]:
    """The score rows of a file, by their ids."""
    return RowLog(path, _brief)


def briefs(path: Path) -> dict[str, Brief]:
    """What a file of score rows says of each id, in its last row; empty without such a file."""
    return dict(one for _, _, one in placed_rows(path, _brief)) if path.is_file() else {}


def _brief(row: Mapping[str, Any]) -> tuple[str, Brief]:
    made = ScoreRow.from_json(row)
    return made.id, Brief(made.status, made.asked, made.content)


def read_scores(folder: Path) -> Iterator[ScoreRow]:
    """The rows of an annotated folder, of all its shards; DataError if a shard is missing."""
    return (row for _, row in placed_scores(folder))


def placed_scores(folder: Path) -> Iterator[tuple[tuple[int, int, int], ScoreRow]]:
    """((number of its file in `score_files`, offset, length), row) of each row that counts."""
    for number, path in enumerate(score_files(folder)):
        last = {row.id: offset for offset, _, row in _rows(path)}
        for offset, length, row in _rows(path):
            if last[row.id] == offset:
                yield (number, offset, length), row


def score_files(folder: Path) -> list[Path]:
    """`scores.jsonl`, or the files of all shards; InputFileError if there is neither."""
    whole = folder / SCORES_FILE
    if whole.is_file():
        return [whole]
    shards = sorted(folder.glob("scores-*-of-*.jsonl"))
    if not shards:
        raise InputFileError(f"{folder}/ holds no {SCORES_FILE}; run safegrpo annotate first")
    count = shards[0].stem.rpartition("-")[2]
    wanted = [f"scores-{i:05d}-of-{count}.jsonl" for i in range(1, int(count) + 1)]
    missing = sorted(set(wanted) - {path.name for path in shards})
    if missing or len(shards) > len(wanted):
        raise DataError(f"{folder}/: {missing[0] if missing else 'shards of two runs'} is missing")
    return shards


def shard_name(name: str, shard: tuple[int, int] | None) -> str:
    """A file's name in a run over a shard (i, n), i from 1; the name itself for a whole run."""
    if shard is None:
        return name
    stem, dot, suffix = name.partition(".")
    return f"{stem}-{shard[0]:05d}-of-{shard[1]:05d}{dot}{suffix}"


def _rows(path: Path) -> Iterator[tuple[int, int, ScoreRow]]:
    return placed_rows(path, ScoreRow.from_json)


def write_manifest(path: Path, manifest: Mapping[str, Any]) -> None:
    """Write a manifest; one that is there must be of the same ratings.

    A trial on a few pairs (`limit`) and the whole are. Raises DataError that names what differs:
    results of two settings do not go into one folder.
    """
    if path.is_file():
        there = parse_object(path.read_bytes(), str(path))
        given = json.loads(json.dumps(manifest))
        keys = sorted({*there, *given})
        differing = [key for key in keys if _compared(there, key) != _compared(given, key)]
        if differing:
            key = differing[0]
            raise DataError(
                f"{path.parent}/ holds ratings that were made otherwise ({', '.join(differing)} "
                f"differ; {key} was {_short(there.get(key))}, now {_short(given.get(key))}); use "
                "the same, or another folder"
            )
    write_text_atomic(path, json.dumps(manifest, indent=2) + "\n")


def _compared(manifest: Mapping[str, Any], key: str) -> object:
    value = manifest.get(key)
    if key != "pairs" or not isinstance(value, Mapping):
        return value
    return {name: one for name, one in value.items() if name not in ("limit", "seed")}


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) < 200 else text[:199] + "…"
