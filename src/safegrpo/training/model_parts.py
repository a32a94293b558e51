"""Which parts of a vision-language model train: frozen vision towers, LoRA on the language tower.

Also how what was trained is saved: always as a whole model in safetensors that transformers loads
without knowing about adapters, with the adapter beside it.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.tensor import DTensor

from safegrpo.errors import ConfigError, ModelError
from safegrpo.models import save_processor
from safegrpo.training.config import LoraConfig, Recipe
from safegrpo.training.grpo_options import INSTALL

VISION_PARTS = (
    *("visual", "vision_tower", "vision_model", "vision_encoder", "multi_modal_projector"),
    *("connector", "image_newline", "embed_vision", "qformer"),
)
"""Attributes of a model (or its `.model`) that hold its vision half, merger or projector too."""

ADAPTER = "adapter"
"""The folder of the adapter in that of a model trained by LoRA."""

_BASE = "base_model.model."  # what PEFT puts before the names of the model that it wraps


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

    Raises ConfigError if no layer of the language tower has one of the names, or if one is a head
    that is tied to the embeddings.
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
    _check_not_tied(model, targets)
    return PeftLoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        # Full names: a bare "q_proj" would also reach layers of some vision towers.
        target_modules=targets,
        bias="none",
        task_type="CAUSAL_LM",
    )


def head_is_tied(model: Any) -> bool:
    """Whether a model's head has the weights of its embeddings."""
    head = model.get_output_embeddings()
    return head is not None and head.weight is model.get_input_embeddings().weight


def _check_not_tied(model: Any, targets: Sequence[str]) -> None:
    # Merged, the head would be another one than the embeddings, and a tied model keeps but one.
    if not head_is_tied(model):
        return
    for name in targets:
        if model.get_submodule(name) is model.get_output_embeddings():
            raise ConfigError(
                f"lora.target_modules: {name.rpartition('.')[2]} has the weights of the "
                "embeddings in this model and cannot be adapted alone: leave it out"
            )


def training_dtype(recipe: Recipe) -> str:
    """The dtype to load weights in: float32 unless they stay frozen on a GPU.

    Updates of size 1e-6 vanish in bfloat16 weights; mixed precision belongs to the forward pass.
    """
    if recipe.dtype != "auto":
        return recipe.dtype
    frozen_on_gpu = recipe.lora is not None and torch.cuda.is_available()
    return "bfloat16" if frozen_on_gpu and not recipe.grpo.get("use_cpu") else "float32"


def mixed_precision(args: Any) -> torch.autocast:
    """What the trainer's forward passes compute in, for what is sampled outside of them; `args` is
    the run's GRPOConfig."""
    half = torch.float16 if args.fp16 else torch.bfloat16
    return torch.autocast(args.device.type, half, enabled=args.fp16 or args.bf16)


def whole_state(model: Any, accelerator: Any) -> dict[str, torch.Tensor]:
    """The state of a model in training, its shards put together; `model` may be wrapped.

    Every process has to call it. Where the model is sharded, the main process alone gets tensors,
    on the CPU.
    """
    state: dict[str, torch.Tensor]
    if not any(isinstance(parameter, DTensor) for parameter in model.parameters()):
        state = accelerator.get_state_dict(model)
        return state
    # FSDP2, also where somebody else than accelerate has sharded it.
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    state = get_model_state_dict(model, options=options)
    # Each name of a tied parameter has got a copy: they would all be saved.
    first: dict[int, str] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if name in state:
            state[name] = state[first.setdefault(id(parameter), name)]
    return state


def save_trained(
    model: Any,
    processor: Any,
    directory: Path,
    source: str | Path,
    state: dict[str, torch.Tensor] | None = None,
) -> None:
    """Save a trained model and its processor; adapters merged, and by themselves in `adapter/`.

    `source` is the model that training began with, by the name that the adapter shall tell.
    `state` is the model's `whole_state`; it may be left out where nothing is sharded.
    """
    shutil.rmtree(directory, ignore_errors=True)
    if hasattr(model, "peft_config"):
        state = model.state_dict() if state is None else state
        base = model.get_base_model()
        base.save_pretrained(directory, state_dict=merged_state(model, state))
        for adapter in model.peft_config.values():
            adapter.base_model_name_or_path = str(source)
        # Embeddings are not adapted; PEFT would ask the hub whether they might be.
        model.save_pretrained(directory / ADAPTER, state_dict=state, save_embedding_layers=False)
        # PEFT's card: a form nobody has filled in, with the path of the base. Ours is one up.
        (directory / ADAPTER / "README.md").unlink(missing_ok=True)
    else:
        model.save_pretrained(directory, state_dict=state)
    save_processor(processor, directory, source)


def merged_state(model: Any, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The state of a PEFT model's base with its LoRA added in; the model stays as it is.

    `state` is all of the PEFT model's own. It alone is read, so that sharding makes no difference.
    Merging in place and undoing it would leave rounding errors in the weights that train on.
    """
    merged = {
        name.removeprefix(_BASE).replace(".base_layer.", "."): value
        for name, value in state.items()
        if ".lora_" not in name
    }
    for adapter in model.active_adapters:
        scale = model.peft_config[adapter].lora_alpha / model.peft_config[adapter].r
        end = f".lora_A.{adapter}.weight"
        for layer in [name.removesuffix(end) for name in state if name.endswith(end)]:
            down, up = state[layer + end], state[f"{layer}.lora_B.{adapter}.weight"]
            name = f"{layer.removeprefix(_BASE)}.weight"
            weight = merged[name]
            added = weight.float() + scale * (up.float() @ down.float())
            merged[name] = added.to("cpu", weight.dtype)  # a GPU has no room for a second model
    return merged
