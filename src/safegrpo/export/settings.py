"""What a recipe asks of an engine that is not ours: TRL's names and units turned into plain ones.

TRL counts completions on each process and updates; verl and EasyR1 count prompts of all processes
and batches. What those engines cannot do is an error here if it would change what is learned, and a
line of `notices` if it would not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safegrpo.errors import ConfigError
from safegrpo.export.options import (
    MACHINERY,
    REFINEMENTS,
    SCHEDULES,
    TRL,
    Loss,
    Options,
    chat_template,
    check_options,
    entropy_share,
    loggers,
    max_norm,
    number,
    one_of,
    ratio_bound,
    whole,
)
from safegrpo.training.config import LoraConfig, Recipe
from safegrpo.training.grpo_options import OUR_GRPO

VLLM_MEMORY = 0.6
"""The share of a GPU that vLLM takes, as published; recipes size it for TRL's trainer."""


@dataclass(frozen=True)
class Cluster:
    """Machines and their GPUs; a recipe's batch sizes are those of so many processes."""

    nodes: int = 1
    gpus_per_node: int = 4

    def __post_init__(self) -> None:
        if min(self.nodes, self.gpus_per_node) < 1:
            raise ConfigError("--nodes and --gpus-per-node are 1 or more")

    @property
    def gpus(self) -> int:
        return self.nodes * self.gpus_per_node


@dataclass(frozen=True)
class Exported:
    """What of the data an engine's settings depend on: rows, and whether lengths are known.

    `test_rows` is 0 without held-out rows. With `measured` no prompt is longer than the recipe's
    limit.
    """

    train_rows: int
    test_rows: int
    measured: bool


@dataclass(frozen=True)
class Settings:
    """A recipe in the units of verl and EasyR1.

    `batch` and `mini_batch` are prompts generated for, and learned from in an update, on all GPUs
    together; `micro_batch` is completions on one GPU. `warmup`, `save_every` and `test_every` are
    batches (0: never), a warmup below 1 a share of the run. `max_batches` is None for whole epochs.
    `clip_dual` is None where the ratio has no such bound. `weights` are those of tag, behavior and,
    where it pays, format.
    """

    recipe: Recipe
    batch: int
    mini_batch: int
    micro_batch: int
    group: int
    passes: int
    updates_per_batch: int
    max_response_length: int
    temperature: float
    top_p: float
    top_k: int
    learning_rate: float
    schedule: str
    warmup: float
    weight_decay: float
    betas: tuple[float, float]
    max_grad_norm: float
    clip_low: float
    clip_high: float
    clip_dual: float | None
    beta: float
    entropy: float
    loss: Loss
    scale_by_std: bool
    each_by_itself: bool
    weights: tuple[float, ...]
    epochs: int
    max_batches: int | None
    save_every: int
    test_every: int
    loggers: tuple[str, ...]
    shuffle: bool
    gradient_checkpointing: bool
    vllm_tensor_parallel: int
    chat_template: Mapping[str, Any]
    notices: tuple[str, ...]

    @property
    def lora(self) -> LoraConfig | None:
        return self.recipe.lora

    @property
    def reward_options(self) -> dict[str, Any]:
        """The keyword arguments of `rewards.compute_score`, but for those that are its own."""
        options: dict[str, Any] = {"rules": self.recipe.rules, "mode": self.recipe.mode}
        if self.recipe.credit.reason_share:
            options["reason_share"] = self.recipe.credit.reason_share
        if self.weights != (0.5, 0.5):
            options["weights"] = list(self.weights)
        return options


