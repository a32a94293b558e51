"""What of a model memory and arithmetic depend on, read off its modules without any weights."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from safegrpo.errors import ModelError
from safegrpo.shared_prefix.model import (
    UnsupportedModelError,
    accept_packed,
    images_see_themselves,
)
from safegrpo.training.config import LoraConfig
from safegrpo.training.model_parts import peft_config, vision_modules

_ATTENTION = ("attn", "attention")
_MERGERS = ("merger", "projector", "connector")


@dataclass(frozen=True)
class Linear:
    """A linear layer: the last part of its name, and how many features go in and come out."""

    name: str
    inward: int
    outward: int


@dataclass(frozen=True)
class Block:
    """A transformer layer. `queries` and `keys` are the widths of all query and all key heads
    together, `inner` that of the feed-forward part, which is `gated` or not; `norms` are those over
    `width`, `head_norms` whether queries and keys have their own; `window` is how far back it sees,
    `image_blocks` whether the tokens of an image see each other both ways."""

    width: int
    queries: int
    keys: int
    heads: int
    inner: int
    gated: bool
    norms: int
    head_norms: bool
    window: int | None
    image_blocks: bool
    linears: tuple[Linear, ...]
    parameters: int

    @property
    def weights(self) -> int:
        """Weights of the linear layers: a token costs two operations for each of them."""
        return sum(linear.inward * linear.outward for linear in self.linears)

    @property
    def last(self) -> int:
        """Weights of the last linear layer, from the feed-forward part back to the width."""
        return self.inner * self.width

    @property
    def shared(self) -> int:
        """Query heads that share the keys of one."""
        return self.queries // self.keys


@dataclass(frozen=True)
class Part:
    """Parameters of one part of a model, and in how many tensors they come."""

    parameters: int
    tensors: int


@dataclass(frozen=True)
class ModelShape:
    """A vision-language model without its weights.

    `parts` are language (layers and last norm), embeddings, head (only where its weights are its
    own), vision and merger, each with what it holds alone. `merge` is the number of image patches
    behind one image token, `pixels` the numbers a patch comes as; `projector` are the merger's
    linear layers, which work on image tokens.
    `packs` is None if it takes shared-prefix rows, else why not.
    """

    kind: str
    parts: dict[str, Part]
    layers: tuple[Block, ...]
    vision: tuple[Block, ...]
    vocabulary: int
    width: int
    merge: float
    pixels: int
    projector: tuple[Linear, ...]
    packs: str | None
    adapters: tuple[Linear, ...]
    experts: bool

    @property
    def parameters(self) -> int:
        """All of the model's own, without adapters."""
        return sum(part.parameters for part in self.parts.values())

    @property
    def tied(self) -> bool:
        """Whether the head's weights are the embeddings'."""
        return "head" not in self.parts

    @property
    def outside_blocks(self) -> int:
        """Parameters that belong to no transformer layer."""
        return self.parameters - sum(b.parameters for b in (*self.layers, *self.vision))


def model_shape(config: Any, lora: LoraConfig | None = None) -> ModelShape:
    """The shape of a transformers configuration; the model is made on the meta device, where
    tensors have no memory. `adapters` are the layers that `lora` adapts.

    Raises ModelError where the model is not made of the layers that the estimate knows.
    """
    from transformers import AutoModelForImageTextToText

    config = copy.deepcopy(config)  # models made from it change it
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    text = config.get_text_config()
    towers = vision_modules(model)
    decoder = model.get_decoder()
    embeddings, head = model.get_input_embeddings(), model.get_output_embeddings()
    vision = [block for tower in towers.values() for block in _blocks(tower)]
    adapters = _adapted(model, lora) if lora is not None else ()
    try:
        accept_packed(model)
        packs = None
    except UnsupportedModelError as error:
        packs = str(error)
    return ModelShape(
        kind=config.model_type,
        parts=_parts(model, embeddings, head, towers),
        layers=tuple(
            _block(layer, text.num_attention_heads, window, images_see_themselves(model))
            for layer, window in zip(decoder.layers, _windows(text), strict=True)
        ),
        vision=tuple(vision),
        vocabulary=text.vocab_size,
        width=text.hidden_size,
        merge=_patches_per_token(config),
        pixels=_numbers_of_a_patch(config.vision_config),
        projector=tuple(_projector(towers)),
        packs=packs,
        adapters=adapters,
        experts=bool(getattr(text, "num_experts", None) or getattr(text, "num_local_experts", 0)),
    )


