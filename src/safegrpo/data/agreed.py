"""What ratings are like: their spread, and votes held against each other and against people."""

from __future__ import annotations

import itertools
import json
import random
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safegrpo.data.images import image_as_sent, quoted
from safegrpo.data.jsonl import parse_object, write_text_atomic
from safegrpo.data.people import VERDICTS, Label, export_sample, person_name, read_labels
from safegrpo.data.rating import Rating
from safegrpo.data.scores import MANIFEST_FILE, POLICY_FILE, ScoreRow, read_scores
from safegrpo.data.sources import Pair, SourceSpec, read_source
from safegrpo.errors import DataError
from safegrpo.evaluation.agreement import (
    agreement_of_votes,
    alpha_estimate,
    kappa_estimate,
    share_estimate,
    tag_of_score,
)
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


def total_usage(folder: Path) -> dict[str, Any]:
    """Calls, tokens and cost of all runs in an annotated folder, over its shards; or nothing."""
    totals: Counter[str] = Counter()
    for path in folder.glob("summary*.json"):
        usage = parse_object(path.read_bytes(), str(path)).get("usage_total")
        if isinstance(usage, Mapping):
            totals.update({k: v for k, v in usage.items() if isinstance(v, int | float)})
    return dict(totals)


def sample_for_people(folder: Path, spec: SourceSpec, count: int, seed: int) -> tuple[int, Path]:
    """Export `count` rated pairs at random into `folder`/audit, without their ratings; into
    audit-2 and so on, if there is one already.

    Returns how many there were, and where. Raises DataError if none is rated.
    """
    rated = [row.id for row in read_scores(folder) if row.rating is not None]
    if not rated:
        raise DataError(f"{folder}/ holds no rated pair")
    manifest = folder / MANIFEST_FILE
    said = parse_object(manifest.read_bytes(), str(manifest)) if manifest.is_file() else {}
    side = int(said.get("max_side") or _MAX_SIDE)  # people see what the judge has seen
    chosen = set(random.Random(seed).sample(sorted(rated), min(count, len(rated))))
    items = []
    for pair in read_source(spec):
        if isinstance(pair, Pair) and pair.id in chosen:
            sent = [image_as_sent(ref, side) for ref in pair.images]
            images = [("." + mime.rpartition("/")[2], data) for mime, data in sent]
            items.append((pair.id, pair.prompt, images))
    if missing := len(chosen) - len(items):
        raise DataError(
            f"{missing} of a sample of {len(chosen)} rated pairs are not in {spec.place}; name the "
            "pairs that were rated"
        )
    names = itertools.chain(["audit"], (f"audit-{number}" for number in itertools.count(2)))
    place = next(folder / name for name in names if not (folder / name / "labels.csv").exists())
    export_sample(items, place)
    if (folder / POLICY_FILE).is_file():
        shutil.copyfile(folder / POLICY_FILE, place / POLICY_FILE)
    return len(items), place


def against_people(folder: Path, labels: Path) -> dict[str, Any]:
    """The judge held against people's labels; also left in `folder`/audit/judge.json."""
    judged = {
        row.id: {name: tag_of_score(score) for name, score in row.rating.scores.items()}
        for row in read_scores(folder)
        if row.rating is not None
    }
    given = read_labels(labels)
    if not given:
        raise DataError(f"{labels} holds no label that is filled in")
    measured = measure_judge(given, judged)
    write_text_atomic(folder / _MEASURED, json.dumps(measured, indent=2) + "\n")
    return measured


def measure_judge(
    labels: Sequence[Label], judged: Mapping[str, Mapping[str, str]]
) -> dict[str, dict[str, Any]]:
    """How a judge's tags agree with people's, for each modality, ready for JSON.

    People's label of a pair is what most of them said; a tie is unclear. `judged` maps ids to tags
    by modality, and what nobody labelled is not counted. For each modality there is

    - `n`: labelled pairs; `people_unclear`, `judge_unclear`: how many each would not decide;
    - `accuracy`: the judge's share right where both decided (Wilson);
    - `kappa`: Cohen's kappa over all n, unclear being one of three labels;
    - `people_alpha`: Krippendorff's alpha among people, over the pairs that two or more labelled;
    - `confusion`: counts as {people's label: {judge's tag: pairs}}, which sum to n.

    Raises `DataError` for a labelled id that was not judged, or a tag that is none.
    """
    by_id: dict[str, list[Label]] = {}
    for label in labels:
        group = by_id.setdefault(label.id, [])
        if any(other.person == label.person for other in group):
            raise DataError(
                f"id {quoted(label.id)} is labelled twice by {person_name(label.person)}"
            )
        group.append(label)
    missing = [pair_id for pair_id in by_id if pair_id not in judged]
    if missing:
        count = f"{len(missing)} of {len(by_id)} labelled ids"
        raise DataError(f"{count} were not judged, first {quoted(missing[0])}; judge the same set")
    report: dict[str, dict[str, Any]] = {}
    for name in TAG_NAMES:
        opinions = [[label.tags[name] for label in group] for group in by_id.values()]
        people = [_majority(tags) for tags in opinions]
        judge = [_judged_tag(judged[pair_id], name, pair_id) for pair_id in by_id]
        counts = Counter(zip(people, judge, strict=True))
        right = sum(counts[tag, tag] for tag in ("safe", "unsafe"))
        wrong = counts["safe", "unsafe"] + counts["unsafe", "safe"]
        report[name] = {
            "n": len(people),
            "accuracy": share_estimate(right, right + wrong).to_json(),
            "kappa": kappa_estimate(list(zip(people, judge, strict=True))).to_json(),
            "people_alpha": alpha_estimate(opinions).to_json(),
            "people_unclear": people.count("unclear"),
            "judge_unclear": judge.count("unclear"),
            "confusion": {one: {two: counts[one, two] for two in VERDICTS} for one in VERDICTS},
        }
    return report


def _majority(tags: Sequence[str]) -> str:
    first, *others = Counter(tags).most_common(2)
    return "unclear" if others and others[0][1] == first[1] else first[0]


def _judged_tag(tags: Mapping[str, str], name: str, pair_id: str) -> str:
    if tags.get(name) not in VERDICTS:
        given = quoted(str(tags.get(name)))
        raise DataError(f'id {quoted(pair_id)}: the judge\'s tag "{name}" is {given}, no verdict')
    return tags[name]
