"""Supervised steps after GRPO, so that what was learned with the guide holds without it.

GRPO with the guide teaches a model what to do where the guide stands; asked plainly, it is almost
what it was. So it answers the training pairs once more with the guide, and learns the responses
that earn the full reward on the plain prompts. The paper has no such phase.
"""

from __future__ import annotations

import gc
import math
import random
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from rich.console import Console
from transformers import set_seed

from safegrpo.data.pairs import TaggedPair
from safegrpo.evaluation.generate import generate_responses, packed_trust
from safegrpo.models import load_model
from safegrpo.reward import Target, score, without_canned
from safegrpo.thinking import guided_prompt
from safegrpo.training.callbacks import Display, ProgressLine
from safegrpo.training.config import InternaliseConfig, Recipe
from safegrpo.training.model_parts import (
    ADAPTER,
    freeze_vision,
    mixed_precision,
    training_dtype,
)
from safegrpo.training.result import Internalised
from safegrpo.training.supervised import Collator, Example, supervise

_DECODED = 4  # batches whose images are in memory at a time


FEW = 0.1
"""A side of which a smaller share is kept is hardly there."""


@dataclass(frozen=True)
class Rollout:
    """A response to the guided prompt of a row of the training set, and the answer in it."""

    row: int
    response: str
    answer: str


def sample_rollouts(
    model: Any,
    collator: Collator,
    processor: Any,
    pairs: Sequence[TaggedPair],
    guide: str,
    recipe: Recipe,
    args: Any,
    console: Console,
) -> list[tuple[int, str]]:
    """(row, response) of every guided prompt that is asked, `internalise.rollouts` times each.

    Every process samples a share and gets all. What is sampled does not depend on how many there
    are.
    """
    config = recipe.internalise or InternaliseConfig()
    rows = list(range(len(pairs)))
    random.Random(recipe.seed).shuffle(rows)
    rows = rows[: config.examples] * config.rollouts
    size = _DECODED * config.batch_size
    trust = packed_trust(model) if recipe.shared_prefix else None
    said: list[tuple[int, list[str]]] = []
    with Display(console, "internalise", "rollout", len(rows)) as display:
        for number, start in enumerate(range(0, len(rows), size)):
            if number % args.world_size != args.process_index:
                continue
            with mixed_precision(args):
                responses = generate_responses(
                    model,
                    processor,
                    [
                        (collator.images(row), guided_prompt(pairs[row].prompt, guide))
                        for row in rows[start : start + size]
                    ],
                    max_new_tokens=args.max_completion_length,
                    batch_size=config.batch_size,
                    temperature=config.temperature,
                    seed=recipe.seed * 1_000_003 + number,
                    chat_template_kwargs=args.chat_template_kwargs,
                    shared_prefix=recipe.shared_prefix,
                    trust=trust,
                )
            said.append((start, responses))
            display.show(start + len(responses))
    everyone = gather_object(said) if args.world_size > 1 else said
    responses = [response for _, part in sorted(everyone) for response in part]
    return list(zip(rows, responses, strict=True))


def earning_all(
    said: Sequence[tuple[int, str]], pairs: Sequence[TaggedPair], recipe: Recipe
) -> list[Rollout]:
    """Of (row, response), those that earn the full reward by the recipe's rules, in order."""
    targets = [Target(pairs[row].tags, pairs[row].prompt, pairs[row].answer) for row, _ in said]
    share = recipe.credit.reason_share
    found = [
        score(response, target, recipe.rules, reason_share=share)
        for (_, response), target in zip(said, targets, strict=True)
    ]
    found = without_canned(found, targets, recipe.rules)
    return [
        Rollout(row, response.strip(), (one.answer or "").strip())
        for (row, response), one in zip(said, found, strict=True)
        if one.reward == 1.0
    ]


def one_sided(
    asked: Sequence[int], kept: Sequence[int], pairs: Sequence[TaggedPair]
) -> Iterator[str]:
    """What is to be said where hardly any responses to one side, harmful or harmless pairs, are
    kept: what is learned from the other side's would be the same answer to all."""
    sides = {"harmful": True, "harmless": False}
    for name, harmful in sides.items():
        of_all, of_kept = (
            sum(_is_harmful(pairs[row]) == harmful for row in rows) for rows in (asked, kept)
        )
        if of_kept < FEW * of_all:
            yield (
                f"only {of_kept} of {of_all} rollouts on {name} pairs earn the full reward; what "
                "is carried over is the other side's"
            )


