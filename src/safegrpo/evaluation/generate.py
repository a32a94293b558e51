"""Responses of a vision-language model to single turns, in batches, through transformers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from PIL import Image

from safegrpo.models import vision_token_ids

Turn = tuple[Sequence[Image.Image], str]
"""One user turn: its images, in order, and its text."""


def chat_messages(images: Sequence[Image.Image], prompt: str) -> list[dict[str, Any]]:
    """One user turn in the form chat templates take: images first, then the text."""
    content: list[dict[str, Any]] = [{"type": "image", "image": image} for image in images]
    return [{"role": "user", "content": [*content, {"type": "text", "text": prompt}]}]


@torch.no_grad()  # inference_mode would leave tensors that sharded training cannot update
def generate_responses(
    model: Any,
    processor: Any,
    rows: Sequence[Turn],
    *,
    max_new_tokens: int,
    batch_size: int,
    temperature: float = 0.0,
    seed: int | None = None,
    chat_template_kwargs: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[str]:
    """The model's responses, one a row, in order; greedy at temperature 0, else sampled.

    Special tokens are left out, tags and `<think>` are kept. Rows with images and rows without
    never share a batch, since not every processor can mix them. `progress(done, total)` is called
    after every batch. A sampled result is the same for the same `seed` and batch size.
    """
    was_training = model.training
    model.eval()
    banned = vision_token_ids(processor)
    sampling: dict[str, Any] = {"do_sample": False, "temperature": None}
    if temperature > 0:
        sampling = {"do_sample": True, "temperature": temperature}
    sampling |= {"top_p": None, "top_k": None}
    order = sorted(range(len(rows)), key=lambda i: (not rows[i][0], len(rows[i][1])))
    with_images = sum(1 for images, _ in rows if images)
    starts = [*range(0, with_images, batch_size), *range(with_images, len(rows), batch_size)]
    responses = [""] * len(rows)
    done = 0
    state = torch.random.get_rng_state()
    if seed is not None:
        torch.manual_seed(seed)
    try:
        for start in starts:
            stop = min(start + batch_size, with_images if start < with_images else len(rows))
            index = order[start:stop]
            inputs = processor.apply_chat_template(
                [chat_messages(*rows[i]) for i in index],
                tokenize=True,
                add_generation_prompt=True,
                return_dict=True,
                return_tensors="pt",
                processor_kwargs={"padding": True},
                **(chat_template_kwargs or {}),
            ).to(model.device)
            if "pixel_values" in inputs:
                inputs["pixel_values"] = inputs["pixel_values"].to(model.dtype)
            output = model.generate(
                **inputs,
                max_new_tokens=max_new_tokens,
                suppress_tokens=banned or None,
                pad_token_id=processor.tokenizer.pad_token_id,
                **sampling,
            )
            completions = output[:, inputs["input_ids"].shape[1] :]
            texts = processor.tokenizer.batch_decode(completions, skip_special_tokens=True)
            for i, response in zip(index, texts, strict=True):
                responses[i] = response
            done += len(index)
            if progress is not None:
                progress(done, len(rows))
    finally:
        if seed is not None:
            torch.random.set_rng_state(state)
        model.train(was_training)
    return responses
