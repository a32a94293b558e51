"""The run folder: what it says about the run, and whether a run may start or go on in it.

A run goes on as it began. Only how its batches are parted may change, since that follows from how
many processes there are: their sizes may not.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, Field, ValidationError

from safegrpo.data.jsonl import write_text_atomic
from safegrpo.data.pairs import TaggedPair
from safegrpo.data.schema import tag_cells
from safegrpo.errors import ConfigError
from safegrpo.training.base_model import model_sha256
from safegrpo.training.config import Recipe, flatten
from safegrpo.versions import versions_of

MANIFEST = "manifest.json"
CONFIG = "config.yaml"
EVALUATIONS = "eval"
"""The folder of evaluations of what the run began with, and what it came to."""
_ANEW = "start in another folder: --output DIR"
_PACKAGES = (
    *("safegrpo", "torch", "transformers", "trl", "peft", "accelerate", "datasets", "pillow"),
)


@dataclass(frozen=True)
class Split:
    """How batches are parted over processes and steps, in the words of TRL."""

    processes: int
    per_device_train_batch_size: int
    gradient_accumulation_steps: int
    steps_per_generation: int

    @property
    def at_once(self) -> int:
        """Completions that all processes work on at a time."""
        return self.processes * self.per_device_train_batch_size

    @property
    def sizes(self) -> tuple[int, int]:
        """Completions of an update, and of a generation batch."""
        return (
            self.at_once * self.gradient_accumulation_steps,
            self.at_once * self.steps_per_generation,
        )


class _Data(BaseModel):
    rows: int
    cells: dict[str, int]
    sha256: str


class _Internalised(BaseModel):
    sampled: int
    kept: int
    loss: float | None


class _ColdStarted(BaseModel):
    seconds: float
    sampled: int
    kept: int
    link: float | None = None
    trained: bool = True


class _Finished(BaseModel):
    steps: int
    seconds: float
    metrics: dict[str, float]
    best: list[float] | None = Field(min_length=2, max_length=2)
    parts: dict[str, float] = Field(default_factory=dict)
    internalised: _Internalised | None = None
    cold_started: _ColdStarted | None = None


class _Manifest(BaseModel):
    """What is read of a manifest again. What versions before this one did not write may lack."""

    data: dict[Literal["train", "eval"], _Data] = Field(default_factory=dict)
    versions: dict[str, str | None] = Field(default_factory=dict)
    recipe_sha256: str = ""
    base_model_sha256: str = ""
    grpo: _Finished = Field(default_factory=_Finished.model_construct)  # and never null
    finished: _Finished = Field(default_factory=_Finished.model_construct)  # nor this


_SPLIT = tuple(
    f"grpo.{name}"
    for name in (
        *("per_device_train_batch_size", "gradient_accumulation_steps", "steps_per_generation"),
        "generation_batch_size",
    )
)
"""Keys of a recipe that may change as a run goes on, as long as the sizes stay."""


def split_of(args: Any) -> Split:
    """The split of a GRPOConfig, in the number of processes that run."""
    return Split(
        args.world_size,
        args.per_device_train_batch_size,
        args.gradient_accumulation_steps,
        args.steps_per_generation,
    )


def splits_of(manifest: Mapping[str, Any]) -> list[Split]:
    """How a run was split, each time that it began or went on otherwise than before.

    Empty for a run of a version that did not say so. Raises ConfigError if it cannot be read.
    """
    if "splits" not in manifest:
        return []
    try:
        found = [Split(**one) for one in manifest["splits"]]
    except TypeError:
        found = []
    numbers = [number for one in found for number in astuple(one)]
    if not numbers or not all(isinstance(number, int) and number > 0 for number in numbers):
        raise ConfigError(f'{MANIFEST}: "splits" is damaged; {_ANEW}')
    return found


def with_split(manifest: Mapping[str, Any], split: Split, resumed: bool) -> dict[str, Any]:
    """The manifest of a run that trains in this split, from a checkpoint if it is `resumed`."""
    before = splits_of(manifest) if resumed else []
    after = before if before[-1:] == [split] else [*before, split]
    return {**manifest, "splits": [asdict(one) for one in after]}


def describe_data(pairs: Sequence[TaggedPair], sha256: str) -> dict[str, Any]:
    """What the manifest says of a set: rows, how many of each cell of tags, and its hash."""
    return {"rows": len(pairs), "cells": tag_cells(pairs), "sha256": sha256}


def manifest_of(recipe: Recipe, data: Mapping[str, Any], split: Split) -> dict[str, Any]:
    """Versions, hashes, seed, command and split of a run; reads a local model once."""
    base = model_sha256(recipe.model)
    return {
        "seed": recipe.seed,
        "command": sys.argv,
        "recipe_sha256": _hash(recipe),
        **({} if base is None else {"base_model_sha256": base}),
        "data": dict(data),
        "splits": [asdict(split)],
        "versions": versions_of(_PACKAGES),
        "platform": platform.platform(),
    }


def _hash(recipe: Recipe) -> str:
    # A run folder may be moved: where it lies is no part of what the run is.
    options = recipe.model_dump(mode="json")
    del options["output"]
    if recipe.internalise is None:
        del options["internalise"]  # versions before this one had no such key,
    if recipe.credit.format_gate:
        del options["credit"]["format_gate"]  # nor this one
    if recipe.cold_start is not None and recipe.cold_start.target == "written":
        for key in ("target", "rollouts", "temperature"):  # nor these
            del options["cold_start"][key]
    if recipe.cold_start is not None and recipe.cold_start.when == "always":
        del options["cold_start"]["when"]  # nor this
    if recipe.guide is not None:
        options["guide"] = Path(recipe.guide).read_text(encoding="utf-8")
    return hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()


def read_manifest(run_dir: Path) -> dict[str, Any] | None:
    """The manifest of a run folder, or None where no run has started.

    Raises ConfigError if there is one that cannot be read.
    """
    path = run_dir / MANIFEST
    if not path.is_file():
        return None
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is damaged; {_ANEW}") from error
    if not isinstance(manifest, dict):
        raise ConfigError(f"{path} is no manifest; {_ANEW}")
    try:
        _Manifest.model_validate(manifest, strict=True)
    except ValidationError as error:
        place = ".".join(str(key) for key in error.errors()[0]["loc"][:3])
        raise ConfigError(f'{path}: "{place:.80}" is damaged; {_ANEW}') from error
    splits_of(manifest)
    return manifest


def write_manifest(run_dir: Path, manifest: Mapping[str, Any]) -> None:
    """Write the manifest, whole or not at all."""
    write_text_atomic(run_dir / MANIFEST, json.dumps(manifest, indent=2) + "\n")


def open_run(
    run_dir: Path, recipe: Recipe, data: Mapping[str, Any], split: Split, resume: bool
) -> dict[str, Any]:
    """Begin or go on in a run folder; returns its manifest.

    A folder in which nothing was trained yet (the run stopped over a setting, or only what came
    before was measured) is begun anew.
    Raises ConfigError if the folder holds something and `resume` is false, or if what is to go
    on is not the run that began there: the message names what differs.
    """
    manifest = manifest_of(recipe, data, split)
    found = {path.name for path in run_dir.iterdir()} if run_dir.is_dir() else set()
    found -= {MANIFEST, CONFIG, EVALUATIONS}
    old = read_manifest(run_dir) if found else None
    if old is not None and resume:
        _check_same(run_dir, recipe, old, manifest)
        return old
    if found:
        mend = "pass --resume to go on with it, or --output DIR for another" if old else ""
        raise ConfigError(f"{run_dir} is not empty; {mend or 'pass --output DIR for another'}")
    run_dir.mkdir(parents=True, exist_ok=True)
    options = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    write_text_atomic(run_dir / CONFIG, options)
    write_manifest(run_dir, manifest)
    return manifest


def _check_same(
    run_dir: Path, recipe: Recipe, old: Mapping[str, Any], new: Mapping[str, Any]
) -> None:
    splits = splits_of(old) + splits_of(new)
    differs = []
    if old.get("recipe_sha256") != new["recipe_sha256"]:
        # A run of an earlier version does not say what its sizes were.
        may_change = _SPLIT if len(splits) > 1 else ()
        differs = _changed_keys(run_dir / CONFIG, recipe, may_change, old.get("recipe_sha256"))
    for name in sorted({*old.get("data", {}), *new["data"]}):
        before, after = (side.get("data", {}).get(name, {}).get("sha256") for side in (old, new))
        if before != after:
            differs.append(f"the rows or images of data.{name}")
    # A run of an earlier version does not say what its base model was.
    if old.get("base_model_sha256", new.get("base_model_sha256")) != new.get("base_model_sha256"):
        differs.append(f"the weights or config.json in {recipe.model}")
    if differs:
        shown = ", ".join(differs[:5]) + (" and more" if len(differs) > 5 else "")
        raise ConfigError(
            f"{run_dir} was begun otherwise and cannot go on: {shown} changed. Undo that, or "
            "begin anew with --output DIR"
        )
    if "finished" not in old:
        _check_sizes(run_dir, recipe, splits[0], splits[-1])


def _changed_keys(
    config: Path, recipe: Recipe, may_change: Sequence[str], begun: str | None
) -> list[str]:
    """What differs from the recipe in `config`, of which `begun` is the hash; nothing if it is
    only keys that may change."""
    try:
        old = yaml.safe_load(config.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        old = None
    before = flatten(old if isinstance(old, dict) else {})
    after = flatten(recipe.model_dump(mode="json"))
    parted = {key: before[key] for key in may_change if key in before}
    grpo = {key: value for key, value in recipe.grpo.items() if f"grpo.{key}" not in may_change}
    grpo |= {key.removeprefix("grpo."): value for key, value in parted.items()}
    if _hash(recipe.model_copy(update={"grpo": grpo})) == begun:
        return []
    keys = sorted({*before, *after} - {"output", *may_change}) if before else []
    return [
        f"{key} ({before.get(key, 'unset')} -> {after.get(key, 'unset')})"
        for key in keys
        if before.get(key) != after.get(key)
    ] or ["the recipe or its guide"]


def _check_sizes(run_dir: Path, recipe: Recipe, begun: Split, now: Split) -> None:
    part = now.per_device_train_batch_size
    if begun.sizes != now.sizes:
        said = [
            f"{one.processes} x {one.per_device_train_batch_size} completions at a time, "
            f"{one.sizes[0]} an update, {one.sizes[1]} a generation batch"
            for one in (begun, now)
        ]
        raise ConfigError(
            f"{run_dir} was begun with {said[0]}; it cannot go on with {said[1]}. "
            f"{_mend(recipe, begun, now)}"
        )
    if recipe.grpo.get("loss_type") == "bnpo" and part != begun.per_device_train_batch_size:
        raise ConfigError(
            f"{run_dir} was begun with grpo.per_device_train_batch_size "
            f"{begun.per_device_train_batch_size}, and loss_type bnpo depends on it: leave it so"
        )


def _mend(recipe: Recipe, begun: Split, now: Split) -> str:
    """What to set so that `now` gets the sizes of `begun`."""
    update, generation = begun.sizes
    for part in range(now.per_device_train_batch_size, 0, -1):
        at_once = part * now.processes
        if update % at_once == 0 and generation % at_once == 0:
            break
    else:
        return f"They cannot be parted evenly over {now.processes} processes: start others"
    found = {"gradient_accumulation_steps": update // at_once}
    if part != now.per_device_train_batch_size:
        found = {"per_device_train_batch_size": part, **found}
    if "generation_batch_size" in recipe.grpo:
        found["generation_batch_size"] = generation
    elif "steps_per_generation" in recipe.grpo or update != generation:
        found["steps_per_generation"] = generation // at_once
    sets = " ".join(f"--set grpo.{key}={value}" for key, value in found.items())
    return f"Keep the sizes with {sets}"
