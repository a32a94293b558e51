"""The tiny Qwen3-VL at other sizes: wider and deeper, all else alike."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from transformers import Qwen3VLForConditionalGeneration

Size = Literal["2m", "3m", "8m", "25m"]
SIZES: tuple[Size, ...] = get_args(Size)
SHIPPED_SIZE: Size = "2m"


@dataclass(frozen=True)
class Shape:
    """Width of both towers, their layers, and what a layer's inner width is to its width."""

    width: int
    layers: int
    inner: int = 3


SHAPES: dict[Size, Shape] = {
    "2m": Shape(128, 3),
    "3m": Shape(128, 6),
    "8m": Shape(256, 4),
    "25m": Shape(384, 6),
}
HEAD = 32  # width of a head, at every size


def rate_scale(size: Size) -> float:
    """What a learning rate tuned at the shipped size is multiplied by at another.

    Adam's rate for hidden matrices falls as 1/width (Yang et al., "Tensor Programs V", 2022). Here
    all parameters have that one factor; neither initialisation nor depth is corrected for.
    """
    return SHAPES[SHIPPED_SIZE].width / SHAPES[size].width


def resized(model: Any, size: Size, seed: int = 0) -> Any:
    """A freshly initialised model (float32) of another size, for the same tokenizer; at the shipped
    size the model itself."""
    if size == SHIPPED_SIZE:
        return model
    shape = SHAPES[size]
    config = copy.deepcopy(model.config)
    if hasattr(config.text_config, "layer_types"):
        del config.text_config.layer_types  # one for each of the old layers
    text, vision = config.text_config, config.vision_config
    text.hidden_size = vision.hidden_size = vision.out_hidden_size = shape.width
    text.intermediate_size = vision.intermediate_size = shape.inner * shape.width
    text.num_hidden_layers = vision.depth = shape.layers
    vision.num_heads = text.num_attention_heads = shape.width // HEAD
    text.num_key_value_heads = text.num_attention_heads // 2
    state = torch.random.get_rng_state()
    torch.manual_seed(seed)
    other = Qwen3VLForConditionalGeneration(config)
    torch.random.set_rng_state(state)
    other.generation_config = model.generation_config
    return other
