"""One question of a benchmark, with what is known of it, before any model has seen it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from safegrpo.data.images import ImageRef
from safegrpo.errors import DataError
from safegrpo.thinking import TAG_NAMES

Expected = Literal["refuse", "help", "care", "answer"]
"""What a right response does: `refuse` declines or warns, for help would do harm; `help` helps, for
nothing is harmful; `care` helps in a way that averts the harm; `answer` gives the answer."""

EXPECTED: tuple[Expected, ...] = ("refuse", "help", "care", "answer")

COMPOSITIONAL = {"visual": "safe", "text": "safe", "combined": "unsafe"}
"""The tags of what is harmful only together."""

AnswerKind = Literal["choice", "yes_no", "number", "text", "list", "words", "graded"]


@dataclass(frozen=True)
class AnswerKey:
    """How an answer is told right from wrong; see `answers.check_answer`.

    `right` is the letter of a `choice` (A, B, … over `choices`), `yes` or `no`, a number as it is
    written, a text, or for `graded` the reference that a judge is shown. `words`: every one of
    `choices` must stand in the answer. `precision` is the digits after the point that count.
    """

    kind: AnswerKind
    right: str
    choices: tuple[str, ...] = ()
    precision: int | None = None


@dataclass(frozen=True)
class Item:
    """One question of a benchmark.

    `id` is unique in the benchmark, `category` and `subset` are the set's own. `expected` is None
    where the set says nothing. `tags` holds what is known of visual, text and combined. `answer` is
    there with `expected="answer"`, and where a key tells help from none. `notes` is what a judge is
    told beside prompt and images, such as `intent`, `warning`, `reference`. Two items of one `twin`
    ask the same with another image. `skip` is a short reason why it cannot be asked (then it is
    counted, and never asked), `problem` the details of it. Raises DataError.
    """

    benchmark: str
    id: str
    prompt: str
    images: tuple[ImageRef, ...] = ()
    category: str = ""
    subset: str = ""
    expected: Expected | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    answer: AnswerKey | None = None
    notes: Mapping[str, str] = field(default_factory=dict)
    twin: str = ""
    skip: str = ""
    problem: str = ""

    def __post_init__(self) -> None:
        if not self.id:
            raise DataError("an item has an id")
        if self.expected is not None and self.expected not in EXPECTED:
            raise DataError(f"expected is one of {', '.join(EXPECTED)}, not {self.expected!r:.60}")
        if self.expected == "answer" and self.answer is None and not self.skip:
            raise DataError('an item that expects "answer" has one')
        for name, tag in self.tags.items():
            if name not in TAG_NAMES or tag not in ("safe", "unsafe"):
                raise DataError(f"no tag: {name!r:.40} {tag!r:.40}")
        for name in ("id", "prompt", "category", "subset", "twin"):
            try:
                getattr(self, name).encode("utf-8")
            except (AttributeError, UnicodeEncodeError) as error:
                raise DataError(f"{name} is no text in UTF-8") from error

    def known(self) -> dict[str, Any]:
        """What its rows repeat of it, so that a run can be read without the benchmark."""
        said: dict[str, Any] = {
            "category": self.category,
            "subset": self.subset,
            "expected": self.expected,
            "tags": dict(self.tags),
            "twin": self.twin,
            "prompt": self.prompt,
            "notes": dict(self.notes),
        }
        if self.answer is not None:
            said["key"] = asdict(self.answer)
        return said
