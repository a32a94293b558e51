"""A selected set on disk: chosen from ratings, written in the hub's layout with card and counts."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from safegrpo.data.agreed import agreement
from safegrpo.data.card import write_card
from safegrpo.data.hub_layout import SplitWriter
from safegrpo.data.jsonl import parse_object, write_text_atomic
from safegrpo.data.pairs import TaggedPair, row_from_pair
from safegrpo.data.rating import Rating
from safegrpo.data.scores import MANIFEST_FILE, ScoreRow, placed_scores, score_files
from safegrpo.data.select import (
    Candidate,
    Choice,
    Kin,
    Looked,
    Thresholds,
    balanced,
    inconsistencies,
    split,
)
from safegrpo.data.sources import Pair, SourceSpec, read_source
from safegrpo.errors import DataError, InputFileError
from safegrpo.evaluation.agreement import tag_of_score
from safegrpo.thinking import TAG_NAMES, Tags

SELECTION_FILE = "selection.json"
_SHARD_BYTES = 500 * 2**20


def select(
    scores: Path,
    output: Path,
    thresholds: Thresholds,
    choice: Choice,
    spec: SourceSpec | None = None,
    images: str | None = None,
) -> dict[str, Any]:
    """Choose from the ratings in the folder `scores` and write the set to `output`.

    `spec` says where the pairs are, if not where they were when they were rated; `images` moves
    the folder that their image paths start from. Returns what
    `selection.json` then holds: rows, kept, dropped by reason, tag cells, splits, flags, and what
    the ratings were made with. Raises InputFileError and DataError.
    """
    manifest = _manifest(scores)
    spec = spec or SourceSpec.from_json(manifest.get("pairs", {}), scores)
    spec = spec if images is None else replace(spec, images=images)
    rows, dropped, wanted = _rated(scores, thresholds)
    looked = Looked(read_source(spec), wanted)
    dropped += looked.dropped
    found = looked.found
    kin = Kin(found, looked.hashes)
    kept = list(range(len(found)))
    if not choice.keep_duplicates:
        kept, thinned = kin.thinned()
        dropped += thinned
    chosen = balanced(found, kept, choice)
    dropped["balance"] += len(kept) - len(chosen)
    if not chosen:
        reasons = ", ".join(f"{name} {count}" for name, count in (+dropped).most_common())
        raise DataError(f"{scores}/: no pair is left of {rows} ({reasons})")
    parts = split(found, kin.tied(chosen), choice)
    picked = [found[index] for index in chosen]
    report = {
        "rows": rows,
        "kept": len(chosen),
        "dropped": dict(sorted((+dropped).items())),
        "cells": _counts("/".join(one.cell) for one in picked),
        "splits": {name: len(indices) for name, indices in parts.items()},
        "split_cells": {
            name: _counts("/".join(found[index].cell) for index in indices)
            for name, indices in parts.items()
        },
        "sources": _counts(one.source for one in picked),
        "licenses": _counts(one.license for one in picked),
        "flags": _counts(flag for one in picked for flag in one.flags),
        "stock_prompts": kin.stock_prompts(chosen),
        "thresholds": vars(thresholds),
        "choice": vars(choice),
        "ratings": {key: value for key, value in manifest.items() if key != "pairs"},
        "agreement": agreement(scores) if _several_votes(manifest) else None,
        "people": _people(scores),
    }
    members = {
        found[index].id: (name, found[index]) for name, ids in parts.items() for index in ids
    }
    plotted = _write(output, read_source(spec), members, parts, found, score_files(scores))
    write_card(output, report, plotted)
    write_text_atomic(output / SELECTION_FILE, json.dumps(report, indent=2) + "\n")
    return report


def _manifest(scores: Path) -> dict[str, Any]:
    path = scores / MANIFEST_FILE
    if not path.is_file():
        raise InputFileError(f"{scores}/ holds no {MANIFEST_FILE}; run safegrpo annotate first")
    return parse_object(path.read_bytes(), str(path))


def _several_votes(manifest: Mapping[str, Any]) -> bool:
    return len(manifest.get("judges") or ()) * int(manifest.get("votes") or 1) > 1


def _people(scores: Path) -> Any:
    path = scores / "audit" / "judge.json"
    return parse_object(path.read_bytes(), str(path)) if path.is_file() else None


def _rated(scores: Path, thresholds: Thresholds) -> tuple[int, Counter[str], dict[str, Candidate]]:
    """(how many rows there are, those without tags by reason, the candidates by id)."""
    dropped: Counter[str] = Counter()
    wanted: dict[str, Candidate] = {}
    rows = 0
    for place, row in placed_scores(scores):
        rows += 1
        tags = row.status if row.rating is None else thresholds.tags(row.rating)
        if row.rating is None or isinstance(tags, str):
            dropped[str(tags)] += 1
            continue
        sure = min(row.rating.confidences.values())
        one = Candidate(row.id, tags, sure, row.content, place)
        one.flags += inconsistencies(tags)
        one.flags += ["votes_disagree"] * _disagree(row, thresholds)
        wanted[row.id] = one
    return rows, dropped, wanted


def _disagree(row: ScoreRow, thresholds: Thresholds) -> bool:
    rated = [vote.rating for vote in row.votes if vote.rating is not None]
    limits = thresholds.unsafe_max, thresholds.safe_min
    return any(
        len({tag_of_score(rating.scores[name], *limits) for rating in rated}) > 1
        for name in TAG_NAMES
    )


def _counts(names: Iterator[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


def _write(
    output: Path,
    source: Iterator[Any],
    members: Mapping[str, tuple[str, Candidate]],
    parts: Mapping[str, Sequence[int]],
    found: Sequence[Candidate],
    files: Sequence[Path],
) -> dict[str, list[list[float]]]:
    """Write the splits; returns the scores and confidences that were written, for the plots."""
    output.mkdir(parents=True, exist_ok=True)
    fresh = output / ".data.new"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    plotted: dict[str, list[list[float]]] = {"scores": [], "confidences": []}
    with ExitStack() as stack:
        rated = [stack.enter_context(path.open("rb")) for path in files]
        writers = {}
        for name, indices in parts.items():
            size = sum(found[index].size for index in indices)
            shards = 1 + size // _SHARD_BYTES
            writers[name] = stack.enter_context(SplitWriter(fresh, name, len(indices), shards))
        for pair in source:
            if not isinstance(pair, Pair) or pair.id not in members:
                continue
            name, one = members[pair.id]
            file, offset, length = one.place
            rated[file].seek(offset)
            row = ScoreRow.from_json(parse_object(rated[file].read(length), str(files[file])))
            assert row.rating is not None
            tagged = _tagged(pair, one, row.rating)
            extra = {"reasons": dict(row.rating.reasons), "flags": one.flags}
            writers[name].write(row_from_pair(tagged), tagged.images, extra, tagged.meta)
            plotted["scores"].append([row.rating.scores[n] for n in TAG_NAMES])
            plotted["confidences"].append([row.rating.confidences[n] for n in TAG_NAMES])
    data = output / "data"
    shutil.rmtree(data, ignore_errors=True)
    fresh.rename(data)
    return plotted


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
        meta={k: v for k, v in pair.meta.items() if k not in _OWN},
    )


_OWN = frozenset(
    {
        "scores",
        "confidences",
        "source",
        "license",
        "answer",
        "reasons",
        "flags",
        "id",
        "images",
        "prompt",
        "meta_json",
        "image_tag",
        "text_tag",
        "combine_tag",
    }
)
