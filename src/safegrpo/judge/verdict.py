"""From a question to a verdict: the reply read, asked again where it says nothing, given a status.

A reply that cannot be read, one that was cut short, and a refusal that gives no reason are asked
for again twice before they count: models do such things now and then, and do otherwise the next
time. A refusal with a reason is final, and so is what an endpoint's content filter stops.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from safegrpo.behavior import classify
from safegrpo.judge.cache import ReplyCache
from safegrpo.judge.question import CallError, Judge, Question, Reply, Status, canonical_hash
from safegrpo.judge.reading import own_object, spoken

T = TypeVar("T")

_REASON = re.compile(
    r"\b(because|since|due to|reason|violat\w*|polic(y|ies)|guidelines?|contain(s|ing)?"
    r"|involv\w+|depict\w*|appears? to|shows?)\b",
    re.IGNORECASE,
)
"""What says why in a refusal. In other languages it is missed, which costs two calls."""

_WHOLE = ("stop", "eos", "eos_token", "end_turn", "stop_sequence", "completed", "tool_calls")
CUT = ("length", "max_tokens", "model_length")
"""How endpoints call the end of a whole reply, and of one that ran out of tokens."""

ASKINGS = 3
"""How often a question is asked that gets no verdict."""


@dataclass(frozen=True)
class Verdict(Generic[T]):
    """How a question ended. `value` is there when it is `scored`, else `problem` says why not.

    `asked` counts the replies it took, over all runs.
    """

    status: Status
    value: T | None = None
    problem: str = ""
    asked: int = 0


async def verdict(
    judge: Judge,
    question: Question,
    read: Callable[[dict[str, Any]], T],
    cache: ReplyCache,
    about: str,
    vote: int = 0,
    asked_before: int = 0,
) -> Verdict[T]:
    """The verdict of `judge`; replies in the cache cost no call.

    `read` makes a value of the JSON object and raises ValueError if it is not what was asked for.
    `asked_before` is how many replies an earlier run had when it gave up: as many again may be
    asked for. Raises JudgeError and BudgetSpentError; an ordinary failure is a status.
    """
    key = [judge.identity, question.digest(), vote]
    found: Verdict[T] = Verdict("error", problem="never asked")
    cut = 0
    for again in range(asked_before + ASKINGS):
        reply_key = canonical_hash([*key, again])
        reply = cache.get(reply_key)
        if reply is None:
            try:
                reply = await judge.ask(question, again, 2**cut, vote)
            except CallError as error:
                return Verdict("error", problem=str(error), asked=again)
            cache.put(reply_key, about, reply)
        found, final = _read(reply, question, read, again + 1)
        if final:
            return found
        cut = min(cut + (_ended(reply) in CUT), 3)
    return found


def _ended(reply: Reply) -> str:
    return (reply.finish or "stop").lower()


def _read(
    reply: Reply, question: Question, read: Callable[[dict[str, Any]], T], asked: int
) -> tuple[Verdict[T], bool]:
    """(the verdict of one reply, whether it is final)."""
    if reply.finish == "content_filter":
        said = reply.refusal or "the endpoint's content filter stopped it"
        return Verdict("refused", problem=said[:500], asked=asked), True
    if reply.refusal:
        said = reply.refusal[:500]
        return Verdict("refused", problem=said, asked=asked), bool(_REASON.search(said))
    if _ended(reply) not in _WHOLE:
        # It may hold a whole object, but of a text that was not at its end: a draft, for instance.
        return Verdict("unparseable", problem=f"ended by {_ended(reply)[:40]}", asked=asked), False
    text = reply.text or ""
    try:
        value = own_object(text, read, question.number, question.material)
        return Verdict("scored", value, asked=asked), True
    except ValueError as error:
        problem = str(error)[:500]
    with suppress(ValueError):  # thinking without end: nothing was said yet
        said = spoken(text).strip()[:500]
        if said and classify(said).label == "refusal":
            return Verdict("refused", problem=said, asked=asked), bool(_REASON.search(said))
    return Verdict("unparseable", problem=problem, asked=asked), False
