"""What a pass over the model takes beside its weights, at the moment it takes most.

Training has two such moments. When the forward pass is over, all that it keeps is there, autocast's
copies of the weights, and the logits of one tile. In the backward pass the last layer's tensors
(with checkpointing: made again) meet the gradients under way. Passes without gradients keep
nothing; they need what one layer works with.
"""

from __future__ import annotations

from dataclasses import dataclass

from safegrpo.shared_prefix.scoring import TILE
from safegrpo.training.estimate.activations import (
    WIDE,
    Adapters,
    layer_bytes,
    projector_bytes,
    vision_bytes,
    weight_copies,
)
from safegrpo.training.estimate.plan import Plan
from safegrpo.training.estimate.rows import Rows
from safegrpo.training.estimate.shape import Block, ModelShape

LOGIT = 16
"""Bytes of a logit while its token is scored: four float32 (the logit, its log-probability, the
probability, and their product for the entropy; see shared_prefix/scoring.py)."""
TRL_TILE = (4096, 32768)
"""Tokens and words of the logits that TRL's own head makes at once (kernels/chunked_logprob.py)."""


@dataclass(frozen=True)
class Passes:
    """Bytes of one process: `kept` from forward to backward pass, and beside it `working` (one
    layer made again, gradients under way, autocast's copies) and `logits` (with the head's
    gradients), as they are at the moment of training that takes most; `scoring` is what a pass
    without gradients works with."""

    kept: int
    working: int
    logits: int
    scoring: int


def passes(shape: ModelShape, plan: Plan, rows: Rows) -> Passes:
    """The bytes of a plan's passes over `rows`."""
    kept, again = _kept(shape, plan, rows)
    copies = _head_copy(shape, plan)
    if plan.checkpointing:
        copies = all_copies(shape, plan, plan.trains_vision)
    tile = logits_bytes(shape, plan, rows)
    gradient, waiting = _head_gradients(shape, plan)
    # A pass holds on to its images until it is over, the vision tower's backward pass still later.
    pixels = 0 if plan.trains_vision else round(rows.image_tokens * shape.merge) * shape.pixels
    after_forward = (copies + WIDE * pixels, tile)
    in_head = (0, tile + gradient + waiting)
    in_layer = (again + _under_way(shape, plan, rows), waiting)
    working, logits = max(after_forward, in_head, in_layer, key=sum)
    states = (rows.tokens + rows.completion_tokens) * plan.precision.stream * shape.width
    forward = forward_bytes(shape, plan, rows.tokens, rows.image_tokens)
    return Passes(
        kept=kept,
        working=working,
        logits=logits,
        # The reference is frozen by nobody, so all of its weights are copied.
        scoring=all_copies(shape, plan, plan.trains_vision or plan.reference_model)
        + max(forward, tile + states),
    )


def adapters_of(shape: ModelShape, plan: Plan) -> Adapters | None:
    """The plan's adapters, if it trains adapters."""
    if plan.lora is None:
        return None
    return Adapters(plan.lora.r, frozenset(linear.name for linear in shape.adapters))


def _kept(shape: ModelShape, plan: Plan, rows: Rows) -> tuple[int, int]:
    """What is kept, and the largest layer that the backward pass has to make again.

    Checkpointing keeps what each layer reads. Behind the last layer come its norm, whose result
    stays while the head works, and the states that predict completions' tokens.
    """
    precision, adapters = plan.precision, adapters_of(shape, plan)
    layers = [layer_bytes(layer, rows, precision, adapters) for layer in shape.layers]
    c, s, tokens = precision.compute, precision.stream, rows.tokens
    states = rows.completion_tokens * (s + (c if precision.casts and adapters is None else 0))
    last = shape.width * (states + tokens * (WIDE + (s if adapters is not None else 2 * s)))
    patches = round(rows.image_tokens * shape.merge)
    seen: list[int] = []
    if plan.trains_vision:
        seen = [vision_bytes(block, patches, precision) for block in shape.vision]
        last += patches * WIDE * shape.pixels
        last += projector_bytes(shape.projector, rows.image_tokens, precision)
        if not plan.checkpointing:
            last += sum(c * m.inward * m.outward for m in shape.projector if precision.copies)
    if not plan.checkpointing:
        return sum(layers) + sum(seen) + last, 0
    read = len(layers) * rows.tokens * shape.width
    read += sum(patches * block.width for block in shape.vision) if seen else 0
    return read * precision.stream + last, max(*layers, *seen)


