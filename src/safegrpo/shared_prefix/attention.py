"""Attention over packed rows, registered beside the one a text tower uses.

The queries of a completion see the prompt's keys and their own; the prompt's keys are computed
once, and laid beside each completion's for the product. Without a layout among its arguments the
function is the attention it was registered beside, so that it can stay in place for good:
activation checkpointing calls it again in the backward pass, when nothing else could say which of
the two is meant.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from safegrpo.shared_prefix.layout import Layout, Segment

PREFIX = "shared_prefix"
"""The argument of the model's forward pass that carries a layout, and part of the names under which
the function is registered."""


class Attends(Protocol):
    """What `shared_prefix=` takes beside a Layout: the state of a generation (see decode.py)."""

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scale: float | None,
        window: int | None,
    ) -> torch.Tensor:
        """Query (S, H, Q, d), key and value (S, H_kv, K, d) -> (S, Q, H, d)."""


def register_beside(base: str) -> str:
    """Register the function beside the attention called `base`; returns the registered name."""
    name = f"{PREFIX}_{base}"
    if name not in ALL_ATTENTION_FUNCTIONS.valid_keys():
        AttentionInterface.register(name, _beside(ALL_ATTENTION_FUNCTIONS[base]))
        AttentionMaskInterface.register(name, ALL_MASK_ATTENTION_FUNCTIONS[base])
    return name


def _beside(base: Callable[..., Any]) -> Callable[..., Any]:
    def attention(
        module: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        *,
        shared_prefix: Layout | Attends | None = None,
        **options: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        if shared_prefix is None:
            result: tuple[torch.Tensor, torch.Tensor | None]
            result = base(module, query, key, value, attention_mask, **options)
            return result
        scale, window = options.get("scaling"), options.get("sliding_window")
        if isinstance(shared_prefix, Layout):
            dropout = float(options.get("dropout") or 0.0)
            return packed_attention(query, key, value, shared_prefix, scale, window, dropout), None
        return shared_prefix.attend(module.layer_idx, query, key, value, scale, window), None

    return attention


def packed_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    layout: Layout,
    scale: float | None = None,
    window: int | None = None,
    dropout: float = 0.0,
) -> torch.Tensor:
    """Attention of a packed row: query (1, H, T, d), key and value (1, H_kv, T, d) -> (1, T, H, d).

    Exact: each completion gets what it would get behind its own copy of the prompt.
    """
    shared = query.shape[1] // key.shape[1]
    pieces = []
    for number, segment in enumerate(layout.segments):
        prompt = slice(segment.start, segment.split)
        mask = layout.mask(number, "prompt", window, shared)
        own = _attend(
            query[:, :, prompt], key[:, :, prompt], value[:, :, prompt], mask, scale, dropout
        )
        pieces.append(own[0].transpose(0, 1))
        if segment.stop > segment.split:
            mask = layout.mask(number, "completion", window, shared)
            pieces.append(_completions(query, key, value, segment, mask, scale, dropout))
    return torch.cat(pieces)[None]


def _completions(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    segment: Segment,
    mask: torch.Tensor | None,
    scale: float | None,
    dropout: float,
) -> torch.Tensor:
    """The completions of one segment over the prompt and themselves: (N, H, d)."""
    group, prompt = len(segment.lengths), slice(segment.start, segment.split)
    padding = segment.padding

    def rows(x: torch.Tensor) -> torch.Tensor:  # (G, heads, longest, d)
        x = x[0, :, segment.split : segment.stop]
        if padding is not None:
            x = x[:, padding[0]]
        return x.unflatten(1, (group, segment.longest)).transpose(0, 1)

    def behind_prompt(x: torch.Tensor) -> torch.Tensor:  # (G, heads, P + longest, d)
        return torch.cat([x[:, :, prompt].expand(group, -1, -1, -1), rows(x)], dim=2)

    out = _attend(rows(query), behind_prompt(key), behind_prompt(value), mask, scale, dropout)
    out = out.transpose(1, 2).flatten(0, 1)
    return out if padding is None else out[padding[1]]


def _attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    scale: float | None,
    dropout: float,
) -> torch.Tensor:
    """Attention of (B, H, Q, d) to (B, H_kv, K, d): causal, or by a mask (H / H_kv * Q, K)."""
    shared = query.shape[1] // key.shape[1]
    if mask is None:
        return scaled_dot_product_attention(
            *(query, key, value),
            **{"dropout_p": dropout, "is_causal": True, "scale": scale, "enable_gqa": shared > 1},
        )
    # Heads that share keys become further queries of one head: no copy of the keys for each, and
    # fused kernels that take a mask but know nothing of shared keys are served as well.
    folded = query.unflatten(1, (-1, shared)).flatten(2, 3)
    out = scaled_dot_product_attention(
        folded, key, value, attn_mask=mask, dropout_p=dropout, scale=scale
    )
    return out.unflatten(2, (shared, -1)).flatten(1, 2)
