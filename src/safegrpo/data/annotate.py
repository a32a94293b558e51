"""Ratings for a source of pairs: a run that comes to its end leaves one row for each.

Pairs are read as a stream, as many at a time as calls may be under way. What a judge replied is in
the cache before anything is made of it, and a row follows at once: a run that is cut short, killed
or not, goes on where it stopped, and pays for no reply twice. Run again over a finished folder it
tries what ended as error, unparseable or skipped.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from safegrpo.data.images import quoted
from safegrpo.data.jsonl import locked, write_text_atomic
from safegrpo.data.rate import Asking, Ready, Run, prepared
from safegrpo.data.rating import VERSION, Rating
from safegrpo.data.scores import (
    MANIFEST_FILE,
    POLICY_FILE,
    SCORES_FILE,
    briefs,
    score_log,
    shard_name,
    write_manifest,
)
from safegrpo.data.sources import Pair, Unusable
from safegrpo.errors import ConfigError, DataError
from safegrpo.judge.budget import EXPECTED_REPLY_TOKENS, Budget, estimated_tokens
from safegrpo.judge.cache import ReplyCache
from safegrpo.judge.crew import Outcome
from safegrpo.judge.progress import Progress
from safegrpo.judge.question import (
    FINAL,
    BudgetSpentError,
    Judge,
    JudgeError,
    Question,
    Reply,
    canonical_hash,
)
from safegrpo.judge.verdict import verdict

CACHE_FILE = "replies.sqlite"


class Annotation:
    """A source, the judges who rate it, and the folder that the ratings go to.

    `read` gives the pairs of the source, anew each time; `place` describes it in the manifest.
    Making one checks every id. Raises DataError if an id is there twice, ConfigError if a judge is.
    """

    def __init__(
        self,
        read: Callable[[], Iterator[Pair | Unusable]],
        place: Mapping[str, Any],
        judges: Sequence[Judge],
        how: Asking,
        folder: Path,
    ) -> None:
        self._read, self._judges, self._how, self._folder = read, judges, how, folder
        self._place = dict(place)
        same = Counter(canonical_hash(dict(judge.identity)) for judge in judges)
        if max(same.values()) > 1:
            # Its replies would be counted twice, and agree.
            raise ConfigError("a judge is named twice; for several ratings of one: --votes")
        self.total = self._checked()

    def _mine(self) -> Iterator[Pair | Unusable]:
        first, step = self._how.shard or (1, 1)
        return islice(self._read(), first - 1, None, step)

    def _checked(self) -> int:
        """How many pairs this run has; every id of the source, of all shards, is there once."""
        seen: set[str] = set()
        for pair in self._read():
            if pair.id in seen:
                raise DataError(
                    f"id {quoted(pair.id)} stands for more than one pair; give each its own"
                )
            seen.add(pair.id)
        if not seen:
            raise DataError("there are no pairs to rate")
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

        An interrupt (or SIGTERM) ends it once the calls under way are answered, a second one at
        once. Raises JudgeError if a judge could not answer anything, and the folder is new.
        """
        how, folder = self._how, self._folder
        if (folder / "selection.json").is_file():
            raise ConfigError(f"-o {folder} holds a tagged set; name another folder")
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / shard_name("lock", how.shard)):
            write_manifest(folder / MANIFEST_FILE, self.manifest())
            write_text_atomic(folder / POLICY_FILE, how.policy + "\n")
            log = score_log(folder / shard_name(SCORES_FILE, how.shard))
            cache = ReplyCache(folder / shard_name(CACHE_FILE, how.shard))
            try:
                progress = Progress(self.total, budget, self._judges)
                run = Run(self._judges, how, log, cache, progress)
                workers = min(concurrency, self.total)
                # A few more at work than calls may be under way: the next is ready in time.
                outcome = await run.over(self._mine(), workers + max(2, workers // 8))
            finally:
                cache.close()
                log.finish(pair.id for pair in self._mine())
            failed = outcome.broken or outcome.statuses.get("error", 0) > 0
            rated = any(brief.status in FINAL for _, brief in log.items())
            if failed and how.shard is None and not rated:
                # Nothing is rated: a judge of another name must not be kept out.
                (folder / MANIFEST_FILE).unlink(missing_ok=True)
                if outcome.broken:
                    raise JudgeError(outcome.stopped)
        return outcome

    async def estimate(self, budget: Budget) -> dict[str, Any]:
        """What a run would ask for; sends nothing and writes nothing.

        `done` have a rating, `cached` are calls whose reply is there. Tokens are estimates.
        """
        path = self._folder / shard_name(CACHE_FILE, self._how.shard)
        cache = ReplyCache(path, read_only=True) if path.is_file() else ReplyCache(None)
        rated = briefs(self._folder / shard_name(SCORES_FILE, self._how.shard))
        counts: Counter[str] = Counter(pairs=0, done=0, skipped=0, cached=0, calls=0)
        tokens = 0
        for pair in self._mine():
            counts["pairs"] += 1
            ready = prepared(pair, self._how, rated.get(pair.id))
            if not isinstance(ready, Ready):
                counts["done" if ready is None else "skipped"] += 1
                continue
            for judge in self._judges:
                for vote in range(self._how.votes):
                    silent, read = _Silent(judge), Rating.from_reply
                    try:
                        await verdict(silent, ready.question, read, cache, "", vote, ready.asked)
                        counts["cached"] += 1
                    except BudgetSpentError:
                        counts["calls"] += 1
                        tokens += estimated_tokens(ready.question)
        cache.close()
        replies = counts["calls"] * EXPECTED_REPLY_TOKENS
        priced = Budget(price_in=budget.price_in, price_out=budget.price_out)
        priced.prompt_tokens, priced.completion_tokens = tokens, replies
        said = {"prompt_tokens": tokens, "completion_tokens": replies, "cost": priced.cost}
        return {**counts, **said}


class _Silent:
    """A judge who says nothing, to see what would have to be asked."""

    def __init__(self, judge: Judge) -> None:
        self.name, self.trouble, self._judge = judge.name, "", judge

    @property
    def identity(self) -> Mapping[str, Any]:
        return self._judge.identity

    @property
    def adapted(self) -> Mapping[str, Any]:
        return self._judge.adapted

    async def ask(self, question: Question, again: int = 0, room: int = 1, vote: int = 0) -> Reply:
        raise BudgetSpentError("not asked")

    def halt(self) -> None:
        pass

    async def close(self) -> None:
        pass
