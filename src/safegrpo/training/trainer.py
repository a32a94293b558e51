"""TRL's GRPOTrainer, as thin a subclass as safety training needs.

Overridden: the sampler (so that a resumed run sees the data in the same order), tokenising and
generation (rows without images beside rows with; placeholder tokens that must not be sampled; hints
for groups that are all wrong), log-probabilities (parts of a batch without images), and the batch
around them (completions that teach nothing may leave the loss). Everything else is TRL's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from trl import GRPOTrainer
from trl.trainer.utils import RepeatSampler

from safegrpo.models import vision_token_ids
from safegrpo.training.config import CreditConfig
from safegrpo.training.hints import hinted_prefixes

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


Order = Callable[[int, int], Sequence[int]]
"""(epoch, prompts a generation batch) -> the rows of that epoch, in order."""


class EpochSampler(RepeatSampler):
    """TRL's sampler with an order that depends on seed and epoch alone, or is given.

    TRL's own carries a generator from epoch to epoch; a run resumed in a later epoch would start
    that generator anew and see the first epoch's order again.
    """

    def __init__(
        self, *args: Any, epoch: Callable[[], int], order: Order | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._epoch = epoch
        self._order = order

    def __iter__(self) -> Iterator[int]:
        if self._order is not None:
            order = self._order(self._epoch(), self.batch_size)
            return (order[place] for place in super().__iter__())
        if self.shuffle:
            self.generator.manual_seed(int(self.seed or 0) * 1_000_003 + self._epoch())
        return super().__iter__()


SETTLED = 1e-4
"""An advantage below this, in standard deviations, is none."""


class SafeGRPOTrainer(GRPOTrainer):
    """GRPO over pairs of images and text; arguments as TRL's GRPOTrainer, and beside them `credit`
    (what to do with groups that teach nothing) and `order` (of the rows, in place of TRL's)."""

    _tag_names = ["trl", "grpo", "safegrpo"]  # noqa: RUF012 - TRL's attribute

    def __init__(
        self,
        *args: Any,
        credit: CreditConfig | None = None,
        order: Order | None = None,
        **kwargs: Any,
    ) -> None:
        processor, config = kwargs["processing_class"], kwargs["args"]
        self.credit = credit or CreditConfig()
        self._order = order
        self._batch_rows: list[dict[str, Any]] = []
        self._batch_prompts: list[Any] = []
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
            shuffle=self.shuffle_dataset and self._order is None,
            seed=self.args.seed,
            order=self._order,
            # Whole epochs only: within one, and at its end, the fraction is never rounded up.
            epoch=lambda: int(self.state.epoch or 0),
        )

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        self._batch_rows = inputs
        output: dict[str, Any] = super()._generate_and_score_completions(inputs)
        if self.credit.skip_settled and self.model.training:
            output["completion_mask"][output["advantages"].abs() < SETTLED] = 0
        return output

    def _tokenize_prompts(self, prompts: list[Any]) -> tuple[Any, Any, Any]:
        self._batch_prompts = prompts
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
        if self.credit.hints and self.model.training:
            self._finish_hinted(completion_ids)
        self.check_completions(completion_ids)
        return completion_ids, logprobs

    def _finish_hinted(self, completion_ids: list[list[int]]) -> None:
        """Replace completions of all-wrong groups by ones that begin with the right tag."""
        rows, prompts = self._batch_rows, self._batch_prompts
        prefixes = hinted_prefixes(completion_ids, rows, self._tokenizer, self.credit.hints)
        self._metrics["train"]["hinted"].append(len(prefixes) / len(rows))
        # Under sharding every process must generate as often as the others.
        most = self.accelerator.gather(torch.tensor([len(prefixes)], device=self.args.device))
        if int(most.max()) == 0:
            return
        chosen = sorted(prefixes) or [0]
        ids, images, fields = self._tokenize_prompts([prompts[i] for i in chosen])
        self._batch_prompts = prompts
        begun = [prefixes.get(i, []) for i in chosen]
        fields = {
            name: [[*one, *[0] * len(more)] for one, more in zip(field, begun, strict=True)]
            if isinstance(field, list) and field and isinstance(field[0], list)
            else field
            for name, field in fields.items()
        }
        longer = [[*prompt, *more] for prompt, more in zip(ids, begun, strict=True)]
        finished, _ = super()._generate_single_turn(longer, images, fields, 1)
        for i, more, rest in zip(chosen, begun, finished, strict=True):
            if i in prefixes:
                completion_ids[i] = [*more, *rest][: self.max_completion_length]

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
