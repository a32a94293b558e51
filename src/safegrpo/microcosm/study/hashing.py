"""What a result was made of, as a hash: a run whose settings or items have changed is run again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from safegrpo.microcosm import SHIPPED
from safegrpo.microcosm.pairs import MicroPair, held_out
from safegrpo.microcosm.study import lessons
from safegrpo.microcosm.study.bases import made_by
from safegrpo.microcosm.study.rows import Row, grpo_recipe
from safegrpo.microcosm.study.slices import SLICES, slice_pairs
from safegrpo.microcosm.study.study import Split
from safegrpo.microcosm.study.worlds import Unseen, World, tested_apart, training_set
from safegrpo.training.config import Recipe
from safegrpo.training.data import data_sha256
from safegrpo.training.grpo_options import OUR_GRPO

TOLD = {"title", "about", "seeds", "first_seed", "home"}
"""What of a row decides none of its numbers."""

SPLITS: tuple[Split, ...] = ("dev", "test")
SAMPLE = 240  # training pairs that are hashed
VERSION = 1
"""Raised by hand when training or measuring itself comes to give other numbers."""

LESSONS = {
    "vlguard": lessons.vlguard,
    "think_in_safety": lessons.think_in_safety,
    "labels": lessons.labels,
    "chains": lessons.chains,
}


def row_hashes(rows: Mapping[str, Row], size: float = 1.0) -> dict[str, str]:
    """The present hash of each row."""
    return {name: row_hash(row, size) for name, row in rows.items()}


def row_hash(row: Row, size: float = 1.0) -> str:
    """A hash of a row's settings with all defaults, the base model (of one that is not shipped its
    recipe: machines differ in the last digits), the items asked, and what is trained on with one
    seed. Libraries and code are not in it: see VERSION."""
    said: list[Any] = [VERSION, size, _stands_on(size), *made_by(row.base).items()]
    said.append(row.model_dump(mode="json", exclude=TOLD))
    said += [_apart_sha256(name, row.split, size) for name in _kept(row)]
    if row.method == "grpo":
        recipe = Recipe.model_validate({"model": "microcosm", **grpo_recipe(row, {}, "row")})
        said += [recipe.model_dump(mode="json"), OUR_GRPO]
    if row.method != "none":
        said.append(_trained_sha256(row.world))
        if row.supervised is not None:
            pairs = training_set(row.world, 0)[:SAMPLE]
            said.append([taught for _, _, taught in LESSONS[row.supervised.lessons](pairs)])
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()[:16]


def apart(row: Row, size: float) -> dict[str, list[MicroPair]]:
    """The items that show what a row's training left out, or is asked about beside rows that did;
    by the slice's name."""
    return {f"apart-{name}": _apart(name, row.split, size) for name in _kept(row)}


def _kept(row: Row) -> dict[Unseen, None]:
    return dict.fromkeys((*row.world.without, *row.apart))


def _apart(name: Unseen, split: Split, size: float) -> list[MicroPair]:
    return tested_apart(World(without=(name,)), split, size)


# The whole study is hashed before anything runs, and most rows share what they are made of.
@lru_cache(maxsize=64)
def _apart_sha256(name: Unseen, split: Split, size: float) -> str:
    return data_sha256([pair.tagged() for pair in _apart(name, split, size)])


@lru_cache(maxsize=64)
def _trained_sha256(world: World) -> str:
    return data_sha256([pair.tagged() for pair in training_set(world, 0)[:SAMPLE]])


@lru_cache(maxsize=2)
def _stands_on(size: float) -> str:
    """A hash of the shipped base model, and of the items that every row is asked."""
    digest = hashlib.sha256()
    for file in sorted(SHIPPED.iterdir()):
        if file.is_file() and file.name != "base.json":  # which only tells of it
            digest.update(file.read_bytes())
    for split in SPLITS:
        items = held_out(split, size)
        items += [pair for name in SLICES for pair in slice_pairs(name, size, split)]
        digest.update(data_sha256([pair.tagged() for pair in items]).encode())
    return digest.hexdigest()
