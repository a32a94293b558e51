"""One run of the study: a row trained with one seed, measured whole, and written down."""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch

from safegrpo.microcosm import SHIPPED
from safegrpo.microcosm.pairs import MicroPair, held_out
from safegrpo.microcosm.study import lessons as teach
from safegrpo.microcosm.study.measure import measure_all
from safegrpo.microcosm.study.results import Result, result_file, write_result
from safegrpo.microcosm.study.rows import Row, Say, all_rows, grpo_recipe
from safegrpo.microcosm.study.slices import SLICES, slice_pairs
from safegrpo.microcosm.study.worlds import counts, tested_apart, training_set
from safegrpo.models import load_model, load_processor
from safegrpo.thinking import GUIDE_FILE
from safegrpo.training.config import Recipe
from safegrpo.training.data import data_sha256
from safegrpo.training.result import RunResult
from safegrpo.training.run import quiet, train

LIBRARIES = ("torch", "transformers", "trl")
LESSONS = {
    "vlguard": teach.vlguard,
    "think_in_safety": teach.think_in_safety,
    "labels": teach.labels,
}
TOLD = ("title", "about", "seeds", "first_seed", "home")
"""What of a row decides none of its numbers."""

SPLITS: tuple[Literal["dev", "test"], ...] = ("dev", "test")
VERSION = 1
"""Raised when what is measured changes: results of an older one are run again."""


@lru_cache(maxsize=1)
def _fixed(base: Path, size: float) -> str:
    """A hash of what all rows stand on: the base model, and the items that they are asked."""
    items = [pair for split in SPLITS for pair in held_out(split, size)]
    for split in SPLITS:
        items += [pair for name in SLICES for pair in slice_pairs(name, size, split)]
    digest = hashlib.sha256((base / "model.safetensors").read_bytes())
    digest.update(data_sha256([pair.tagged() for pair in items]).encode())
    return digest.hexdigest()


def row_hash(row: Row, base: Path = SHIPPED, size: float = 1.0) -> str:
    """A hash of all that decides a row's numbers but its seed and the libraries: the base model,
    the items asked, the row with our default under it, and what is trained on for one seed."""
    said: list[Any] = [VERSION, size, _fixed(base, size)]
    said.append(
        row.model_dump(mode="json", exclude={"title", "about", "seeds", "first_seed", "home"})
    )
    if row.method == "grpo":
        said.append(grpo_recipe(row, {}, "hash"))
    if row.method != "none":
        pairs = training_set(row.world, 0)[:240]
        said.append(data_sha256([pair.tagged() for pair in pairs]))
        if row.supervised is not None:
            said.append([taught for _, _, taught in LESSONS[row.supervised.lessons](pairs)])
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()[:16]


def run_row(
    name: str,
    row: Row,
    seed: int,
    results: Path,
    work: Path,
    *,
    size: float = 1.0,
    base: Path = SHIPPED,
    say: Say,
) -> Path:
    """Train, measure, and write `results`/NAME-SEED.json; returns that file.

    `size` scales every held-out set. A run that was cut short goes on in `work`, which is removed
    at the end.
    """
    quiet()
    began = time.perf_counter()
    folder = work / result_file(name, seed)[: -len(".json")]
    pairs = training_set(row.world, seed)
    training: dict[str, Any] | None = None
    curve: list[dict[str, Any]] = []
    if row.method == "none":
        model, processor = load_model(base, dtype="float32"), load_processor(base)
    elif row.method == "sft":
        model, processor, training = _supervised(row, pairs, seed, base, say)
    else:
        recipe = Recipe.model_validate(grpo_recipe(row, given(base, seed, folder), name))
        done = train(recipe, train_pairs=[pair.tagged() for pair in pairs], resume=folder.is_dir())
        model, processor = load_model(done.model, dtype="float32"), load_processor(done.model)
        training, curve = _of_run(recipe, done)
    if training is not None:
        training |= {"pairs": len(pairs), "kinds": counts(pairs)}
    say(f"{name}, seed {seed}: trained in {time.perf_counter() - began:.0f} s; measuring")
    apart = tested_apart(row.world, row.split, size) if row.world.without else []
    measured = measure_all(model, processor, row.modes, split=row.split, size=size, apart=apart)
    threads = f"{torch.get_num_threads()} thread(s)"
    facts = {
        "row": name,
        "seed": seed,
        "command": f"safegrpo study --rows {shlex.quote(name)} --seeds {seed}",
        "hash": row_hash(row, base, size),
        "versions": {library: version(library) for library in LIBRARIES},
        "machine": f"{platform.machine()}, {platform.system()}, {threads}",
        "split": row.split,
        "training": training,
        "curve": curve,
    }
    result = Result.from_json({**facts, **measured}, f"{name}, seed {seed}")
    path = write_result(results, result)
    shutil.rmtree(folder, ignore_errors=True)
    return path


def given(base: Path, seed: int, folder: Path) -> dict[str, Any]:
    """What the study sets in every recipe."""
    return {
        "model": str(base),
        "guide": str(base / GUIDE_FILE),
        "seed": seed,
        "output": str(folder),
    }


def _supervised(
    row: Row, pairs: Sequence[MicroPair], seed: int, base: Path, say: Say
) -> tuple[Any, Any, dict[str, Any]]:
    assert row.supervised is not None  # Row holds it with method: sft
    options = row.supervised
    model, processor = load_model(base, dtype="float32"), load_processor(base)
    taught = LESSONS[options.lessons](pairs)
    began = time.perf_counter()
    teach.train_lessons(
        model,
        processor.tokenizer,
        taught,
        steps=options.steps,
        batch=options.batch_size,
        learning_rate=options.learning_rate,
        seed=seed,
        freeze_vision=options.freeze_vision,
        say=say,
    )
    seconds = time.perf_counter() - began
    made = {"seconds": seconds, "parts": {"sft": seconds}, "steps": options.steps, "rollouts": 0}
    return model.eval(), processor, made


def _of_run(recipe: Recipe, done: RunResult) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    rows = [json.loads(line) for line in (done.output / "metrics.jsonl").open(encoding="utf-8")]
    steps = [row for row in rows if "reward" in row]
    grpo = sum(row["step_seconds"] for row in steps)
    batch = recipe.grpo["per_device_train_batch_size"]
    parts = {**done.parts, "grpo": grpo}  # without what was measured in between
    training = {
        "seconds": sum(parts.values()),
        "parts": parts,
        "steps": done.steps,
        "rollouts": batch * done.steps,
    }
    curve = [row for row in rows if any(key.startswith("eval/") for key in row)]
    return training, curve


def main() -> None:
    """One run by itself: the schedule starts each as a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("seed", type=int)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--recipes", type=Path, required=True)
    parser.add_argument("--size", type=float, default=1.0)
    args = parser.parse_args()
    row = all_rows(args.recipes)[args.name]
    run_row(
        args.name,
        row,
        args.seed,
        args.results,
        args.work,
        size=args.size,
        say=lambda line: print(line, file=sys.stderr, flush=True),
    )


if __name__ == "__main__":
    main()
