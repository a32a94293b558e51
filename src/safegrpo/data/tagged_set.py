"""A selected set on disk: chosen from ratings, written in the hub's layout with card and counts.

Two passes over the source: the first looks at every rated pair's images, the second writes those
that were chosen. No image is kept between them.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from safegrpo.data.agreed import Histogram
from safegrpo.data.card import build_report, write_card
from safegrpo.data.card_plots import check_plotting
from safegrpo.data.hub_layout import SplitWriter
from safegrpo.data.images import quoted
from safegrpo.data.jsonl import check_folder, parse_object
from safegrpo.data.looking import Looked, in_memory
from safegrpo.data.pairs import COLUMNS, META_JSON, TaggedPair, row_from_pair
from safegrpo.data.rating import Rating
from safegrpo.data.scores import MANIFEST_FILE, POLICY_FILE, ScoreRow, score_files
from safegrpo.data.select import Candidate, Choice, Kin, Thresholds, balanced, rated, split
from safegrpo.data.sources import Pair, SourceSpec, Unusable, read_source
from safegrpo.errors import ConfigError, DataError, InputFileError
from safegrpo.evaluation.agreement import share_estimate
from safegrpo.thinking import TAG_NAMES, Tags

SELECTION_FILE = "selection.json"
_PARTS = (SELECTION_FILE, "data", "plots", "README.md", POLICY_FILE)
_SHARD_BYTES = 500 * 2**20
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
    looked = Looked(read_source(spec), ratings)
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
        report["not_rated"] = looked.unrated
        report["against_source"] = {
            name: share_estimate(right, right + looked.known[name, False]).to_json()
            for name in TAG_NAMES
            if (right := looked.known[name, True]) + looked.known[name, False]
        }
        write_card(fresh, report, ratings.histogram, written)
        if (scores / POLICY_FILE).is_file():
            shutil.copyfile(scores / POLICY_FILE, fresh / POLICY_FILE)
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
    check_folder(output, (SELECTION_FILE,), "select")


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
            if (fresh / part).exists():
                (fresh / part).rename(output / part)
        shutil.rmtree(old)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


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
            read = in_memory(pair)
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
