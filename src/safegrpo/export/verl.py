"""A recipe as verl 0.9.x takes it: Hydra overrides, the line that starts it, the reward file.

Whatever decides what is learned is written out, also where verl's own value is the same today.
Every key exists in verl's shipped configuration but those with a `+`, which verl reads and ships
without a value; `tests/export/test_in_verl_config.py` composes them against it.

Departures from the published script, with their reasons, are in docs/verl.md.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safegrpo.errors import ConfigError
from safegrpo.export.options import NO_BOUND
from safegrpo.export.settings import VLLM_MEMORY, Cluster, Exported, Settings, model_path

VERSION = "0.9.1"
"""The verl that this is written for and checked against."""

VISION_LAYERS = ".*(visual|vision|multi_modal_projector|connector|image_newline|qformer).*"
"""Names of layers that adapters leave alone, as PEFT matches them."""

PROCESSORS = (
    *("Qwen2VLProcessor", "Qwen2_5_VLProcessor", "Qwen3VLProcessor"),
    *("Glm4vProcessor", "Gemma4Processor"),
)
"""The processors of models that verl shows images to; it takes any other model for a text model."""

_LOSS = {
    "dapo": "token-mean",
    "grpo": "seq-mean-token-mean",
    "dr_grpo": "seq-mean-token-sum-norm",
}
_SIMPLE = re.compile(r"[A-Za-z_/][\w./-]*", re.ASCII)
_WORDS = ("null", "true", "false", "nan", "inf")


@dataclass(frozen=True)
class Beside:
    """A file or folder beside run.sh, wherever that is when it runs."""

    name: str


Override = tuple[str, Any]
"""(key, value): text, number, truth, None, a list of these, or Beside."""


def check(settings: Settings) -> tuple[str, ...]:
    """What verl is without, as lines to say; ConfigError for what changes what is learned."""
    recipe = settings.recipe
    if recipe.freeze_vision and recipe.lora is None:
        raise ConfigError(
            f'"freeze_vision" is not to be had from verl {VERSION} (it ships the key '
            "actor.freeze_vision_tower, but nothing reads it); set freeze_vision: false, or train "
            "adapters (lora), which leave the vision tower alone"
        )
    notices = []
    if recipe.rules == "strict":
        notices.append(
            "the rule about one answer given to many requests is left out: verl scores one "
            "response at a time"
        )
    if settings.each_by_itself:
        notices.append(
            f"each part normalised by itself is verl's gdpo, which verl {VERSION} has in its older "
            "trainer alone: trainer.use_v1=False"
        )
    return tuple(notices)


def overrides(settings: Settings, cluster: Cluster, data: Exported) -> list[Override]:
    """The Hydra overrides of a run, in the order of verl's own configuration."""
    return [
        *_algorithm(settings),
        *_data(settings, data),
        *_model(settings),
        *_actor(settings),
        *_rollout(settings),
        ("actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu", settings.micro_batch),
        ("actor_rollout_ref.ref.fsdp_config.param_offload", True),
        *_reward(settings),
        *_trainer(settings, cluster, data),
    ]


def _algorithm(settings: Settings) -> list[Override]:
    found: list[Override] = [
        ("algorithm.adv_estimator", "gdpo" if settings.each_by_itself else "grpo"),
        ("algorithm.norm_adv_by_std_in_grpo", settings.scale_by_std),
        ("algorithm.use_kl_in_reward", False),
    ]
    if settings.each_by_itself:
        keys = ["gated_tag", "gated_behavior", "format"][: len(settings.weights)]
        found += [
            ("+algorithm.gdpo_reward_keys", keys),
            ("+algorithm.gdpo_reward_weights", list(settings.weights)),
        ]
    return found


def _data(settings: Settings, data: Exported) -> list[Override]:
    recipe = settings.recipe
    found: list[Override] = [
        ("data.train_files", Beside("train.parquet")),
        # verl wants such a file also where it measures nothing.
        ("data.val_files", Beside("test.parquet" if data.test_rows else "train.parquet")),
        ("data.val_max_samples", -1 if data.test_rows else 1),
        ("data.train_batch_size", settings.batch),
        ("data.max_prompt_length", recipe.data.max_prompt_length),
        ("data.max_response_length", settings.max_response_length),
        # verl's filter says neither which rows it leaves out nor why; ours has been before it.
        ("data.filter_overlong_prompts", not data.measured),
        ("data.truncation", "error"),
        ("data.image_key", "images"),
        # The filter would measure images with patches of 14 pixels, whatever the model's are.
        ("data.image_patch_size", None),
        ("data.shuffle", settings.shuffle),
        ("data.seed", recipe.seed),
    ]
    return [
        *found,
        *((f"+data.apply_chat_template_kwargs.{k}", v) for k, v in settings.chat_template.items()),
    ]


