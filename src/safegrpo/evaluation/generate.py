"""Responses of a vision-language model to single turns, in batches, through transformers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from PIL import Image
from transformers.distributed.fsdp import is_fsdp_managed_module
from transformers.integrations import is_deepspeed_zero3_enabled

from safegrpo.models import vision_token_ids
from safegrpo.shared_prefix.layout import Group, prompt_inputs
from safegrpo.shared_prefix.model import (
    UnsupportedModelError,
    accept_packed,
    transformers_model,
)
from safegrpo.shared_prefix.sampling import evaluating
from safegrpo.shared_prefix.trust import Trust, trusted_sample

logger = logging.getLogger(__name__)

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
    shared_prefix: bool = True,
    trust: Trust | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[str]:
    """The model's responses, one a row, in order; greedy at temperature 0, else sampled.

    Special tokens are left out, tags and `<think>` are kept. `progress(done, total)` is called
    after every batch. A sampled result is the same for the same `seed` and batch size.

    The batches are sampled by packed rows (no padding, ended rows left out) where the model allows
    it, and by generate() otherwise, or if `shared_prefix` is off. `trust` is what earlier calls
    found of that for the same weights; a new one checks the first rows both ways.
    """
    asked = _Asked(model, processor, chat_template_kwargs or {}, max_new_tokens, temperature)
    if shared_prefix:
        asked.trust = packed_trust(model) if trust is None else trust
    # Rows with images and rows without apart: not every processor can mix them.
    order = sorted(range(len(rows)), key=lambda i: (not rows[i][0], len(rows[i][1])))
    with_images = sum(1 for images, _ in rows if images)
    starts = [*range(0, with_images, batch_size), *range(with_images, len(rows), batch_size)]
    responses = [""] * len(rows)
    done = 0
    state = torch.random.get_rng_state()
    if seed is not None:
        torch.manual_seed(seed)
    try:
        with evaluating(model):
            for start in starts:
                stop = min(start + batch_size, with_images if start < with_images else len(rows))
                index = order[start:stop]
                answers = asked.batch([rows[i] for i in index])
                for i, response in zip(index, answers, strict=True):
                    responses[i] = response
                done += len(index)
                if progress is not None:
                    progress(done, len(rows))
    finally:
        if seed is not None:
            torch.random.set_rng_state(state)
    return responses


def packed_trust(model: Any) -> Trust:
    """What is known of a model's sampling by packed rows: at first no more than if it can."""
    trust = Trust("answers come by generate()", logger.warning)
    if is_fsdp_managed_module(transformers_model(model)) or is_deepspeed_zero3_enabled():
        # Every process must call it as often as the others, which only generate() sees to.
        trust.kept = False
        return trust
    try:
        accept_packed(transformers_model(model))
    except UnsupportedModelError as error:
        trust.give_up(str(error))
    return trust


class _Asked:
    """A model and how it is asked."""

    def __init__(
        self,
        model: Any,
        processor: Any,
        template: Mapping[str, Any],
        max_new_tokens: int,
        temperature: float,
    ) -> None:
        self._model, self._processor, self._template = model, processor, template
        self._options: dict[str, Any] = {
            "max_new_tokens": max_new_tokens,
            "suppress_tokens": vision_token_ids(processor) or None,
            "pad_token_id": processor.tokenizer.pad_token_id,
            "do_sample": temperature > 0,
            "temperature": temperature or None,
            "top_p": None,
            "top_k": None,
        }
        self.trust: Trust | None = None

    def batch(self, turns: Sequence[Turn]) -> list[str]:
        ids = self._sampled(turns)
        ids = self._generated(turns) if ids is None else ids
        texts: list[str] = self._processor.tokenizer.batch_decode(ids, skip_special_tokens=True)
        return texts

    def _sampled(self, turns: Sequence[Turn]) -> list[list[int]] | None:
        if self.trust is None or not self.trust.kept:
            return None
        groups = []
        for turn in turns:
            ids, inputs = prompt_inputs(self._encoded([turn]))
            groups.append(Group(ids, (ids.new_zeros(0),), inputs))
        model = transformers_model(self._model)
        found = trusted_sample(self.trust, model, groups, **self._options)
        return None if found is None else [row.ids for row in found]

    def _generated(self, turns: Sequence[Turn]) -> Any:
        inputs = self._encoded(turns)
        output = self._model.generate(**inputs, **self._options)
        return output[:, inputs["input_ids"].shape[1] :]

    def _encoded(self, turns: Sequence[Turn]) -> Any:
        inputs = self._processor.apply_chat_template(
            [chat_messages(*turn) for turn in turns],
            tokenize=True,
            add_generation_prompt=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True},
            **self._template,
        ).to(self._model.device)
        if "pixel_values" in inputs:
            inputs["pixel_values"] = inputs["pixel_values"].to(self._model.dtype)
        return inputs
