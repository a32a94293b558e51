"""How long a run's prompts are: measured where data and processor are at hand, else assumed."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from safegrpo.data.hub_layout import is_hub_name
from safegrpo.data.pairs import TaggedPair
from safegrpo.errors import InputFileError, ModelError
from safegrpo.training.config import Recipe
from safegrpo.training.inputs import guide_of, training_pairs


@dataclass(frozen=True)
class PromptLengths:
    """Tokens of the prompts, images included: `longest`, `mean`, `median` and `p95`; `images` of a
    mean prompt and `most_images` of any are their images'. `rows` is None where the data was not
    read; `source` says where the numbers are from."""

    rows: int | None
    longest: int
    mean: float
    median: float
    p95: float
    images: float
    most_images: int
    source: str


def assumed_prompts(limit: int, why: str) -> PromptLengths:
    """Prompts that are all as long as a recipe allows, and all image: the bound of both."""
    source = f"{why}, so each has data.max_prompt_length tokens, all of them an image's"
    return PromptLengths(None, limit, limit, limit, limit, limit, limit, source)


def read_prompts(recipe: Recipe) -> PromptLengths:
    """The lengths of a recipe's training prompts by its model's processor; assumed where the data
    is no file or folder here, or the model has no processor here.

    Raises what a run would raise over its data: DataError, InputFileError, ConfigError.
    """
    data, limit = recipe.data, recipe.data.max_prompt_length
    if data.train is None or (not Path(data.train).exists() and is_hub_name(data.train)):
        named = f'"{data.train}" is not on this machine' if data.train else "data.train is not set"
        return assumed_prompts(limit, named)
    from safegrpo.models import load_processor

    try:
        processor = load_processor(recipe.model)
    except (InputFileError, ModelError) as error:
        return assumed_prompts(limit, str(error))
    from safegrpo.training.data import build_dataset

    pairs, guide = training_pairs(recipe), guide_of(recipe)

    def lengths(rows: Sequence[TaggedPair]) -> tuple[int, ...]:
        return build_dataset(
            rows,
            processor,
            guide=guide if recipe.mode == "guided" else None,
            max_prompt_length=limit,
            max_pixels=data.max_pixels,
            chat_template_kwargs=recipe.grpo.get("chat_template_kwargs"),
        ).prompt_lengths

    whole = lengths(pairs)
    words = lengths([replace(pair, images=()) for pair in pairs])
    return measured_prompts(whole, [a - b for a, b in zip(whole, words, strict=True)])


def measured_prompts(whole: Sequence[int], images: Sequence[int]) -> PromptLengths:
    """From each row's tokens, and those of them that its images add."""
    ranked = sorted(whole)
    return PromptLengths(
        rows=len(ranked),
        longest=ranked[-1],
        mean=statistics.fmean(ranked),
        median=statistics.median(ranked),
        p95=ranked[min(len(ranked) - 1, int(0.95 * len(ranked)))],
        images=statistics.fmean(images),
        most_images=max(images),
        source=f"measured on the {len(ranked):,} rows of the training set",
    )
