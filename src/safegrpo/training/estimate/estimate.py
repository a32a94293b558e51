"""A recipe's memory and work on a number of GPUs, from its model's configuration alone."""

from __future__ import annotations

from dataclasses import dataclass

from safegrpo.errors import ConfigError
from safegrpo.models import load_config
from safegrpo.training.config import Recipe
from safegrpo.training.estimate.compute import Hours, Rates, Work, hours, work
from safegrpo.training.estimate.memory import Memory, memory
from safegrpo.training.estimate.plan import Plan, Sharding, make_plan
from safegrpo.training.estimate.prompts import PromptLengths, read_prompts
from safegrpo.training.estimate.shape import ModelShape, Part, model_shape
from safegrpo.training.estimate.states import trained_parts

GIB = 2**30
MARGIN = 0.1
"""Share of a GPU that no formula here gives: the CUDA context, NCCL's buffers, kernels' workspaces,
and what the allocator cannot use because it lies in pieces."""


@dataclass(frozen=True)
class Estimate:
    """What a recipe takes and does. `steps` is None where the number of rows is not known;
    `evaluated` are tokens of held-out answers that each process samples; `gpu_bytes` is the size of
    a GPU, if it was said."""

    model: str
    shape: ModelShape
    plan: Plan
    memory: Memory
    work: Work
    steps: int | None
    evaluated: int
    hours: Hours | None
    gpu_bytes: float | None

    @property
    def trained(self) -> dict[str, Part]:
        """The parts whose weights change."""
        return trained_parts(self.shape, self.plan)

    @property
    def verdict(self) -> str | None:
        """`fits`, `tight` (into the margin) or `does not fit`; None for a GPU of unknown size."""
        if self.gpu_bytes is None:
            return None
        if self.memory.engine_tokens is not None and self.memory.engine_tokens <= 0:
            return "does not fit"
        if self.memory.peak <= (1 - MARGIN) * self.gpu_bytes:
            return "fits"
        return "tight" if self.memory.peak <= self.gpu_bytes else "does not fit"


def estimate(
    recipe: Recipe,
    *,
    gpus: int = 1,
    sharding: Sharding = "ddp",
    gpu_memory: float | None = None,
    rates: Rates | None = None,
    shape: ModelShape | None = None,
    prompts: PromptLengths | None = None,
) -> Estimate:
    """The estimate of a recipe on `gpus` GPUs of `gpu_memory` GiB each, and hours at `rates`.

    `shape` and `prompts` take the place of the model's configuration and of the training set.
    Raises ConfigError, InputFileError, ModelError or DataError for what a run would refuse.
    """
    if gpus > 1 and recipe.grpo.get("use_cpu"):
        raise ConfigError("grpo.use_cpu: a run without GPUs is estimated for one process")
    if shape is None:
        shape = model_shape(load_config(recipe.model), recipe.lora)
    prompts = read_prompts(recipe) if prompts is None else prompts
    plan = make_plan(recipe, prompts, gpus, sharding)
    steps = None
    if prompts.rows is not None or plan.max_steps > 0:
        steps = plan.steps(prompts.rows or 0)
    gpu_bytes = None if gpu_memory is None else gpu_memory * GIB
    done = work(shape, plan)
    evaluated = _evaluated(recipe, steps)
    return Estimate(
        model=recipe.model,
        shape=shape,
        plan=plan,
        memory=memory(shape, plan, gpu_bytes),
        work=done,
        steps=steps,
        evaluated=evaluated,
        hours=hours(plan, done, steps, evaluated, rates) if rates and steps is not None else None,
        gpu_bytes=gpu_bytes,
    )


def _evaluated(recipe: Recipe, steps: int | None) -> int:
    """Tokens of held-out answers, at their maximum length: measured before the first step, every
    `evaluate.every` steps and after the last. 0 where the number of held-out rows is not said."""
    rows = recipe.data.eval_limit if recipe.data.eval is not None else None
    if rows is None or steps is None:
        return 0
    every = recipe.evaluate.every
    times = 1 + steps // every + (steps % every > 0)
    return times * rows * len(recipe.evaluate.modes) * recipe.evaluate.max_new_tokens
