"""Packed rows held against the plain way, each completion behind its own copy of the prompt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from safegrpo.shared_prefix.idle import IdleImage
from safegrpo.shared_prefix.layout import TOKEN_INPUTS, Group, followed_inputs
from safegrpo.shared_prefix.sampling import Sampled, evaluating

TOLERANCE = {torch.float32: 1e-4, torch.float16: 3e-2, torch.bfloat16: 3e-2}
"""Largest mean difference of log-probabilities, in nats, that rounding explains."""


CHECKED_TOKENS = 256
"""Tokens of a completion that are compared: all logits of a plain pass are held at once."""


@torch.no_grad()
def dense_log_probs(
    model: Any, group: Group, temperature: float = 1.0, idle: IdleImage | None = None
) -> torch.Tensor:
    """Log-probabilities (N,) of the group's completions, one forward pass each, in which `idle`
    stands beside text."""
    found = [group.prompt.new_zeros(0, dtype=torch.float32)]
    for completion in group.completions:
        ids = torch.cat([group.prompt, completion])
        longer = followed_inputs(group.inputs, len(completion))
        inputs = {n: value[None] if n in TOKEN_INPUTS else value for n, value in longer.items()}
        batch = {"input_ids": ids[None], "attention_mask": torch.ones_like(ids)[None], **inputs}
        if idle is not None and TOKEN_INPUTS.issuperset(inputs):
            batch = idle.below(batch)
        output = model(logits_to_keep=len(completion) + 1, **batch)
        log_p = torch.log_softmax(output.logits[0, :-1].float() / temperature, dim=-1)
        found.append(log_p.gather(-1, completion[:, None])[:, 0])
    return torch.cat(found)


@torch.no_grad()
def scoring_error(
    model: Any,
    groups: Sequence[Group],
    temperature: float,
    idle: IdleImage | None = None,
    **options: Any,
) -> float:
    """Mean absolute difference, in nats, between the log-probabilities that packed rows give and
    the plain ones, both without dropout; `options` are those of the packed forward pass."""
    short = [
        Group(g.prompt, tuple(c[:CHECKED_TOKENS] for c in g.completions), g.inputs) for g in groups
    ]
    with evaluating(model):
        rows = short if idle is None else idle.beside(short)
        packed = model(groups=rows, temperature=temperature, **options).log_probs
        dense = [dense_log_probs(model, group, temperature, idle) for group in short]
    return _mean_difference(packed, torch.cat(dense))


@torch.no_grad()
def sampling_error(model: Any, rows: Sequence[tuple[Group, Sampled]], temperature: float) -> float:
    """Mean absolute difference, in nats, between the log-probabilities that tokens were sampled
    with and those the model gives them. Each row is a group of one completion (what was given of
    it) and what `sample` made of it, with `log_probs=True`."""
    dense, ours = [], []
    with evaluating(model):
        for group, row in rows:
            (given,) = group.completions
            new = given.new_tensor(row.ids[:CHECKED_TOKENS])
            whole = Group(group.prompt, (torch.cat([given, new]),), group.inputs)
            found = dense_log_probs(model, whole, temperature)
            dense.append(found[len(given) :])
            ours.append(found.new_tensor(row.log_probs[: len(new)]))
    return _mean_difference(torch.cat(ours), torch.cat(dense))


def tolerance(model: Any) -> float:
    """What rounding explains in the model's precision, or in autocast's where that is on."""
    weight = next(p for p in model.parameters() if p.is_floating_point())
    dtype, device = weight.dtype, weight.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
    return TOLERANCE.get(dtype, TOLERANCE[torch.float32])


def _mean_difference(ours: torch.Tensor, dense: torch.Tensor) -> float:
    difference = float((ours - dense).abs().mean()) if len(ours) else 0.0
    return difference if math.isfinite(difference) else math.inf
