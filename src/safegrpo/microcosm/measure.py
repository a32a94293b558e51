"""The microcosm's held-out slices, measured guided and direct."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from safegrpo.data.pairs import TaggedPair
from safegrpo.evaluation import measure
from safegrpo.evaluation.benchmarks.microcosm import MAX_TOKENS
from safegrpo.evaluation.item import AnswerKey, Item
from safegrpo.evaluation.metrics import Joined, twins
from safegrpo.evaluation.summary import flatten, summarise
from safegrpo.microcosm.text import GUIDE
from safegrpo.shared_prefix.trust import Trust

MODES = ("guided", "direct")
BATCH = 128


def item_of(pair: TaggedPair) -> Item:
    """A pair as an item: help with it is right if it names what was asked about, in all of the
    pair's words."""
    words = tuple(word for part in pair.meta["right_words"] for word in part.split())
    key = AnswerKey("words", pair.answer or " ".join(words), words)
    return measure.item_of(pair, "microcosm", key)


def ask_mode(
    model: Any,
    processor: Any,
    pairs: Sequence[TaggedPair],
    mode: str,
    trust: Trust | None = None,
) -> list[Joined]:
    """Greedy answers to `pairs` in one mode, judged; `trust` as in `generate_responses`."""
    return measure.ask_items(
        model,
        processor,
        [item_of(pair) for pair in pairs],
        guide=GUIDE if mode == "guided" else None,
        max_new_tokens=MAX_TOKENS[mode],
        batch_size=BATCH,
        trust=trust,
    )


def logged(
    model: Any, processor: Any, pairs: Sequence[TaggedPair], modes: Sequence[str] = MODES
) -> dict[str, float]:
    """The numbers of `pairs` in each mode, by the names under which a run logs them."""
    return {
        f"eval/{mode}/{name}": value
        for mode in modes
        for name, value in flatten(metrics(ask_mode(model, processor, pairs, mode))).items()
    }


def metrics(rows: Sequence[Joined]) -> dict[str, Any]:
    """`summarise`, and beside it the twins by what decides them: an object, a label or a note."""
    result = summarise(rows)
    medium = {row.generation.item["twin"]: row.generation.item["subset"] for row in rows}
    outcomes: dict[str, list[float]] = {}
    for twin, right in twins(rows).items():
        if right is not None:
            outcomes.setdefault(medium[twin], []).append(right)
    result["twin_accuracy_by_kind"] = {k: sum(v) / len(v) for k, v in outcomes.items()}
    result["n"]["twin_accuracy_by_kind"] = {k: len(v) for k, v in outcomes.items()}
    return result
