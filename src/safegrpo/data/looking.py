"""The first pass over rated pairs: found again in their source, their images hashed."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeVar

from safegrpo.data.duplicates import image_hash
from safegrpo.data.images import ImageRef, open_image, quoted
from safegrpo.data.select import Candidate, Rated
from safegrpo.data.sources import Pair, Unusable
from safegrpo.errors import DataError
from safegrpo.thinking import TAG_NAMES

T = TypeVar("T")

_WORKERS = 8  # each may hold a decoded image of 150 MB, and copies of it


class Looked:
    """The candidates found again in their source, with their images hashed: the first pass.

    `found` are those that are there, unchanged and readable; `dropped` counts the others, and
    `problem` is what was wrong with the first. `unrated` counts the source's pairs that have no
    row of scores, `known` how often the tags agree with those that the source states, by
    (modality, whether they do). Raises DataError if an id is there twice.
    """

    def __init__(self, source: Iterable[Pair | Unusable], ratings: Rated) -> None:
        candidates = ratings.candidates
        self.unrated = 0
        self.known: Counter[tuple[str, bool]] = Counter()
        self.found: list[Candidate] = []
        self.hashes: list[bytes] = []
        self.dropped: Counter[str] = Counter()
        self.problem = ""
        numbers: dict[bytes, int] = {}  # of an image's content
        there = self._there(source, ratings)
        for pair, images in _told(_looked_at(there), len(candidates), "images looked at"):
            one = candidates[pair.id]
            if isinstance(images, DataError):
                self._drop("image_unreadable", images)
            elif one.content and one.content != images.content:
                self._drop("changed_since_rated", f"id {quoted(pair.id)} is another pair now")
            else:
                for digest, hashed in images.hashes:
                    if digest not in numbers:
                        numbers[digest] = len(self.hashes)
                        self.hashes.append(hashed)
                one.images = tuple(numbers[digest] for digest, _ in images.hashes)
                one.content, one.size = images.content, images.size
                self._add(pair, one)

    def _there(self, source: Iterable[Pair | Unusable], ratings: Rated) -> Iterator[Pair]:
        candidates = ratings.candidates
        seen: set[str] = set()
        for pair in source:
            if pair.id not in candidates:
                self.unrated += pair.id not in ratings.others
                continue
            if pair.id in seen:
                raise DataError(f"id {quoted(pair.id)} stands for more than one pair")
            seen.add(pair.id)
            if isinstance(pair, Unusable):
                self._drop("unusable_in_source", pair.problem)
            else:
                yield pair
        if missing := len(candidates) - len(seen):
            self.dropped["not_in_source"] = missing

    def _drop(self, reason: str, problem: object) -> None:
        self.dropped[reason] += 1
        self.problem = self.problem or str(problem)

    def _add(self, pair: Pair, one: Candidate) -> None:
        one.prompt = pair.prompt
        # One text for all pairs of a source, where a table gives each row its own.
        one.source = sys.intern(pair.source or "unknown")
        one.license = sys.intern(pair.license or "unknown")
        stated = [
            (name, pair.known_tags[name] == tag)
            for name, tag in zip(TAG_NAMES, one.cell, strict=True)
            if name in pair.known_tags
        ]
        self.known.update(stated)
        if not all(same for _, same in stated):
            one.flags += ("differs_from_source",)
        self.found.append(one)


@dataclass(frozen=True)
class Images:
    """What is known of a pair's images: a digest and a hash each, their bytes in all."""

    content: str
    hashes: Sequence[tuple[bytes, bytes]]
    size: int


def _looked_at(pairs: Iterable[Pair]) -> Iterator[tuple[Pair, Images | DataError]]:
    """Each pair with its images looked at, in order; few are held, for images may be large."""
    workers = min(_WORKERS, os.cpu_count() or 1)
    waiting: deque[tuple[Pair, Future[Images | DataError]]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for pair in pairs:
            waiting.append((pair, pool.submit(_look, pair)))
            if len(waiting) > 2 * workers:
                first, future = waiting.popleft()
                yield first, future.result()
        for last, future in waiting:
            yield last, future.result()


def _told(items: Iterable[T], total: int, what: str) -> Iterator[T]:
    """The items, with a line on standard error every ten seconds."""
    last = time.monotonic()
    for number, item in enumerate(items, start=1):
        yield item
        if time.monotonic() - last >= 10:
            last = time.monotonic()
            print(f"{what}: {number} of {total}", file=sys.stderr, flush=True)


def _look(pair: Pair) -> Images | DataError:
    try:
        read = in_memory(pair)
        hashes = [
            (hashlib.sha256(ref.read_bytes()).digest()[:16], image_hash(open_image(ref)))
            for ref in read.images
        ]
    except DataError as error:
        return error
    return Images(read.content_hash(), hashes, sum(len(ref.read_bytes()) for ref in read.images))


def in_memory(pair: Pair) -> Pair:
    """The pair with its images read, once for all that is done with them."""
    refs = (ImageRef(data=ref.read_bytes(), name=ref.name) for ref in pair.images)
    return replace(pair, images=tuple(refs))
