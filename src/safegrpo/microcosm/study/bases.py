"""The base models that rows start from: the shipped one, and others made by this package."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from safegrpo.errors import ConfigError
from safegrpo.microcosm import SHIPPED
from safegrpo.microcosm.base import recipe_of
from safegrpo.microcosm.sizes import SHIPPED_SIZE, Size
from safegrpo.microcosm.unlinked import HEEDS, UnlinkedRecipe, make_unlinked
from safegrpo.training.base_model import model_sha256

Base = Size | Literal["unlinked", "half-linked"]
BASES = Path("runs/bases")
"""Where those that are not shipped are, by name."""


def made_by(base: Base) -> dict[str, Any]:
    """The recipe of a base model; of the shipped one none, which is what its files are."""
    if base == SHIPPED_SIZE:
        return {}
    if base in HEEDS:
        return asdict(UnlinkedRecipe(HEEDS[base]))
    return asdict(recipe_of(base))  # type: ignore[arg-type]


def base_folder(base: Base, bases: Path = BASES) -> Path:
    """The folder of a base model. Raises ConfigError if it is not there, or made by another recipe;
    the message has the command that makes it."""
    if base == SHIPPED_SIZE:
        return SHIPPED
    folder = bases / base
    module, option = ("unlinked", "--name") if base in HEEDS else ("base", "--size")
    command = f"python -m safegrpo.microcosm.{module} {option} {base} --output {folder}"
    try:
        facts = json.loads((folder / "base.json").read_text("utf-8"))
        recipe, taught = facts["recipe"], facts.get("taught_on")
    except FileNotFoundError:
        raise ConfigError(f"no base model in {folder}; make it: {command}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        recipe = taught = None
    if recipe != made_by(base) or (base in HEEDS and taught != model_sha256(str(SHIPPED))):
        raise ConfigError(f"{folder} was made by another recipe; make it again: {command}")
    return folder


def prepare(wanted: Iterable[Base], bases: Path, say: Callable[[str], None]) -> None:
    """Make the base models that take minutes, where they are missing. Those of other sizes
    take a GPU, or hours: their rows will say what to do."""
    for base in dict.fromkeys(wanted):
        if base in HEEDS and not (bases / base).exists():
            say(f"making the base model {bases / base}, which takes minutes")
            make_unlinked(bases / base, UnlinkedRecipe(HEEDS[base]))
