"""What a recipe computes on a number of GPUs: batches, passes and steps, as TRL counts them."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal

from safegrpo.errors import ConfigError
from safegrpo.training.config import LoraConfig, Recipe
from safegrpo.training.estimate.prompts import PromptLengths
from safegrpo.training.grpo_options import OUR_GRPO

Sharding = Literal["ddp", "fsdp", "zero2", "zero3"]


@dataclass(frozen=True)
class Precision:
    """Bytes of one number: of the base model's `weights` as they are kept, of what matrix products
    `compute` with, and of the `stream` of hidden states from layer to layer. `copies`: autocast
    casts trained weights for its products and keeps the copies until a pass is over."""

    weights: int
    compute: int
    stream: int
    copies: bool

    @property
    def casts(self) -> bool:
        """Whether every linear layer casts what it reads, and so keeps a copy of its own."""
        return self.stream > self.compute


@dataclass(frozen=True)
class Vllm:
    """A vLLM engine on the same GPUs: its share of their memory, freed while it `sleeps`."""

    share: float
    sleeps: bool
    tensor_parallel: int


@dataclass(frozen=True)
class Plan:
    """One run. `rows` completions go through the model at once in a process, in groups of `group`;
    `parts` such batches are generated together, and each is trained on `iterations` times;
    `accumulation` of them make an update. `packed`: a prompt is computed once for its group."""

    gpus: int
    sharding: Sharding
    rows: int
    accumulation: int
    parts: int
    iterations: int
    group: int
    completion: int
    prompts: PromptLengths
    hints: int
    epochs: float
    max_steps: int
    beta: float
    checkpointing: bool
    precision: Precision
    optimizer: str
    lora: LoraConfig | None
    trains_vision: bool
    shared_prefix: bool
    generator: Literal["transformers", "colocated", "server"]
    vllm: Vllm | None
    corrects: bool

    @property
    def sharded(self) -> int:
        """Processes that weights are divided among."""
        return self.gpus if self.sharding in ("fsdp", "zero3") else 1

    @property
    def states_sharded(self) -> int:
        """Processes that gradients and optimizer states are divided among."""
        return 1 if self.sharding == "ddp" else self.gpus

    @property
    def groups(self) -> int:
        """Prompts in one pass of a process: those of `rows` completions."""
        return math.ceil(self.rows / self.group)

    @property
    def completions(self) -> int:
        """Completions that all processes generate together at a time."""
        return self.rows * self.parts * self.gpus

    @property
    def kept_gradients(self) -> bool:
        """Whether gradients wait while completions are generated: in the midst of an update."""
        return (self.parts * self.iterations) % self.accumulation != 0

    @property
    def scores_old(self) -> bool:
        """Whether TRL computes log-probabilities once more before training (grpo_trainer.py,
        `_generate_and_score_completions`): the policy moves on between generation and the last
        update, or vLLM's probabilities are corrected by the trainer's."""
        moves = self.accumulation % (self.parts * self.iterations) != 0
        return moves or (self.generator != "transformers" and self.corrects)

    @property
    def reference_model(self) -> bool:
        """Whether a second model is in memory. With adapters the reference is the base model."""
        return self.beta != 0 and self.lora is None

    def generations(self, prompts: int) -> int:
        """Times that completions are generated in an epoch of so many rows; TRL drops the rest."""
        return prompts * self.group // self.completions

    def steps(self, prompts: int) -> int:
        """Updates of the run, over so many rows, as transformers' Trainer counts them
        (`set_initial_training_values`): an epoch's last may have fewer batches than the others."""
        if self.max_steps > 0:
            return self.max_steps
        batches = self.generations(prompts) * self.parts * self.iterations
        return math.ceil(self.epochs * math.ceil(batches / self.accumulation))


