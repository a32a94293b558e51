"""TRL's GRPOTrainer, as thin a subclass as safety training needs.

Overridden: the sampler (so that a resumed run sees the data in the same order), tokenising (each
prompt once), generation and log-probabilities (each prompt computed once a group; rows without
images beside rows with; placeholder tokens that must not be sampled; hints for groups that are all
wrong), and the batch around them (groups stay whole when it is parted; completions that teach
nothing may leave the loss). Everything else is TRL's.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
from trl import GRPOTrainer
from trl.extras.profiling import profiling_context
from trl.models import unwrap_model_for_generation

from safegrpo.models import vision_token_ids
from safegrpo.shared_prefix.idle import IdleImage
from safegrpo.shared_prefix.model import transformers_model
from safegrpo.training.config import CreditConfig
from safegrpo.training.hints import hinted_prefixes
from safegrpo.training.prompts import (
    PreparedProcessor,
    PreparedPrompt,
    generation_inputs,
    prepare_prompts,
)
from safegrpo.training.sampling import EpochSampler, Order
from safegrpo.training.sharding import check_head, name_own_layers
from safegrpo.training.shared import (
    Scores,
    SharedPrefix,
    UnsupportedBatchError,
    rows_of,
    whole_group_batches,
)
from safegrpo.training.vision import (
    ban_tokens,
    idle_image,
    images_of,
    padded_pass,
    vision_trains,
)
from safegrpo.training.vllm import VLLMRollouts

logger = logging.getLogger(__name__)

SETTLED = 1e-4
"""An advantage below this, in standard deviations, is none."""


class SafeGRPOTrainer(GRPOTrainer):
    """GRPO over pairs of images and text; arguments as TRL's GRPOTrainer, and beside them `credit`
    (what to do with groups that teach nothing), `order` (of the rows, in place of TRL's) and
    `shared_prefix` (whether the completions of a prompt share its computation)."""

    _tag_names = ["trl", "grpo", "safegrpo"]  # noqa: RUF012 - TRL's attribute
    processing_class: Any
    _buffered_inputs: Any

    def __init__(
        self,
        *args: Any,
        credit: CreditConfig | None = None,
        order: Order | None = None,
        shared_prefix: bool = True,
        **kwargs: Any,
    ) -> None:
        processor, config = kwargs["processing_class"], kwargs["args"]
        for name in ("tools", "rollout_func", "environment_factory"):
            if kwargs.get(name) is not None:
                raise ValueError(f"{name}: safegrpo trains on single turns")
        self.credit = credit or CreditConfig()
        self._order = order
        self._batch_rows: list[dict[str, Any]] = []
        self._prompts: list[PreparedPrompt] = []
        self.banned = frozenset(vision_token_ids(processor))
        ban_tokens(config, sorted(self.banned))
        super().__init__(*args, **kwargs)
        if not (config.gradient_checkpointing_kwargs or {}).get("use_reentrant"):
            # TRL's, for checkpointing of the other kind: gradients would run through frozen towers.
            transformers_model(self.model).disable_input_require_grads()
        if self._dist.is_fsdp:
            name_own_layers(transformers_model(self.model))
        self.rollouts: VLLMRollouts | None = None
        if self.use_vllm:
            template = self.chat_template_kwargs
            self.rollouts = VLLMRollouts(self.vllm_generation, processor, template)
        # TRL would send all images of a batch between the processes, and hang where one has none.
        self.log_multimodal = False
        self.idle = self._idle_image()
        self.shared = self._share_prefix() if shared_prefix else None
        if self.shared is None or not self.shared.scoring.kept:
            check_head(self)

    @property
    def _sharded(self) -> bool:
        return bool(self._dist.is_fsdp or self._dist.is_zero3)

    def _idle_image(self) -> IdleImage | None:
        """What stands beside rows without images, if a process that has no others must run the
        vision tower with those that do."""
        trains = self._sharded or vision_trains(self.accelerator.unwrap_model(self.model))
        if self.accelerator.num_processes == 1 or not trains:
            return None
        return idle_image(self.processing_class, self.args.device)

    def _share_prefix(self) -> SharedPrefix:
        models = [self.model] if self.ref_model is None else [self.model, self.ref_model]
        say = logger.warning if self.accelerator.is_main_process else (lambda _: None)
        shared = SharedPrefix(
            [transformers_model(self.accelerator.unwrap_model(model)) for model in models],
            temperature=self.temperature,
            say=say,
            entropy_gradient=self._entropy_bonus_enabled,
            float32_head=self.args.cast_lm_head_to_fp32,
            autocast=self.accelerator.autocast,
            agree=self._largest,
            idle=self.idle,
        )
        if self._sharded:
            # Every process must call the model as often as the others: generate() sees to it.
            shared.sampling.kept = False
            if self._dist.fsdp_version == 1 and shared.scoring.kept:
                shared.give_up("the model is sharded by FSDP1, which was not tried; take FSDP2")
        part, group = self.args.per_device_train_batch_size, self.num_generations
        if shared.scoring.kept and part % group:
            say(
                f"per_device_train_batch_size {part} parts groups of {group} completions: a prompt "
                "is computed once for each part"
            )
        return shared

    def _largest(self, values: list[float]) -> list[float]:
        """The largest of all processes' values, one by one."""
        found = self.accelerator.gather(torch.tensor([values], device=self.args.device))
        largest: list[float] = found.amax(dim=0).tolist()
        return largest

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

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        if self.shared is None or not self.model.training:
            return super()._prepare_inputs(generation_batch)
        # TRL's, but for the shuffle: groups stay whole, as in the published engine's mini-batches.
        parts = self.args.steps_per_generation
        if self._step % (parts * self.num_iterations) == 0 or self._buffered_inputs is None:
            batch = self._generate_and_score_completions(generation_batch)
            self._buffered_inputs = whole_group_batches(batch, parts, self.num_generations)
        return self._buffered_inputs[self._step % parts]

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        self._batch_rows = inputs
        processor = self.processing_class
        self.processing_class = PreparedProcessor(processor, lambda: self._prompts)
        try:
            output: dict[str, Any] = super()._generate_and_score_completions(inputs)
        finally:
            self.processing_class = processor
            self._prompts = []
        if self.model.training and "pixel_values" in output:
            # Every row's images, until all rows are trained on: in main memory, and each part's
            # where they are needed (see _get_per_token_logps_and_entropies).
            output["pixel_values"] = output["pixel_values"].cpu()
        if self.credit.skip_settled and self.model.training:
            output["completion_mask"][output["advantages"].abs() < SETTLED] = 0
        return output

    def _tokenize_prompts(self, prompts: list[Any]) -> tuple[Any, Any, Any]:
        if self.rollouts is not None:
            self.rollouts.read(prompts)
        rows = prepare_prompts(prompts, super()._tokenize_prompts, self.args.device)
        self._prompts = rows
        return [row.ids.tolist() for row in rows], images_of(rows), {}

    def _generate_single_turn(
        self,
        prompt_ids: Any,
        images: Any,
        multimodal_fields: Any,
        num_generations: int,
        has_tool_images: bool = False,
    ) -> tuple[list[list[int]], Any]:
        completion_ids, logprobs = self._complete(self._prompts), None
        if completion_ids is None:
            completion_ids, logprobs = self._generated(self._prompts, num_generations)
        if self.credit.hints and self.model.training:
            self._finish_hinted(completion_ids)
        self.check_completions(completion_ids)
        return completion_ids, logprobs

    def _complete(
        self, prompts: Sequence[PreparedPrompt], begun: Sequence[Sequence[int]] | None = None
    ) -> list[list[int]] | None:
        """Completions of packed prompts, or None where TRL has to generate them."""
        if self.use_vllm or self.shared is None or not self.shared.sampling.kept:
            return None
        with (
            profiling_context(self, "shared_prefix.generate"),
            unwrap_model_for_generation(
                self.model_wrapped,
                self.accelerator,
                gradient_checkpointing_kwargs=self.args.gradient_checkpointing_kwargs,
            ) as model,
        ):
            return self.shared.complete(
                transformers_model(model), prompts, self.generation_config, begun
            )

    def _generated(
        self, prompts: Sequence[PreparedPrompt], num_generations: int
    ) -> tuple[list[list[int]], Any]:
        """Completions, and their log-probabilities if the engine gives them, in TRL's way."""
        if self.rollouts is not None:
            return self.rollouts.complete(prompts, self.state.global_step, num_generations)
        count, images = len(prompts), images_of(prompts)
        if self._sharded and self.idle is not None and images is None:
            prompts = [*prompts, PreparedPrompt(self.idle.prompt, [], dict(self.idle.inputs))]
        ids = [prompt.ids.tolist() for prompt in prompts]
        completion_ids, logprobs = super()._generate_single_turn(
            ids, images, generation_inputs(prompts), num_generations
        )
        return completion_ids[:count], logprobs

    def _finish_hinted(self, completion_ids: list[list[int]]) -> None:
        """Replace completions of all-wrong groups by ones that begin with the right tag."""
        rows = self._batch_rows
        prefixes = hinted_prefixes(completion_ids, rows, self._tokenizer, self.credit.hints)
        counts = self.accelerator.gather(torch.tensor([len(prefixes)], device=self.args.device))
        share = counts.sum().item() / (len(counts) * len(rows))
        self._metrics["train"]["hinted"].append(share)
        # Under sharding every process must generate as often as the others.
        if int(counts.max()) == 0:
            return
        chosen = sorted(prefixes) or [0]
        prompts = [self._prompts[i] for i in chosen]
        begun = [prefixes.get(i, []) for i in chosen]
        finished = self._complete(prompts, begun)
        if finished is None:
            longer = [prompt.followed_by(more) for prompt, more in zip(prompts, begun, strict=True)]
            finished, _ = self._generated(longer, 1)
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
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        compute_aux_loss: bool = False,
        **inputs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        if inputs.get("pixel_values") is not None:
            inputs["pixel_values"] = inputs["pixel_values"].to(input_ids.device)
        if not compute_aux_loss:
            found = self._score_packed(
                model, input_ids, attention_mask, logits_to_keep, batch_size, inputs
            )
            if found is not None:
                return found[0], found[1] if compute_entropy else None, None
        if torch.is_grad_enabled():
            check_head(self)
        logps: tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]
        logps = super()._get_per_token_logps_and_entropies(
            lambda **given: padded_pass(model, given, self.idle),
            input_ids,
            attention_mask,
            logits_to_keep,
            batch_size,
            compute_entropy,
            compute_aux_loss,
            **inputs,
        )
        return logps

    def _score_packed(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        length: int,
        batch_size: int | None,
        inputs: dict[str, Any],
    ) -> Scores | None:
        if self.shared is None or not self.shared.scoring.kept:
            return None
        rows, reason = [], None
        try:
            rows = rows_of(input_ids, attention_mask, length, inputs)
        except UnsupportedBatchError as error:  # told to the other processes before giving up
            reason = str(error)
        name = "reference" if model is self.ref_model else "policy"
        size = batch_size or len(input_ids)
        return self.shared.log_probs(name, model, rows, length, size, reason)
