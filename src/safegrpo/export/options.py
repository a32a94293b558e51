"""TRL's options in a recipe: which of them other engines know, and their values as numbers.

An option is carried over, refused if only one value of it can be had elsewhere, or left to the
engine if a run learns the same without it. One that is none of these is an error: nothing is
dropped in silence.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from safegrpo.errors import ConfigError
from safegrpo.training.grpo_options import OUR_GRPO

Options = Mapping[str, Any]
Loss = Literal["grpo", "dapo", "dr_grpo"]

NO_BOUND = 1.0e9
"""What stands where an engine wants a bound and the recipe has none; it is never met."""

# TRL's and transformers' own values, where we set none and the engines' differ or might.
TRL: Mapping[str, Any] = {
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 1,
    "steps_per_generation": None,
    "generation_batch_size": None,
    "num_iterations": 1,
    "num_train_epochs": 3,
    "max_steps": -1,
    "lr_scheduler_type": "linear",
    "warmup_steps": 0,
    "weight_decay": 0.0,
    "adam_beta1": 0.9,
    "adam_beta2": 0.999,
    "max_grad_norm": 1.0,
    "epsilon_high": None,
    "delta": None,
    "loss_type": "dapo",
    "scale_rewards": "group",
    "entropy_coef": 0.0,
    "top_p": 1.0,
    "top_k": 0,
    "shuffle_dataset": True,
    "gradient_checkpointing": True,
    "chat_template_kwargs": None,
    "use_vllm": False,
    "vllm_tensor_parallel_size": 1,
    "vllm_importance_sampling_correction": True,
}
# Options that only one value of can be had elsewhere; any other is an error.
_ONLY: Mapping[str, tuple[Any, ...]] = {
    "min_p": (None,),
    "repetition_penalty": (1, 1.0),
    "generation_kwargs": (None, {}),
    "importance_sampling_level": ("token",),
    "mask_truncated_completions": (False,),
    "top_entropy_quantile": (1, 1.0),
    "off_policy_mask_threshold": (None,),
    "use_adaptive_entropy": (False,),
    "adam_epsilon": (1e-8,),
    "optim": ("adamw_torch", "adamw_torch_fused"),
    "fp16": (False,),
}
# Options of TRL's own machinery, without which the engines learn the same.
MACHINERY = frozenset(
    (
        *("bf16", "tf32", "use_cpu", "dataloader_pin_memory", "dataloader_num_workers"),
        *("logging_steps", "logging_first_step", "logging_dir", "run_name", "log_unique_prompts"),
        *("log_multimodal", "num_completions_to_print", "ddp_find_unused_parameters", "fsdp"),
        *("fsdp_config", "deepspeed", "ds3_gather_for_generation", "torch_empty_cache_steps"),
        *("vllm_mode", "vllm_model_impl", "vllm_enable_sleep_mode", "vllm_max_model_length"),
        *("vllm_gpu_memory_utilization", "vllm_server_base_url", "vllm_server_host"),
        *("vllm_server_port", "vllm_server_timeout", "vllm_group_port"),
        *("num_generations_eval", "per_device_eval_batch_size", "pad_to_multiple_of"),
        *("cast_lm_head_to_fp32", "cache_implementation"),
    )
)
# TRL's refinements, on by default, that the engines are without.
REFINEMENTS = frozenset(
    (
        *("use_bias_correction_kl", "vllm_importance_sampling_mode"),
        *("vllm_importance_sampling_clip_max", "vllm_importance_sampling_clip_min"),
    )
)
_KNOWN = frozenset({*OUR_GRPO, *TRL, *_ONLY, *MACHINERY, *REFINEMENTS})
LOGGERS = ("wandb", "mlflow", "swanlab", "tensorboard", "trackio", "clearml")
SCHEDULES = {"constant": "constant", "constant_with_warmup": "constant", "cosine": "cosine"}


def check_options(grpo: Options) -> None:
    """ConfigError for an option of a recipe that cannot be carried over, or not as it is set."""
    for key, value in grpo.items():
        if key not in _KNOWN:
            raise ConfigError(
                f'"grpo.{key}" has no counterpart that is known; leave it out, or set it by the '
                "engine's own name when you start run.sh"
            )
        if key in _ONLY and value not in _ONLY[key]:
            raise ConfigError(
                f'"grpo.{key}": {value!r:.80} cannot be had from verl or EasyR1; leave it out'
            )


def number(grpo: Options, key: str, least: float = -math.inf, below: float = math.inf) -> float:
    """An option as a number from `least` on and below `below`; where TRL is not installed nobody
    has looked at it yet."""
    value = grpo[key]
    try:
        # YAML reads 1e-6 (no point) as a text.
        found = float(value) if isinstance(value, int | float | str) else math.nan
    except ValueError:
        found = math.nan
    if isinstance(value, bool) or not math.isfinite(found):
        raise ConfigError(f'"grpo.{key}": a number is wanted (given {value!r:.80})')
    if not least <= found < below:
        bounds = f"{least:g} or more" + (f" and below {below:g}" if below < math.inf else "")
        raise ConfigError(f'"grpo.{key}": {bounds} is wanted (given {value!r:.80})')
    return found


def whole(grpo: Options, key: str, least: int = 1) -> int:
    """An option as a whole number that is not below `least`."""
    found = number(grpo, key)
    if found != int(found) or found < least:
        raise ConfigError(
            f'"grpo.{key}": a whole number, {least} or more, is wanted (given {grpo[key]!r:.80})'
        )
    return int(found)


def one_of(grpo: Options, key: str, choices: tuple[Any, ...]) -> Any:
    """An option that must be one of `choices`."""
    if grpo[key] not in choices:
        names = ", ".join(str(choice) for choice in choices if isinstance(choice, str))
        raise ConfigError(f'"grpo.{key}": {grpo[key]!r:.80} cannot be had there; {names} can')
    return grpo[key]


def max_norm(grpo: Options) -> float:
    """The norm to clip gradients at. Transformers clips nothing at 0 and below, where the engines
    would wipe gradients out."""
    norm = number(grpo, "max_grad_norm")
    return norm if norm > 0 else NO_BOUND


def ratio_bound(grpo: Options, clip: float) -> float | None:
    """TRL's `delta`, None without one; ConfigError if not above `clip`, that of the ratio."""
    # TRL's holds for good answers too, where it is met only below the clip; the engines' does not.
    bound = None if grpo["delta"] is None else number(grpo, "delta")
    if bound is not None and bound <= clip:
        raise ConfigError(
            f'"grpo.delta": a bound above 1 + epsilon_high, {clip:g}, is wanted (given {bound:g})'
        )
    return bound


