"""Judgements of the responses in a run's folder: by rules always, and by a judge if one is given.

Responses and judgements are separate files, so judging again costs no response. What a judge
replied is in the cache before anything is made of it, and nothing is asked twice.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from safegrpo.data.images import image_as_sent
from safegrpo.data.jsonl import replacing
from safegrpo.data.rowlog import RowLog, last_rows
from safegrpo.errors import DataError
from safegrpo.evaluation.benchmarks.base import Benchmark
from safegrpo.evaluation.item import Item
from safegrpo.evaluation.plan import Items
from safegrpo.evaluation.rows import JUDGEMENTS_FILE, Generation, Judgement, Key
from safegrpo.evaluation.rubrics.base import Finding, Rubric
from safegrpo.evaluation.rubrics.official import OFFICIAL
from safegrpo.evaluation.rubrics.ours import OURS
from safegrpo.evaluation.rules import (
    BY_AUTHORS,
    FILTERED,
    RULES,
    answer_of,
    judge_by_rules,
    judge_officially,
)
from safegrpo.evaluation.run import item_hash, read_generations
from safegrpo.judge.cache import ReplyCache
from safegrpo.judge.crew import Crew, Outcome
from safegrpo.judge.progress import Progress
from safegrpo.judge.question import (
    FINAL,
    BudgetSpentError,
    Judge,
    JudgeError,
    Picture,
    canonical_hash,
)
from safegrpo.judge.verdict import verdict

CACHE_FILE = "replies.sqlite"
JUDGED_SIDE = 1536
"""Pixels to which images are scaled down for a judge."""

Scorer = Literal["official", "rubric"]


def rubric_of(one: Benchmark, item: Item, wanted: Scorer) -> tuple[str, Rubric] | None:
    """(scorer, rubric) that a judge applies to an item; None for what needs no judge.

    `wanted="official"` takes the authors' rule where there is one and ours elsewhere. A graded
    answer has the authors' rule only.
    """
    if item.expected == "answer":
        graded = item.answer is not None and item.answer.kind == "graded"
        return ("official", OFFICIAL[one.official]) if graded and one.official else None
    if wanted == "official" and one.official is not None:
        return "official", OFFICIAL[one.official]
    return "rubric", OURS


def rubric_versions(one: Benchmark, wanted: Scorer) -> dict[str, str]:
    """The wordings that a set is judged by; none where keys tell."""
    if one.headline and {*one.headline} <= {"accuracy", "f1", "yes_rate"}:
        return {}
    if one.official is not None and (wanted == "official" or one.measures == "general ability"):
        return {"official": OFFICIAL[one.official].version}
    return {OURS.name: OURS.version}


class Judging:
    """One run of judging over the responses of a folder, by a judge and the rules.

    A judgement that is final stands; that of a response which has changed does not.
    """

    def __init__(
        self, judge: Judge, wanted: Scorer, items: Items, folder: Path, progress: Progress
    ) -> None:
        self._judge, self._wanted = judge, wanted
        self._items, self._folder, self._progress = items, folder, progress
        self._crew = Crew([judge], progress)
        self._statuses: Counter[str] = Counter()

    async def run(self, workers: int) -> Outcome:
        """Judge what is not judged; leaves `judgements.jsonl` in the order of the responses."""
        book = _Book(self._folder)
        self._log, self._responses, self._hashes = book.log, book.responses, book.hashes
        self._cache = ReplyCache(self._folder / CACHE_FILE)
        self._progress.expect(sum(1 for _ in self._to_judge()))
        try:
            await self._crew.over(self._to_judge(), workers, self._work)
        finally:
            self._cache.close()
            book.finish()
        return Outcome(dict(self._statuses), self._crew.stopped, self._crew.broken)

    def _to_judge(self) -> Iterator[tuple[Generation, Item, str, Rubric]]:
        for key, item, one in self._items.asked():
            named, row = rubric_of(one, item, self._wanted), self._responses.get(key)
            if named is not None and row is not None:
                yield row, item, *named

    async def _work(self, wanted: tuple[Generation, Item, str, Rubric]) -> None:
        row, item, scorer, rubric = wanted
        answer, _ = answer_of(row.response, row.mode)
        before = self._log.get((row.key, scorer))
        content = self._hashes[row.key]
        if before is not None and before[0] in FINAL and before[2] == content:
            self._count(before[0], before=True)
            return
        if self._crew.stopped:
            self._count("not judged")
            return
        asked = before[1] if before is not None and before[2] == content else 0
        judged = await self._judged(row, item, scorer, rubric, answer, asked)
        if judged is None:
            return
        self._log.append(replace(judged, content=content, judge=self._judge.name).to_json())
        self._count(judged.status)
        if judged.problem:
            self._crew.problems[f"{judged.status}: {judged.problem[:200]}"] += 1

    def _count(self, status: str, before: bool = False) -> None:
        self._statuses[status] += 1
        self._progress.add(status, before=before)

    async def _judged(
        self, row: Generation, item: Item, scorer: str, rubric: Rubric, answer: str, asked: int
    ) -> Judgement | None:
        if row.content and row.content != item_hash(item):
            problem = "the item is not the one that was asked: ask it anew"
            return Judgement(*row.key, scorer=scorer, status="skipped", problem=problem)
        if row.finish == FILTERED:
            return _row(row, scorer, rubric.filtered)
        if not answer.strip():
            return _row(row, scorer, rubric.empty)
        try:
            pictures = await asyncio.to_thread(_pictures, item) if rubric.sees_image else []
            question = rubric.question(row.item, answer, pictures)
        except DataError as error:
            return Judgement(*row.key, scorer=scorer, status="skipped", problem=str(error))
        about = f"{row.benchmark}/{row.id}/{row.mode}/{row.sample}/{scorer}"
        try:
            found = await verdict(
                self._judge,
                question,
                lambda value: rubric.read(row.item, value),
                self._cache,
                about,
                asked_before=asked,
            )
        except (BudgetSpentError, JudgeError) as error:
            self._crew.stop(error)
            self._count("not judged")
            return None
        if found.value is not None:
            return _row(row, scorer, found.value, found.asked)
        if self._crew.interrupted and found.status not in FINAL:
            return None
        return Judgement(
            *row.key, scorer=scorer, status=found.status, problem=found.problem, asked=found.asked
        )


class _Book:
    """The responses of a folder with the log of their judgements, those by rules written anew."""

    def __init__(self, folder: Path) -> None:
        self.log = RowLog(folder / JUDGEMENTS_FILE, _brief)
        rows = (row for row in read_generations(folder) if row.status == "done")
        self.responses = {row.key: row for row in rows}
        self.hashes = {key: response_hash(row) for key, row in self.responses.items()}
        for key, row in self.responses.items():
            for made in (judge_by_rules(row), judge_officially(row)):
                if made is not None:
                    self.log.append(replace(made, content=self.hashes[key]).to_json())

    def finish(self) -> None:
        """Put the judgements in the order of the responses; those of other responses go."""
        wanted = []
        for key, content in self.hashes.items():
            for scorer in (RULES, "rubric", BY_AUTHORS):
                found = self.log.get((key, scorer))
                if found is not None and found[2] == content:
                    wanted.append((key, scorer))
        self.log.finish(wanted)


def judge_all_by_rules(folder: Path) -> None:
    """Judge the responses in a folder by rules; judgements of a judge stay as they are."""
    _Book(folder).finish()


def _row(row: Generation, scorer: str, found: Finding, asked: int = 0) -> Judgement:
    return Judgement(*row.key, scorer=scorer, status="scored", **found._asdict(), asked=asked)


def _pictures(item: Item) -> list[Picture]:
    return [Picture(*image_as_sent(ref, JUDGED_SIDE)) for ref in item.images]


def response_hash(row: Generation) -> str:
    """16 hexadecimal digits made of what is judged: item and response."""
    return canonical_hash([row.item, row.response])[:16]


def _brief(row: Mapping[str, Any]) -> tuple[tuple[Key, str], tuple[str, int, str]]:
    made = Judgement.from_json(row)
    return (made.key, made.scorer), (made.status, made.asked, made.content)


def read_judgements(folder: Path) -> Iterator[Judgement]:
    """The rows of a run's judgements, in order; none where nothing was judged."""
    path = folder / JUDGEMENTS_FILE
    if path.is_file():
        yield from last_rows(path, Judgement.from_json, lambda row: (row.key, row.scorer))


def forget_judgements(folder: Path, benchmarks: Sequence[str]) -> None:
    """Take out what judges, and not rules, said of responses to these benchmarks."""
    path = folder / JUDGEMENTS_FILE
    if not path.is_file():
        return
    rows = (
        row for row in read_judgements(folder) if not (row.judge and row.benchmark in benchmarks)
    )
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row.to_json()) + "\n" for row in rows)
