"""What a recipe names: its pairs, those held out, and its guide."""

from __future__ import annotations

from collections.abc import Sequence

from safegrpo.data.pairs import TaggedPair
from safegrpo.data.questions import load_questions, mix_questions
from safegrpo.data.schema import load_tagged
from safegrpo.errors import ConfigError, DataError, InputFileError
from safegrpo.thinking import GUIDE, load_guide
from safegrpo.training.config import Recipe


def guide_of(recipe: Recipe) -> str:
    """The guide's text: the recipe's own, else the built-in one."""
    return load_guide(recipe.guide) if recipe.guide else GUIDE


def training_pairs(recipe: Recipe, given: Sequence[TaggedPair] | None = None) -> list[TaggedPair]:
    """The pairs to train on, `given` in place of the recipe's, with its questions among them.

    Raises ConfigError if none are named, DataError or InputFileError (which name the key) for what
    cannot be loaded.
    """
    data = recipe.data
    pairs = _load("train", data.train, data.images, data.split) if given is None else list(given)
    if data.questions is None:
        return pairs
    questions = load_questions(data.questions, data.questions_split)
    return mix_questions(pairs, questions, data.question_share, recipe.seed)


def held_out_pairs(recipe: Recipe) -> list[TaggedPair]:
    """The pairs to measure on, none if none are named. Raises as `training_pairs`."""
    data = recipe.data
    if data.eval is None:
        return []
    try:
        return _load("eval", data.eval, data.images, data.eval_split)[: data.eval_limit]
    except InputFileError as error:
        mend = "name a held-out set of your own, or set data.eval: null"
        raise InputFileError(f"{error}; {mend}") from error


def _load(key: str, place: str | None, images: str | None, split: str | None) -> list[TaggedPair]:
    if place is None:
        raise ConfigError(f'"data.{key}" is missing: name a tagged set')
    try:
        return load_tagged(place, images, split)
    except (DataError, InputFileError) as error:
        said = str(error).replace("pass --images DIR", "set data.images to their folder")
        raise type(error)(f"data.{key}: {said}") from error
