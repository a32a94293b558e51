"""Ratings for a source of pairs: every pair ends in one row, whatever happens on the way.

Pairs are read as a stream, as many at a time as calls may be under way. What a judge replied is in
the cache before anything is made of it, and a row follows at once: a run that is cut short, killed
or not, goes on where it stopped, and pays for no reply twice. Run again over a finished folder it
tries what ended as error, unparseable or skipped.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safegrpo.data.images import ImageRef, image_as_sent, quoted
from safegrpo.data.rating import VERSION, Rating, rating_question
from safegrpo.data.scores import (
    MANIFEST_FILE,
    SCORES_FILE,
    ScoreLog,
    ScoreRow,
    Vote,
    shard_name,
    write_manifest,
)
from safegrpo.data.sources import Pair, Unusable
from safegrpo.errors import ConfigError, DataError
from safegrpo.judge.budget import EXPECTED_REPLY_TOKENS, Budget, estimated_tokens
from safegrpo.judge.cache import ReplyCache
from safegrpo.judge.progress import Progress
from safegrpo.judge.question import (
    BudgetSpentError,
    Judge,
    JudgeError,
    Picture,
    Question,
    Reply,
    Status,
)
from safegrpo.judge.verdict import verdict
from safegrpo.thinking import TAG_NAMES

CACHE_FILE = "replies.sqlite"
FINAL = ("scored", "refused")
"""Statuses that running again does not change."""

_ERRORS_IN_A_ROW = 20


@dataclass(frozen=True)
class Rated:
    """How a rating is made: the policy's text, votes of each judge, the longest side of an image.

    `shard` (i, n) takes every n-th pair from the i-th on, i from 1. Raises ConfigError.
    """

    policy: str
    votes: int = 1
    max_side: int = 1536
    shard: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.votes < 1 or self.max_side < 28:
            raise ConfigError("--votes is 1 or more, and --max-side 28 or more")
        if self.shard is not None and not 1 <= self.shard[0] <= self.shard[1]:
            raise ConfigError("--shard is i/n with i from 1 to n, such as 1/4")


@dataclass(frozen=True)
class Outcome:
    """How a run ended: pairs by status, and why it stopped early (empty if it did not)."""

    statuses: Mapping[str, int]
    stopped: str = ""


class Annotation:
    """A source, the judges who rate it, and the folder that the ratings go to.

    `source` gives its pairs anew each time it is iterated over; `place` describes it in the
    manifest. Making one checks every id, and takes the folder for this process alone. Raises
    DataError if an id is there twice or the folder holds ratings made otherwise.
    """

    def __init__(
        self,
        source: Any,
        place: Mapping[str, Any],
        judges: Sequence[Judge],
        how: Rated,
        folder: Path,
    ) -> None:
        self._source, self._judges, self._how, self._folder = source, judges, how, folder
        self._place = dict(place)
        self.total = self._checked()
        if self.total == 0:
            raise DataError("there are no pairs to rate")

    def _mine(self) -> Iterator[Pair | Unusable]:
        first, step = self._how.shard or (1, 1)
        for number, pair in enumerate(self._source):
            if number % step == first - 1:
                yield pair

    def _checked(self) -> int:
        """How many pairs this run has; every id of the source, of all shards, is there once."""
        seen: set[str] = set()
        for pair in self._source:
            if pair.id in seen:
                raise DataError(f"id {quoted(pair.id)} stands for more than one pair")
            seen.add(pair.id)
        first, step = self._how.shard or (1, 1)
        return len(range(first - 1, len(seen), step))

    def manifest(self) -> dict[str, Any]:
        """What the ratings depend on."""
        return {
            "pairs": self._place,
            "judges": [dict(judge.identity) for judge in self._judges],
            "votes": self._how.votes,
            "max_side": self._how.max_side,
            "wording": VERSION,
            "policy_sha256": hashlib.sha256(self._how.policy.encode()).hexdigest(),
            "shards": self._how.shard[1] if self._how.shard else 1,
        }

    async def run(self, budget: Budget, concurrency: int) -> Outcome:
        """Rate what has no rating yet.

        Raises JudgeError if a judge cannot answer at all.
        """
        how = self._how
        self._folder.mkdir(parents=True, exist_ok=True)
        with _locked(self._folder / shard_name("lock", how.shard)):
            write_manifest(self._folder / MANIFEST_FILE, self.manifest())
            (self._folder / "policy.md").write_text(how.policy + "\n", "utf-8")
            log = ScoreLog(self._folder / shard_name(SCORES_FILE, how.shard))
            cache = ReplyCache(self._folder / shard_name(CACHE_FILE, how.shard))
            try:
                run = _Run(self._judges, how, log, cache, Progress(self.total, budget))
                outcome = await run.over(self._mine(), concurrency)
                log.finish(pair.id for pair in self._mine())
            finally:
                cache.close()
                log.close()
        return outcome

    async def estimate(self, budget: Budget) -> dict[str, Any]:
        """What a run would ask for; sends nothing and writes nothing.

        Replies of an earlier run are counted as cached. Tokens are estimates.
        """
        path = self._folder / shard_name(CACHE_FILE, self._how.shard)
        cache = ReplyCache(path if path.is_file() else Path(":memory:"))
        counts: Counter[str] = Counter()
        tokens = 0
        for pair in self._mine():
            counts["pairs"] += 1
            ready = _prepared(pair, self._how)
            if isinstance(ready, ScoreRow):
                counts["skipped"] += 1
                continue
            question, _ = ready
            for judge in self._judges:
                for vote in range(self._how.votes):
                    try:
                        found = Rating.from_reply
                        await verdict(_Silent(judge), question, found, cache, "", vote)
                        counts["cached"] += 1
                    except BudgetSpentError:
                        counts["calls"] += 1
                        tokens += estimated_tokens(question)
        cache.close()
        replies = counts["calls"] * EXPECTED_REPLY_TOKENS
        priced = Budget(price_in=budget.price_in, price_out=budget.price_out)
        priced.prompt_tokens, priced.completion_tokens = tokens, replies
        names = ("pairs", "skipped", "cached", "calls")
        return {
            **{name: counts[name] for name in names},
            "prompt_tokens": tokens,
            "completion_tokens": replies,
            "cost": priced.cost,
        }


class _Run:
    """One run: who rates, and where rows go."""

    def __init__(
        self,
        judges: Sequence[Judge],
        how: Rated,
        log: ScoreLog,
        cache: ReplyCache,
        progress: Progress,
    ) -> None:
        self._judges, self._how, self._log, self._cache = judges, how, log, cache
        self._progress = progress
        self._statuses: Counter[str] = Counter()
        self._errors_in_a_row = 0
        self._stopped = ""
        self._broken: JudgeError | None = None

    async def over(self, pairs: Iterator[Pair | Unusable], concurrency: int) -> Outcome:
        # A few more at work than calls may be under way, so that the next is ready in time.
        count = concurrency + max(2, concurrency // 8)
        await asyncio.gather(*(self._work(pairs) for _ in range(count)))
        self._progress.close()
        if self._broken is not None:
            raise self._broken
        return Outcome(dict(self._statuses), self._stopped)

    async def _work(self, pairs: Iterator[Pair | Unusable]) -> None:
        for pair in pairs:
            if self._broken is not None:
                return  # rows of pairs nobody was asked about would say nothing
            row = await self._row(pair)
            if row is not None:
                self._log.append(row)
                self._count(row.status)

    def _count(self, status: str, before: bool = False) -> None:
        self._statuses[status] += 1
        self._progress.add(status, before)

    async def _row(self, pair: Pair | Unusable) -> ScoreRow | None:
        """The pair's new row; None if the one it has stands, or the judge is gone."""
        before = self._log.get(pair.id)
        ready = await asyncio.to_thread(_prepared, pair, self._how)
        if isinstance(ready, ScoreRow):
            return ready
        question, content = ready
        same = before is not None and before.content == content
        if before is not None and same and before.status in FINAL:
            self._count(before.status, before=True)
            return None
        asked = before.asked if before is not None and same else 0
        if self._stopped:
            return ScoreRow(pair.id, "skipped", None, f"not asked: {self._stopped}", asked, content)
        try:
            return await self._rated(pair.id, question, content, asked)
        except BudgetSpentError as error:
            self._stopped = str(error)
            return ScoreRow(pair.id, "skipped", None, f"not asked: {error}", asked, content)
        except JudgeError as error:
            self._broken = error
            return None

    async def _rated(self, pair_id: str, question: Question, content: str, asked: int) -> ScoreRow:
        votes: list[Vote] = []
        most = 0
        for judge in self._judges:
            for number in range(self._how.votes):
                found = await verdict(
                    judge, question, Rating.from_reply, self._cache, pair_id, number, asked
                )
                votes.append(Vote(judge.name, found.status, found.value, found.problem))
                most = max(most, found.asked)
                self._note_error(found.status, found.problem)
        if len(votes) == 1:
            only = votes[0]
            return ScoreRow(pair_id, only.status, only.rating, only.problem, most, content)
        return _together(pair_id, votes, most, content)

    def _note_error(self, status: str, problem: str) -> None:
        self._errors_in_a_row = self._errors_in_a_row + 1 if status == "error" else 0
        if self._errors_in_a_row >= _ERRORS_IN_A_ROW:
            raise JudgeError(f"{_ERRORS_IN_A_ROW} calls in a row failed, the last with: {problem}")


