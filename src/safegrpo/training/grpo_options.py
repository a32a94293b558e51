"""The `grpo` part of a recipe: checked against TRL's GRPOConfig, then made into one."""

from __future__ import annotations

import importlib.util
import math
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from safegrpo.errors import ConfigError, MissingDependencyError
from safegrpo.report.public import is_secret
from safegrpo.training.config_errors import nearest

if TYPE_CHECKING:
    from safegrpo.training.config import Recipe

INSTALL = "pip install 'safegrpo[train]'"

# What the recipe says elsewhere, or what the run depends on and sets itself.
_ELSEWHERE = {
    "output_dir": 'use "output"',
    "seed": 'use "seed" of the recipe',
    "data_seed": 'use "seed" of the recipe',
    "save_strategy": 'use "checkpoint"',
    "save_steps": 'use "checkpoint.every"',
    "save_total_limit": 'use "checkpoint.keep"',
    "save_only_model": "a checkpoint must hold what resuming needs",
    "load_best_model_at_end": 'use "evaluate"; the best model is in checkpoints/best',
    "metric_for_best_model": 'use "evaluate.metric"',
    "greater_is_better": 'use "evaluate.greater_is_better"',
    "do_eval": 'use "evaluate"',
    "eval_strategy": 'use "evaluate"',
    "eval_steps": 'use "evaluate.every"',
    "eval_on_start": 'use "evaluate"',
    "remove_unused_columns": "the reward needs the columns",
    "resume_from_checkpoint": "use --resume",
    "ignore_data_skip": "a resumed run would see its data twice",
    "log_completions": 'use "samples_every"; all completions are in rollouts/',
    "max_prompt_length": 'use "data.max_prompt_length"',
    "trust_remote_code": "safegrpo never runs code that comes with a model",
    "hub_token": "a recipe holds no secrets; set HF_TOKEN in the environment",
    "disable_tqdm": "safegrpo draws its own progress line",
    "gradient_checkpointing_kwargs": "safegrpo relies on the non-reentrant kind",
    "use_transformers_continuous_batching": "TRL has it for text models only",
    "sync_ref_model": "no checkpoint holds the moved reference, so no run could go on",
    "model_init_kwargs": "TRL would give it to the reference model alone; the recipe loads both",
    "use_transformers_paged": "TRL has it for text models only",
}

OUR_GRPO: dict[str, Any] = {
    "num_generations": 8,
    "temperature": 1.0,
    "beta": 0.01,
    "epsilon": 0.2,
    "learning_rate": 1e-6,
    "max_completion_length": 2048,
    "logging_steps": 1,
    # Tags and behavior are normalised each by itself: one wrong tag then no longer looks like a
    # broken format, and a group whose tags all agree still learns from its answers.
    "multi_objective_aggregation": "normalize_then_sum",
    "reward_weights": [0.5, 0.5],
    "report_to": "none",
    "dataloader_pin_memory": False,
}
"""Our defaults where they are not TRL's."""


