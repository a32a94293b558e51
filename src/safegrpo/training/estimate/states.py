"""What lies in memory all the time, or from backward pass to update: weights, gradients, Adam's
two moments, the reference model. Bytes of one process.

The arithmetic, for a parameter that is trained in float32: 4 bytes of weight, 4 of gradient, 8 of
moments (torch's AdamW keeps both in the weight's type). A frozen one costs its weight alone.
DeepSpeed keeps 16-bit weights and gradients beside a 32-bit weight and moments (ZeRO,
arXiv 1910.02054: 2 + 2 + 12 bytes), of which stage 2 divides all but the weights, stage 3 all.
"""

from __future__ import annotations

from dataclasses import dataclass

from safegrpo.training.estimate.plan import Plan
from safegrpo.training.estimate.shape import ModelShape, Part

DEEPSPEED_BUCKET = 500_000_000
"""Numbers in DeepSpeed's buffer for gradients under way: its default `reduce_bucket_size`."""
DEEPSPEED_LIVE = 1_000_000_000
"""Parameters that ZeRO-3 holds gathered at once: its default `stage3_max_live_parameters`."""


@dataclass(frozen=True)
class States:
    """Bytes of one process: `weights`, `gradients`, `optimizer` and the `reference` model; `moving`
    are gradients on their way between processes (DDP's or DeepSpeed's buckets), `gathered` weights
    of sharded models made whole for a pass, `gathered_reference` the same of the reference."""

    weights: int
    gradients: int
    optimizer: int
    reference: int
    moving: int
    gathered: int
    gathered_reference: int


def trained_parts(shape: ModelShape, plan: Plan) -> dict[str, Part]:
    """The parts whose weights change, adapters as one of them."""
    if plan.lora is not None:
        size = sum(plan.lora.r * (a.inward + a.outward) for a in shape.adapters)
        return {"adapters": Part(size, 2 * len(shape.adapters))}
    frozen = () if plan.trains_vision else ("vision", "merger")
    return {name: part for name, part in shape.parts.items() if name not in frozen}


def states(shape: ModelShape, plan: Plan) -> States:
    """The bytes of a plan's states in one process."""
    parts = trained_parts(shape, plan).values()
    trained = sum(part.parameters for part in parts)
    tensors = sum(part.tensors for part in parts)
    kept = plan.precision.weights
    # PEFT keeps adapters in float32 whatever the base is in.
    own = 4 if plan.lora is not None else kept
    added = trained if plan.lora is not None else 0
    reference = shape.parameters if plan.reference_model else 0
    if plan.sharding in ("zero2", "zero3"):
        return _deepspeed(shape, plan, trained, added, reference)
    if plan.sharding == "fsdp" and plan.precision.compute == 2:
        own = 4  # accelerate keeps what is trained in float32 under mixed precision
    frozen = shape.parameters - (trained - added)
    copies = plan.sharded
    gradients = trained * own // copies
    return States(
        weights=(frozen * kept + trained * own) // copies,
        gradients=gradients,
        optimizer=moments(plan.optimizer, own) * trained // copies + 4 * tensors,
        reference=reference * kept // copies,
        # DDP copies gradients into buckets (torch: gradient_as_bucket_view is off by default).
        moving=gradients if plan.sharding == "ddp" and plan.gpus > 1 else 0,
        gathered=_gathered(shape, plan) if copies > 1 else 0,
        # TRL's prepare_fsdp wraps the reference as a whole, so all of it is gathered at once.
        gathered_reference=reference * plan.precision.compute if copies > 1 else 0,
    )


def moments(optimizer: str, width: int) -> int:
    """Bytes of state a trained number has, of `width` bytes itself, under transformers' name of an
    optimizer; one that is not known here counts as AdamW, two numbers of the same width."""
    if "8bit" in optimizer:
        return 2
    return 0 if optimizer == "sgd" else 2 * width


def _gathered(shape: ModelShape, plan: Plan) -> int:
    """What FSDP2 holds whole in the midst of a pass, in 16 bits: the layer at work and the next
    one, and all that is in no layer (accelerate does not reshard embeddings, last norm and head
    after the forward pass); gradients of that layer and of those, until they are summed up."""
    layer = max(block.parameters for block in (*shape.layers, *shape.vision))
    outside = shape.outside_blocks
    trained = layer + outside if plan.lora is None else 0
    return plan.precision.compute * (2 * layer + outside + trained)


def _deepspeed(shape: ModelShape, plan: Plan, trained: int, added: int, reference: int) -> States:
    whole = shape.parameters + added
    divided = plan.gpus
    live = min(DEEPSPEED_LIVE, whole) if plan.sharded > 1 else 0
    return States(
        weights=2 * whole // plan.sharded + 4 * trained // divided,
        gradients=2 * trained // divided,
        optimizer=moments(plan.optimizer, 4) * trained // divided,
        # TRL's prepare_deepspeed divides the reference under stage 3 alone.
        reference=2 * reference // plan.sharded,
        moving=2 * min(DEEPSPEED_BUCKET, trained),
        gathered=2 * live,
        gathered_reference=2 * min(DEEPSPEED_LIVE, reference) if plan.sharded > 1 else 0,
    )
