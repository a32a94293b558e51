"""What generation takes beside the weights: keys and values of every token of every completion.

A token has 2 L k numbers, k the width of all key heads of a layer. Under autocast over 32-bit
weights keys leave the rotation as float32, while values stay 16 bits wide, unless transformers'
cache keeps them as wide as the keys.

It takes most at one of two moments: when all prompts go through the model at once and the cache
holds little else, or at the last tokens, when the cache is full.
"""

from __future__ import annotations

from dataclasses import dataclass

from safegrpo.shared_prefix.decode import GROW
from safegrpo.shared_prefix.sampling import KEPT
from safegrpo.training.estimate.passes import all_copies, forward_bytes
from safegrpo.training.estimate.plan import Plan, Precision
from safegrpo.training.estimate.shape import Block, ModelShape

SAMPLED_LOGIT = 5 * 4
"""Bytes of a logit while a token is drawn, in float32: the head's, the processors', two of softmax,
and their running sum."""


@dataclass(frozen=True)
class Generation:
    """Bytes of one process at the moment that takes most: the `cache`, what of it is there twice
    (`moved`), and what a pass works with (`working`)."""

    cache: int
    moved: int
    working: int


def generation(shape: ModelShape, plan: Plan, packed: bool) -> Generation:
    """The bytes of generating all that a process does at a time, at full length."""
    rows = plan.rows * plan.parts
    prompts = -(-rows // plan.group) if packed else rows
    tokens, images = prompts * plan.prompts.longest, prompts * plan.prompts.most_images
    cast = all_copies(shape, plan, plan.trains_vision)
    reading = Generation(
        cache=cache_bytes(shape, plan, packed, 0),
        moved=0,
        working=cast + forward_bytes(shape, plan, tokens, images),
    )
    at_the_end = Generation(
        cache=cache_bytes(shape, plan, packed, plan.completion),
        moved=moved_bytes(shape, plan, packed),
        working=cast + _step_bytes(shape, plan, rows),
    )
    return max(reading, at_the_end, key=lambda g: g.cache + g.moved + g.working)


def token_bytes(block: Block, precision: Precision, packed: bool) -> int:
    """Keys and values of one token in one layer, in our cache (`packed`) or transformers'."""
    key = precision.stream if precision.casts else precision.compute
    return block.keys * (key + (precision.compute if packed else key))


def cache_bytes(shape: ModelShape, plan: Plan, packed: bool, length: int) -> int:
    """Keys and values once `length` tokens of each completion are there.

    Packed (shared_prefix/decode.py): each prompt's once, the completions' in steps of GROW tokens.
    Else (transformers' DynamicCache): each completion has its own prompt's, and layers with a
    window hold no more than that.
    """
    rows, prompt = plan.rows * plan.parts, plan.prompts.longest
    if packed:
        columns = max(1, -(-length // GROW)) * GROW
        held = [-(-rows // plan.group) * prompt + rows * columns] * len(shape.layers)
    else:
        whole = prompt + length
        held = [rows * min(whole, block.window or whole) for block in shape.layers]
    return sum(
        tokens * token_bytes(block, plan.precision, packed)
        for tokens, block in zip(held, shape.layers, strict=True)
    )


def moved_bytes(shape: ModelShape, plan: Plan, packed: bool) -> int:
    """What of the cache is there twice, a layer at a time: packed, what is kept when a quarter of
    the rows have ended; else all of it, to take a token more."""
    if not packed:
        return cache_bytes(shape, plan, packed, plan.completion) // len(shape.layers)
    columns = -(-plan.completion // GROW) * GROW
    largest = max(token_bytes(block, plan.precision, packed) for block in shape.layers)
    return round(KEPT * plan.rows * plan.parts * columns * largest)


def _step_bytes(shape: ModelShape, plan: Plan, rows: int) -> int:
    """A step of all rows: their logits, and one layer's scores over all keys, their float32
    weights, and those once more as numbers of the product, in two parts."""
    heads = max(block.heads for block in shape.layers)
    seen = rows * heads * (plan.prompts.longest + plan.completion)
    return seen * (3 * plan.precision.compute + 4) + rows * shape.vocabulary * SAMPLED_LOGIT
