"""The JSON object in a judge's reply, whatever stands around it; and none that is not its own.

A judge may quote what it judges, and what it judges may hold a made-up verdict. So an object that
repeats the number of the question, which nobody could know who wrote the material, is taken before
any other. Without the number an object counts only if it is the last, closes the reply (or stands
in a code fence), is not in the material itself, and no refusal stands beside it; and what stands
inside an object that cannot be read is not looked at. Thinking is no part of a verdict. Reading is
bounded in time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from safegrpo.behavior import classify
from safegrpo.data.jsonl import unique_keys
from safegrpo.judge.question import READ_CHARACTERS

T = TypeVar("T")

NUMBER = "number"
"""The key under which a reply repeats the number of its question."""

_TRIES = 500  # braces that open nothing, after which no more are tried
_THINKING = re.compile(r"<(/?)(think|thinking|reasoning|thought)>", re.IGNORECASE)
_CLOSING = re.compile(r"(\s|```|</?answer>|<\|[\w ]{1,30}\|>|</s>|\*\*)*", re.IGNORECASE)
_FENCED = re.compile(r"```\w*\s*\Z")


class _Found(NamedTuple):
    value: dict[str, Any]
    start: int
    end: int


def own_object(
    text: str, read: Callable[[dict[str, Any]], T], number: str = "", material: str = ""
) -> T:
    """`read` of the object that is the judge's verdict; `read` raises ValueError for others.

    `number` is that of the question, `material` the text that is judged. Raises ValueError with
    the reason if there is no such object.
    """
    text = text[-READ_CHARACTERS:]
    numbered = []
    if number and number in text.lower():
        numbered = [one for one in _objects(text, inside=True) if _number_in(one.value) == number]
    spoken_from = _end_of_thinking(text, numbered)
    own = [one for one in numbered if one.start >= spoken_from]
    if own:
        for _ in _objects(text[own[-1].end :]):
            pass  # raises if a later one is broken: it may be what was meant
        return read(own[-1].value)
    return read(_unnumbered(text[spoken_from:], material))


def spoken(text: str) -> str:
    """What was said after thinking; ValueError if the thinking has no end."""
    return text[_end_of_thinking(text, []) :]


def _unnumbered(text: str, material: str) -> dict[str, Any]:
    found = list(_objects(text))
    if not found:
        raise ValueError("no JSON object in it")
    value, start, end = found[-1]
    before, after = text[:start], text[end:]
    fenced = bool(_FENCED.search(before)) and after.lstrip().startswith("```")
    if not fenced and not _CLOSING.fullmatch(after):
        raise ValueError("words after an object without the question's number")
    if any(classify(part).label == "refusal" for part in (before, after) if part.strip()):
        raise ValueError("a refusal beside the object")
    given = _number_in(value)
    keys = {*value} - {NUMBER, "reason"}
    if any(keys & {*quoted} for quoted in _quotable(material)) or (
        given and given in material.lower()
    ):
        raise ValueError("an object like one that stands in the material")
    return value


def _quotable(material: str) -> list[dict[str, Any]]:
    """The objects in the material: a judge may quote one in words of its own."""
    return [one.value for one in _objects(material[:READ_CHARACTERS], inside=True)]


def _number_in(value: Mapping[str, Any]) -> str:
    """The number that an object repeats, or the only object in it."""
    inner = [one for one in value.values() if isinstance(one, Mapping)]
    given = value.get(NUMBER, inner[0].get(NUMBER) if len(inner) == 1 else None)
    return given.strip().lower() if isinstance(given, str) else ""


def _end_of_thinking(text: str, apart: list[_Found]) -> int:
    """Where speaking begins; marks inside the objects `apart` are words of theirs."""
    depth = end = 0
    for mark in _THINKING.finditer(text):
        if any(one.start <= mark.start() < one.end for one in apart):
            continue
        depth = max(0, depth - 1) if mark[1] else depth + 1
        end = mark.end() if mark[1] else end
    if depth:
        raise ValueError("thinking that does not end")
    return end


def _objects(text: str, inside: bool = False) -> Iterator[_Found]:
    """The JSON objects of a text in order, those inside others left out.

    What begins like an object and cannot be read raises ValueError, for it may be the verdict, and
    what it quotes is not; with `inside` it is looked into. A brace of prose is passed over.
    """
    decoder = json.JSONDecoder(object_pairs_hook=unique_keys, strict=False)
    position, tries = text.find("{"), 0
    while position >= 0 and tries < _TRIES:
        try:
            value, end = decoder.raw_decode(text, position)
            yield _Found(value, position, end)
        except (ValueError, RecursionError) as error:
            tries += 1
            if not inside and text[position + 1 :].lstrip()[:1] in ('"', "'", "{"):
                raise ValueError(f"an object that cannot be read: {error}"[:200]) from error
            end = position + 1
        position = text.find("{", end)
    if position >= 0 and not inside:
        raise ValueError("braces without end")
