"""The run folder: what it says about the run, and whether a run may start or go on in it."""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from safegrpo.data.jsonl import write_text_atomic
from safegrpo.data.pairs import TaggedPair
from safegrpo.data.schema import tag_cells
from safegrpo.errors import ConfigError
from safegrpo.training.config import Recipe, flatten
from safegrpo.versions import versions_of

MANIFEST = "manifest.json"
CONFIG = "config.yaml"
EVALUATIONS = "eval"
"""The folder of evaluations of what the run began with, and what it came to."""
_PACKAGES = (
    *("safegrpo", "torch", "transformers", "trl", "peft", "accelerate", "datasets", "pillow"),
)


def describe_data(pairs: Sequence[TaggedPair], sha256: str) -> dict[str, Any]:
    """What the manifest says of a set: rows, how many of each cell of tags, and its hash."""
    return {"rows": len(pairs), "cells": tag_cells(pairs), "sha256": sha256}


def manifest_of(recipe: Recipe, data: Mapping[str, Any]) -> dict[str, Any]:
    """Versions, hashes, seed and command of a run."""
    return {
        "seed": recipe.seed,
        "command": sys.argv,
        "recipe_sha256": hashlib.sha256(_comparable(recipe).encode()).hexdigest(),
        "data": dict(data),
        "versions": versions_of(_PACKAGES),
        "platform": platform.platform(),
    }


def _comparable(recipe: Recipe) -> str:
    # A run folder may be moved: where it lies is no part of what the run is.
    options = recipe.model_dump(mode="json")
    del options["output"]
    if recipe.guide is not None:
        options["guide"] = Path(recipe.guide).read_text(encoding="utf-8")
    return json.dumps(options, sort_keys=True)


def read_manifest(run_dir: Path) -> dict[str, Any] | None:
    """The manifest of a run folder, or None where no run has started.

    Raises ConfigError if there is one that cannot be read.
    """
    path = run_dir / MANIFEST
    if not path.is_file():
        return None
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path} is damaged; start in another folder: --output DIR") from error
    if not isinstance(manifest, dict):
        raise ConfigError(f"{path} is no manifest; start in another folder: --output DIR")
    return manifest


def write_manifest(run_dir: Path, manifest: Mapping[str, Any]) -> None:
    """Write the manifest, whole or not at all."""
    write_text_atomic(run_dir / MANIFEST, json.dumps(manifest, indent=2) + "\n")


def open_run(
    run_dir: Path, recipe: Recipe, data: Mapping[str, Any], resume: bool
) -> dict[str, Any]:
    """Begin or go on in a run folder; returns its manifest.

    A folder in which nothing was trained yet (the run stopped over a setting, or only what came
    before was measured) is begun anew.
    Raises ConfigError if the folder holds something and `resume` is false, or if what is to go
    on is not the run that began there: the message names what differs.
    """
    manifest = manifest_of(recipe, data)
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
    differs = []
    if old.get("recipe_sha256") != new["recipe_sha256"]:
        differs += _changed_keys(run_dir / CONFIG, recipe) or ["the recipe or its guide"]
    for name in sorted({*old.get("data", {}), *new["data"]}):
        before, after = (side.get("data", {}).get(name, {}).get("sha256") for side in (old, new))
        if before != after:
            differs.append(f"the rows or images of data.{name}")
    if differs:
        shown = ", ".join(differs[:5]) + (" and more" if len(differs) > 5 else "")
        raise ConfigError(
            f"{run_dir} was begun otherwise and cannot go on: {shown} changed. Undo that, or "
            "begin anew with --output DIR"
        )


def _changed_keys(config: Path, recipe: Recipe) -> list[str]:
    try:
        old = yaml.safe_load(config.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        return []
    before = flatten(old if isinstance(old, dict) else {})
    after = flatten(recipe.model_dump(mode="json"))
    keys = sorted({*before, *after} - {"output"})
    return [
        f"{key} ({before.get(key, 'unset')} -> {after.get(key, 'unset')})"
        for key in keys
        if before.get(key) != after.get(key)
    ]
