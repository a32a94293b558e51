"""Log-probabilities and entropies of given tokens, from hidden states, a tile at a time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.utils.checkpoint import checkpoint

TILE = 2**25
"""Logits held at once: 128 MiB in float32."""


def score_tokens(
    hidden: torch.Tensor,
    targets: torch.Tensor,
    head: Callable[[torch.Tensor], torch.Tensor],
    vocabulary: int,
    *,
    temperature: float = 1.0,
    softcap: float | None = None,
    entropy_gradient: bool = False,
    tile: int = TILE,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probability (N,) of each target and entropy (N,) of the distribution it is drawn from.

    `hidden` (N, width) are the states that predict `targets` (N,); `head` makes logits of them,
    which are capped to `softcap` and divided by `temperature`. Both results are float32; entropies
    are differentiable only if asked for (`entropy_gradient`), since that keeps another two tensors
    of logits. More tokens than fit into `tile` logits are computed again in the backward pass.
    """

    def scored(states: torch.Tensor, wanted: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = head(states).float()
        if softcap is not None:
            logits = softcap * torch.tanh(logits / softcap)
        if temperature != 1.0:
            logits = logits / temperature
        log_p = torch.log_softmax(logits, dim=-1)
        kept = log_p if entropy_gradient else log_p.detach()
        entropy = -(kept.exp() * kept).sum(-1)
        return log_p.gather(-1, wanted[:, None])[:, 0], entropy

    size = max(1, tile // vocabulary)
    if len(targets) <= size:
        return scored(hidden, targets)
    parts = []
    for states, wanted in zip(hidden.split(size), targets.split(size), strict=True):
        if torch.is_grad_enabled():
            parts.append(checkpoint(scored, states, wanted, use_reentrant=False))
        else:
            parts.append(scored(states, wanted))
    return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])