def check_grpo_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with numbers made numbers; unchanged where TRL is not installed.

    Raises ConfigError for an unknown key (naming the nearest), one that the recipe sets
    elsewhere, or a number that is none.
    """
    secret = _secret(options)
    if secret is not None:
        raise ConfigError(f'"grpo.{secret}": {_ELSEWHERE["hub_token"]}')
    for key in options:
        if key in _ELSEWHERE:
            raise ConfigError(f'"grpo.{key}" is not set here: {_ELSEWHERE[key]}')
    if importlib.util.find_spec("trl") is None:
        return dict(options)
    hints = get_type_hints(_config_class())
    known = {name for name in _config_class().__dataclass_fields__ if name not in _ELSEWHERE}
    checked = {}
    for key, value in options.items():
        if key not in known:
            raise ConfigError(f'unknown key "grpo.{key}"{nearest(key, known)}')
        checked[key] = _as_number(key, value, hints[key])
        _check_value(key, checked[key])
    return checked


_LEAST = {"num_generations": 2, "temperature": 1e-3, "learning_rate": 0, "epsilon": 0, "beta": 0}
_CHOICES = {
    "multi_objective_aggregation": ("sum_then_normalize", "normalize_then_sum"),
    "loss_type": ("grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "vespo", "luspo"),
    "vllm_mode": ("colocate", "server"),
    "vllm_importance_sampling_mode": (
        *("token_truncate", "token_mask", "sequence_truncate", "sequence_mask"),
    ),
}
_MAPPINGS = frozenset({"generation_kwargs", "chat_template_kwargs"})


def _check_value(key: str, value: Any) -> None:
    """What TRL would only find out in the midst of a run. Raises ConfigError."""
    least, choices = _LEAST.get(key), _CHOICES.get(key)
    # "not >=" also refuses what is no number at all (nan).
    if least is not None and value is not None and not value >= least:
        raise ConfigError(f'"grpo.{key}": {least} or more is wanted (given {value})')
    if choices is not None and value not in choices:
        raise ConfigError(f'"grpo.{key}": one of {", ".join(choices)} is wanted (given {value})')
    if key == "max_steps" and value == 0:
        raise ConfigError('"grpo.max_steps": 0 steps train nothing; leave it out for whole epochs')
    if key in _MAPPINGS and not isinstance(value, Mapping | None):
        raise ConfigError(f'"grpo.{key}": a mapping is wanted (given {value!r:.80})')
    if key == "reward_weights" and not _two_numbers(value):
        raise ConfigError('"grpo.reward_weights": two numbers are wanted, for tag and behavior')


def _two_numbers(value: Any) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) == 2
        and all(isinstance(v, int | float) and math.isfinite(v) for v in value)
    )


def _secret(value: Any, place: str = "") -> str | None:
    """Where in `value` a name says that a secret stands there."""
    if isinstance(value, list | tuple):
        value = dict(enumerate(value))
    for key, one in value.items() if isinstance(value, Mapping) else ():
        at = f"{place}.{key}" if place else str(key)
        found = at if is_secret(str(key)) else _secret(one, at)
        if found is not None:
            return found
    return None


def _as_number(key: str, value: Any, hint: Any) -> Any:
    kinds = set(get_args(hint)) or {hint}
    # YAML reads 1e-6 (no point) as a text, and people write it so.
    if isinstance(value, str) and kinds & {int, float} and str not in kinds:
        try:
            return int(value) if float not in kinds else float(value)
        except ValueError as error:
            raise ConfigError(f'"grpo.{key}": a number is wanted (given {value!r:.80})') from error
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    if value is not None and kinds <= {int, float, type(None)} and not numeric:
        raise ConfigError(f'"grpo.{key}": a number is wanted (given {value!r:.80})')
    if isinstance(value, float) and kinds <= {int, type(None)}:
        raise ConfigError(f'"grpo.{key}": a whole number is wanted (given {value!r})')
    if kinds <= {bool, type(None)} and value is not None and not isinstance(value, bool):
        raise ConfigError(f'"grpo.{key}": true or false is wanted (given {value!r:.80})')
    return value


_WHOLE = {"top_p": (1,), "top_k": (0, -1), "min_p": (0,), "repetition_penalty": (1,)}
"""Options of sampling, and the values with which every token keeps its probability."""


def check_rollouts(recipe: Recipe) -> None:
    """Raise ConfigError if completions by vLLM could not be learned from as the recipe asks."""
    options = {**OUR_GRPO, **recipe.grpo}
    if not options.get("use_vllm"):
        return
    # The engine gives probabilities after such a cut, the trainer before: over a whole answer the
    # ratio of the two goes to nothing, and with it what the answer counts in the loss.
    for key, value in {**options, **(options.get("generation_kwargs") or {})}.items():
        if key in _WHOLE and value not in (None, *_WHOLE[key]):
            raise ConfigError(
                f'"grpo.{key}": {value} changes probabilities in vLLM that the trainer does not '
                "know of; leave it out, or use_vllm"
            )
    prompt, completion = recipe.data.max_prompt_length, options["max_completion_length"] or 0
    limit = options.get("vllm_max_model_length")
    if limit is not None and limit < prompt + completion:
        raise ConfigError(
            f'"grpo.vllm_max_model_length": {limit} would cut completions short; a prompt '
            f"(data.max_prompt_length {prompt}) and a completion (grpo.max_completion_length "
            f"{completion}) need {prompt + completion}"
        )


def notices(recipe: Recipe) -> list[str]:
    """What is allowed, but should be known before a run begins: one line each."""
    correction = recipe.grpo.get("vllm_importance_sampling_correction", True)
    if not recipe.grpo.get("use_vllm") or correction:
        return []
    return [
        "grpo.vllm_importance_sampling_correction is off: completions count as the trainer's own, "
        "though vLLM's probabilities are not quite the same"
    ]


def _weights(recipe: Recipe) -> dict[str, list[float]]:
    """Weights of tag, behavior and, where it pays by itself, format."""
    weights = recipe.grpo.get("reward_weights") or OUR_GRPO["reward_weights"]
    extra = recipe.credit.format_weight
    return {"reward_weights": [*weights, extra]} if extra else {}


def _config_class() -> Any:
    try:
        from trl import GRPOConfig
    except ImportError as error:
        raise MissingDependencyError(f"training needs trl: {INSTALL}") from error
    return GRPOConfig


def grpo_config(recipe: Recipe, output_dir: str) -> Any:
    """The GRPOConfig of a recipe on this machine; `output_dir` is for TRL's checkpoints.

    Raises ConfigError with TRL's own reason if the options do not go together.
    """
    import torch

    check_rollouts(recipe)
    on_gpu = torch.cuda.is_available() and not recipe.grpo.get("use_cpu")
    options = {
        **OUR_GRPO,
        "use_cpu": not on_gpu,
        # As the launcher asks, or else wherever it can be: what is sampled and measured must know.
        "bf16": os.environ.get("ACCELERATE_MIXED_PRECISION") == "bf16"
        or bool(on_gpu and torch.cuda.is_bf16_supported()),
        "gradient_checkpointing": on_gpu,
        **recipe.grpo,
        **_weights(recipe),
        "output_dir": output_dir,
        "seed": recipe.seed,
        "save_strategy": "no",  # our callback asks for checkpoints, at generation boundaries
        "save_total_limit": recipe.checkpoint.keep,
        "eval_strategy": "no",
        "remove_unused_columns": False,
        "disable_tqdm": True,
        "log_completions": False,
    }
    if options.get("fp16"):
        options["bf16"] = False
    try:
        return _config_class()(**options)
    except (TypeError, ValueError, ImportError, ArithmeticError, AttributeError) as error:
        raise ConfigError(f'"grpo": {" ".join(str(error).split())}') from error
