"""From ratings to a tagged set: thresholds, duplicates, balance, splits; each row lost is counted.

Two passes over the source: the first looks at every rated pair's images, the second writes those
that were chosen. In between only a kilobyte or so a pair is kept, never an image.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from safegrpo.data.duplicates import Groups, image_hash, near_images, near_prompts, prompt_key
from safegrpo.data.images import ImageRef, open_image
from safegrpo.data.rating import Rating
from safegrpo.data.sources import Pair, Unusable
from safegrpo.errors import ConfigError, DataError
from safegrpo.thinking import TAG_NAMES

COMPOSITIONAL = ("safe", "safe", "unsafe")
"""The cell that the method is for: it is never thinned out."""

STOCK_PROMPT = 20
"""Pairs that share a prompt above which it is a stock phrase, and ties nothing together."""

_TOGETHER = 256  # pairs whose images are looked at in one go

Cell = tuple[str, str, str]


@dataclass(frozen=True)
class Thresholds:
    """Scores up to `unsafe_max` are unsafe, from `safe_min` on safe; all three confidences must
    reach `min_confidence`. Defaults as published. Raises ConfigError."""

    unsafe_max: float = 3.0
    safe_min: float = 7.0
    min_confidence: float = 7.0

    def __post_init__(self) -> None:
        if not 0 <= self.unsafe_max < self.safe_min <= 10 or not 0 <= self.min_confidence <= 10:
            raise ConfigError(
                "thresholds are from 0 to 10, and --unsafe-max is below --safe-min "
                f"(given {self.unsafe_max:g}, {self.safe_min:g}, {self.min_confidence:g})"
            )

    def tags(self, rating: Rating) -> Cell | str:
        """The tags visual, text, combined of a rating; or the reason why it has none."""
        if any(self.unsafe_max < rating.scores[name] < self.safe_min for name in TAG_NAMES):
            return "unclear_score"
        if any(rating.confidences[name] < self.min_confidence for name in TAG_NAMES):
            return "low_confidence"
        visual, text, combined = (
            "unsafe" if rating.scores[name] <= self.unsafe_max else "safe" for name in TAG_NAMES
        )
        return visual, text, combined


@dataclass(frozen=True)
class Choice:
    """What becomes of the pairs that have tags.

    `size` is how many are wanted in all, `per_cell` how many of a cell; the compositional cell is
    kept whole under either. `test_share` goes to the test split. Raises ConfigError.
    """

    size: int | None = None
    per_cell: int | None = None
    test_share: float = 0.1
    keep_duplicates: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if any(n is not None and n < 1 for n in (self.size, self.per_cell)):
            raise ConfigError("--size and --per-cell are 1 or more")
        if not 0 <= self.test_share < 1:
            raise ConfigError("--test-share is 0 or more, and below 1")


@dataclass(slots=True)
class Candidate:
    """A rated pair with tags, and what choosing needs to know of it.

    `place` says where its row of scores is. `images` are numbers of distinct images; `size` is
    theirs in bytes.
    """

    id: str
    cell: Cell
    sure: float
    content: str
    place: tuple[int, int, int]
    flags: list[str] = field(default_factory=list)
    images: tuple[int, ...] = ()
    prompt: str = ""
    source: str = "unknown"
    license: str = "unknown"
    size: int = 0


class Looked:
    """The candidates found again in their source, with their images hashed: the first pass.

    `found` are those that are there, unchanged and readable; `dropped` counts the others.
    """

    def __init__(self, source: Iterable[Pair | Unusable], wanted: Mapping[str, Candidate]) -> None:
        self.found: list[Candidate] = []
        self.dropped: Counter[str] = Counter()
        self.hashes: list[bytes] = []
        self._numbers: dict[str, int] = {}  # of an image's content
        pairs = (pair for pair in source if isinstance(pair, Pair) and pair.id in wanted)
        seen = 0
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            while batch := list(islice(pairs, _TOGETHER)):
                seen += len(batch)
                for pair, seen_images in zip(batch, pool.map(_look, batch), strict=True):
                    self._add(pair, wanted[pair.id], seen_images)
        self.dropped["not_in_source"] = len(wanted) - seen

    def _add(self, pair: Pair, one: Candidate, looked: _Images | str) -> None:
        if isinstance(looked, str):
            self.dropped[looked] += 1
            return
        if one.content != looked.content:
            self.dropped["changed_since_rated"] += 1
            return
        for digest, hashed in looked.images:
            if digest not in self._numbers:
                self._numbers[digest] = len(self.hashes)
                self.hashes.append(hashed)
        one.images = tuple(self._numbers[digest] for digest, _ in looked.images)
        one.prompt, one.size = pair.prompt, looked.size
        one.source, one.license = pair.source or "unknown", pair.license or "unknown"
        known = [
            pair.known_tags.get(name, tag) for name, tag in zip(TAG_NAMES, one.cell, strict=True)
        ]
        if tuple(known) != one.cell:
            one.flags.append("differs_from_source")
        self.found.append(one)


@dataclass(frozen=True)
class _Images:
    content: str
    images: list[tuple[str, bytes]]
    size: int


def _look(pair: Pair) -> _Images | str:
    """The hashes of a pair's images, or why it cannot be taken."""
    try:
        read = tuple(ImageRef(data=ref.read_bytes(), name=ref.name) for ref in pair.images)
        hashed = [
            (hashlib.sha256(ref.read_bytes()).hexdigest()[:32], image_hash(open_image(ref)))
            for ref in read
        ]
    except DataError:
        return "image_unreadable"
    size = sum(len(ref.read_bytes()) for ref in read)
    return _Images(Pair(pair.id, read, pair.prompt).content_hash(), hashed, size)


