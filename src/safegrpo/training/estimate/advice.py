"""Which settings would make a run fit: each is tried, and named with what it comes to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from safegrpo.errors import ConfigError
from safegrpo.training.config import LoraConfig, Recipe
from safegrpo.training.estimate.estimate import GIB, Estimate, estimate
from safegrpo.training.estimate.plan import Sharding
from safegrpo.training.estimate.shape import model_shape

WORTH = 0.98
"""A setting is named if the peak falls below this share of what it was."""
NAMED = 5


@dataclass(frozen=True)
class Turn:
    """A setting to change, as it is written on the command line, and the peak with it, in bytes."""

    setting: str
    peak: int
    verdict: str | None


def advice(recipe: Recipe, found: Estimate, config: Any) -> list[Turn]:
    """The settings that lower the peak most, each by itself, lowest first; none if it fits.
    `config` is the model's configuration, for what has another shape with adapters."""
    if found.verdict in (None, "fits"):
        return []
    turns = []
    for setting, changed, sharding, gpus in _tries(recipe, found):
        same = changed.lora == recipe.lora
        try:
            then = estimate(
                changed,
                gpus=gpus,
                sharding=sharding,
                gpu_memory=(found.gpu_bytes or 0) / GIB,
                shape=found.shape if same else model_shape(config, changed.lora),
                prompts=found.plan.prompts,
            )
        except ConfigError:  # batches that do not go together, or too few rows
            continue
        if then.memory.peak < WORTH * found.memory.peak:
            turns.append(Turn(setting, then.memory.peak, then.verdict))
    return sorted(turns, key=lambda turn: turn.peak)[:NAMED]


def _tries(recipe: Recipe, found: Estimate) -> Iterator[tuple[str, Recipe, Sharding, int]]:
    """(what is changed, the recipe with it, sharding, GPUs): settings that might help."""
    plan = found.plan

    def with_grpo(**options: Any) -> tuple[str, Recipe, Sharding, int]:
        said = " ".join(f"--set grpo.{name}={_yaml(value)}" for name, value in options.items())
        changed = recipe.model_copy(update={"grpo": {**recipe.grpo, **options}})
        return said, changed, plan.sharding, plan.gpus

    if not plan.checkpointing:
        yield with_grpo(gradient_checkpointing=True)
    if plan.rows > plan.group:
        more = plan.accumulation * plan.rows // plan.group
        yield with_grpo(per_device_train_batch_size=plan.group, gradient_accumulation_steps=more)
    if plan.parts > 1 and "generation_batch_size" not in recipe.grpo:
        yield with_grpo(steps_per_generation=max(plan.parts // 4, 1))
    yield with_grpo(max_completion_length=plan.completion // 2)
    if plan.vllm is not None and not plan.vllm.sleeps:
        yield with_grpo(vllm_enable_sleep_mode=True)
    if plan.vllm is not None:
        yield with_grpo(vllm_gpu_memory_utilization=round(plan.vllm.share / 2, 3))
    if plan.generator == "transformers" and not recipe.credit.hints:
        yield with_grpo(use_vllm=True, vllm_mode="server")
    if plan.gpus > 1 and plan.sharding == "ddp":
        yield "--sharding fsdp", recipe, "fsdp", plan.gpus
    if recipe.lora is None:
        changed = recipe.model_copy(update={"lora": LoraConfig()})
        yield "--set lora.r=32", changed, plan.sharding, plan.gpus
    sharding: Sharding = "fsdp" if plan.sharding == "ddp" else plan.sharding
    if not recipe.grpo.get("use_cpu"):
        twice = 2 * plan.gpus
        yield f"--gpus {twice} --sharding {sharding}", recipe, sharding, twice


def _yaml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