def _parts(
    model: nn.Module, embeddings: nn.Module, head: nn.Module, towers: dict[str, nn.Module]
) -> dict[str, Part]:
    """Every parameter once, under the part it belongs to."""
    mergers = {id(p) for m in _merger_modules(towers) for p in m.parameters()}
    vision = {id(p) for tower in towers.values() for p in tower.parameters()} - mergers
    inputs = {id(p) for p in embeddings.parameters()}
    outputs = {id(p) for p in head.parameters()} - inputs
    found: dict[str, list[int]] = {}
    for parameter in model.parameters():
        key = id(parameter)
        name = (
            ("merger" if key in mergers else "")
            or ("vision" if key in vision else "")
            or ("embeddings" if key in inputs else "")
            or ("head" if key in outputs else "")
            or "language"
        )
        found.setdefault(name, []).append(parameter.numel())
    order = ("language", "embeddings", "head", "vision", "merger")
    return {name: Part(sum(found[name]), len(found[name])) for name in order if name in found}


def _merger_modules(towers: dict[str, nn.Module]) -> Iterator[nn.Module]:
    """The modules between a vision tower and the language model, wherever they live."""
    for name, tower in towers.items():
        if any(word in name for word in _MERGERS):
            yield tower
        else:
            yield from (m for n, m in tower.named_children() if any(w in n for w in _MERGERS))


def _projector(towers: dict[str, nn.Module]) -> Iterator[Linear]:
    for merger in _merger_modules(towers):
        yield from _linears(merger)


def _linears(module: nn.Module) -> tuple[Linear, ...]:
    return tuple(
        Linear(name.rpartition(".")[2], m.in_features, m.out_features)
        for name, m in module.named_modules()
        if isinstance(m, nn.Linear)
    )


def _blocks(tower: nn.Module) -> list[Block]:
    """The transformer layers of a vision tower; none if it has no list of them."""
    for module in tower.modules():
        if isinstance(module, nn.ModuleList) and len(module) and _attention_of(module[0]):
            return [_block(layer, 0) for layer in module]
    return []


def _block(
    layer: nn.Module, heads: int, window: int | None = None, image_blocks: bool = False
) -> Block:
    linears = _linears(layer)
    named = {linear.name: linear for linear in linears}
    inside = [
        m
        for n, m in layer.named_modules()
        if isinstance(m, nn.Linear) and not any(word in n for word in _ATTENTION)
    ]
    if not inside:
        raise ModelError(f"{type(layer).__name__}: a layer without a plain feed-forward part")
    width = inside[0].in_features
    queries = named["q_proj"].outward if "q_proj" in named else width
    norms = [
        (n, m)
        for n, m in layer.named_modules()
        if "norm" in n.rpartition(".")[2] and any(True for _ in m.parameters(recurse=False))
    ]
    of_heads = [n for n, _ in norms if n.endswith(("q_norm", "k_norm"))]
    return Block(
        width=width,
        queries=queries,
        keys=named["k_proj"].outward if "k_proj" in named else queries,
        heads=heads or getattr(_attention_of(layer), "num_heads", 1),
        inner=max(max(m.in_features, m.out_features) for m in inside),
        gated=len(inside) > 2,
        norms=len(norms) - len(of_heads),
        head_norms=bool(of_heads),
        window=window,
        image_blocks=image_blocks,
        linears=linears,
        parameters=sum(p.numel() for p in layer.parameters()),
    )


def _attention_of(layer: nn.Module) -> nn.Module | None:
    return next((m for n, m in layer.named_children() if any(w in n for w in _ATTENTION)), None)


def _windows(text: Any) -> list[int | None]:
    kinds = getattr(text, "layer_types", None) or ["full_attention"] * text.num_hidden_layers
    return [text.sliding_window if kind == "sliding_attention" else None for kind in kinds]


def _patches_per_token(config: Any) -> float:
    """How many patches the vision tower reads for one token of the language model."""
    vision = config.vision_config
    if getattr(vision, "spatial_merge_size", None):
        return float(vision.spatial_merge_size**2)
    if getattr(config, "downsample_ratio", None):
        return float(round(config.downsample_ratio**-2))
    if getattr(config, "mm_tokens_per_image", None):
        return float((vision.image_size // vision.patch_size) ** 2 / config.mm_tokens_per_image)
    return 1.0


def _numbers_of_a_patch(vision: Any) -> int:
    said = vision.to_dict()
    channels = said.get("in_channels") or said.get("num_channels") or 3
    size = vision.patch_size if isinstance(vision.patch_size, int) else vision.patch_size[0]
    return int(channels * (said.get("temporal_patch_size") or 1) * size**2)


def _adapted(model: Any, lora: LoraConfig) -> tuple[Linear, ...]:
    modules = dict(model.named_modules())
    targets: Sequence[str] = sorted(peft_config(model, lora).target_modules)
    return tuple(
        Linear(name.rpartition(".")[2], modules[name].in_features, modules[name].out_features)
        for name in targets
    )
