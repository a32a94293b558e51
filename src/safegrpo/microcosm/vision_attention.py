"""The vision tower's attention over images of one size, all in one call.

transformers calls `sdpa` once an image and layer, which on a GPU is most of a tiny tower's time.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import AttentionInterface
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

NAME = "flash_one_size"  # only what has "flash" in its name is given all images at once


def attend_at_once(model: Any) -> None:
    """Let the vision tower of `model` attend in all images of a batch at once: it computes the
    same, and nothing of it is saved. Images of several sizes are a ValueError then."""
    AttentionInterface.register(NAME, _one_size)
    model.model.visual.config._attn_implementation = NAME


def _one_size(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: None, **options: Any
) -> tuple[Tensor, None]:
    """`[1, H, n*T, D]` each, n images of T patches; returns `[1, n*T, H, D]`."""
    images, patches = len(options["cu_seq_lens_q"]) - 1, options["max_length_q"]
    if images * patches != query.shape[2]:
        raise ValueError("images of several sizes in one batch")
    apart = [_images_first(states, images) for states in (query, key, value)]
    known = {name: options[name] for name in ("scaling", "dropout", "is_causal")}
    out, _ = ALL_ATTENTION_FUNCTIONS["sdpa"](module, *apart, attention_mask, **known)
    return out.reshape(1, images * patches, *out.shape[2:]), None


def _images_first(states: Tensor, images: int) -> Tensor:
    _, H, patches, D = states.shape
    return states.reshape(H, images, patches // images, D).transpose(0, 1)
