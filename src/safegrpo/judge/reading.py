"""The JSON object in a judge's reply, whatever stands around it; and no object that is not its own.

A judge may quote what it judges, and what it judges may hold a made-up verdict. So an object that
repeats the number of the question (which nobody could know who wrote the material) is taken before
any other; without the number only the last one in the reply counts, with nothing broken after it;
and where the material itself holds braces, only a reply that is one object and nothing else. What
stands inside an object that cannot be read is never looked at. Reading is bounded in time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, TypeVar

from safegrpo.behavior import classify
from safegrpo.data.jsonl import unique_keys
from safegrpo.judge.question import READ_CHARACTERS

T = TypeVar("T")

NUMBER = "number"
"""The key under which a reply repeats the number of its question."""

_BRACES = 500  # opening braces of prose, after which a reply counts as unreadable
_THINKING = re.compile(r"<(/?)(think|thinking|reasoning|thought)>", re.IGNORECASE)
_AROUND = re.compile(r"(\s|```\w*|</?answer>|<\|[\w ]{1,30}\|>|</s>)*", re.IGNORECASE)


def own_object(text: str, read: Callable[[dict[str, Any]], T], number: str, quotable: bool) -> T:
    """`read` of the object that is the judge's verdict; `read` raises ValueError for others.

    `number` is that of the question; `quotable` says that the material may hold an object itself.
    Raises ValueError with the reason if there is no such object.
    """
    spoken = _spoken(text[-READ_CHARACTERS:])
    objects = _objects(spoken)
    if not objects:
        raise ValueError("no JSON object in it")
    own = [one for one in objects if number and one[0].get(NUMBER) == number]
    value, start, end = (own or objects)[-1]
    before, after = spoken[:start], spoken[end:]
    if not own:
        bare = all(_AROUND.fullmatch(part) for part in (before, after))
        if not bare and quotable:
            raise ValueError("an object without the question's number, among other words")
        if not _AROUND.fullmatch(after) and classify(after).label == "refusal":
            raise ValueError("a refusal after the object")
    return read(value)


def _spoken(text: str) -> str:
    """What was said after thinking; ValueError if the thinking has no end."""
    depth, end = 0, 0
    for mark in _THINKING.finditer(text):
        depth = max(0, depth - 1) if mark[1] else depth + 1
        end = mark.end()
    if depth:
        raise ValueError("thinking that does not end")
    return text[end:]


def _objects(text: str) -> list[tuple[dict[str, Any], int, int]]:
    """(object, its start, its end) of the objects of a text, those inside others left out.

    A brace of prose is passed over. What begins like an object and is none makes all unreadable:
    it may be the verdict, and what it quotes is not.
    """
    decoder = json.JSONDecoder(object_pairs_hook=unique_keys)
    objects: list[tuple[dict[str, Any], int, int]] = []
    position, prose = text.find("{"), 0
    while position >= 0:
        try:
            value, end = decoder.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            prose += 1
            if text[position + 1 :].lstrip()[:1] in ('"', "{", "}") or prose > _BRACES:
                raise ValueError(f"a JSON object that cannot be read: {error}"[:200]) from error
            end = position + 1
        else:
            objects.append((value, position, end))
        position = text.find("{", end)
    return objects