def _together(pair_id: str, votes: Sequence[Vote], asked: int, content: str) -> ScoreRow:
    """One row of several votes: their medians, if more than half of them hold a rating."""
    ratings = [vote.rating for vote in votes if vote.rating is not None]
    if 2 * len(ratings) <= len(votes):
        failed = Counter(vote.status for vote in votes if vote.rating is None)
        status: Status = failed.most_common(1)[0][0]
        problem = next(vote.problem for vote in votes if vote.status == status)
        return ScoreRow(pair_id, status, None, problem, asked, content, tuple(votes))
    scores = {n: statistics.median(r.scores[n] for r in ratings) for n in TAG_NAMES}
    sure = {n: statistics.median(r.confidences[n] for r in ratings) for n in TAG_NAMES}
    reasons = {
        n: min(ratings, key=lambda r, n=n: abs(r.scores[n] - scores[n])).reasons[n]  # type: ignore[misc]
        for n in TAG_NAMES
    }
    rating = Rating(scores, sure, reasons)
    return ScoreRow(pair_id, "scored", rating, "", asked, content, tuple(votes))


def _prepared(pair: Pair | Unusable, how: Rated) -> tuple[Question, str] | ScoreRow:
    """(what is asked about a pair, its content hash), or its row if nothing can be asked."""
    if isinstance(pair, Unusable):
        return ScoreRow(pair.id, "skipped", None, pair.problem)
    try:
        read = tuple(ImageRef(data=ref.read_bytes(), name=ref.name) for ref in pair.images)
        content = Pair(pair.id, read, pair.prompt).content_hash()
        pictures = [Picture(*image_as_sent(ref, how.max_side)) for ref in read]
    except DataError as error:
        return ScoreRow(pair.id, "skipped", None, str(error))
    return rating_question(pair.prompt, pictures, how.policy), content


class _Silent:
    """A judge who says nothing, to see what would have to be asked."""

    def __init__(self, judge: Judge) -> None:
        self.name, self._judge = judge.name, judge

    @property
    def identity(self) -> Mapping[str, Any]:
        return self._judge.identity

    async def ask(self, question: Question, again: int = 0, room: int = 1) -> Reply:
        raise BudgetSpentError("not asked")

    async def close(self) -> None:
        pass


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """This process alone, until it ends in whatever way; DataError if another is at work."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DataError(f"another run is at work in {path.parent}/") from error
        yield
