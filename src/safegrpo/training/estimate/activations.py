"""What a forward pass leaves in memory for its backward pass.

Autograd keeps, of each operation, what its derivative needs; below, that is listed operation by
operation, in bytes. T tokens, c bytes of a product's number, s bytes of one in the stream of hidden
states (see Precision); h, q, k, i are the widths of hidden states, of all queries, of all keys (or
values) and of the feed-forward part. tests/training/test_estimate_activations.py holds the sums
against the tensors that autograd really keeps.
"""

from __future__ import annotations

from dataclasses import dataclass

from safegrpo.training.estimate.plan import Precision
from safegrpo.training.estimate.rows import Rows
from safegrpo.training.estimate.shape import Block, Linear

WIDE = 4
"""Bytes of a number that is kept in float32 whatever the model computes with."""


@dataclass(frozen=True)
class Adapters:
    """Adapters of rank `rank` on the linear layers with these `names`; the rest is frozen."""

    rank: int
    names: frozenset[str]


def layer_bytes(
    block: Block, rows: Rows, precision: Precision, adapters: Adapters | None = None
) -> int:
    """What one layer of the language model keeps; all of its weights train, or its adapters do."""
    return (
        _norms(block, rows.tokens, precision, trained=adapters is None)
        + _inputs(block, rows, precision, adapters)
        + _attention(block, rows, precision)
        + rows.tokens * precision.compute * (3 if block.gated else 1) * block.inner
        + weight_copies(block, precision, adapters)
    )


def weight_copies(block: Block, precision: Precision, adapters: Adapters | None = None) -> int:
    """Autocast's 16-bit copies of a layer's 32-bit weights, its adapters' among them."""
    copied = block.weights if precision.copies else 0
    if adapters is not None and precision.compute < WIDE:
        adapted = (b for b in block.linears if b.name in adapters.names)
        copied += sum(adapters.rank * (b.inward + b.outward) for b in adapted)
    return precision.compute * copied


def _norms(block: Block, tokens: int, precision: Precision, trained: bool) -> int:
    """RMS norms, which are written in Python: the float32 of what comes in, one number a token,
    and, for the weight's gradient, what is normalised. Those of queries and keys likewise, a number
    for each head of each token."""
    every = WIDE * (block.width + 1) + (precision.stream * block.width if trained else 0)
    of_heads = 0
    if block.head_norms:
        heads, width = block.heads + block.heads // block.shared, block.queries + block.keys
        of_heads = WIDE * (width + heads) + (precision.compute * width if trained else 0)
    return tokens * (block.norms * every + of_heads)


def _inputs(block: Block, rows: Rows, precision: Precision, adapters: Adapters | None) -> int:
    """What the linear layers read, for their weights' gradients; a frozen one keeps nothing.

    Where each casts first (autocast over 32-bit hidden states; PEFT, to the adapters' float32 and
    back), each has its own copy; else those that read the same share it. What the attention's last
    layer reads is what the attention keeps anyway, unless packed rows were put together anew.
    """
    recast = adapters is not None and precision.compute < WIDE
    read = [b for b in block.linears if adapters is None or b.name in adapters.names]
    kept: dict[str, int] = {}
    for linear in read:
        if linear.name == "o_proj" and not rows.packed and not recast:
            continue
        own = precision.casts or recast
        kept[linear.name if own else _source(linear)] = precision.compute * linear.inward
    inner = len(read) * precision.compute * adapters.rank if adapters is not None else 0
    return rows.tokens * (sum(kept.values()) + inner)


def _source(linear: Linear) -> str:
    """A name of what a linear layer reads, the same for the same tensor."""
    if linear.name in ("q_proj", "k_proj", "v_proj"):
        return "before attention"
    return "before feed-forward" if linear.name in ("gate_proj", "up_proj") else linear.name


def _attention(block: Block, rows: Rows, precision: Precision) -> int:
    """Queries, keys, values and the result, a float32 number for each head of each token, and the
    mask, which torch turns into numbers anew in every layer.

    Packed: completions read a copy of the prompt's keys, each its own, and the queries that share
    keys are laid behind each other; the prompt's part keeps the whole row's tensors alive, except
    where autocast has cut and cast them (queries and keys leave the rotation as float32).
    """
    q, k = block.queries, block.keys
    tokens, prompts, completions = rows.tokens, rows.prompt_tokens, rows.completion_tokens
    statistics = WIDE * block.heads * tokens
    if rows.packed:
        alive = prompts if precision.casts else tokens
        behind = rows.groups * rows.size * rows.prompt + completions
        numbers = (alive + completions) * q + (alive + tokens + 2 * behind) * k
        numbers += (prompts + completions) * q + _packed_mask(block, rows)
        return precision.compute * numbers + statistics
    length = rows.prompt + rows.completion
    numbers = 2 * (q + k) * tokens
    if rows.padded:  # torch then wants keys repeated for the queries that share them
        numbers = 4 * q * tokens + rows.prompts * length**2
    return precision.compute * numbers + statistics


def _packed_mask(block: Block, rows: Rows) -> int:
    """Numbers of the masks of a packed row: completions over prompt and themselves, a line for each
    query of the heads that share keys; the prompt's, where it is not plainly causal."""
    lines = block.shared * rows.completion * (rows.prompt + rows.completion)
    if block.image_blocks or (block.window is not None and rows.prompt > block.window):
        lines += block.shared * rows.prompt**2
    return rows.groups * lines


def vision_bytes(block: Block, patches: int, precision: Precision) -> int:
    """What one layer of a vision tower that trains keeps, over so many patches: by the operations
    of Qwen3-VL's (layer norms, one layer for queries, keys and values), which stand for other
    towers' too.

    Norms keep what they read, as float32; queries and keys are rotated into new tensors, while the
    values keep alive the one that all three were part of.
    """
    c, h = precision.compute, block.width
    norms = block.norms * WIDE * (h + 2)
    attention = c * (2 + 3 + 1) * h + WIDE * block.heads
    feed_forward = c * (3 if block.gated else 1) * block.inner
    inputs = c * (3 * h + block.inner)  # of qkv, proj, first and second layer
    return patches * (norms + attention + feed_forward + inputs) + weight_copies(block, precision)


def projector_bytes(linears: tuple[Linear, ...], tokens: int, precision: Precision) -> int:
    """What a trained merger keeps: what its linear layers read and write, and what its norms do."""
    c = precision.compute
    return tokens * sum(c * (2 * linear.inward + linear.outward) for linear in linears)
