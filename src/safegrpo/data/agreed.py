"""What ratings are like: their spread, and votes held against each other and against people."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from safegrpo.data.images import image_as_sent
from safegrpo.data.jsonl import parse_object, write_text_atomic
from safegrpo.data.people import export_sample, measure_judge, read_labels
from safegrpo.data.rating import Rating
from safegrpo.data.scores import ScoreRow, read_scores
from safegrpo.data.sources import Pair, SourceSpec, read_source
from safegrpo.errors import DataError
from safegrpo.evaluation.agreement import agreement_of_votes, tag_of_score
from safegrpo.thinking import TAG_NAMES

_MAX_SIDE = 1536
_MEASURED = Path("audit", "judge.json")


class Histogram:
    """How many ratings lie at each half from 0 to 10: `counts["scores"]["visual"][2 * score]`."""

    def __init__(self) -> None:
        self.counts = {
            kind: {name: [0] * 21 for name in TAG_NAMES} for kind in ("scores", "confidences")
        }

    def add(self, rating: Rating) -> None:
        for kind, numbers in (("scores", rating.scores), ("confidences", rating.confidences)):
            for name, number in numbers.items():
                self.counts[kind][name][int(2 * number + 0.5)] += 1


def agreement(folder: Path, unsafe_max: float = 3.0, safe_min: float = 7.0) -> dict[str, Any]:
    """How far the votes of an annotated folder agree, for each of visual, text and combined.

    The thresholds make tags of scores.
    """
    rows = (
        [
            {"judge": vote.judge, "scores": dict(vote.rating.scores)}
            for vote in row.votes
            if vote.rating is not None
        ]
        for row in read_scores(folder)
        # With a vote missing the others would change places, and judges are told by theirs.
        if row.votes and all(vote.rating is not None for vote in row.votes)
    )
    return agreement_of_votes(rows, unsafe_max, safe_min)


def votes_disagree(row: ScoreRow, unsafe_max: float, safe_min: float) -> bool:
    """Whether the votes of a pair give it different tags, unclear being one."""
    rated = [vote.rating for vote in row.votes if vote.rating is not None]
    return any(
        len({tag_of_score(rating.scores[name], unsafe_max, safe_min) for rating in rated}) > 1
        for name in TAG_NAMES
    )


def people_measured(folder: Path) -> dict[str, Any] | None:
    """What `against_people` has left in an annotated folder, if it has."""
    path = folder / _MEASURED
    return parse_object(path.read_bytes(), str(path)) if path.is_file() else None


def sample_for_people(folder: Path, spec: SourceSpec, count: int, seed: int) -> int:
    """Export `count` rated pairs at random into `folder`/audit, without their ratings.

    Returns how many there were. Raises DataError if none is rated.
    """
    rated = [row.id for row in read_scores(folder) if row.rating is not None]
    if not rated:
        raise DataError(f"{folder}/ holds no rated pair")
    chosen = set(random.Random(seed).sample(sorted(rated), min(count, len(rated))))
    items = []
    for pair in read_source(spec):
        if isinstance(pair, Pair) and pair.id in chosen:
            sent = [image_as_sent(ref, _MAX_SIDE) for ref in pair.images]
            images = [("." + mime.rpartition("/")[2], data) for mime, data in sent]
            items.append((pair.id, pair.prompt, images))
    if len(items) < len(chosen):
        raise DataError(f"{len(chosen) - len(items)} rated pairs are not in {spec.place} any more")
    export_sample(items, folder / "audit")
    return len(items)


def against_people(folder: Path, labels: Path) -> dict[str, Any]:
    """The judge held against people's labels; also left in `folder`/audit/judge.json."""
    judged = {
        row.id: {name: tag_of_score(score) for name, score in row.rating.scores.items()}
        for row in read_scores(folder)
        if row.rating is not None
    }
    measured = measure_judge(read_labels(labels), judged)
    write_text_atomic(folder / _MEASURED, json.dumps(measured, indent=2) + "\n")
    return measured
