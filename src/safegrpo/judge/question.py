"""What a judge is asked, what it replies, and what every judge has in common."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol

from safegrpo.errors import SafeGRPOError

Status = Literal["scored", "refused", "unparseable", "error", "skipped"]
"""How an item ended: only `scored` holds a judgement, and nothing else is ever taken for one."""

READ_CHARACTERS = 40_000
"""How much of a reply is kept and read, from its end."""

FINAL: tuple[Status, ...] = ("scored", "refused")
"""Statuses that asking again does not change."""

STATUSES: tuple[Status, ...] = ("scored", "refused", "unparseable", "error", "skipped")


@dataclass(frozen=True)
class Picture:
    """An encoded image as it is sent: `mime` such as image/jpeg, and the file's bytes."""

    mime: str
    data: bytes = field(repr=False)


@dataclass(frozen=True)
class Question:
    """One question: instructions, then texts and pictures in order, and the form of the reply.

    `schema` is a JSON schema of the object that is wanted; the instructions must describe it too,
    for judges that take no schema. `version` names the wording. A reply is known as the judge's
    own by `number`, which it is asked to repeat; `material` is the text that is judged, which may
    hold what looks like a reply. Without a schema it is a plain question, whose whole response is
    wanted, thinking included. `max_tokens` replaces the judge's own bound of a reply.
    """

    system: str
    parts: tuple[str | Picture, ...]
    schema: Mapping[str, Any]
    version: str
    number: str = ""
    material: str = ""
    max_tokens: int | None = None

    def digest(self) -> str:
        """A hash of everything in it, the bytes of its pictures included."""
        parts = [
            part
            if isinstance(part, str)
            else {"mime": part.mime, "sha256": hashlib.sha256(part.data).hexdigest()}
            for part in self.parts
        ]
        bound = [] if self.max_tokens is None else [self.max_tokens]
        return canonical_hash([self.system, parts, self.schema, self.version, *bound])


@dataclass(frozen=True)
class Reply:
    """What came back, unread. `finish` is the endpoint's finish_reason; tokens as it counts them.

    `format` is the kind of structured output the reply was asked with.
    """

    text: str | None
    refusal: str | None = None
    finish: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    format: str = "text"

    def to_json(self) -> dict[str, Any]:
        """Its fields."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Reply:
        """The reply again; TypeError if these are not its fields."""
        reply = cls(**fields)
        for text in (reply.text, reply.refusal, reply.finish):
            if not isinstance(text, str | None):
                raise TypeError("a text that is none")
        return reply


class CallError(SafeGRPOError, RuntimeError):
    """A judge gave no reply to one question, however often it was tried."""


class JudgeError(SafeGRPOError, RuntimeError):
    """A judge that cannot answer at all: wrong key, no such model, nobody there."""


class BudgetSpentError(SafeGRPOError, RuntimeError):
    """The calls or the money that the user allows are used up."""


class WireError(Exception):
    """A request without a usable answer; every text in it is free of the key.

    `status` is None where none came. `retry_after` is in seconds. `sent` says that the request may
    have been answered and charged all the same.
    """

    def __init__(
        self,
        message: str,
        status: int | None = None,
        detail: Mapping[str, Any] | None = None,
        retry_after: float | None = None,
        unreachable: bool = False,
        sent: bool = False,
    ) -> None:
        super().__init__(message)
        self.status, self.detail, self.retry_after = status, detail or {}, retry_after
        self.unreachable, self.sent = unreachable, sent


class Judge(Protocol):
    """Whoever answers questions. `trouble` is what it is waiting out just now, or empty."""

    name: str
    trouble: str

    @property
    def identity(self) -> Mapping[str, Any]:
        """Everything beside the question that changes the answer, without secrets."""

    @property
    def adapted(self) -> Mapping[str, Any]:
        """What became of the way of asking, such as the format that an endpoint takes."""

    async def ask(self, question: Question, again: int = 0, room: int = 1, vote: int = 0) -> Reply:
        """The reply; `again` counts earlier askings, `room` multiplies the tokens allowed.

        Raises CallError, JudgeError, BudgetSpentError.
        """

    def halt(self) -> None:
        """Send nothing more: what is under way is answered, and the rest raises CallError."""

    async def close(self) -> None:
        """Let go of what it holds."""


def canonical_hash(value: object) -> str:
    """SHA-256 of a value as JSON with sorted keys, as hexadecimal digits."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
