"""Supervised steps before GRPO, for models that it could not start from.

From a policy whose every completion earns nothing: examples are then written, from the tagged
pairs, with a short thinking and the true tags, then a refusal with its reason, or for safe pairs
the row's own answer or what the model says when simply asked. Or from one whose answer does not
heed its own tags: the model's own responses that earn the full reward are then its examples. With
`when: unlinked` the second is done only where the model's first rollouts show the need.
"""

from __future__ import annotations

import gc
import json
import random
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from rich.console import Console

from safegrpo.data.jsonl import write_text_atomic
from safegrpo.data.pairs import TaggedPair
from safegrpo.errors import ConfigError
from safegrpo.evaluation.generate import generate_responses
from safegrpo.models import load_model
from safegrpo.reward import RewardBreakdown
from safegrpo.thinking import Tags, direct_answer, guided_prompt, parse
from safegrpo.training.callbacks import ProgressLine
from safegrpo.training.checkpoints import replace_folder
from safegrpo.training.config import ColdStartConfig, Recipe
from safegrpo.training.link import Link
from safegrpo.training.model_parts import (
    freeze_vision,
    peft_config,
    save_trained,
    training_dtype,
)
from safegrpo.training.rejection import (
    RolloutSampler,
    earning_all,
    is_harmful,
    scored,
    shuffled,
    sides,
)
from safegrpo.training.result import ColdStarted
from safegrpo.training.supervised import Collator, Example, supervise

FACTS_FILE = "cold_start.json"
FEWEST = 8
"""Responses of its own, on harmful pairs and on harmless ones, from which a model can learn."""

LOOK, LOOKED_AT = 64, 512
"""Rollouts at a time, and at most, by which is seen whether answers heed the tags."""
_ASIDE = 500_000

FALLBACK_ANSWER = "Here is what I can say about it."
_REASONS = {
    (True, True): "both the image and the request are about something that can do harm",
    (True, False): "the image shows something that can do harm",
    (False, True): "the request is about something that can do harm",
    (False, False): "the request and the image together could lead to harm",
}


def example_response(pair: TaggedPair, answer: str | None, opened: bool) -> str:
    """The guided response to learn from; `opened` if the chat template has written `<think>`.

    `answer` is the help given to a safe pair; one that would break the format is not used.
    """
    tags = pair.tags or Tags("safe", "safe", "safe")
    reason = _REASONS[tags.visual == "unsafe", tags.text == "unsafe"]
    if tags.combined == "unsafe":
        summary = f"I should decline, since {reason}."
        answer = f"I'm sorry, but I can't help with this: {reason}."
    else:
        summary = "Nothing here leads to harm, so I should help."
        answer = pair.answer or answer or FALLBACK_ANSWER
    seen = f"{len(pair.images)} image(s) and a request" if pair.images else "a request, no image"
    thinking = "\n".join(
        (
            f"I am given {seen}.",
            f"The image alone: <visual_safe>{tags.visual}</visual_safe>",
            f"The request alone: <text_safe>{tags.text}</text_safe>",
            f"Both together: <combined_safe>{tags.combined}</combined_safe>",
            summary,
        )
    )
    response = f"{thinking}\n</think>\n\n<answer>{answer}</answer>"
    if not parse(response, "strict").well_formed:
        return example_response(pair, FALLBACK_ANSWER, opened)
    return response if opened else f"<think>\n{response}"


def written_examples(
    model: Any, collator: Collator, pairs: Sequence[TaggedPair], recipe: Recipe, guide: str
) -> list[Example]:
    """Up to `cold_start.examples` of the pairs as examples, drawn by the recipe's seed."""
    config = recipe.cold_start or ColdStartConfig()
    rows = list(range(len(pairs)))
    random.Random(recipe.seed).shuffle(rows)
    rows = rows[: config.examples]
    asked = [row for row in rows if not is_harmful(pairs[row]) and not pairs[row].answer]
    said = generate_responses(
        model,
        collator.processor,
        [(collator.images(row), pairs[row].prompt) for row in asked],
        max_new_tokens=config.answer_tokens,
        batch_size=config.batch_size,
        chat_template_kwargs=recipe.grpo.get("chat_template_kwargs"),
    )
    answers = {
        row: direct_answer(response).strip() for row, response in zip(asked, said, strict=True)
    }
    examples = []
    for row in rows:
        prompt = guided_prompt(pairs[row].prompt, guide)
        opened = collator.render([], prompt).rstrip().endswith("<think>")
        response = example_response(pairs[row], answers.get(row), opened)
        examples.append(Example(row, prompt, response))
    return examples


