"""Responses of one model to benchmarks: a run that comes to its end leaves a row for each.

Items are read as a stream, as many at a time as questions may be under way. A row is on the disk
as soon as its response is there, so a run that is cut short, killed or not, goes on where it
stopped. Run again over a finished folder it tries again what ended as error or was skipped.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from safegrpo.data.images import FORMATS, ImageRef, image_as_sent
from safegrpo.data.jsonl import replacing
from safegrpo.data.rowlog import RowLog, last_rows
from safegrpo.errors import DataError
from safegrpo.evaluation.benchmarks.base import BROKEN, Benchmark
from safegrpo.evaluation.item import Item
from safegrpo.evaluation.modes import Conversation, respond
from safegrpo.evaluation.plan import Items
from safegrpo.evaluation.rows import GENERATIONS_FILE, IMAGES_FOLDER, Generation, Key
from safegrpo.judge.crew import Crew, Outcome
from safegrpo.judge.progress import Progress
from safegrpo.judge.question import (
    BudgetSpentError,
    CallError,
    Judge,
    JudgeError,
    Picture,
    Question,
    Reply,
    canonical_hash,
)

PLAIN = "plain-1"
"""The version of a question that is nothing but an item's pictures and text."""

NOT_ASKED = "not asked"
"""The problem of a response that is wanted and not there yet."""

SHOWN_SIDE = 320
"""Pixels of the copies that are kept for people to look at."""

Wanted = tuple[Key, Item, Benchmark]


class Brief(NamedTuple):
    """What is kept in memory of a response."""

    status: str
    content: str


def generation_log(folder: Path) -> RowLog[Key, Brief]:
    """The responses in a run's folder."""
    return RowLog(folder / GENERATIONS_FILE, _brief)


def _brief(row: Mapping[str, Any]) -> tuple[Key, Brief]:
    made = Generation.from_json(row)
    return made.key, Brief(made.status, made.content)


def item_hash(item: Item) -> str:
    """16 hexadecimal digits made of what is known of an item; of images that are files by their
    names and sizes, which is quick."""
    images = [
        [ref.name, ref.path.stat().st_size]
        if ref.path is not None and ref.path.is_file()
        else [ref.name, hashlib.sha256(ref.data or b"").hexdigest()]
        for ref in item.images
    ]
    return canonical_hash([item.known(), images])[:16]