def _head_copy(shape: ModelShape, plan: Plan) -> int:
    """Autocast's copy of the head's weights; none of frozen ones, which it does not keep."""
    if not plan.precision.copies or plan.lora is not None:
        return 0
    return plan.precision.compute * shape.vocabulary * shape.width


def all_copies(shape: ModelShape, plan: Plan, vision: bool) -> int:
    """Autocast's copies of all trained weights, the vision tower's (`vision`) or not, as they are
    at the end of a forward pass."""
    if plan.lora is not None:  # frozen weights are not kept; adapters are cast to the base's type
        cast = plan.precision.compute if plan.precision.compute < WIDE else 0
        return cast * plan.lora.r * sum(a.inward + a.outward for a in shape.adapters)
    head = _head_copy(shape, plan)
    if not head:
        return 0
    blocks = (*shape.layers, *(shape.vision if vision else ()))
    merger = shape.projector if vision else ()
    return (
        head
        + sum(weight_copies(block, plan.precision) for block in blocks)
        + plan.precision.compute * sum(linear.inward * linear.outward for linear in merger)
    )


def _under_way(shape: ModelShape, plan: Plan, rows: Rows) -> int:
    """Gradients in a layer's backward pass: of two tensors of the feed-forward part and of the
    hidden states before and after; with adapters in float32, to which PEFT casts, as well."""
    widest = max(layer.inner for layer in shape.layers)
    c, s = plan.precision.compute, plan.precision.stream
    if plan.lora is not None:
        return rows.tokens * (3 * c * widest + 4 * WIDE * shape.width)
    return rows.tokens * (2 * c * widest + 2 * s * shape.width)


def _head_gradients(shape: ModelShape, plan: Plan) -> tuple[int, int]:
    """(of one tile of logits, of all until now): gradients of the head's weights.

    Each tile makes one, in the type of the product and then of the weight, beside autocast's copy
    of the weight. A head that shares its weights with the embeddings leaves its gradient waiting
    until theirs is there too, at the end of the backward pass.
    """
    if plan.lora is not None:
        return 0, 0
    size, precision = shape.vocabulary * shape.width, plan.precision
    cast = 2 * precision.compute if precision.copies else 0
    waiting = precision.weights if shape.tied else 0
    return size * (cast + precision.weights), size * waiting


def logits_bytes(shape: ModelShape, plan: Plan, rows: Rows) -> int:
    """The logits that are held at once: our tile where rows are packed, TRL's where they are not
    (there with the float32 gradient of the states it reads)."""
    if rows.packed:
        tokens = max(1, TILE // shape.vocabulary)
        return LOGIT * min(rows.completion_tokens, tokens) * shape.vocabulary
    tokens, words = min(rows.completion_tokens, TRL_TILE[0]), min(shape.vocabulary, TRL_TILE[1])
    return plan.precision.compute * tokens * words + WIDE * rows.completion_tokens * shape.width


def forward_bytes(shape: ModelShape, plan: Plan, tokens: int, image_tokens: int) -> int:
    """What one layer works with when nothing is kept: over all tokens of the language model, or
    before that over the images' patches in the vision tower, whichever is more.

    The language model's has hidden states before and after each part, and three tensors of the
    feed-forward part, five where PEFT casts; meanwhile the images' pixels and features stay.
    """
    c, s = plan.precision.compute, plan.precision.stream
    patches = round(image_tokens * shape.merge)
    inner = (3 if plan.lora is None else 5) * c
    language = max(6 * s * block.width + inner * block.inner for block in shape.layers)
    features = WIDE * shape.pixels + 2 * s * max((b.width for b in shape.vision), default=0)
    vision = max((_vision_work(block, c, s) for block in shape.vision), default=0)
    pixels = shape.pixels * (WIDE + (c if c < WIDE else 0))
    return max(tokens * language + patches * features, patches * (pixels + vision))


def _vision_work(block: Block, c: int, s: int) -> int:
    """A patch's: queries, keys and values, the first two rotated in float32 (six tensors at the
    end, and what the norm made); or the feed-forward part."""
    attention = (3 * c + 7 * WIDE) * block.width
    feed_forward = (3 if block.gated else 2) * c * block.inner
    return 2 * s * block.width + max(attention, feed_forward)