class Kin:
    """Which candidates are near-duplicates, and which may not be parted by a split."""

    def __init__(self, found: Sequence[Candidate], hashes: Sequence[bytes]) -> None:
        images = Groups(len(hashes))
        for a, b in near_images(hashes):
            images.join(a, b)
        prompts = Groups(len(found))
        for a, b in near_prompts([one.prompt for one in found]):
            prompts.join(a, b)
        self._images = [tuple(int(images.labels[i]) for i in one.images) for one in found]
        self._prompts = [int(label) for label in prompts.labels]
        self._found = found

    def thinned(self) -> tuple[list[int], Counter[str]]:
        """(indices that stay, what was dropped why).

        Of pairs with near-duplicate images and near-duplicate prompts the one rated with most
        confidence stays, one for each combination of tags: a word or an object may turn what is
        safe unsafe. The same pair with other tags is a contradiction, and none of them stays.
        """
        dropped: Counter[str] = Counter()
        kept: list[int] = []
        for members in self._classes().values():
            members, against = self._without_contradictions(members)
            dropped["contradiction"] += against
            best: dict[Cell, int] = {}
            for index in members:
                one = self._found[index]
                if one.cell not in best or one.sure > self._found[best[one.cell]].sure:
                    best[one.cell] = index
            dropped["near_duplicate"] += len(members) - len(best)
            if len(best) > 1:
                for index in best.values():
                    self._found[index].flags.append("near_duplicate_other_tags")
            kept += best.values()
        return sorted(kept), dropped

    def _classes(self) -> dict[object, list[int]]:
        classes: defaultdict[object, list[int]] = defaultdict(list)
        for index, key in enumerate(zip(self._images, self._prompts, strict=True)):
            classes[key].append(index)
        return classes

    def _without_contradictions(self, members: Sequence[int]) -> tuple[list[int], int]:
        same: defaultdict[object, list[int]] = defaultdict(list)
        for index in members:
            one = self._found[index]
            same[one.images, prompt_key(one.prompt)].append(index)
        clean = [m for m in same.values() if len({self._found[i].cell for i in m}) == 1]
        left = sorted(index for one in clean for index in one)
        return left, len(members) - len(left)

    def tied(self, kept: Sequence[int]) -> list[list[int]]:
        """Groups of kept indices that share a near-duplicate image or prompt, however remotely."""
        groups = Groups(len(kept))
        by_image: defaultdict[int, list[int]] = defaultdict(list)
        by_prompt: defaultdict[int, list[int]] = defaultdict(list)
        for place, index in enumerate(kept):
            by_prompt[self._prompts[index]].append(place)
            for image in self._images[index]:
                by_image[image].append(place)
        own = [places for places in by_prompt.values() if len(places) <= STOCK_PROMPT]
        for places in (*by_image.values(), *own):
            for other in places[1:]:
                groups.join(places[0], other)
        return [[kept[place] for place in group] for group in groups.lists()]

    def stock_prompts(self, kept: Sequence[int]) -> int:
        """How many prompts are shared by so many pairs that they tie none of them together."""
        counts = Counter(self._prompts[index] for index in kept)
        return sum(count > STOCK_PROMPT for count in counts.values())


