"""A recipe as EasyR1 takes it: config.yaml, the line that starts it, the reward file.

EasyR1 reads the same parquet as verl, by other columns, and hands its reward whole batches. It has
no release that installs beside this; its keys are those of its main branch in July 2026 (0.3.2),
and no run was made.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from safegrpo.errors import ConfigError
from safegrpo.export.options import NO_BOUND
from safegrpo.export.settings import VLLM_MEMORY, Cluster, Exported, Settings, model_path
from safegrpo.export.verl import FINDS

VERSION = "0.3.2"

ONE_ROW = "one_row.parquet"
"""The held-out rows where the recipe has none: EasyR1 measures some at the end all the same."""

_VLLM_TOKENS = 8192  # of a batch in vLLM, EasyR1's own; it starts with no fewer than a row may have
_LOGGERS = ("console", "wandb", "mlflow", "swanlab", "tensorboard")


def check(settings: Settings) -> tuple[str, ...]:
    """What EasyR1 is without, as lines to say; ConfigError for what changes what is learned."""
    for key, asked, mend in (
        (
            "grpo.multi_objective_aggregation",
            settings.each_by_itself,
            "set sum_then_normalize",
        ),
        ("grpo.scale_rewards", not settings.scale_by_std, "set group"),
        # Its "seq" weights the parts of a mini-batch by their tokens, which is not GRPO's mean.
        ("grpo.loss_type", settings.loss != "dapo", "set dapo"),
        ("grpo.entropy_coef", settings.entropy != 0, "set 0"),
        ("grpo.chat_template_kwargs", settings.chat_template, "leave it out"),
        ("grpo.report_to", set(settings.loggers) - set(_LOGGERS), f"one of {_LOGGERS[1:]}"),
    ):
        if asked:
            raise ConfigError(f'"{key}" as it is set is not to be had from EasyR1; {mend}')
    return ()


def config(settings: Settings, cluster: Cluster, data: Exported) -> dict[str, Any]:
    """The content of config.yaml; what lies beside it is named by run.sh."""
    recipe = settings.recipe
    offload = {"offload_params": False, "offload_optimizer": False}
    longest = recipe.data.max_prompt_length + settings.max_response_length
    return {
        "data": {
            "prompt_key": "problem",
            "answer_key": "ground_truth",
            "image_key": "images",
            "max_prompt_length": recipe.data.max_prompt_length,
            "max_response_length": settings.max_response_length,
            "rollout_batch_size": settings.batch,
            "val_batch_size": -1,
            "format_prompt": None,  # the guide is in the prompts
            "shuffle": settings.shuffle,
            "seed": recipe.seed,
            # EasyR1 scales images by these before the model's own processor does.
            "min_pixels": None,
            "max_pixels": None,
            "filter_overlong_prompts": not data.measured,
        },
        "algorithm": {
            "adv_estimator": "grpo",
            "disable_kl": settings.beta == 0,
            "use_kl_loss": True,
            "kl_penalty": "low_var_kl",
            "kl_coef": settings.beta,
        },
        "worker": {
            "actor": {**_actor(settings), "offload": offload},
            "rollout": {
                "n": settings.group,
                "temperature": settings.temperature,
                "top_p": settings.top_p,
                "top_k": settings.top_k,
                "seed": recipe.seed,
                "gpu_memory_utilization": VLLM_MEMORY,
                "tensor_parallel_size": settings.vllm_tensor_parallel,
                "enforce_eager": False,
                "max_num_batched_tokens": max(_VLLM_TOKENS, longest),
                "val_override_config": {"temperature": 0.0, "top_p": 1.0, "n": 1},
            },
            "ref": {
                "fsdp": {"enable_full_shard": True, "enable_cpu_offload": True},
                "offload": {"offload_params": False},
            },
            "reward": {"reward_function_kwargs": settings.reward_options},
        },
        "trainer": _trainer(settings, cluster, data),
    }


def _actor(settings: Settings) -> dict[str, Any]:
    recipe = settings.recipe
    model: dict[str, Any] = {
        "model_path": _literal(model_path(recipe.model)),
        "enable_gradient_checkpointing": settings.gradient_checkpointing,
        "trust_remote_code": False,  # EasyR1 would run code that comes with a model
        # With adapters too: it freezes those that names have put into the vision tower.
        "freeze_vision_tower": recipe.freeze_vision or recipe.lora is not None,
    }
    if recipe.lora is not None:
        model["lora"] = {
            "rank": recipe.lora.r,
            "alpha": recipe.lora.alpha,
            "target_modules": ",".join(recipe.lora.target_modules),
        }
    optim: dict[str, Any] = {
        "lr": settings.learning_rate,
        "betas": list(settings.betas),
        "weight_decay": settings.weight_decay,
        "strategy": "adamw",
        "lr_scheduler_type": settings.schedule,
    }
    if 0 < settings.warmup < 1:
        optim["lr_warmup_ratio"] = settings.warmup
    else:
        optim["lr_warmup_steps"] = int(settings.warmup)
    return {
        "global_batch_size": settings.mini_batch,
        "micro_batch_size_per_device_for_update": settings.micro_batch,
        "micro_batch_size_per_device_for_experience": settings.micro_batch,
        "max_grad_norm": settings.max_grad_norm,
        "clip_ratio_low": settings.clip_low,
        "clip_ratio_high": settings.clip_high,
        # EasyR1 always bounds the ratio where an answer is bad; it clamps log-ratios at 20.
        "clip_ratio_dual": NO_BOUND if settings.clip_dual is None else settings.clip_dual,
        "loss_avg_mode": "token",
        "ppo_epochs": settings.passes,
        "padding_free": True,
        "model": model,
        "optim": optim,
        "fsdp": {
            "enable_full_shard": True,
            "torch_dtype": "fp32",
        },
    }


def _literal(text: str) -> str:
    """A text that EasyR1's configuration takes as it is, and not for a name of something else."""
    return text.replace("${", "\\${")