def settings_of(recipe: Recipe, cluster: Cluster) -> Settings:
    """What a recipe asks for on that many GPUs. Raises ConfigError, naming the key and the mend,
    for anything that changes what is learned and cannot be had."""
    _check_ours(recipe)
    check_options(recipe.grpo)
    grpo = {**TRL, **OUR_GRPO, **recipe.grpo}
    group = whole(grpo, "num_generations")
    batch, mini_batch = _batches(grpo, group, cluster.gpus)
    passes = whole(grpo, "num_iterations")
    updates = batch // mini_batch * passes
    schedule, warmup = _schedule(grpo, updates)
    scale = one_of(grpo, "scale_rewards", ("group", "none", True, False))
    epsilon = number(grpo, "epsilon")
    clip_high = epsilon if grpo["epsilon_high"] is None else number(grpo, "epsilon_high")
    loss: Loss = one_of(grpo, "loss_type", ("grpo", "dapo", "dr_grpo"))
    each = grpo["multi_objective_aggregation"] == "normalize_then_sum"
    return Settings(
        recipe=recipe,
        batch=batch,
        mini_batch=mini_batch,
        micro_batch=whole(grpo, "per_device_train_batch_size"),
        group=group,
        passes=passes,
        updates_per_batch=updates,
        max_response_length=whole(grpo, "max_completion_length"),
        temperature=number(grpo, "temperature"),
        top_p=number(grpo, "top_p"),
        # All tokens are -1 to the engines, and 0 to TRL, which takes -1 as well.
        top_k=whole(grpo, "top_k", least=-1) or -1,
        learning_rate=number(grpo, "learning_rate"),
        schedule=schedule,
        warmup=warmup,
        weight_decay=number(grpo, "weight_decay", least=0),
        betas=(number(grpo, "adam_beta1", 0, 1), number(grpo, "adam_beta2", 0, 1)),
        max_grad_norm=max_norm(grpo),
        clip_low=epsilon,
        clip_high=clip_high,
        clip_dual=ratio_bound(grpo, 1 + clip_high),
        beta=number(grpo, "beta"),
        entropy=entropy_share(grpo, loss),
        loss=loss,
        # TRL reads scale_rewards only where the parts are summed first.
        scale_by_std=each or scale in ("group", True),
        each_by_itself=each,
        weights=_weights(recipe, grpo),
        epochs=whole(grpo, "num_train_epochs"),
        max_batches=_max_batches(grpo, updates),
        save_every=math.ceil(recipe.checkpoint.every / updates),
        test_every=math.ceil(recipe.evaluate.every / updates) if recipe.data.eval else 0,
        loggers=loggers(grpo),
        shuffle=bool(grpo["shuffle_dataset"]),
        gradient_checkpointing=bool(grpo["gradient_checkpointing"]),
        vllm_tensor_parallel=whole(grpo, "vllm_tensor_parallel_size"),
        chat_template=chat_template(grpo),
        notices=tuple(_notices(recipe, grpo)),
    )


def model_path(model: str) -> str:
    """A model's hub name as it is, a folder in full: run.sh is started from anywhere."""
    path = Path(model)
    return str(path.resolve()) if path.is_dir() else model


def _check_ours(recipe: Recipe) -> None:
    """ConfigError for what only our trainer does and a run would be another without."""
    credit = recipe.credit
    for key, asked, mend in (
        (
            "cold_start",
            recipe.cold_start,
            "name a model that has had it or needs none, and set cold_start: null",
        ),
        ("internalise", recipe.internalise, "set internalise: null"),
        ("credit.hints", credit.hints, "set credit.hints: 0"),
        ("credit.format_gate", not credit.format_gate, "set credit.format_gate: true"),
        ("credit.skip_settled", credit.skip_settled, "set credit.skip_settled: false"),
        ("sampling.balance", recipe.sampling.balance, "set sampling.balance: false"),
    ):
        if asked:
            raise ConfigError(f'"{key}" is done by safegrpo train alone; {mend}')
    if recipe.lora is not None and recipe.lora.dropout:
        raise ConfigError('"lora.dropout" is not known to verl or EasyR1; set lora.dropout: 0')
    if recipe.lora is not None and not recipe.lora.target_modules:
        raise ConfigError('"lora.target_modules" is empty; name linear layers, or leave it out')