def make_plan(
    recipe: Recipe, prompts: PromptLengths, gpus: int = 1, sharding: Sharding = "ddp"
) -> Plan:
    """The plan of a recipe: on GPUs that know bfloat16, or as it says where it says `use_cpu`.

    Raises ConfigError for batches that TRL refuses.
    """
    given = {**_trl_defaults(), **OUR_GRPO, **recipe.grpo}
    on_gpu = not given["use_cpu"]
    rows = given["per_device_train_batch_size"]
    plan = Plan(
        gpus=gpus,
        sharding=sharding,
        rows=rows,
        accumulation=given["gradient_accumulation_steps"],
        parts=_parts(given, rows * gpus),
        iterations=given["num_iterations"],
        group=given["num_generations"],
        completion=given["max_completion_length"],
        prompts=prompts,
        hints=recipe.credit.hints,
        epochs=given["num_train_epochs"],
        max_steps=given["max_steps"],
        beta=given["beta"],
        checkpointing=recipe.grpo.get("gradient_checkpointing", on_gpu),
        precision=_precision(recipe, on_gpu, sharding),
        optimizer=str(getattr(given["optim"], "value", given["optim"])),
        lora=recipe.lora,
        trains_vision=recipe.trains_vision,
        shared_prefix=recipe.shared_prefix,
        generator=_generator(given),
        vllm=_vllm(given),
        corrects=given["vllm_importance_sampling_correction"],
    )
    if plan.completions % plan.group:
        raise ConfigError(
            f"on {gpus} GPU(s) {plan.completions} completions are generated at a time, which is "
            f"not a multiple of grpo.num_generations ({plan.group})"
        )
    if prompts.rows is not None and plan.max_steps <= 0 and not plan.generations(prompts.rows):
        raise ConfigError(
            f"the training set has {prompts.rows} rows, but a generation batch on {gpus} GPU(s) "
            f"needs {plan.completions // plan.group} prompts; lower grpo.steps_per_generation, "
            "grpo.gradient_accumulation_steps or grpo.per_device_train_batch_size"
        )
    return plan


def _trl_defaults() -> dict[str, Any]:
    from trl import GRPOConfig

    return {field.name: field.default for field in dataclasses.fields(GRPOConfig)}


def _parts(given: dict[str, Any], at_once: int) -> int:
    """Batches generated together: TRL's steps_per_generation, however it is said."""
    if given["generation_batch_size"] is None:
        return int(given["steps_per_generation"] or given["gradient_accumulation_steps"])
    if given["steps_per_generation"] is not None:
        raise ConfigError(
            "grpo.generation_batch_size and grpo.steps_per_generation say the same: give one"
        )
    if given["generation_batch_size"] % at_once:
        raise ConfigError(
            f"grpo.generation_batch_size ({given['generation_batch_size']}) is not a multiple of "
            f"the {at_once} completions that all processes train on at once"
        )
    return int(given["generation_batch_size"] // at_once)


def _precision(recipe: Recipe, on_gpu: bool, sharding: Sharding) -> Precision:
    """As training_dtype() and grpo_config() choose it on a GPU, or without one.

    FSDP2 (accelerate's mixed-precision policy) and DeepSpeed compute with weights that are 16 bits
    wide themselves, so hidden states are too; autocast over 32-bit weights leaves them 32 bits.
    """
    half = recipe.grpo.get("fp16") or recipe.grpo.get("bf16", on_gpu)
    kept = {"float32": 4, "bfloat16": 2, "auto": 2 if recipe.lora and on_gpu else 4}[recipe.dtype]
    compute = 2 if half else kept
    whole = sharding == "ddp"
    return Precision(
        weights=kept,
        compute=compute,
        stream=kept if whole else compute,
        copies=bool(half) and kept == 4 and whole,
    )


def _generator(given: dict[str, Any]) -> Literal["transformers", "colocated", "server"]:
    if not given["use_vllm"]:
        return "transformers"
    return "server" if given["vllm_mode"] == "server" else "colocated"


def _vllm(given: dict[str, Any]) -> Vllm | None:
    if _generator(given) != "colocated":
        return None
    return Vllm(
        share=given["vllm_gpu_memory_utilization"],
        sleeps=given["vllm_enable_sleep_mode"],
        tensor_parallel=given["vllm_tensor_parallel_size"],
    )