class Asking:
    """One run of questions to one model.

    `refused` says why the model cannot be asked a text (empty: it can).
    """

    def __init__(
        self,
        model: Judge,
        guide: str,
        items: Items,
        folder: Path,
        progress: Progress,
        refused: Callable[[str], str] = lambda text: "",
    ) -> None:
        self._model, self._guide, self._items, self._folder = model, guide, items, folder
        self._refused, self._progress = refused, progress
        self._crew = Crew([model], progress)
        self._statuses: Counter[str] = Counter()

    async def run(self, workers: int) -> Outcome:
        """Ask for what has no response yet; see `Crew.over`."""
        self._log = generation_log(self._folder)
        for left in (self._folder / IMAGES_FOLDER).glob(".*.tmp"):  # of a run that was killed
            left.unlink(missing_ok=True)
        try:
            self._note_wanted()
            await self._crew.over(self._items.asked(), workers, self._work)
        finally:
            wanted = {*self._items.keys}
            kept = [key for key, _ in self._log.items() if key not in wanted]
            # Rows of an earlier, larger or other plan are not lost.
            self._log.finish([*self._items.keys, *kept])
        return Outcome(dict(self._statuses), self._crew.stopped, self._crew.broken)

    def _note_wanted(self) -> None:
        """A row for each response that is wanted, until it is there: whatever becomes of this run,
        nothing that was wanted is missing in what is measured later."""
        changed = 0
        for key, item, _ in self._items.asked():
            content = item_hash(item)
            before = self._log.get(key)
            if before is None or before.content != content:
                changed += before is not None and before.status == "done"
                blank = Generation(*key, "error", item.known(), problem=NOT_ASKED, content=content)
                self._log.append(blank.to_json())
        if changed:
            print(
                f"{changed} responses are to items that have changed: asked anew", file=sys.stderr
            )

    async def _work(self, wanted: Wanted) -> None:
        key, item, one = wanted
        before = self._log.get(key)
        done = before is not None and before.status == "done"
        if done or self._crew.stopped:
            self._count("done" if done else NOT_ASKED, before=True)
            return
        row = await self._row(key, item, one)
        if row is None:
            return
        self._log.append(row.to_json())
        self._count(row.status)
        if row.problem:
            self._crew.problems[f"{row.status}: {row.problem[:200]}"] += 1

    def _count(self, status: str, before: bool = False) -> None:
        self._statuses[status] += 1
        self._progress.add(status, before=before)

    async def _row(self, key: Key, item: Item, one: Benchmark) -> Generation | None:
        known, content = item.known(), item_hash(item)
        if item.skip:
            problem = f"{item.skip}: {item.problem}" if item.problem else item.skip
            return Generation(*key, "skipped", known, problem=problem, content=content)
        if problem := self._refused(item.prompt):
            return Generation(*key, "skipped", known, problem=problem, content=content)
        try:
            pictures, shown = await asyncio.to_thread(self._prepared, item.images)
        except DataError as error:
            problem = f"{BROKEN}: {error}"
            return Generation(*key, "skipped", known, problem=problem, content=content)
        talk = Conversation(self._ask(key, one))
        try:
            reply = await respond(key.mode, talk, pictures, item.prompt, self._guide)
        except CallError as error:
            if self._crew.interrupted:
                return None  # what an interrupt kept from being asked is no error
            return Generation(
                *key, "error", known, problem=str(error), images=shown, content=content
            )
        except (BudgetSpentError, JudgeError) as error:
            self._crew.stop(error)
            self._count(NOT_ASKED)
            return None
        return Generation(
            *key,
            status="done",
            item=known,
            response=_text(reply),
            images=shown,
            finish=reply.finish,
            prompt_tokens=talk.prompt_tokens,
            completion_tokens=talk.completion_tokens,
            steps=talk.steps,
            content=content,
        )

    def _ask(self, key: Key, one: Benchmark) -> Callable[[Sequence[Picture], str], Any]:
        bound = min(self._items.plan.max_new_tokens, one.max_tokens.get(key.mode, 1 << 30))

        async def ask(pictures: Sequence[Picture], text: str) -> Reply:
            question = Question("", (*pictures, text), {}, PLAIN, max_tokens=bound)
            return await self._model.ask(question, vote=key.sample)

        return ask

    def _prepared(self, refs: Sequence[ImageRef]) -> tuple[list[Picture], tuple[str, ...]]:
        side = self._items.plan.max_side
        read = [ImageRef(data=ref.read_bytes(), name=ref.name) for ref in refs]
        pictures = [Picture(*image_as_sent(ref, side)) for ref in read]
        folder = self._folder / IMAGES_FOLDER
        return pictures, tuple(shown_copy(picture.data, folder) for picture in pictures)


def shown_copy(encoded: bytes, folder: Path) -> str:
    """Keep a small copy of an image in `folder`; returns its name there, made from the image.

    `encoded` is a file as `image_as_sent` gives it.
    """
    name = hashlib.sha256(encoded).hexdigest()[:32] + ".jpg"
    if not (folder / name).is_file():
        with Image.open(io.BytesIO(encoded), formats=FORMATS) as image:
            image.draft("RGB", (2 * SHOWN_SIDE, 2 * SHOWN_SIDE))  # faster, for photographs
            small = image.convert("RGB")
        small.thumbnail((SHOWN_SIDE, SHOWN_SIDE), Image.Resampling.BILINEAR)
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / name) as temporary:
            small.save(temporary, "JPEG", quality=85)
    return name


def _text(reply: Reply) -> str:
    """What the model said, or the endpoint in its place; text that is none in UTF-8 is mended."""
    said = reply.text or reply.refusal or ""
    return said.encode("utf-8", "replace").decode()


def read_generations(folder: Path) -> Iterator[Generation]:
    """The rows of a run's responses, the last of each key, in order."""
    return last_rows(folder / GENERATIONS_FILE, Generation.from_json, lambda row: row.key)
