"""Tokens and floating-point operations of a run, and hours at rates that somebody measured.

A weight of a linear layer costs a token two operations forward (multiply, add) and four backward
(for what it read and for itself), of which a frozen weight leaves out the second two. Attention
costs 4 q operations for each pair of a query and a key it sees, q the width of all queries; twice
that backward. Checkpointing computes each layer once more, up to its last product, whose result no
derivative needs; tiles of logits are made twice, too. Norms, activations and sampling are left out,
which cost memory traffic and hardly operations, and adapters, about a hundredth of their model.
"""

from __future__ import annotations

from dataclasses import dataclass

from safegrpo.shared_prefix.scoring import TILE
from safegrpo.training.estimate.plan import Plan
from safegrpo.training.estimate.rows import packs_sampling, packs_scoring
from safegrpo.training.estimate.shape import ModelShape


@dataclass(frozen=True)
class Work:
    """One update, over all GPUs. `prompt_tokens` and `completion_tokens` go through forward and
    backward passes, prompts as often as they are computed (`dense_prompt_tokens`: without a shared
    prefix); `generated` tokens are sampled for it; operations of the three phases."""

    completions: int
    prompt_tokens: float
    dense_prompt_tokens: float
    completion_tokens: int
    generated: float
    generating: float
    scoring: float
    training: float

    @property
    def trained(self) -> float:
        """Tokens that go through forward and backward passes."""
        return self.prompt_tokens + self.completion_tokens


def work(shape: ModelShape, plan: Plan) -> Work:
    """The work of one update: prompts at their mean length, completions at their maximum."""
    completions = plan.rows * plan.accumulation * plan.gpus
    batches = plan.accumulation * plan.gpus
    prompt, length = plan.prompts.mean, plan.completion
    once = packs_scoring(shape, plan)
    prompts = batches * (plan.groups if once else plan.rows)
    seen = _vision(shape, plan.prompts.images)
    layers = prompts * _prompt(shape, prompt) + completions * _behind(shape, prompt, length)
    head = completions * length * 2 * shape.vocabulary * shape.width
    tokens = prompts * prompt + completions * length
    last = tokens * sum(2 * layer.last for layer in shape.layers)
    forward = prompts * seen + layers + head
    passes = (plan.beta != 0) + plan.scores_old
    # Batches are generated once and trained on `iterations` times.
    drawn = completions / plan.iterations * (1 + min(plan.hints, plan.group) / plan.group)
    read = drawn / plan.group if packs_sampling(shape, plan) else drawn
    if plan.generator != "transformers":
        read = drawn / plan.group  # vLLM keeps a prompt's keys for all of its completions
    generating = read * (seen + _prompt(shape, prompt)) + drawn * (
        _behind(shape, prompt, length) + length * 2 * shape.vocabulary * shape.width
    )
    return Work(
        completions=completions,
        prompt_tokens=prompts * prompt,
        dense_prompt_tokens=completions * prompt,
        completion_tokens=completions * length,
        generated=drawn * length,
        generating=generating,
        scoring=passes * forward / plan.iterations,
        training=_layers(plan, layers, last)
        + _head(shape, plan, head)
        + prompts * _images(shape, plan, seen),
    )


def _layers(plan: Plan, forward: float, last: float) -> float:
    """Layers forward and backward; `last` is what their last products cost of it, forward."""
    backward = 2 if plan.lora is None else 1
    return forward * (1 + backward) + (forward - last if plan.checkpointing else 0)


def _head(shape: ModelShape, plan: Plan, forward: float) -> float:
    """The head forward and backward, made again where a pass has more than one tile of logits."""
    backward = 2 if plan.lora is None else 1
    tiles = plan.rows * plan.completion * shape.vocabulary > TILE
    return forward * (1 + backward + (tiles or not packs_scoring(shape, plan)))


def _images(shape: ModelShape, plan: Plan, forward: float) -> float:
    """A prompt's images forward, and backward where the vision tower has gradients."""
    if plan.trains_vision:
        patches = plan.prompts.images * shape.merge
        return _layers(plan, forward, patches * sum(2 * block.last for block in shape.vision))
    return forward


def _prompt(shape: ModelShape, length: float) -> float:
    """A prompt through the layers, forward."""
    return sum(
        2 * layer.weights * length + 4 * layer.queries * _pairs(0, length, layer.window)
        for layer in shape.layers
    )


def _behind(shape: ModelShape, prompt: float, length: int) -> float:
    """A completion through the layers behind its prompt, forward: all at once or token by token."""
    return sum(
        2 * layer.weights * length + 4 * layer.queries * _pairs(prompt, length, layer.window)
        for layer in shape.layers
    )


def _pairs(before: float, length: float, window: int | None) -> float:
    """Keys that `length` tokens see, behind `before` others: all until themselves, or a window."""
    every = length * before + length * length / 2
    return every if window is None else min(every, length * float(window))


def _vision(shape: ModelShape, tokens: float) -> float:
    """The images of a prompt through tower and merger, forward; each patch sees all of them, as if
    they were one image (towers with windows see less)."""
    patches = tokens * shape.merge
    tower = sum(
        2 * block.weights * patches + 4 * block.queries * patches * patches
        for block in shape.vision
    )
    embedded = 2 * patches * shape.pixels * max((b.width for b in shape.vision), default=0)
    return tower + embedded + tokens * sum(2 * m.inward * m.outward for m in shape.projector)


@dataclass(frozen=True)
class Hours:
    """Hours of a run at measured rates, None for what no rate was given."""

    generating: float | None
    training: float | None
    evaluating: float | None

    @property
    def total(self) -> float | None:
        """All of it, if both rates are known."""
        if self.generating is None or self.training is None:
            return None
        return self.generating + self.training + (self.evaluating or 0.0)


@dataclass(frozen=True)
class Rates:
    """What one GPU does in a second: tokens it `generates`; tokens it `trains` on, taking all of a
    step but generation (or `operations` a second, achieved, for scoring and training)."""

    generates: float | None = None
    trains: float | None = None
    operations: float | None = None


def hours(plan: Plan, done: Work, steps: int, evaluated: int, rates: Rates) -> Hours:
    """Hours of `steps` updates and of `evaluated` held-out tokens, which every process samples by
    itself."""
    generating = evaluating = training = None
    if rates.generates is not None:
        generating = steps * done.generated / rates.generates / plan.gpus / 3600
        evaluating = evaluated / rates.generates / 3600
    if rates.trains is not None:
        training = steps * done.trained / rates.trains / plan.gpus / 3600
    elif rates.operations is not None:
        operations = steps * (done.scoring + done.training)
        training = operations / rates.operations / plan.gpus / 3600
    return Hours(generating, training, evaluating)
