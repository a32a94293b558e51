"""Supervised steps after GRPO, so that what was learned with the guide holds without it.

GRPO with the guide teaches a model what to do where the guide stands; asked plainly, it is almost
what it was. So it answers the training pairs once more with the guide, and learns the responses
that earn the full reward on the plain prompts. The paper has no such phase.
"""

from __future__ import annotations

import gc
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from transformers import set_seed

from safegrpo.data.pairs import TaggedPair
from safegrpo.models import load_model
from safegrpo.thinking import guided_prompt
from safegrpo.training.callbacks import ProgressLine
from safegrpo.training.config import InternaliseConfig, Recipe
from safegrpo.training.model_parts import (
    ADAPTER,
    freeze_vision,
    training_dtype,
)
from safegrpo.training.rejection import (
    Rollout,
    RolloutSampler,
    earning_all,
    shuffled,
    sides,
)
from safegrpo.training.result import Internalised
from safegrpo.training.supervised import Collator, Example, supervise


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
    plain, guided = (shuffled(kept, f"{seed} {name}") for name in ("plain", "guided"))
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
    sampler = RolloutSampler(
        model, collator, pairs, guide, recipe, config, args, console, "internalise"
    )
    said = sampler.sample(sampler.rows())
    kept = earning_all(said, pairs, recipe)
    counts = f"{len(kept)} of {len(said)} rollouts earn the full reward"
    for side in sides(said, kept, pairs):
        if side.hardly_kept:
            console.print(
                f"warning: internalise: only {side}; what is carried over is the other side's"
            )
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