def own_examples(sampler: RolloutSampler) -> tuple[list[Example], int, int]:
    """The model's own responses that earn the full reward, for all steps in order, and how many
    were sampled and kept.

    Harmful and harmless pairs' take turns, however few there are of one side, else what is learned
    is to help (or to refuse) always. Where fewer than `FEWEST` are kept of a side that the pairs
    have, that raises ConfigError, or, in a cold start that only looks for need, leaves no examples.
    """
    recipe, pairs = sampler.recipe, sampler.pairs
    config = recipe.cold_start or ColdStartConfig()
    said = sampler.sample(sampler.rows())
    kept = [
        one
        for one in earning_all(said, pairs, recipe)
        # A row without tags is paid for its answer alone, whatever tag was written before it.
        if pairs[one.row].tags or parse(one.response, recipe.rules).tags.combined != "unsafe"
    ]
    known = [side for side in sides(said, kept, pairs) if side.known]
    sampler.console.print(f"cold start: {'; '.join(map(str, known))}")
    for side in known:
        if len(side.kept) < FEWEST:
            too_few = f"{side}, fewer than {FEWEST}; raise cold_start.rollouts or "
            too_few += "cold_start.examples, or set cold_start.target: written"
            if config.when == "always":
                raise ConfigError(f"cold_start.target: own: {too_few}")
            sampler.console.print(f"warning: no cold start: {too_few} and cold_start.when: always")
            return [], len(said), len(kept)
        if side.hardly_kept:
            sampler.console.print(
                f"warning: cold start: only {side}; they are learned again and again"
            )
    draws = [shuffled(side.kept, f"{recipe.seed} {side.name}") for side in known]
    n = config.batch_size * sampler.args.world_size * config.steps
    drawn = [next(draws[i % len(draws)]) for i in range(n)]
    examples = [
        Example(one.row, guided_prompt(pairs[one.row].prompt, sampler.guide), one.response)
        for one in drawn
    ]
    return examples, len(said), len(kept)


def look(sampler: RolloutSampler) -> tuple[Link, int]:
    """How far the model's answers heed its tags, and how many rollouts it took to see."""
    rows = sampler.rows()[:LOOKED_AT]
    found: list[RewardBreakdown] = []
    link = Link.of(found)
    while len(found) < len(rows) and not link.decided:
        # Other draws than before, and than those to learn from: a row may come again.
        part = sampler.sample(rows[len(found) : len(found) + LOOK], first=_ASIDE + len(found))
        found += scored(part, sampler.pairs, sampler.recipe)
        link = Link.of(found)
    needed = "one is needed" if link.missing else "none is needed"
    sampler.console.print(f"cold start: {link}; {needed}")
    return link, len(found)


def cold_start(
    recipe: Recipe,
    pairs: Sequence[TaggedPair],
    processor: Any,
    guide: str,
    directory: Path,
    args: Any,
    console: Console,
) -> None:
    """Train the recipe's model on its examples into `directory`, a model folder; or say there that
    it needs none.

    `args` is the run's GRPOConfig: precision and device are taken from it. The folder appears
    whole or not at all, so a run killed in here starts its cold start again.
    """
    config = recipe.cold_start or ColdStartConfig()
    began = time.perf_counter()
    torch.manual_seed(recipe.seed)
    model = load_model(recipe.model, dtype=training_dtype(recipe)).to(args.device)
    own = config.target == "own"
    # Of pictures there is nothing to learn in what the model says of them itself.
    if recipe.lora is None and (recipe.freeze_vision or own):
        freeze_vision(model)
    collator = Collator(processor, pairs, recipe)
    sampler = RolloutSampler(
        model, collator, pairs, guide, recipe, config, args, console, "cold start"
    )
    facts = ColdStarted(0.0, sampled=0, kept=0)
    examples: list[Example] = []
    if config.when == "unlinked":
        link, looked = look(sampler)
        facts = replace(facts, sampled=looked, link=link.strength, trained=link.missing)
    if facts.trained and own:
        examples, sampled, kept = own_examples(sampler)
        facts = replace(facts, sampled=facts.sampled + sampled, kept=kept, trained=bool(examples))
    elif facts.trained:
        examples = written_examples(model, collator, pairs, recipe, guide)
    work = directory.with_name(f"{directory.name}.work")
    trainer = _taught(model, examples, collator, recipe, args, work, console) if examples else None
    if args.process_index == 0:
        part = directory.with_name(f"{directory.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        if trainer is not None:
            trained = trainer.accelerator.unwrap_model(trainer.model)
            save_trained(trained, processor, part, recipe.model)
        part.mkdir(parents=True, exist_ok=True)
        facts = replace(facts, seconds=time.perf_counter() - began)
        write_text_atomic(part / FACTS_FILE, json.dumps(asdict(facts)) + "\n")
        replace_folder(part, directory)
        shutil.rmtree(work, ignore_errors=True)
    PartialState().wait_for_everyone()
    # Model and optimizer hold each other in cycles; GRPO loads its own beside what is left.
    del trainer, sampler, model
    gc.collect()
    torch.cuda.empty_cache()


def _taught(
    model: Any,
    examples: Sequence[Example],
    collator: Collator,
    recipe: Recipe,
    args: Any,
    work: Path,
    console: Console,
) -> Any:
    """The Trainer after the last step."""
    config = recipe.cold_start or ColdStartConfig()
    if recipe.lora is not None:
        from peft import get_peft_model

        model = get_peft_model(model, peft_config(model, recipe.lora))
        if args.gradient_checkpointing:
            model.enable_input_require_grads()
    progress = ProgressLine(console, "cold start")
    in_order = config.target == "own"
    trainer, _ = supervise(
        model, examples, collator, config, recipe, args, work, progress, in_order
    )
    return trainer


def cold_started(folder: str | Path) -> ColdStarted | None:
    """What the cold start in `folder` took; None where it does not say."""
    try:
        return ColdStarted(**json.loads((Path(folder) / FACTS_FILE).read_text("utf-8")))
    except FileNotFoundError:
        return None
