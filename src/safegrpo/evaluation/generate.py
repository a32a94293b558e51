"""Responses of a vision-language model to single turns, in batches, through transformers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from PIL import Image

from safegrpo.models import vision_token_ids
from safegrpo.shared_prefix.check import sampling_error, tolerance
from safegrpo.shared_prefix.layout import Group, prompt_inputs
from safegrpo.shared_prefix.model import UnsupportedModelError, accept_packed
from safegrpo.shared_prefix.sampling import sample

logger = logging.getLogger(__name__)

CHECKED = 4
"""Rows of the first batch whose log-probabilities are compared with the plain forward pass's."""

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

    Special tokens are left out, tags and `<think>` are kept. `progress(done, total)` is called
    after every batch. A sampled result is the same for the same `seed` and batch size.

    The batches are sampled by `shared_prefix` (no padding, ended rows left out) where the model
    allows it, and by generate() otherwise.
    """
    asked = _Asked(model, processor, chat_template_kwargs or {}, max_new_tokens, temperature)
    was_training = model.training
    model.eval()
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
        for start in starts:
            stop = min(start + batch_size, with_images if start < with_images else len(rows))
            index = order[start:stop]
            for i, response in zip(index, asked.batch([rows[i] for i in index]), strict=True):
                responses[i] = response
            done += len(index)
            if progress is not None:
                progress(done, len(rows))
    finally:
        if seed is not None:
            torch.random.set_rng_state(state)
        model.train(was_training)
    return responses


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
        self._checked = False
        try:
            accept_packed(model)
            self._shared = True
        except UnsupportedModelError:
            self._shared = False

    def batch(self, turns: Sequence[Turn]) -> list[str]:
        ids = self._sampled(turns) if self._shared else None
        ids = self._generated(turns) if ids is None else ids
        texts: list[str] = self._processor.tokenizer.batch_decode(ids, skip_special_tokens=True)
        return texts

    def _sampled(self, turns: Sequence[Turn]) -> list[list[int]] | None:
        """Token ids by packed rows; None, from then on, if the first batch shows them wrong."""
        groups = []
        for turn in turns:
            encoded = self._encoded([turn])
            ids, inputs = prompt_inputs(encoded)
            groups.append(Group(ids, (ids.new_zeros(0),), inputs))
        sampled = sample(self._model, groups, log_probs=not self._checked, **self._options)
        if not self._checked:
            temperature = self._options["temperature"] or 1.0
            error = sampling_error(self._model, groups[:CHECKED], sampled[:CHECKED], temperature)
            self._shared = error <= tolerance(self._model)
            if not self._shared:
                logger.warning(
                    "shared prefix is off, answers come by generate(): on the first batch its "
                    "log-probabilities are wrong by %.2g on average",
                    error,
                )
                return None
            self._checked = True
        return [row.ids for row in sampled]

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