def _batches(grpo: Options, group: int, processes: int) -> tuple[int, int]:
    """(prompts a generation batch, prompts an update) as TRL has them on so many processes."""
    micro = whole(grpo, "per_device_train_batch_size")
    accumulated = whole(grpo, "gradient_accumulation_steps")
    update = micro * accumulated * processes
    if grpo["generation_batch_size"] is not None and grpo["steps_per_generation"] is not None:
        raise ConfigError(
            '"grpo.generation_batch_size" and "grpo.steps_per_generation" say the same: give one'
        )
    if grpo["generation_batch_size"] is not None:
        generated = whole(grpo, "generation_batch_size")
    elif grpo["steps_per_generation"] is not None:
        generated = micro * processes * whole(grpo, "steps_per_generation")
    else:
        generated = update
    # What is generated in parts between two updates comes from the same weights: one batch here.
    batch = max(generated, update)
    if update % group or batch % update or batch % generated:
        raise ConfigError(
            f"on {processes} processes grpo generates {generated} completions at a time and learns "
            f"from {update} in an update; one must be a whole number of the other, and updates "
            f"whole groups of {group}"
        )
    return batch // group, update // group


def _schedule(grpo: Options, updates: int) -> tuple[str, float]:
    """(constant or cosine, warmup): the engines move the rate once a batch, TRL once an update."""
    kind = str(getattr(grpo["lr_scheduler_type"], "value", grpo["lr_scheduler_type"]))
    if kind not in SCHEDULES:
        raise ConfigError(
            f'"grpo.lr_scheduler_type": {kind} cannot be had there (it is TRL\'s if none is set); '
            f"one of {', '.join(SCHEDULES)} can"
        )
    warmup = number(grpo, "warmup_steps")
    if kind == "constant":  # has no warmup in transformers, whatever is set
        warmup = 0.0
    return SCHEDULES[kind], warmup if 0 < warmup < 1 else math.ceil(warmup / updates)


def _weights(recipe: Recipe, grpo: Options) -> tuple[float, ...]:
    weights = tuple(float(weight) for weight in grpo["reward_weights"])
    extra = recipe.credit.format_weight
    return (*weights, extra) if extra else weights


def _max_batches(grpo: Options, updates: int) -> int | None:
    steps = int(number(grpo, "max_steps"))
    if steps <= 0:
        return None
    if steps % updates:
        raise ConfigError(
            f'"grpo.max_steps": {steps} updates are no whole batches of {updates} updates each'
        )
    return steps // updates


def _notices(recipe: Recipe, grpo: Options) -> list[str]:
    ours = ["shared_prefix"] if recipe.shared_prefix else []
    ours += ["samples_every"] if recipe.samples_every else []
    narrow = ["dtype"] if recipe.dtype == "bfloat16" else []
    narrow += ["grpo.bf16"] if recipe.grpo.get("bf16") is False else []
    machinery = [f"grpo.{key}" for key in recipe.grpo if key in MACHINERY]
    left = [*ours, *(key for key in machinery if key not in narrow), "warnings"]
    notices = [f"left to the engine, which learns the same without: {', '.join(left)}"]
    if narrow:
        notices.append(
            f"{' and '.join(narrow)} left out: weights are in 32 bits there, arithmetic in bfloat16"
        )
    if not grpo["use_vllm"]:
        notices.append("completions are generated by vLLM, where the recipe leaves it to TRL")
    if grpo["use_vllm"] and grpo["vllm_importance_sampling_correction"]:
        notices.append(
            "TRL corrects for how far vLLM's probabilities are from the trainer's; this does not"
        )
    refined = [f"grpo.{key}" for key in recipe.grpo if key in REFINEMENTS]
    if refined:
        notices.append(f"a small difference: {', '.join(refined)} is TRL's alone")
    if recipe.data.eval:
        notices.append(
            "held-out rows are measured by the reward, in the mode that is trained and greedily; "
            "evaluate.modes and metric, and the best checkpoint, are safegrpo train's alone"
        )
    return notices
