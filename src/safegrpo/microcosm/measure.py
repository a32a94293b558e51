"""The microcosm's held-out slices, measured guided and direct."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from safegrpo.data.pairs import TaggedPair
from safegrpo.evaluation.measure import judge_pairs
from safegrpo.evaluation.metrics import Judged, summarise, twin_outcomes
from safegrpo.microcosm.text import GUIDE

MAX_NEW_TOKENS = {"guided": 72, "direct": 32}
MODES = ("guided", "direct")


def right(pair: TaggedPair, answer: str) -> bool:
    """Does a helpful answer name what was asked about? All of the pair's words must stand in it."""
    words = set(re.findall(r"[a-z]+", answer.lower()))
    return all(word in words for part in pair.meta["right_words"] for word in part.split())


def judge_mode(
    model: Any,
    processor: Any,
    pairs: Sequence[TaggedPair],
    mode: str,
    batch_size: int = 128,
    progress: Callable[[int, int], None] | None = None,
) -> list[Judged]:
    """Greedy answers to `pairs` in one mode, judged."""
    return judge_pairs(
        model,
        processor,
        pairs,
        guide=GUIDE if mode == "guided" else None,
        max_new_tokens=MAX_NEW_TOKENS[mode],
        batch_size=batch_size,
        right=right,
        progress=progress,
    )


def metrics(judged: Sequence[Judged]) -> dict[str, Any]:
    """`summarise`, and beside it the twins by what decides them: an object, a label or a note."""
    result = summarise(judged)
    outcomes: dict[str, list[bool]] = {}
    for pair, correct in twin_outcomes(judged):
        outcomes.setdefault(str(pair.meta["medium"]), []).append(correct)
    result["twin_accuracy_by_kind"] = {k: sum(v) / len(v) for k, v in outcomes.items()}
    result["n"]["twin_accuracy_by_kind"] = {k: len(v) for k, v in outcomes.items()}
    return result
