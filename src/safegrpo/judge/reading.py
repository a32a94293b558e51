"""The JSON object in a judge's reply, whatever stands around it.

The last object that fits is taken: thinking, drafts and quotations come before a verdict. What a
reply may cost to read is bounded, since a model may write anything.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

from safegrpo.data.jsonl import unique_keys

T = TypeVar("T")

READ_CHARACTERS = 40_000
"""How much of a reply is read, from its end."""

_TRIES = 500  # opening braces that lead nowhere, after which a reply counts as unreadable
_DEEPEST = 40


def last_fitting(text: str, read: Callable[[dict[str, Any]], T]) -> T:
    """`read` of the last JSON object in `text` that `read` takes; it raises ValueError for others.

    What stands before the last `</think>` is no part of the verdict. Raises ValueError if no
    object fits, with the reason of the last that did not.
    """
    text = text[-READ_CHARACTERS:].rpartition("</think>")[2]
    found: list[T] = []
    reason = "no JSON object in it"
    for value in _objects(text):
        try:
            found.append(read(value))
        except ValueError as error:
            reason = str(error)
    if not found:
        raise ValueError(reason)
    return found[-1]


def _objects(text: str) -> list[dict[str, Any]]:
    """The JSON objects of a text in order, those inside others left out."""
    decoder = json.JSONDecoder(object_pairs_hook=unique_keys)
    objects: list[dict[str, Any]] = []
    position, tries = text.find("{"), 0
    while position >= 0 and tries < _TRIES:
        # The decoder recurses, and braces upon braces make each try as long as the text.
        if text[position : position + _DEEPEST] == "{" * _DEEPEST:
            break
        try:
            value, end = decoder.raw_decode(text, position)
        except (ValueError, RecursionError):
            tries += 1
            end = position + 1
        else:
            objects.append(value)
        position = text.find("{", end)
    return objects
