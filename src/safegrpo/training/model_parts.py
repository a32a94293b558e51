"""Which parts of a vision-language model train: frozen vision towers, LoRA on the language tower.

Also how what was trained is saved: always as a whole model in safetensors that transformers loads
without knowing about adapters, with the adapter beside it.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from torch import nn

from safegrpo.errors import ConfigError, ModelError
from safegrpo.models import save_processor
from safegrpo.training.config import LoraConfig, Recipe
from safegrpo.training.grpo_options import INSTALL

VISION_PARTS = (
    *("visual", "vision_tower", "vision_model", "vision_encoder", "multi_modal_projector"),
    *("connector", "image_newline", "embed_vision", "qformer"),
)
"""Attributes of a model (or its `.model`) that hold its vision half, merger or projector too."""


def vision_modules(model: Any) -> dict[str, nn.Module]:
    """The vision half of a model: {name as in named_modules: module}.

    Raises ModelError if none of the known layouts is found.
    """
    prefixes = {"model.": getattr(model, "model", None), "": model}
    found = {
        f"{prefix}{name}": getattr(owner, name)
        for prefix, owner in prefixes.items()
        if owner is not None
        for name in VISION_PARTS
        if isinstance(getattr(owner, name, None), nn.Module)
    }
    if not found:
        raise ModelError(
            f"{type(model).__name__}: its vision tower is under none of the known names "
            f"({', '.join(VISION_PARTS)}); set freeze_vision: false and lora: null"
        )
    return found


def freeze_vision(model: Any) -> int:
    """Freeze the vision half; returns the number of parameters frozen."""
    frozen = 0
    for module in vision_modules(model).values():
        for parameter in module.parameters():
            parameter.requires_grad_(False)
            frozen += parameter.numel()
    return frozen


def peft_config(model: Any, lora: LoraConfig) -> Any:
    """PEFT's configuration for adapters on the language tower's linear layers alone.

    Raises ConfigError if no layer of the language tower has one of the names.
    """
    try:
        from peft import LoraConfig as PeftLoraConfig
    except ImportError as error:
        from safegrpo.errors import MissingDependencyError

        raise MissingDependencyError(f"LoRA needs peft: {INSTALL}") from error
    vision = tuple(f"{name}." for name in vision_modules(model))
    linear = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and not name.startswith(vision)
    ]
    targets = [name for name in linear if name.rpartition(".")[2] in lora.target_modules]
    if not targets:
        names = sorted({name.rpartition(".")[2] for name in linear})
        raise ConfigError(f"lora.target_modules: none is in the language tower ({names})")
    return PeftLoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        # Full names: a bare "q_proj" would also reach layers of some vision towers.
        target_modules=targets,
        bias="none",
        task_type="CAUSAL_LM",
    )


def training_dtype(recipe: Recipe) -> str:
    """The dtype to load weights in: float32 unless they stay frozen on a GPU.

    Updates of size 1e-6 vanish in bfloat16 weights; mixed precision belongs to the forward pass.
    """
    if recipe.dtype != "auto":
        return recipe.dtype
    frozen_on_gpu = recipe.lora is not None and torch.cuda.is_available()
    return "bfloat16" if frozen_on_gpu and not recipe.grpo.get("use_cpu") else "float32"


def save_trained(
    model: Any,
    processor: Any,
    directory: Path,
    source: str | Path | None = None,
    state: dict[str, torch.Tensor] | None = None,
) -> None:
    """Save a trained model and its processor; adapters merged, and by themselves in `adapter/`.

    `state` is the model's state where its parameters are sharded over processes.
    """
    shutil.rmtree(directory, ignore_errors=True)
    if hasattr(model, "peft_config"):
        base = model.get_base_model()
        base.save_pretrained(directory, state_dict=merged_state(model))
        model.save_pretrained(directory / "adapter")
    else:
        model.save_pretrained(directory, state_dict=state)
    save_processor(processor, directory, source)


def merged_state(model: Any) -> dict[str, torch.Tensor]:
    """The state of a PEFT model's base with the adapters added in; the model stays as it is.

    Merging in place and undoing it would leave rounding errors in the weights that train on.
    """
    base = model.get_base_model()
    deltas = {
        f"{name}.weight": sum(module.get_delta_weight(a) for a in module.active_adapters)
        for name, module in base.named_modules()
        if hasattr(module, "get_delta_weight") and hasattr(module, "base_layer")
    }
    state = {}
    for key, value in base.state_dict().items():
        if ".lora_" in key:
            continue
        key = key.replace(".base_layer.", ".")
        if key in deltas:
            value = (value.float() + deltas[key].float()).to(value.dtype)
        state[key] = value
    return state
