"""A selected set on disk: chosen from ratings, written in the hub's layout with card and counts.

Two passes over the source: the first looks at every rated pair's images, the second writes those
that were chosen. No image is kept between them.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from safegrpo.data.agreed import Histogram
from safegrpo.data.card import build_report, check_plotting, write_card
from safegrpo.data.duplicates import image_hash
from safegrpo.data.hub_layout import SplitWriter
from safegrpo.data.images import ImageRef, open_image, quoted
from safegrpo.data.jsonl import parse_object
from safegrpo.data.pairs import COLUMNS, META_JSON, TaggedPair, row_from_pair
from safegrpo.data.rating import Rating
from safegrpo.data.scores import MANIFEST_FILE, ScoreRow, score_files
from safegrpo.data.select import Candidate, Choice, Kin, Thresholds, balanced, rated, split
from safegrpo.data.sources import Pair, SourceSpec, Unusable, read_source
from safegrpo.errors import ConfigError, DataError, InputFileError
from safegrpo.thinking import TAG_NAMES, Tags

T = TypeVar("T")

SELECTION_FILE = "selection.json"
_PARTS = (SELECTION_FILE, "data", "plots", "README.md")
_SHARD_BYTES = 500 * 2**20
_WORKERS = 8  # each may hold a decoded image of 150 MB, and copies of it
_RESERVED = frozenset({*COLUMNS, META_JSON, "reasons", "flags"})


def select(
    scores: Path,
    output: Path,
    thresholds: Thresholds,
    choice: Choice,
    spec: SourceSpec | None = None,
) -> dict[str, Any]:
    """Choose from the ratings in the folder `scores` and write the set to `output`.

    `spec` says where the pairs are, if not where they were when they were rated. What has been
    selected into `output` before is replaced, once all is written. Returns what `selection.json`
    then holds: rows, kept, dropped by reason, tag cells, splits, flags, and what the ratings were
    made with. Raises ConfigError, InputFileError and DataError.
    """
    check_plotting()
    # Ratings of other making have no manifest, and can be chosen from if the pairs are named.
    manifest = {} if spec and not (scores / MANIFEST_FILE).is_file() else _manifest(scores)
    spec = spec or rated_source(scores)
    _check_output(output, scores, spec)
    ratings = rated(scores, thresholds)
    looked = Looked(read_source(spec), ratings.candidates)
    dropped = ratings.dropped + looked.dropped
    found = looked.found
    kin = Kin(found, looked.hashes)
    looked.hashes.clear()
    kept, thinned = kin.thinned(choice.keep_duplicates)
    chosen = balanced(found, kept, choice)
    dropped += thinned + Counter(balance=len(kept) - len(chosen))
    if not chosen:
        reasons = ", ".join(f"{name} {count}" for name, count in dropped.most_common())
        first = f"; the first: {looked.problem}" if looked.problem else ""
        raise DataError(f"{scores}/: no pair is left of {ratings.rows} ({reasons}{first})")
    parts = {
        name: [found[index] for index in indices]
        for name, indices in split(found, kin.tied(chosen), choice).items()
    }
    with _staged(output) as fresh:
        written, left_out = _write(fresh / "data", read_source(spec), parts, score_files(scores))
        report = build_report(scores, manifest, ratings, parts, dropped, thresholds, choice)
        report["stock_prompts"] = kin.stock_prompts(chosen)
        report["columns_left_out"] = dict(sorted(left_out.items()))
        write_card(fresh, report, ratings.histogram, written)
        (fresh / SELECTION_FILE).write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    return report


def _manifest(scores: Path) -> dict[str, Any]:
    path = scores / MANIFEST_FILE
    if not path.is_file():
        raise InputFileError(
            f"{scores}/ holds no {MANIFEST_FILE}; run safegrpo annotate first, or name the pairs "
            "that its scores are of: --pairs"
        )
    return parse_object(path.read_bytes(), str(path))


def rated_source(scores: Path) -> SourceSpec:
    """Where the pairs of an annotated folder were when they were rated."""
    return SourceSpec.from_json(_manifest(scores).get("pairs", {}), scores)


def _check_output(output: Path, scores: Path, spec: SourceSpec) -> None:
    """ConfigError if writing to `output` would spoil what is there already."""
    place = output.resolve()
    if place.is_relative_to(scores.resolve()):
        raise ConfigError(f"-o {output} lies in the folder of scores; name one outside of it")
    inputs = [scores, spec.path, *([Path(spec.images)] if spec.images else [])]
    for path in (one.resolve() for one in inputs):
        own = any(path.is_relative_to(place / part) for part in _PARTS)
        if own or path == place:
            raise ConfigError(f"-o {output} would replace {path}, which is read; name another")
    if spec.path.is_dir() and place.is_relative_to(spec.path.resolve()):
        raise ConfigError(f"-o {output} lies among the pairs; name a folder outside of them")
    if place.exists() and not place.is_dir():
        raise ConfigError(f"-o {output} is a file; name a folder")
    others = [p.name for p in place.iterdir() if p.name[0] != "."] if place.is_dir() else []
    if others and SELECTION_FILE not in others:
        raise ConfigError(
            f"-o {output} holds other files ({min(others)}); name a new folder, or one that "
            "safegrpo select has made"
        )


@contextmanager
def _staged(output: Path) -> Iterator[Path]:
    """A folder whose parts take the place of those of `output`, synced, if all went well."""
    fresh, old = output / ".new", output / ".old"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    try:
        yield fresh
        for path in fresh.rglob("*"):
            if path.is_file():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
        shutil.rmtree(old, ignore_errors=True)
        old.mkdir()
        for part in _PARTS:
            if (output / part).exists():
                (output / part).rename(old / part)
            (fresh / part).rename(output / part)
        shutil.rmtree(old)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


class Looked:
    """The candidates found again in their source, with their images hashed: the first pass.

    `found` are those that are there, unchanged and readable; `dropped` counts the others, and
    `problem` is what was wrong with the first. Raises DataError if an id is there twice.
    """

    def __init__(
        self, source: Iterable[Pair | Unusable], candidates: Mapping[str, Candidate]
    ) -> None:
        self.found: list[Candidate] = []
        self.hashes: list[bytes] = []
        self.dropped: Counter[str] = Counter()
        self.problem = ""
        numbers: dict[bytes, int] = {}  # of an image's content
        there = self._there(source, candidates)
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

    def _there(
        self, source: Iterable[Pair | Unusable], candidates: Mapping[str, Candidate]
    ) -> Iterator[Pair]:
        seen: set[str] = set()
        for pair in source:
            if pair.id not in candidates:
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
        tags = zip(TAG_NAMES, one.cell, strict=True)
        if any(pair.known_tags.get(name, tag) != tag for name, tag in tags):
            one.flags += ("differs_from_source",)
        self.found.append(one)


@dataclass(frozen=True)
class _Images:
    """What is known of a pair's images: a digest and a hash each, their bytes in all."""

    content: str
    hashes: Sequence[tuple[bytes, bytes]]
    size: int