def _trainer(settings: Settings, cluster: Cluster, data: Exported) -> dict[str, Any]:
    return {
        "total_epochs": settings.epochs,
        "max_steps": settings.max_batches,
        "project_name": "safegrpo",
        "experiment_name": _literal(Path(settings.recipe.output).name or "safegrpo"),
        "logger": list(settings.loggers),
        "nnodes": cluster.nodes,
        "n_gpus_per_node": cluster.gpus_per_node,
        "val_freq": settings.test_every if data.test_rows else -1,
        "val_before_train": data.test_rows > 0,
        "save_freq": settings.save_every,
        "save_limit": settings.recipe.checkpoint.keep,
    }


def config_text(settings: Settings, cluster: Cluster, data: Exported) -> str:
    """The text of config.yaml."""
    options = config(settings, cluster, data)
    head = "# Written by `safegrpo export easyr1`; what it was made from is in export.json.\n"
    return head + yaml.safe_dump(options, sort_keys=False, allow_unicode=True)


REWARD_FILE = '''\
"""SafeGRPO's reward for EasyR1, written by `safegrpo export easyr1`.

safegrpo must be installed where EasyR1 runs; its core dependencies are enough.
"""

from safegrpo.export.rewards import compute_scores

REWARD_NAME = "safegrpo"
REWARD_TYPE = "batch"

compute_score = compute_scores
'''


def run_script(data: Exported) -> str:
    """The text of run.sh: it starts EasyR1 with config.yaml, and passes on what it is given."""
    test = "test.parquet" if data.test_rows else ONE_ROW
    return f"""\
#!/usr/bin/env bash
# Written by `safegrpo export easyr1` for EasyR1 {VERSION}; export.json says what it was made from.
# The folder may be moved. Further settings come last and win: ./run.sh trainer.n_gpus_per_node=8
set -euo pipefail
here="$(CDPATH= cd -- "$(dirname -- "${{BASH_SOURCE[0]}}")" >/dev/null && pwd)"
case "$here" in *@* | *'${{'* | *[[:space:]]'#'* | *:[[:space:]]* | *[[:cntrl:]]*)
    echo 'run.sh: EasyR1 would misread @, ${{, " #" or ": " in a path; move this folder' >&2
    exit 2
    ;;
esac
python="${{PYTHON:-python3}}"
if ! "$python" -c '{FINDS.format("verl.trainer.main")}' >/dev/null 2>&1; then
    echo "run.sh: $python finds no EasyR1 (verl.trainer.main): start this from its checkout," \\
        "or set PYTHONPATH to that" >&2
    exit 2
fi
exec "$python" -m verl.trainer.main \\
    config="$here/config.yaml" \\
    data.train_files="$here/train.parquet" \\
    data.val_files="$here/{test}" \\
    worker.reward.reward_function="$here/reward.py:compute_score" \\
    trainer.save_checkpoint_path="$here/checkpoints" \\
    "$@"
"""
