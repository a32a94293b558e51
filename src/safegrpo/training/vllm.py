"""Completions by vLLM, put right where TRL 1.16's way to it goes wrong without a word.

- Colocated, TRL hands over prompts in which each image is spelled out already, one token a
  feature, and vLLM spells it out once more: the policy then answers behind a tail of placeholders
  that stand for nothing (huggingface/trl#6294, #6401). Here vLLM gets one placeholder an image, and
  what it made of each prompt is held against what the trainer will score.
- vLLM keeps the features of an image by the image's hash, whatever weights they come from (#7198).
  Here they are thrown away whenever weights arrive.
- Adapters are added to the weights for the journey and taken off again, which in bfloat16 leaves a
  rounding error behind every time (#6688). Here the weights are put back as they were.

Written against TRL's sources and those of vLLM 0.30 and 0.31; it has not been run with vLLM.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from trl.data_utils import prepare_multimodal_messages

from safegrpo.errors import ConfigError, ModelError
from safegrpo.training.prompts import PreparedPrompt


class VLLMRollouts:
    """vLLM as one trainer asks it: `read` the prompts of a batch, then `complete` them.

    `generation` is TRL's VLLMGeneration and `template` what the chat template is given. Raises
    ConfigError for a processor with which TRL's way to a server misplaces images.
    """

    def __init__(self, generation: Any, processor: Any, template: Mapping[str, Any]) -> None:
        self._generation, self._processor, self._template = generation, processor, template
        self._short: list[list[int]] = []
        self._step: int | None = None
        # TRL looks for an image's features at this token; Gemma's only announces them.
        if (
            generation.mode == "server"
            and processor.image_token_id not in processor.image_token_ids
        ):
            raise ConfigError(
                f"{type(processor).__name__}: TRL cannot tell a vLLM server where its images are; "
                "set grpo.vllm_mode: colocate"
            )

    def read(self, conversations: Sequence[Any]) -> None:
        """Keep the prompts of a batch (messages, in order) with one placeholder an image."""
        known: dict[str, list[int]] = {}
        self._short = []
        for conversation in conversations:
            text = self._processor.apply_chat_template(
                prepare_multimodal_messages(conversation),
                add_generation_prompt=True,
                tokenize=False,
                **self._template,
            )
            if text not in known:
                known[text] = self._ids(text)
            self._short.append(known[text])

    def _ids(self, text: str) -> list[int]:
        tokenizer = self._processor.tokenizer
        # As the processor decides it: a template that writes the first token itself gets no other.
        begun = tokenizer.bos_token is not None and text.startswith(tokenizer.bos_token)
        ids: list[int] = tokenizer(text, add_special_tokens=not begun)["input_ids"]
        return ids

    def complete(
        self, prompts: Sequence[PreparedPrompt], step: int, num_generations: int
    ) -> tuple[list[list[int]], list[list[float]]]:
        """Token ids and their log-probabilities in vLLM, one completion for each prompt (each
        prompt comes `num_generations` times in a row), by the weights of `step`.

        Raises ModelError if vLLM read a prompt otherwise than the trainer, or does not forget.
        """
        # Weights that sleep TRL would wake and send by itself, and not as `sync` does.
        if step != self._step or self._asleep:
            self.sync()
            self._step = step
        spelled_out = [prompt.ids.tolist() for prompt in prompts]
        images = [prompt.images or None for prompt in prompts]
        colocated = self._generation.mode == "colocate"
        read, completions, log_probs, _ = self._generation.generate(
            # A server is told where the features go, and takes the prompt as it is.
            self._short if colocated else spelled_out,
            images if any(images) else None,
            num_generations,
        )
        if colocated:
            _check_read(read, spelled_out)
        # Of each token the likeliest few are given, the sampled one first.
        return completions, [[first for first, *_ in row] for row in log_probs]

    @property
    def _asleep(self) -> bool:
        generation = self._generation
        return bool(generation.enable_sleep_mode and generation._llm_weights_sleeping)

    def sync(self) -> None:
        """Give vLLM the trainer's weights; every process calls it."""
        with adapted_weights_kept(self._generation.model):
            self._generation.sync_weights()
        _forget_images(self._generation)


def _check_read(read: Sequence[Sequence[int]], wanted: Sequence[Sequence[int]]) -> None:
    for row, (found, expected) in enumerate(zip(read, wanted, strict=True)):
        if list(found) != list(expected):
            raise ModelError(
                f"prompt {row} of the batch: vLLM read {len(found)} tokens where the trainer has "
                f"{len(expected)}, so its completions would belong to another prompt; generate "
                "without it (grpo.use_vllm: false)"
            )


def _forget_images(generation: Any) -> None:
    if generation.mode == "colocate":
        generation.llm.llm_engine.reset_encoder_cache()
    elif generation.accelerator.is_main_process:
        client = generation.vllm_client
        # Not by the client's own _post: the answer has no content, which that one cannot read.
        answer = client.session.post(f"{client.base_url}/reset_encoder_cache", timeout=60)
        if answer.status_code != 200:
            raise ModelError(
                f"the vLLM server does not forget its image features (HTTP {answer.status_code}): "
                "start it by `trl vllm-serve`, or with VLLM_SERVER_DEV_MODE=1"
            )


@contextmanager
def adapted_weights_kept(model: Any) -> Iterator[None]:
    """Put the weights under a model's adapters back as they were, bit for bit, if they have fewer
    bits than float32 (which loses 1e-7 of them); the copies lie in main memory meanwhile."""
    layers = [
        module.base_layer
        for module in model.modules()
        if hasattr(module, "get_delta_weight") and isinstance(module.base_layer, nn.Linear)
    ]
    layers = [layer for layer in layers if layer.weight.dtype != torch.float32]
    kept = [_here(layer.weight).to("cpu", copy=True) for layer in layers]
    try:
        yield
    finally:
        for layer, weight in zip(layers, kept, strict=True):
            _here(layer.weight).copy_(weight)


def _here(weight: torch.Tensor) -> torch.Tensor:
    """What this process holds of a weight: under FSDP2 its shard, else all of it."""
    with torch.no_grad():
        local: torch.Tensor = weight.to_local() if hasattr(weight, "to_local") else weight
    return local.detach()