def _looked_at(pairs: Iterable[Pair]) -> Iterator[tuple[Pair, _Images | DataError]]:
    """Each pair with its images looked at, in order; few are held, for images may be large."""
    workers = min(_WORKERS, os.cpu_count() or 1)
    waiting: deque[tuple[Pair, Future[_Images | DataError]]] = deque()
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


def _look(pair: Pair) -> _Images | DataError:
    try:
        read = _in_memory(pair)
        hashes = [
            (hashlib.sha256(ref.read_bytes()).digest()[:16], image_hash(open_image(ref)))
            for ref in read.images
        ]
    except DataError as error:
        return error
    return _Images(read.content_hash(), hashes, sum(len(ref.read_bytes()) for ref in read.images))


def _in_memory(pair: Pair) -> Pair:
    """The pair with its images read, once for all that is done with them."""
    refs = (ImageRef(data=ref.read_bytes(), name=ref.name) for ref in pair.images)
    return replace(pair, images=tuple(refs))


def _write(
    folder: Path,
    source: Iterable[Pair | Unusable],
    parts: Mapping[str, Sequence[Candidate]],
    files: Sequence[Path],
) -> tuple[Histogram, Counter[str]]:
    """Write the splits: the second pass.

    Returns the ratings written, and `SplitWriter.left_out` of all splits. Raises DataError if the
    pairs have changed meanwhile.
    """
    folder.mkdir()
    histogram = Histogram()
    members = {one.id: (name, one) for name, ones in parts.items() for one in ones}
    with ExitStack() as stack:
        opened = [stack.enter_context(path.open("rb")) for path in files]
        writers = {}
        for name, ones in parts.items():
            shards = 1 + sum(one.size for one in ones) // _SHARD_BYTES
            writers[name] = stack.enter_context(SplitWriter(folder, name, len(ones), shards))
        for pair in source:
            if isinstance(pair, Unusable) or pair.id not in members:
                continue
            name, one = members.pop(pair.id)
            read = _in_memory(pair)
            if read.content_hash() != one.content:
                raise DataError(f"id {quoted(pair.id)} has changed meanwhile; run again")
            file, offset, length = one.place
            opened[file].seek(offset)
            row = ScoreRow.from_json(parse_object(opened[file].read(length), str(files[file])))
            assert row.rating is not None
            histogram.add(row.rating)
            tagged = _tagged(read, one, row.rating)
            extra = {"reasons": dict(row.rating.reasons), "flags": list(one.flags)}
            writers[name].write(row_from_pair(tagged), tagged.images, extra, tagged.meta)
    return histogram, sum((writer.left_out for writer in writers.values()), Counter())


def _tagged(pair: Pair, one: Candidate, rating: Rating) -> TaggedPair:
    visual, text, combined = one.cell
    return TaggedPair(
        id=pair.id,
        images=pair.images,
        prompt=pair.prompt,
        tags=Tags(visual, text, combined),  # type: ignore[arg-type]
        scores=rating.scores,
        confidences=rating.confidences,
        source=pair.source,
        license=pair.license,
        # A table's column may be called as one of the set's, and would be taken for it.
        meta={f"original_{k}" if k in _RESERVED else k: v for k, v in pair.meta.items()},
    )
