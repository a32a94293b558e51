"""One run over pairs: as many at work as calls may be under way, each ending in a row."""

from __future__ import annotations

import asyncio
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from safegrpo.data.images import ImageRef, image_as_sent
from safegrpo.data.rating import Rating, rating_question
from safegrpo.data.rowlog import RowLog
from safegrpo.data.scores import Brief, ScoreRow, Vote
from safegrpo.data.sources import Pair, Unusable
from safegrpo.errors import ConfigError, DataError
from safegrpo.judge.cache import ReplyCache
from safegrpo.judge.crew import Crew, Outcome
from safegrpo.judge.progress import Progress
from safegrpo.judge.question import (
    FINAL,
    BudgetSpentError,
    Judge,
    JudgeError,
    Picture,
    Question,
    Status,
)
from safegrpo.judge.verdict import verdict
from safegrpo.thinking import TAG_NAMES


@dataclass(frozen=True)
class Asking:
    """How ratings are asked for: policy, votes of each judge, the longest side of an image.

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
class Ready:
    """A pair to ask about: the question, its content hash, and the replies that it took before."""

    question: Question
    content: str
    asked: int


def prepared(pair: Pair | Unusable, how: Asking, before: Brief | None) -> Ready | ScoreRow | None:
    """What there is to ask about a pair; its row if nothing can be; None if its rating stands."""
    if isinstance(pair, Unusable):
        return ScoreRow(pair.id, "skipped", None, pair.problem)
    try:
        read = tuple(ImageRef(data=ref.read_bytes(), name=ref.name) for ref in pair.images)
        content = Pair(pair.id, read, pair.prompt).content_hash()
        same = before is not None and before.content == content
        if before is not None and same and before.status in FINAL:
            return None
        pictures = [Picture(*image_as_sent(ref, how.max_side)) for ref in read]
    except DataError as error:
        return ScoreRow(pair.id, "skipped", None, str(error))
    asked = before.asked if before is not None and same else 0
    return Ready(rating_question(pair.prompt, pictures, how.policy), content, asked)


class Run:
    """One run: who rates, and where rows go."""

    def __init__(
        self,
        judges: Sequence[Judge],
        how: Asking,
        log: RowLog[str, Brief],
        cache: ReplyCache,
        progress: Progress,
    ) -> None:
        self._judges, self._how, self._log, self._cache = judges, how, log, cache
        self._progress = progress
        self._statuses: Counter[str] = Counter()
        self._crew = Crew(judges, progress)

    async def over(self, pairs: Iterator[Pair | Unusable], workers: int) -> Outcome:
        """Rate the pairs; see `Crew.over`."""
        await self._crew.over(pairs, workers, self._work)
        return Outcome(dict(self._statuses), self._crew.stopped, self._crew.broken)

    async def _work(self, pair: Pair | Unusable) -> None:
        row = await self._row(pair)
        if row is None:
            return
        self._log.append(row.to_json())
        self._statuses[row.status] += 1
        self._progress.add(row.status)
        if row.problem:
            self._crew.problems[f"{row.status}: {row.problem[:200]}"] += 1

    async def _row(self, pair: Pair | Unusable) -> ScoreRow | None:
        """The pair's new row; None if the one it has stands."""
        before = self._log.get(pair.id)
        ready: Ready | ScoreRow | None = None
        if not self._crew.stopped:
            ready = await asyncio.to_thread(prepared, pair, self._how, before)
        if isinstance(ready, ScoreRow):
            return ready
        if ready is not None and not self._crew.stopped:
            try:
                row = await self._rated(pair.id, ready)
                # What an interrupt kept from being asked is no error: it has no row yet.
                return row if not self._crew.interrupted or row.status in FINAL else None
            except (BudgetSpentError, JudgeError) as error:
                self._crew.stop(error)
        if self._crew.interrupted:
            return None
        if before is not None:
            self._statuses[before.status] += 1
            self._progress.add(before.status, before=True)
            return None
        return ScoreRow(pair.id, "skipped", None, f"not asked: {self._crew.stopped}")

    async def _rated(self, pair_id: str, ready: Ready) -> ScoreRow:
        votes: list[Vote] = []
        most = 0
        for judge in self._judges:
            for number in range(self._how.votes):
                read = Rating.from_reply
                found = await verdict(
                    judge, ready.question, read, self._cache, pair_id, number, ready.asked
                )
                votes.append(Vote(judge.name, found.status, found.value, found.problem))
                most = max(most, found.asked)
        return together(pair_id, votes, most, ready.content)


def together(pair_id: str, votes: Sequence[Vote], asked: int, content: str) -> ScoreRow:
    """One row of all votes: the medians of their ratings, if more than half of them hold one."""
    kept = tuple(votes) if len(votes) > 1 else ()
    ratings = [vote.rating for vote in votes if vote.rating is not None]
    if 2 * len(ratings) <= len(votes):
        failed = Counter(vote.status for vote in votes if vote.rating is None)
        # One that can be tried again may yet make a majority.
        open_ones = [one for one, _ in failed.most_common() if one not in FINAL]
        status: Status = (open_ones or [*failed])[0]
        problem = next(vote.problem for vote in votes if vote.status == status)
        return ScoreRow(pair_id, status, None, problem, asked, content, kept)
    scores = {n: statistics.median(r.scores[n] for r in ratings) for n in TAG_NAMES}
    sure = {n: statistics.median(r.confidences[n] for r in ratings) for n in TAG_NAMES}
    reasons = {
        n: min(ratings, key=lambda r, n=n: abs(r.scores[n] - scores[n])).reasons[n]  # type: ignore[misc]
        for n in TAG_NAMES
    }
    return ScoreRow(pair_id, "scored", Rating(scores, sure, reasons), "", asked, content, kept)