def _model(settings: Settings) -> list[Override]:
    found: list[Override] = [
        ("actor_rollout_ref.model.path", model_path(settings.recipe.model)),
        ("actor_rollout_ref.model.use_remove_padding", True),
        ("actor_rollout_ref.model.use_fused_kernels", True),
        (
            "actor_rollout_ref.model.enable_gradient_checkpointing",
            settings.gradient_checkpointing,
        ),
    ]
    if settings.lora is not None:
        found += [
            ("actor_rollout_ref.model.lora_rank", settings.lora.r),
            ("actor_rollout_ref.model.lora_alpha", settings.lora.alpha),
            ("actor_rollout_ref.model.target_modules", list(settings.lora.target_modules)),
            ("actor_rollout_ref.model.exclude_modules", VISION_LAYERS),
        ]
    return found


def _actor(settings: Settings) -> list[Override]:
    # verl always bounds the ratio from above where an answer is bad; it clamps log-ratios at 20.
    bound = NO_BOUND if settings.clip_dual is None else settings.clip_dual
    warmup: Override = ("optim.lr_warmup_steps", int(settings.warmup))
    if 0 < settings.warmup < 1:
        warmup = ("optim.lr_warmup_steps_ratio", settings.warmup)
    found: list[Override] = [
        ("optim.lr", settings.learning_rate),
        ("optim.lr_scheduler_type", settings.schedule),
        warmup,
        ("optim.weight_decay", settings.weight_decay),
        ("optim.betas", list(settings.betas)),
        ("optim.clip_grad", settings.max_grad_norm),
        ("ppo_mini_batch_size", settings.mini_batch),
        ("ppo_micro_batch_size_per_gpu", settings.micro_batch),
        ("ppo_epochs", settings.passes),
        ("clip_ratio", settings.clip_low),
        ("clip_ratio_low", settings.clip_low),
        ("clip_ratio_high", settings.clip_high),
        ("clip_ratio_c", bound),
        ("loss_agg_mode", _LOSS[settings.loss]),
        ("use_kl_loss", settings.beta > 0),
        ("kl_loss_coef", settings.beta),
        ("kl_loss_type", "low_var_kl"),
        ("entropy_coeff", settings.entropy),
        ("data_loader_seed", settings.recipe.seed),
        # Steps of 1e-6 vanish in 16 bits, and verl gives adapters the type of what they adapt.
        ("fsdp_config.model_dtype", "fp32"),
        ("fsdp_config.param_offload", False),
        ("fsdp_config.optimizer_offload", False),
        ("checkpoint.save_contents", ["model", "optimizer", "extra"]),
    ]
    if settings.loss == "dr_grpo":
        found.append(("loss_scale_factor", settings.max_response_length))
    return [(f"actor_rollout_ref.actor.{key}", value) for key, value in found]


def _rollout(settings: Settings) -> list[Override]:
    length = settings.recipe.data.max_prompt_length + settings.max_response_length
    found: list[Override] = [
        ("name", "vllm"),
        ("n", settings.group),
        ("temperature", settings.temperature),
        ("top_p", settings.top_p),
        ("top_k", settings.top_k),
        # Left to itself verl makes room for the longest text the model can read.
        ("max_model_len", length),
        ("log_prob_micro_batch_size_per_gpu", settings.micro_batch),
        ("tensor_model_parallel_size", settings.vllm_tensor_parallel),
        ("gpu_memory_utilization", VLLM_MEMORY),
        ("enable_chunked_prefill", True),
        ("enforce_eager", False),
        ("free_cache_engine", True),
    ]
    if settings.lora is not None:
        found.append(("load_format", "safetensors"))  # vLLM holds the base model, verl the adapter
    keyed = [(f"actor_rollout_ref.rollout.{key}", value) for key, value in found]
    if settings.recipe.trains_vision:
        # As published, by vLLM's name of today; vision features verl forgets itself.
        keyed.append(("+actor_rollout_ref.rollout.engine_kwargs.vllm.mm_processor_cache_gb", 0))
    return keyed


