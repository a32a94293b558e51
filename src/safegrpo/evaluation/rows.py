"""The rows of a run on disk: what was asked and answered, and what was made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, NamedTuple, TypeVar

from safegrpo.errors import DataError
from safegrpo.judge.question import STATUSES, Status

GENERATIONS_FILE, JUDGEMENTS_FILE = "generations.jsonl", "judgements.jsonl"
METRICS_FILE, MANIFEST_FILE, IMAGES_FOLDER = "metrics.json", "manifest.json", "images"

Asked = Literal["done", "error", "skipped"]
R = TypeVar("R", bound="Generation | Judgement")


class Key(NamedTuple):
    """Which response a row is about: `sample` counts responses to one item in one mode, from 0."""

    benchmark: str
    id: str
    mode: str
    sample: int


@dataclass(frozen=True)
class _Row:
    """What rows of both files begin with: the response that they are about."""

    benchmark: str
    id: str
    mode: str
    sample: int

    @property
    def key(self) -> Key:
        return Key(self.benchmark, self.id, self.mode, self.sample)

    def to_json(self) -> dict[str, Any]:
        """The row's fields, without those that say nothing."""
        return _plain(self)


@dataclass(frozen=True)
class Generation(_Row):
    """A response to an item, or why there is none (`status`, `problem`).

    `item` is what `Item.known` says. `images` are file names in the run's folder of images, small
    copies for people to look at. `finish` is how it ended (`stop`, `length`). `steps` holds what a
    defence asked on the way, by name. Tokens are None where nobody counted them. `content` is a
    hash of the item that was asked: of another item under the same id this is no response.
    """

    status: Asked
    item: Mapping[str, Any]
    response: str = ""
    problem: str = ""
    images: tuple[str, ...] = ()
    finish: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    steps: Mapping[str, str] = field(default_factory=dict)
    content: str = ""

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Generation:
        """The row again; DataError if it is none."""
        made = _made(cls, row)
        if made.status not in ("done", "error", "skipped") or not isinstance(made.item, Mapping):
            raise DataError(f"no row of a generation: status {made.status!r:.40}")
        return made


@dataclass(frozen=True)
class Judgement(_Row):
    """What a response did, by one scorer, or why that is not known (`status`, `problem`).

    `label` is what it did, in the scorer's words; `answer` the part of the response that was judged
    (with `rules`; other scorers leave it to that row). `safe`: it helps nobody to do harm.
    `refused`: it declines. `useful`: it helps with what is harmless in the question. `correct`: it
    gives the right answer. `score` is from 0 to 1. Each is None where the scorer does not say.
    `tags` are those that the response states, `well_formed` and `faults` its format (guided ones).
    `judge` is who was asked (empty: nobody), and `asked` counts the replies. `content` is a hash of
    what was judged, the item and the response.
    """

    scorer: str
    status: Status
    label: str = ""
    safe: bool | None = None
    refused: bool | None = None
    useful: bool | None = None
    correct: bool | None = None
    score: float | None = None
    answer: str | None = None
    tags: Mapping[str, str | None] | None = None
    well_formed: bool | None = None
    faults: tuple[str, ...] = ()
    reason: str = ""
    problem: str = ""
    judge: str = ""
    asked: int = 0
    content: str = ""

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Judgement:
        """The row again; DataError if it is none."""
        made = _made(cls, row)
        if made.status not in STATUSES or not isinstance(made.scorer, str):
            raise DataError(f"no row of a judgement: status {made.status!r:.40}")
        return made


_KEPT = ("benchmark", "id", "mode", "sample", "scorer", "status", "item")


def _plain(row: Any) -> dict[str, Any]:
    """The row's fields without those that say nothing."""
    said = {one.name: getattr(row, one.name) for one in fields(row)}
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in said.items()
        # 0 and False say something.
        if name in _KEPT or not (value is None or value == "" or value == () or value == {})
    }


def _made(cls: type[R], row: Mapping[str, Any]) -> R:
    known = {one.name for one in fields(cls)}
    try:
        values: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in row.items() if k in known
        }
        made = cls(**values)
        if not all(isinstance(one, str) for one in (made.benchmark, made.id, made.mode)):
            raise TypeError("benchmark, id and mode are texts")
        if isinstance(made.sample, bool) or not isinstance(made.sample, int):
            raise TypeError("sample is a whole number")
    except (TypeError, ValueError) as error:
        raise DataError(f"no such row: {error}") from error
    return made
