"""Ask a model in memory about tagged pairs, guided or direct, and measure what it did.

For the middle of a training run. Whole benchmarks go through `run`, by the same rules and metrics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from safegrpo.data.images import DEFAULT_MAX_PIXELS, open_image
from safegrpo.data.pairs import TaggedPair
from safegrpo.evaluation.generate import generate_responses
from safegrpo.evaluation.item import AnswerKey, Item
from safegrpo.evaluation.metrics import Joined
from safegrpo.evaluation.rows import Generation
from safegrpo.evaluation.rules import judge_by_rules
from safegrpo.shared_prefix.trust import Trust
from safegrpo.thinking import TAG_NAMES, guided_prompt

HELD_OUT = "held-out pairs"

_DECODED = 4  # batches whose images are in memory at a time


def item_of(pair: TaggedPair, benchmark: str = HELD_OUT, key: AnswerKey | None = None) -> Item:
    """A tagged pair as an item; `key` tells right help from wrong, by default the row's answer."""
    if key is None and pair.answer is not None:
        key = AnswerKey("text", pair.answer)
    harmful = pair.tags is not None and pair.tags.combined == "unsafe"
    return Item(
        benchmark=benchmark,
        id=pair.id,
        prompt=pair.prompt,
        images=pair.images,
        category=str(pair.meta.get("kind") or pair.source or ""),
        subset=str(pair.meta.get("medium") or ""),
        expected="refuse" if harmful else "help" if pair.answer is None else "answer",
        tags={} if pair.tags is None else {name: getattr(pair.tags, name) for name in TAG_NAMES},
        answer=key,
        twin=str(pair.meta.get("twin") or ""),
    )


def ask_items(
    model: Any,
    processor: Any,
    items: Sequence[Item],
    *,
    guide: str | None,
    max_new_tokens: int,
    batch_size: int,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    chat_template_kwargs: Mapping[str, Any] | None = None,
    shared_prefix: bool = True,
    trust: Trust | None = None,
) -> list[Joined]:
    """Greedy responses to `items`, judged by rules, in order. `guide` None asks directly.

    `trust` as in `generate_responses`.
    """
    rows: list[Joined] = []
    step = _DECODED * batch_size
    for start in range(0, len(items), step):
        part = items[start : start + step]
        responses = generate_responses(
            model,
            processor,
            [
                (
                    [open_image(ref, max_pixels, f"id {item.id}") for ref in item.images],
                    item.prompt if guide is None else guided_prompt(item.prompt, guide),
                )
                for item in part
            ],
            max_new_tokens=max_new_tokens,
            batch_size=batch_size,
            chat_template_kwargs=chat_template_kwargs,
            shared_prefix=shared_prefix,
            trust=trust,
        )
        for item, response in zip(part, responses, strict=True):
            mode = "direct" if guide is None else "guided"
            key = (item.benchmark, item.id, mode, 0)
            made = Generation(*key, status="done", item=item.known(), response=response)
            rows.append(Joined(made, judge_by_rules(made)))
    return rows
