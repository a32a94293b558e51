"""What a model that is divided over processes asks for, and what would go wrong with it."""

from __future__ import annotations

import os
from typing import Any

from transformers.integrations import is_deepspeed_zero3_enabled

from safegrpo.errors import ConfigError, ModelError
from safegrpo.shared_prefix.model import transformers_model
from safegrpo.training.model_parts import head_is_tied


def how_it_runs(trainer: Any) -> str:
    """A line that says on how many processes a run is, and how the model is divided."""
    processes, dist = trainer.accelerator.num_processes, trainer._dist
    how = "DDP"
    if dist.is_fsdp:
        how = f"FSDP{dist.fsdp_version}"
    elif trainer.is_deepspeed_enabled:
        how = f"DeepSpeed ZeRO-{dist.zero_stage}"
    on = f"{processes} processes, {how}" if processes > 1 else "one process"
    mixed = trainer.accelerator.mixed_precision
    precision = {"no": "no mixed precision", "bf16": "bfloat16", "fp16": "float16"}.get(
        mixed, mixed
    )
    return f"training on {on}, {trainer.args.device}, {precision}"


def divided_launch() -> bool:
    """Whether the launcher has asked for FSDP or ZeRO-3."""
    asked: bool = os.environ.get("ACCELERATE_USE_FSDP") == "true" or is_deepspeed_zero3_enabled()
    return asked


def name_own_layers(model: Any) -> None:
    """Name only layers that the model has as what FSDP divides it by.

    Some (Gemma 3, LLaVA) name others beside them, of vision towers they might have had, and
    accelerate ends there.
    """
    own = {type(module).__name__ for module in model.modules()}
    model._no_split_modules = [name for name in model._no_split_modules or () if name in own]


def check_head(trainer: Any) -> None:
    """Raise ModelError where TRL 1.16 would compute a wrong gradient of padded batches.

    It reads the head's weights past FSDP2, so that their gradients are not summed over the
    processes (trl.trainer.utils.add_fused_lm_head). Where head and embeddings are one they are.
    """
    if trainer._dist.fsdp_version != 2 or trainer.accelerator.num_processes == 1:
        return
    model = transformers_model(trainer.accelerator.unwrap_model(trainer.model))
    if model.get_output_embeddings().weight.requires_grad and not head_is_tied(model):
        raise ModelError(
            "under FSDP2 TRL computes a wrong gradient of a head that is not tied to the "
            "embeddings, unless prompts are shared: keep shared_prefix on, or take DeepSpeed"
        )


def check_saves_whole(trainer: Any) -> None:
    """Raise ConfigError if DeepSpeed would not give the model's weights when it is to be saved."""
    if not trainer.is_deepspeed_enabled:
        return
    zero = trainer.accelerator.state.deepspeed_plugin.deepspeed_config["zero_optimization"]
    if zero.get("stage") == 3 and not zero.get("stage3_gather_16bit_weights_on_model_save"):
        raise ConfigError(
            "ZeRO-3 could not save the trained model: set zero3_save_16bit_model: true in "
            "accelerate's file (stage3_gather_16bit_weights_on_model_save in DeepSpeed's)"
        )