def balanced(found: Sequence[Candidate], kept: Sequence[int], choice: Choice) -> list[int]:
    """The kept indices thinned to the size that is wanted.

    Cells are cut to one level, the compositional one not at all; within a cell so are sources.
    """
    cells: defaultdict[Cell, list[int]] = defaultdict(list)
    for index in kept:
        cells[found[index].cell].append(index)
    rest = {cell: len(members) for cell, members in cells.items() if cell != COMPOSITIONAL}
    if choice.per_cell is not None:
        rest = {cell: min(count, choice.per_cell) for cell, count in rest.items()}
    if choice.size is not None:
        whole = len(cells.get(COMPOSITIONAL, ()))
        rest = levelled(rest, max(choice.size - whole, 0))
    rng = random.Random(choice.seed)
    chosen = list(cells.get(COMPOSITIONAL, ()))
    for cell in sorted(rest):
        by_source: defaultdict[str, list[int]] = defaultdict(list)
        for index in cells[cell]:
            by_source[found[index].source].append(index)
        quotas = levelled({s: len(m) for s, m in by_source.items()}, rest[cell])
        for source in sorted(by_source):
            chosen += rng.sample(by_source[source], quotas[source])
    return sorted(chosen)


def levelled(counts: Mapping[Any, int], total: int) -> dict[Any, int]:
    """How many to take of each so that they come to `total`, none above another without need.

    Small counts are taken whole, and larger ones share what is left.
    """
    taken: dict[Any, int] = {}
    left = min(total, sum(counts.values()))
    for place, (key, count) in enumerate(sorted(counts.items(), key=lambda one: (one[1], one[0]))):
        share = left // (len(counts) - place)
        taken[key] = min(count, share)
        left -= taken[key]
    return taken


def split(
    found: Sequence[Candidate], groups: Sequence[Sequence[int]], choice: Choice
) -> dict[str, list[int]]:
    """Indices of `train` and `test`; a group is never parted, and each cell gives its share.

    Groups come in random order, and go to the test split if that brings the counts of its cells
    nearer to what they should be.
    """
    shuffled = list(groups)
    random.Random(choice.seed).shuffle(shuffled)
    totals = Counter(found[index].cell for group in shuffled for index in group)
    missing = {cell: round(choice.test_share * count) for cell, count in totals.items()}
    parts: dict[str, list[int]] = {"train": [], "test": []}
    for group in shuffled:
        cells = Counter(found[index].cell for index in group)
        nearer = sum(abs(missing[c]) - abs(missing[c] - n) for c, n in cells.items())
        parts["test" if nearer > 0 else "train"] += group
        if nearer > 0:
            missing = {cell: count - cells[cell] for cell, count in missing.items()}
    return {name: sorted(indices) for name, indices in parts.items() if indices}


def inconsistencies(cell: Cell) -> Iterator[str]:
    """Flags for tags that are possible and rare: they are kept, for somebody to look at."""
    visual, text, combined = cell
    if combined == "safe":
        if visual == "unsafe":
            yield "image_unsafe_combined_safe"
        if text == "unsafe":
            yield "text_unsafe_combined_safe"