def _is_harmful(pair: TaggedPair) -> bool:
    return pair.tags is not None and pair.tags.combined == "unsafe"


def lessons(
    kept: Sequence[Rollout],
    pairs: Sequence[TaggedPair],
    guide: str,
    config: InternaliseConfig,
    *,
    batch: int,
    opened: bool,
    seed: int,
) -> list[Example]:
    """Batches of `batch` examples for all steps, one behind the other, drawn from `kept` over and
    over.

    The share `replay` of the batches, evenly among the others, have the guide in their prompts and
    all of the response. `opened`: the chat template has written `<think>`.
    """
    plain, guided = (_shuffled(kept, f"{seed} {name}") for name in ("plain", "guided"))
    # A thinking that the template has opened must be closed before an answer by itself.
    before = "\n</think>\n\n" if opened else ""
    examples = []
    for step in range(config.steps):
        # Whole batches, not rows among others: the loss is a mean over tokens, in which a short
        # answer would count for little beside a long thinking.
        replayed = math.floor((step + 1) * config.replay) > math.floor(step * config.replay)
        for _ in range(batch):
            one = next(guided if replayed else plain)
            prompt, response = pairs[one.row].prompt, one.response
            if replayed:
                prompt = guided_prompt(prompt, guide)
            elif config.target == "answer":
                response = before + one.answer
            examples.append(Example(one.row, prompt, response))
    return examples


def _shuffled(kept: Sequence[Rollout], seed: str) -> Iterator[Rollout]:
    """All of `kept` in one order after another, without end."""
    draw = random.Random(seed)
    while True:
        yield from draw.sample(kept, len(kept))


def internalise(
    recipe: Recipe,
    pairs: Sequence[TaggedPair],
    processor: Any,
    guide: str,
    last: Path,
    source: str,
    args: Any,
    console: Console,
) -> tuple[Any, Internalised]:
    """(Trainer with the trained model, what it learned from); None as Trainer if that is too
    little, which the console is told.

    `last` is the folder of GRPO's model and `source` what GRPO began with, to which adapters are
    added. `args` is the run's GRPOConfig. The same for the same folder and seed, whatever the
    process did before.
    """
    config = recipe.internalise or InternaliseConfig()
    # Trainers and their models hold each other in cycles: GRPO's must make room for this one.
    gc.collect()
    torch.cuda.empty_cache()
    set_seed(recipe.seed)
    model = _trained(recipe, last, source).to(args.device)
    collator = Collator(processor, pairs, recipe)
    said = sample_rollouts(model, collator, processor, pairs, guide, recipe, args, console)
    kept = earning_all(said, pairs, recipe)
    counts = f"{len(kept)} of {len(said)} rollouts earn the full reward"
    for warning in one_sided([row for row, _ in said], [one.row for one in kept], pairs):
        console.print(f"warning: internalise: {warning}")
    batch = config.batch_size * args.world_size
    if len(kept) < batch:
        console.print(
            f"warning: internalise: {counts}, fewer than a batch of {batch}: nothing is carried "
            "over, and the model is GRPO's; train longer, or raise internalise.rollouts"
        )
        return None, Internalised(len(said), len(kept), None)
    console.print(f"internalise: {counts}; {config.steps} supervised steps without the guide")
    opened = collator.render([], pairs[0].prompt).rstrip().endswith("<think>")
    examples = lessons(kept, pairs, guide, config, batch=batch, opened=opened, seed=recipe.seed)
    if recipe.lora is not None and args.gradient_checkpointing:
        model.enable_input_require_grads()
    work = last.with_name("internalised.work")
    progress = ProgressLine(console, "internalise")
    trainer, loss = supervise(
        model, examples, collator, config, recipe, args, work, progress, in_order=True
    )
    shutil.rmtree(work, ignore_errors=True)
    return trainer, Internalised(len(said), len(kept), loss)


def _trained(recipe: Recipe, last: Path, source: str) -> Any:
    """GRPO's model with its language tower trainable, or its adapters.

    The vision tower is not trained here, even where GRPO trained it: what is learned is when to
    think, and of pictures there is nothing to learn.
    """
    dtype = training_dtype(recipe)
    if recipe.lora is None:
        model = load_model(last, dtype=dtype)
        freeze_vision(model)
        return model
    from peft import PeftModel

    # Not the merged weights of `last`: a second adapter on them would be another training.
    base = load_model(source, dtype=dtype)
    return PeftModel.from_pretrained(base, last / ADAPTER, is_trainable=True)
