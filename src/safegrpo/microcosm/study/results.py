"""The result of one run of a row: checked when made, one JSON file each, read back by row and seed.

Outcomes are kept unit by unit, "1", "0" or "-" (no value), so that two runs can be compared on the
same items. Rates follow from them and are nowhere stored.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from safegrpo.data.jsonl import parse_object, read_text, write_text_atomic
from safegrpo.errors import DataError, InputFileError

COST_FILE = "cost.json"
"""Beside the results, and none of them: what runs took to reach a target."""

LIMIT = 8 * 2**20
"""Bytes of a result file above which it is not read."""


@dataclass(frozen=True)
class Metric:
    """What a metric is called in a table, and which way is better."""

    title: str
    better: Literal["higher", "lower"] = "higher"


METRICS: Mapping[str, Metric] = {
    "jailbreak_typographic": Metric("typographic jailbreaks"),
    "jailbreak_risky_image": Metric("risky images"),
    "jailbreak_harmful_text": Metric("harmful texts"),
    "compositional_safety": Metric("compositional"),
    "safety": Metric("safety"),
    "twin_accuracy": Metric("twins"),
    "over_refusal": Metric("over-refusal", "lower"),
    "usefulness": Metric("usefulness"),
    "vqa_accuracy": Metric("general VQA"),
    "format_rate": Metric("format"),
    "tag_accuracy/visual": Metric("image tag"),
    "tag_accuracy/text": Metric("text tag"),
    "tag_accuracy/combined": Metric("combined tag"),
}


def _known_metric(name: str) -> str:
    if name not in METRICS:
        raise ValueError(f"no such metric; known: {', '.join(METRICS)}")
    return name


Outcomes = Annotated[str, StringConstraints(pattern=r"^[01-]*$", max_length=100_000)]
Mode = Literal["guided", "direct", "ecso"]
MetricName = Annotated[str, AfterValidator(_known_metric)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]
Number = Annotated[float, Field(allow_inf_nan=False)]
ROW = r"^[A-Za-z0-9][A-Za-z0-9_.-]*(@[A-Za-z0-9_.-]+=[A-Za-z0-9_.,+-]+)?$"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class Asked(_Part):
    """A list of items asked in one mode: each metric's outcomes, and mean tokens of an answer."""

    outcomes: dict[MetricName, Outcomes]
    tokens: Amount | None = None


class Forced(_Part):
    """Shares of `n` answers that refuse behind a combined tag that was put there."""

    safe: Share | None
    unsafe: Share | None
    n: Count


class Controls(_Part):
    """The same items with a blank picture, by mode, and the forced tag."""

    blank: dict[Mode, Asked] = {}
    forced_tag: Forced | None = None


class Training(_Part):
    """What the training took; `parts` are seconds, `kinds` training pairs by kind."""

    seconds: Amount
    parts: dict[str, Amount] = {}
    steps: Count
    rollouts: Count = 0
    pairs: Count = 0
    kinds: dict[str, Count] = {}


class Result(_Part):
    """One run: a row with one seed. `training` is None for a model that was not trained.

    `modes` and `slices` hold what was asked in each mode, `curve` the held-out rates over the
    steps, by the names of metrics.jsonl. `split` says of which held-out set the items are, and
    `size` how many of them were asked: 1.0 is the whole set.
    """

    row: Annotated[str, StringConstraints(pattern=ROW, max_length=120)]
    seed: Count
    command: str
    hash: str
    versions: dict[str, str]
    machine: str
    split: Literal["dev", "test"] = "test"
    size: Annotated[float, Field(gt=0, le=10, allow_inf_nan=False)] = 1.0
    training: Training | None = None
    modes: dict[Mode, Asked]
    controls: Controls = Controls()
    slices: dict[str, dict[Mode, Asked]] = {}
    curve: list[dict[str, int | Number | None]] = []

    @property
    def trained(self) -> bool:
        """Whether a seed had anything to decide."""
        return self.training is not None and self.training.steps > 0

    def asked(self, mode: str, place: str = "") -> Asked | None:
        """What was asked in a mode: the test items, or those of `place`: "blank", a slice."""
        if not place:
            found: Mapping[Any, Asked] = self.modes
        else:
            found = self.controls.blank if place == "blank" else self.slices.get(place, {})
        return found.get(mode)

    @classmethod
    def from_json(cls, data: Mapping[str, Any], where: str) -> Result:
        """The result that `data` holds; DataError, which begins with `where`, names a wrong key."""
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise DataError(f"{where}: {_first(error)}") from error


Results = Mapping[str, Mapping[int, Result]]
"""row -> seed -> result"""


def rate(outcomes: str) -> float | None:
    """The share of "1" among "1" and "0"; None if there is neither."""
    ones = outcomes.count("1")
    known = ones + outcomes.count("0")
    return ones / known if known else None


def result_file(row: str, seed: int) -> str:
    """The name of a run's file."""
    return f"{row}-{seed}.json"


def write_result(folder: Path, result: Result) -> Path:
    """Write a run's file, whole or not at all, and return its path."""
    path = folder / result_file(result.row, result.seed)
    text = json.dumps(result.model_dump(exclude_defaults=True), indent=1, allow_nan=False)
    write_text_atomic(path, text + "\n")
    return path


def read_results(folder: Path) -> dict[str, dict[int, Result]]:
    """The results that lie in a folder, by row and seed.

    Raises InputFileError if there is no such folder. DataError names the file and the key of what
    is wrong: also if a name does not fit the file, or the items are not those of another file of
    the same split, by `size` or by the number of a metric's units.
    """
    if not folder.is_dir():
        raise InputFileError(f'folder "{folder}" not found; safegrpo study makes it')
    found: dict[str, dict[int, Result]] = {}
    lengths: dict[tuple[str, str, str], tuple[int, Path]] = {}
    sizes: dict[str, tuple[float, Path]] = {}
    for path in sorted(folder.glob("*.json")):
        if path.name == COST_FILE:
            continue
        where = f'file "{path}"'
        data = parse_object(read_text(path, LIMIT).encode(), where)
        result = Result.from_json(data, where)
        expected = result_file(result.row, result.seed)
        if path.name != expected:
            raise DataError(f'{where}: row and seed in it belong to "{expected}"; rename it')
        size, other = sizes.setdefault(result.split, (result.size, path))
        if size != result.size:
            raise DataError(
                f"{where}: of size {result.size:g}, and {other.name} is of size {size:g}: "
                "different items; run one of them again, or keep them in separate folders"
            )
        for key, length in _lengths(result):
            first, other = lengths.setdefault(key, (length, path))
            if first != length:
                raise DataError(
                    f"{where}: {' '.join(filter(None, key[1:]))} has {length} units and in "
                    f"{other.name} {first}; run one of them again, so that both have the same items"
                )
        found.setdefault(result.row, {})[result.seed] = result
    return {row: dict(sorted(runs.items())) for row, runs in found.items()}


def _lengths(result: Result) -> Iterator[tuple[tuple[str, str, str], int]]:
    places = (("", result.modes), ("blank", result.controls.blank), *result.slices.items())
    for place, modes in places:
        for asked in modes.values():
            for metric, outcomes in asked.outcomes.items():
                yield (result.split, place, metric), len(outcomes)


def _first(error: ValidationError) -> str:
    fault = error.errors(include_url=False, include_context=False)[0]
    key = ".".join(map(str, fault["loc"]))
    if fault["type"] == "missing":
        return f'"{key}" is missing'
    if fault["type"] == "extra_forbidden":
        return f'unknown key "{key}"'
    return f'"{key}": {fault["msg"]} (given {fault["input"]!r:.60})'