def entropy_share(grpo: Options, loss: Loss) -> float:
    """What the entropy bonus weighs. TRL's is a mean over tokens with every loss; the engines
    average it as they do the loss, so any but `dapo` is an error."""
    share = number(grpo, "entropy_coef")
    if share and loss != "dapo":
        raise ConfigError(
            f'"grpo.entropy_coef": with loss_type {loss} it would be another bonus there; set 0, '
            "or loss_type: dapo"
        )
    return share


def loggers(grpo: Options) -> tuple[str, ...]:
    """Who is reported to, the console first."""
    named = grpo["report_to"]
    names = [named] if isinstance(named, str) else list(named or ())
    names = [name for name in names if name != "none"]
    unknown = [name for name in names if name not in LOGGERS]
    if unknown:
        raise ConfigError(
            f'"grpo.report_to": {unknown[0]!r:.80} is not known there; {", ".join(LOGGERS)} are'
        )
    return ("console", *names)


def chat_template(grpo: Options) -> Mapping[str, Any]:
    """What the chat template is given beside the chat, by name."""
    options = grpo["chat_template_kwargs"] or {}
    if not isinstance(options, Mapping) or not all(_is_name(str(key)) for key in options):
        raise ConfigError('"grpo.chat_template_kwargs": a mapping of plain names is wanted')
    return options


def _is_name(key: str) -> bool:
    return key.isascii() and key.isidentifier()  # Hydra reads no other letters in a key
