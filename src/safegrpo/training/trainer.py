"""TRL's GRPOTrainer, as thin a subclass as safety training needs.

Overridden: the sampler (so that a resumed run sees the data in the same order), tokenising and
generation (rows without images beside rows with; placeholder tokens that must not be sampled) and
log-probabilities (parts of a batch without images). Everything else is TRL's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from trl import GRPOTrainer
from trl.trainer.utils import RepeatSampler

from safegrpo.models import vision_token_ids

VISION_INPUTS = (
    *("pixel_values", "image_grid_thw", "pixel_attention_mask", "spatial_shapes"),
    *("image_sizes", "image_position_ids", "mm_token_type_ids"),
)


def ban_tokens(args: Any, banned: Sequence[int]) -> None:
    """Add to the generation options of `args` (a GRPOConfig) that `banned` ids are not sampled."""
    options = dict(args.generation_kwargs or {})
    if args.use_vllm:
        # vLLM knows no suppress_tokens; its logit_bias is clamped at -100, which is never sampled.
        options["logit_bias"] = {
            **(options.get("logit_bias") or {}),
            **{int(token): -100.0 for token in banned},
        }
    else:
        options["suppress_tokens"] = sorted({*(options.get("suppress_tokens") or ()), *banned})
    args.generation_kwargs = options


class EpochSampler(RepeatSampler):
    """TRL's sampler with an order that depends on seed and epoch alone.

    TRL's own carries a generator from epoch to epoch; a run resumed in a later epoch would start
    that generator anew and see the first epoch's order again.
    """

    def __init__(self, *args: Any, epoch: Callable[[], int], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        if self.shuffle:
            self.generator.manual_seed(int(self.seed or 0) * 1_000_003 + self._epoch())
        return super().__iter__()


class SafeGRPOTrainer(GRPOTrainer):
    """GRPO over pairs of images and text; arguments as TRL's GRPOTrainer."""

    _tag_names = ["trl", "grpo", "safegrpo"]  # noqa: RUF012 - TRL's attribute

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        processor, config = kwargs["processing_class"], kwargs["args"]
        self.banned = frozenset(vision_token_ids(processor))
        ban_tokens(config, sorted(self.banned))
        super().__init__(*args, **kwargs)

    def _get_train_sampler(self, dataset: Any = None) -> Any:
        dataset = self.train_dataset if dataset is None else dataset
        return EpochSampler(
            data_source=dataset,
            mini_repeat_count=self.num_generations,
            batch_size=self.args.generation_batch_size // self.num_generations,
            repeat_count=self.num_iterations * self.args.steps_per_generation,
            shuffle=self.shuffle_dataset,
            seed=self.args.seed,
            # Whole epochs only: within one, and at its end, the fraction is never rounded up.
            epoch=lambda: int(self.state.epoch or 0),
        )

    def _tokenize_prompts(self, prompts: list[Any]) -> tuple[Any, Any, Any]:
        prompt_ids, images, fields = super()._tokenize_prompts(prompts)
        if images is not None:
            # TRL gives None for a row without images, which its own call of the processor refuses.
            images = [row or [] for row in images]
        return prompt_ids, images, fields

    def _generate_single_turn(
        self,
        prompt_ids: Any,
        images: Any,
        multimodal_fields: Any,
        num_generations: int,
        has_tool_images: bool = False,
    ) -> tuple[list[list[int]], Any]:
        if self.use_vllm and images is not None:
            # TRL's way to vLLM takes the first image of whatever is not None.
            images = [row or None for row in images]
        completion_ids, logprobs = super()._generate_single_turn(
            prompt_ids, images, multimodal_fields, num_generations, has_tool_images
        )
        self.check_completions(completion_ids)
        return completion_ids, logprobs

    def check_completions(self, completion_ids: Sequence[Sequence[int]]) -> None:
        """Raise RuntimeError if a completion holds a placeholder of the vision tower.

        The forward pass would take it for an image and mix up which features go where.
        """
        for row, ids in enumerate(completion_ids):
            bad = self.banned.intersection(ids)
            if bad:
                raise RuntimeError(
                    f"completion {row} holds vision placeholder token(s) {sorted(bad)}; the "
                    "generation backend did not honour the ban on them"
                )

    def _get_per_token_logps_and_entropies(
        self, model: Any, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        logps: tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]
        logps = super()._get_per_token_logps_and_entropies(
            lambda **inputs: model(**without_empty_images(inputs)), *args, **kwargs
        )
        return logps


def without_empty_images(inputs: dict[str, Any]) -> dict[str, Any]:
    """Inputs of a forward pass, without the vision tower's if there is not one image in them."""
    pixels = inputs.get("pixel_values")
    if pixels is None or pixels.shape[0]:
        return inputs
    return {key: value for key, value in inputs.items() if key not in VISION_INPUTS}
