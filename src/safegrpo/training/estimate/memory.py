"""The memory of one GPU over the three phases of a step, part by part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from safegrpo.training.estimate.generation import generation
from safegrpo.training.estimate.passes import passes
from safegrpo.training.estimate.plan import Plan
from safegrpo.training.estimate.rows import Rows, packs_sampling, packs_scoring
from safegrpo.training.estimate.shape import ModelShape
from safegrpo.training.estimate.states import states

Phase = Literal["generating", "scoring", "training"]
PHASES: tuple[Phase, ...] = ("generating", "scoring", "training")


@dataclass(frozen=True)
class Item:
    """Bytes of one GPU, and the phases of a step in which they are taken."""

    name: str
    bytes: int
    phases: tuple[Phase, ...]


@dataclass(frozen=True)
class Memory:
    """The parts of one GPU's memory. `engine_tokens` is how many tokens' keys a colocated vLLM
    engine has room for beside its weights (None without one, or for want of --gpu-memory)."""

    items: tuple[Item, ...]
    engine_tokens: int | None = None

    def total(self, phase: Phase) -> int:
        """Bytes of a phase."""
        return sum(item.bytes for item in self.items if phase in item.phases)

    @property
    def phase(self) -> Phase:
        """The phase that takes most."""
        return max(PHASES, key=self.total)

    @property
    def peak(self) -> int:
        """Bytes of that phase."""
        return self.total(self.phase)


def training_rows(shape: ModelShape, plan: Plan) -> Rows:
    """What goes through the model at once: prompts of the longest kind, completions at their
    maximum; padded, where they are not packed, since prompts differ."""
    packed = packs_scoring(shape, plan)
    return Rows(
        groups=plan.groups,
        size=min(plan.group, plan.rows),
        prompt=plan.prompts.longest,
        completion=plan.completion,
        images=plan.prompts.most_images,
        packed=packed,
        padded=not packed,
    )


def _images(shape: ModelShape, plan: Plan) -> list[Item]:
    """Pixels, in float32: each prompt's, and for scoring (and transformers' generation) once more
    for each completion, since TRL lays all rows' behind each other. They are in main memory
    afterwards, but for those of the rows that are trained on."""
    rows = plan.rows * plan.parts
    one = round(plan.prompts.most_images * shape.merge) * 4 * shape.pixels
    padded = plan.generator == "transformers" and not packs_sampling(shape, plan)
    laid_out: tuple[Phase, ...] = ("generating", "scoring") if padded else ("scoring",)
    return [
        Item("images of the prompts", -(-rows // plan.group) * one, ("generating", "scoring")),
        Item("images of all completions", rows * one, laid_out),
        Item("images of a part", plan.rows * one, ("training",)),
    ]


def memory(shape: ModelShape, plan: Plan, gpu_bytes: float | None = None) -> Memory:
    """The parts; a colocated vLLM engine's only if the GPU's size is given."""
    held = states(shape, plan)
    work = passes(shape, plan, training_rows(shape, plan))
    waiting = PHASES if plan.kept_gradients else ("training",)
    items = [
        Item("weights", held.weights, PHASES),
        Item("gradients", held.gradients, waiting),
        Item("optimizer", held.optimizer, PHASES),
        Item("reference model", held.reference, PHASES),
        Item("gradients between processes", held.moving, waiting),
        Item("weights gathered for a pass", held.gathered, PHASES),
        *_images(shape, plan),
        Item("reference gathered for a pass", held.gathered_reference, ("scoring",)),
        Item("activations kept", work.kept, ("training",)),
        Item("activations at work", work.working, ("training",)),
        Item("logits", work.logits, ("training",)),
        Item("scoring pass", work.scoring, ("scoring",)),
    ]
    room = None
    if plan.generator == "transformers":
        drawn = generation(shape, plan, packs_sampling(shape, plan))
        items += [
            Item("keys and values", drawn.cache, ("generating",)),
            Item("keys and values moved", drawn.moved, ("generating",)),
            Item("generating pass", drawn.working, ("generating",)),
        ]
        if plan.sharding == "zero3" and plan.gpus > 1:  # TRL: ds3_gather_for_generation
            whole = 2 * shape.parameters
            items.append(Item("weights gathered to generate", whole, ("generating",)))
    if plan.vllm is not None and gpu_bytes is not None:
        share = int(plan.vllm.share * gpu_bytes)
        when: tuple[Phase, ...] = ("generating",) if plan.vllm.sleeps else PHASES
        items.append(Item("vLLM's share", share, when))
        left = share - 2 * shape.parameters // plan.vllm.tensor_parallel
        # vLLM keeps its cache in the 16 bits of its weights, divided like them.
        token = sum(2 * 2 * block.keys for block in shape.layers) // plan.vllm.tensor_parallel
        room = left // token
    return Memory(tuple(item for item in items if item.bytes > 0), room)
