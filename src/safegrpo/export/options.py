"""TRL's options in a recipe: which of them other engines know, and their values as numbers.

An option is carried over, refused if only one value of it can be had elsewhere, or left to the
engine if a run learns the same without it. One that is none of these is an error: nothing is
dropped in silence.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from safegrpo.errors import ConfigError
from safegrpo.training.grpo_options import OUR_GRPO

Options = Mapping[str, Any]

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


def number(grpo: Options, key: str) -> float:
    """An option as a number; where TRL is not installed nobody has looked at it yet."""
    value = grpo[key]
    try:
        # YAML reads 1e-6 (no point) as a text.
        found = float(value) if isinstance(value, int | float | str) else math.nan
    except ValueError:
        found = math.nan
    if isinstance(value, bool) or not math.isfinite(found):
        raise ConfigError(f'"grpo.{key}": a number is wanted (given {value!r:.80})')
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
