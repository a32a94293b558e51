"""Choosing among rated pairs: thresholds, near-duplicates, balance, splits; pairs lost are counted.

A pair is a kilobyte or so here, without its images: what is known of those are their hashes.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safegrpo.data.agreed import Histogram, votes_disagree
from safegrpo.data.duplicates import Groups, near_images, near_prompts, prompt_key
from safegrpo.data.images import quoted
from safegrpo.data.rating import Rating
from safegrpo.data.scores import placed_scores
from safegrpo.errors import ConfigError, DataError
from safegrpo.thinking import TAG_NAMES

COMPOSITIONAL = ("safe", "safe", "unsafe")
"""The cell that the method is for: it is never thinned out."""

STOCK_PROMPT = 20
"""Pairs that share a prompt above which it is a stock phrase, and ties nothing together."""

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
    kept whole under either, even if it alone is more. `test_share` goes to the test split. Raises
    ConfigError.
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

    `sure` is the least of its confidences, `content` its content hash, `place` says where its row
    of scores is. `images` are numbers of distinct images; `size` is theirs in bytes.
    """

    id: str
    cell: Cell
    sure: float
    content: str
    place: tuple[int, int, int]
    flags: tuple[str, ...] = ()
    images: tuple[int, ...] = ()
    prompt: str = ""
    source: str = "unknown"
    license: str = "unknown"
    size: int = 0


@dataclass
class Rated:
    """The ratings of a folder: the candidates by id, the ids of all other rows, and counts."""

    rows: int = 0
    several_votes: bool = False
    dropped: Counter[str] = field(default_factory=Counter)
    candidates: dict[str, Candidate] = field(default_factory=dict)
    others: set[str] = field(default_factory=set)
    histogram: Histogram = field(default_factory=Histogram)


def rated(scores: Path, thresholds: Thresholds) -> Rated:
    """The candidates among the rows of scores; the others are counted by reason.

    Raises DataError if an id is rated in two shards, as scores are read otherwise.
    """
    result = Rated()
    cells: dict[Cell, Cell] = {}  # one object each
    for place, row in placed_scores(scores):
        result.rows += 1
        result.several_votes |= bool(row.votes)
        if row.rating is None:
            result.dropped[row.status] += 1
            result.others.add(row.id)
            continue
        result.histogram.add(row.rating)
        tags = thresholds.tags(row.rating)
        if isinstance(tags, str):
            result.dropped[tags] += 1
            result.others.add(row.id)
            continue
        if row.id in result.candidates:
            raise DataError(f"{scores}/: id {quoted(row.id)} is rated in two shards")
        one = result.candidates[row.id] = Candidate(
            id=row.id,
            cell=cells.setdefault(tags, tags),
            sure=min(row.rating.confidences.values()),
            content=row.content,
            place=place,
            flags=_inconsistencies(tags),
        )
        if votes_disagree(row, thresholds.unsafe_max, thresholds.safe_min):
            one.flags += ("votes_disagree",)
    return result


def _inconsistencies(cell: Cell) -> tuple[str, ...]:
    """Flags for tags that are possible and rare: they are kept, for somebody to look at."""
    unsafe = [name for name, tag in zip(("image", "text"), cell, strict=False) if tag == "unsafe"]
    return tuple(f"{name}_unsafe_combined_safe" for name in unsafe if cell[2] == "safe")


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

    def thinned(self, keep_duplicates: bool = False) -> tuple[list[int], Counter[str]]:
        """(indices that stay, what was dropped why).

        Of pairs with near-duplicate images and near-duplicate prompts the one rated with most
        confidence stays, one for each combination of tags: a word or an object may turn what is
        safe unsafe. With `keep_duplicates` all of them stay. The same pair with other tags is a
        contradiction, and none of them stays either way.
        """
        classes: defaultdict[object, list[int]] = defaultdict(list)
        for index, key in enumerate(zip(self._images, self._prompts, strict=True)):
            classes[key].append(index)
        dropped: Counter[str] = Counter()
        kept: list[int] = []
        for members in classes.values():
            clean = self._without_contradictions(members)
            dropped["contradiction"] += len(members) - len(clean)
            best: dict[Cell, int] = {}
            for index in clean:
                one = self._found[index]
                if one.cell not in best or one.sure > self._found[best[one.cell]].sure:
                    best[one.cell] = index
            staying = clean if keep_duplicates else list(best.values())
            dropped["near_duplicate"] += len(clean) - len(staying)
            if len(best) > 1:
                for index in staying:
                    self._found[index].flags += ("near_duplicate_other_tags",)
            kept += staying
        return sorted(kept), dropped

    def _without_contradictions(self, members: Sequence[int]) -> list[int]:
        same: defaultdict[object, list[int]] = defaultdict(list)
        for index in members:
            one = self._found[index]
            same[one.images, prompt_key(one.prompt)].append(index)
        clean = [m for m in same.values() if len({self._found[i].cell for i in m}) == 1]
        return sorted(index for one in clean for index in one)

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
    missing = _test_counts(
        Counter(found[index].cell for group in shuffled for index in group), choice.test_share
    )
    parts: dict[str, list[int]] = {"train": [], "test": []}
    for group in shuffled:
        cells = Counter(found[index].cell for index in group)
        nearer = sum(abs(missing[c]) - abs(missing[c] - n) for c, n in cells.items())
        parts["test" if nearer > 0 else "train"] += group
        if nearer > 0:
            missing = {cell: count - cells[cell] for cell, count in missing.items()}
    return {name: sorted(indices) for name, indices in parts.items() if indices}


def _test_counts(totals: Mapping[Cell, int], share: float) -> dict[Cell, int]:
    """How many of each cell the test split should hold.

    They come to the share of all: were each rounded by itself, eight cells of four would give none.
    """
    exact = {cell: share * count for cell, count in totals.items()}
    counts = {cell: int(value) for cell, value in exact.items()}
    left = round(share * sum(totals.values())) - sum(counts.values())
    for cell in sorted(exact, key=lambda cell: (counts[cell] - exact[cell], cell))[:left]:
        counts[cell] += 1
    return counts
