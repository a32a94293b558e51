"""Rollouts that were shown the right verdict, for groups that would teach nothing.

Where all completions of a prompt state a wrong combined tag, they all earn the same, and GRPO has
nothing to prefer: what the policy is wrongly sure of, it never unlearns. Some of them are then cut
where their combined tag is written, given the right tag, and finished by the policy itself. They
are scored as any other; the group has something to compare.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

_MARK = "<combined_safe>"
_END = "</combined_safe>"


def hinted_prefixes(
    completions: Sequence[Sequence[int]],
    rows: Sequence[dict[str, Any]],
    tokenizer: Any,
    hints: int,
) -> dict[int, list[int]]:
    """For the completions to be finished anew: their number and the ids up to the right tag.

    `rows` are the completions' rows of data, with `row` (equal within a group) and `combine_tag`.
    At most `hints` a group, and only in groups in which no completion states the right tag.
    """
    prefixes: dict[int, list[int]] = {}
    for _, group in groupby(range(len(rows)), key=lambda i: rows[i]["row"]):
        members = list(group)
        right = rows[members[0]]["combine_tag"]
        if right is None:
            continue
        texts = {i: _decode(tokenizer, completions[i]) for i in members}
        if any(f"{_MARK}{right}{_END}" in text for text in texts.values()):
            continue
        wrong = [i for i in members if _stated_once(texts[i])]
        for i in wrong[:hints]:
            prefixes[i] = _prefix(tokenizer, completions[i], texts[i], right)
    return prefixes


def _decode(tokenizer: Any, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(list(ids), skip_special_tokens=False))


def _stated_once(text: str) -> bool:
    at = text.find(_MARK)
    return at >= 0 and text.count(_MARK) == 1 and "</think>" not in text[:at]


def _prefix(tokenizer: Any, ids: Sequence[int], text: str, right: str) -> list[int]:
    """The ids of all before the tag, as sampled, and the tag written anew.

    A token may reach across the tag's border, so what is kept ends before the tag begins.
    """
    start = text.index(_MARK)
    kept = _longest(len(ids), lambda k: len(_decode(tokenizer, ids[:k])) <= start)
    between = text[len(_decode(tokenizer, ids[:kept])) : start]
    added = tokenizer(f"{between}{_MARK}{right}{_END}", add_special_tokens=False)["input_ids"]
    return [*ids[:kept], *added]


def _longest(n: int, holds: Callable[[int], bool]) -> int:
    """The largest k up to n for which `holds(k)`, which is true up to some k and false beyond."""
    low, high = 0, n
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if holds(middle) else (low, middle - 1)
    return low