def _reward(settings: Settings) -> list[Override]:
    return [
        ("reward.reward_manager.name", "naive"),
        ("reward.custom_reward_function.path", Beside("reward.py")),
        ("reward.custom_reward_function.name", "compute_score"),
        *(
            (f"+reward.custom_reward_function.reward_kwargs.{key}", value)
            for key, value in settings.reward_options.items()
        ),
    ]


def _trainer(settings: Settings, cluster: Cluster, data: Exported) -> list[Override]:
    batches = max(1, data.train_rows // settings.batch)
    epochs = settings.epochs
    if settings.max_batches is not None:  # verl ends with whichever comes first
        epochs = math.ceil(settings.max_batches / batches)
    found: list[Override] = [
        ("total_epochs", epochs),
        ("total_training_steps", settings.max_batches),
        ("project_name", "safegrpo"),
        ("experiment_name", Path(settings.recipe.output).name or "safegrpo"),
        ("logger", list(settings.loggers)),
        ("nnodes", cluster.nodes),
        ("n_gpus_per_node", cluster.gpus_per_node),
        ("critic_warmup", 0),
        ("val_before_train", data.test_rows > 0),
        ("test_freq", settings.test_every if data.test_rows else -1),
        ("save_freq", settings.save_every),
        ("max_actor_ckpt_to_keep", settings.recipe.checkpoint.keep),
        ("default_local_dir", Beside("checkpoints")),
    ]
    if settings.each_by_itself:
        found.append(("use_v1", False))
    return [(f"trainer.{key}", value) for key, value in found]


def hydra_value(value: Any, here: str = "$here") -> str:
    """A value as Hydra's command line reads it; `here` is the folder that Beside stands in.

    Raises ConfigError for a value that it cannot read back.
    """
    if isinstance(value, Beside):
        return f"'{here}/{value.name}'"
    if value is None:
        return "null"
    if isinstance(value, Mapping):
        raise ConfigError(f"{value!r:.80} is nested, which a command line of verl cannot hold")
    if isinstance(value, list):
        return f"[{','.join(hydra_value(one, here) for one in value)}]"
    if not isinstance(value, str):
        return str(value)
    if _SIMPLE.fullmatch(value) and value.lower() not in _WORDS:
        return value
    if "\\" in value or not value.isprintable():
        raise ConfigError(f"{value!r:.80} holds a sign that a command line of verl cannot hold")
    escaped = value.replace("'", "\\'").replace("${", "\\${")
    return f"'{escaped}'"


FINDS = 'import importlib.util as u; exit(u.find_spec("{}") is None)'
"""Python that ends with code 0 if it has a module."""

REWARD_FILE = '''\
"""SafeGRPO's reward for verl, written by `safegrpo export verl`.

safegrpo must be installed where verl runs; its core dependencies are enough.
"""

from safegrpo.export.rewards import compute_score

__all__ = ["compute_score"]
'''


def run_script(settings: list[Override]) -> str:
    """The text of run.sh: it starts verl with the overrides, and passes on what it is given."""
    lines = []
    for key, value in settings:
        text = f"{key}={hydra_value(value)}"
        # Only what lies beside the script needs the shell to put its folder in.
        word = f'"{text}"' if isinstance(value, Beside) else shlex.quote(text)
        lines.append(f"    {word} \\")
    body = "\n".join(lines)
    return f"""\
#!/usr/bin/env bash
# Written by `safegrpo export verl` for verl {VERSION}; what it was made from is in export.json.
# The folder may be moved. Further overrides come last and win: ./run.sh trainer.n_gpus_per_node=8
set -euo pipefail
here="$(CDPATH= cd -- "$(dirname -- "${{BASH_SOURCE[0]}}")" >/dev/null && pwd)"
case "$here" in *\\\\* | *'${{'*)
    echo 'run.sh: Hydra would misread a \\ or ${{ in a path; move this folder' >&2
    exit 2
    ;;
esac
here="${{here//\\'/\\\\\\'}}" # as Hydra reads a quote
python="${{PYTHON:-python3}}"
if ! "$python" -c '{FINDS.format("verl.trainer.main_ppo")}' >/dev/null 2>&1; then
    echo "run.sh: $python has no verl: pip install verl=={VERSION}, or PYTHON=... ./run.sh" >&2
    exit 2
fi
exec "$python" -m verl.trainer.main_ppo \\
{body}
    "$@"
"""
