"""Rejection sampling: a model's own guided responses, of which those are kept that earn all.

What supervised steps before GRPO and after it learn from, without anything written for them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from accelerate.utils import gather_object
from rich.console import Console

from safegrpo.data.pairs import TaggedPair
from safegrpo.evaluation.generate import generate_responses, packed_trust
from safegrpo.reward import RewardBreakdown, Target, score, without_canned
from safegrpo.thinking import guided_prompt
from safegrpo.training.callbacks import Display
from safegrpo.training.config import Recipe, SampledConfig
from safegrpo.training.model_parts import mixed_precision
from safegrpo.training.supervised import Collator

_DECODED = 4  # batches whose images are in memory at a time

FEW = 0.1
"""A side of which a smaller share is kept is hardly there."""


@dataclass(frozen=True)
class Rollout:
    """A response to the guided prompt of a row of the training set, and the answer in it."""

    row: int
    response: str
    answer: str


@dataclass
class RolloutSampler:
    """Samples a model's guided responses to training pairs; `args` is the run's GRPOConfig, and
    `phase` what the console calls it."""

    model: Any
    collator: Collator
    pairs: Sequence[TaggedPair]
    guide: str
    recipe: Recipe
    config: SampledConfig
    args: Any
    console: Console
    phase: str

    def __post_init__(self) -> None:
        self._trust = packed_trust(self.model) if self.recipe.shared_prefix else None

    def rows(self) -> list[int]:
        """All that are to be asked, each as often as the configuration says, in order."""
        rows = list(range(len(self.pairs)))
        random.Random(self.recipe.seed).shuffle(rows)
        return rows[: self.config.examples] * self.config.rollouts

    def sample(self, rows: Sequence[int], first: int = 0) -> list[tuple[int, str]]:
        """(row, response) of each; another `first` draws other responses.

        Every process samples a share and gets all. What is sampled does not depend on how many
        there are.
        """
        args, config = self.args, self.config
        size = _DECODED * config.batch_size
        said: list[tuple[int, list[str]]] = []
        with Display(self.console, self.phase, "rollout", len(rows)) as display:
            for number, start in enumerate(range(0, len(rows), size)):
                if number % args.world_size != args.process_index:
                    continue
                prompts = [
                    (self.collator.images(row), guided_prompt(self.pairs[row].prompt, self.guide))
                    for row in rows[start : start + size]
                ]
                with mixed_precision(args):
                    responses = generate_responses(
                        self.model,
                        self.collator.processor,
                        prompts,
                        max_new_tokens=args.max_completion_length,
                        batch_size=config.batch_size,
                        temperature=config.temperature,
                        seed=self.recipe.seed * 1_000_003 + first + number,
                        chat_template_kwargs=args.chat_template_kwargs,
                        shared_prefix=self.recipe.shared_prefix,
                        trust=self._trust,
                    )
                said.append((start, responses))
                display.show(start + len(responses))
        everyone = gather_object(said) if args.world_size > 1 else said
        responses = [response for _, part in sorted(everyone) for response in part]
        return list(zip(rows, responses, strict=True))


def scored(
    said: Sequence[tuple[int, str]], pairs: Sequence[TaggedPair], recipe: Recipe
) -> list[RewardBreakdown]:
    """What each (row, response) earns by the recipe's rules."""
    targets = [Target(pairs[row].tags, pairs[row].prompt, pairs[row].answer) for row, _ in said]
    share = recipe.credit.reason_share
    found = [
        score(response, target, recipe.rules, reason_share=share)
        for (_, response), target in zip(said, targets, strict=True)
    ]
    return without_canned(found, targets, recipe.rules)


def earning_all(
    said: Sequence[tuple[int, str]], pairs: Sequence[TaggedPair], recipe: Recipe
) -> list[Rollout]:
    """Of (row, response), those that earn the full reward, in order."""
    return [
        Rollout(row, response.strip(), (one.answer or "").strip())
        for (row, response), one in zip(said, scored(said, pairs, recipe), strict=True)
        if one.reward == 1.0
    ]


@dataclass(frozen=True)
class Side:
    """The harmful pairs, or the harmless ones: whether there are any, the rollouts `asked` of them,
    and those `kept`."""

    name: str
    known: bool
    asked: int
    kept: tuple[Rollout, ...]

    @property
    def hardly_kept(self) -> bool:
        """What is learned from the other side's alone would be the same answer to all."""
        return len(self.kept) < FEW * self.asked

    def __str__(self) -> str:
        counts = f"{len(self.kept)} of {self.asked}"
        return f"{counts} rollouts on {self.name} pairs earn the full reward"


def sides(
    said: Sequence[tuple[int, str]], kept: Sequence[Rollout], pairs: Sequence[TaggedPair]
) -> list[Side]:
    """Both sides, of which one may have no pairs, or not have been asked."""
    return [
        Side(
            name,
            any(is_harmful(pair) == harmful for pair in pairs),
            sum(is_harmful(pairs[row]) == harmful for row, _ in said),
            tuple(one for one in kept if is_harmful(pairs[one.row]) == harmful),
        )
        for name, harmful in (("harmful", True), ("harmless", False))
    ]


def shuffled(kept: Sequence[Rollout], seed: str) -> Iterator[Rollout]:
    """All of `kept` in one order after another, without end."""
    draw = random.Random(seed)
    while True:
        yield from draw.sample(kept, len(kept))


def is_harmful(pair: TaggedPair) -> bool:
    """Whether image and text are unsafe together; a row without tags is not."""
    return pair.tags is not None and pair.tags.combined == "unsafe"
