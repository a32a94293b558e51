"""Ask a model about tagged pairs, guided or direct, and measure what it did."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from safegrpo.data.images import DEFAULT_MAX_PIXELS, open_image
from safegrpo.data.pairs import TaggedPair
from safegrpo.evaluation.generate import generate_responses
from safegrpo.evaluation.metrics import (
    Judged,
    RightAnswer,
    expected_answer,
    flatten,
    judge,
    summarise,
)
from safegrpo.thinking import guided_prompt


def judge_pairs(
    model: Any,
    processor: Any,
    pairs: Sequence[TaggedPair],
    *,
    guide: str | None,
    max_new_tokens: int,
    batch_size: int,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    chat_template_kwargs: Mapping[str, Any] | None = None,
    shared_prefix: bool = True,
    right: RightAnswer = expected_answer,
    progress: Callable[[int, int], None] | None = None,
) -> list[Judged]:
    """Greedy responses to `pairs`, judged, in order. `guide` None asks directly."""
    rows = [
        (
            [open_image(ref, max_pixels=max_pixels, where=pair.where) for ref in pair.images],
            pair.prompt if guide is None else guided_prompt(pair.prompt, guide),
        )
        for pair in pairs
    ]
    responses = generate_responses(
        model,
        processor,
        rows,
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
        chat_template_kwargs=chat_template_kwargs,
        shared_prefix=shared_prefix,
        progress=progress,
    )
    return [
        judge(pair, response, guide is not None, right)
        for pair, response in zip(pairs, responses, strict=True)
    ]


def measure_pairs(
    model: Any,
    processor: Any,
    pairs: Sequence[TaggedPair],
    *,
    guide: str | None,
    **options: Any,
) -> dict[str, float]:
    """The flat metrics of `pairs` in one mode (safety, over_refusal, tag_accuracy/combined, …);
    `options` are those of `judge_pairs`."""
    return flatten(summarise(judge_pairs(model, processor, pairs, guide=guide, **options)))
