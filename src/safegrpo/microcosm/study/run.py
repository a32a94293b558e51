"""One run of the study: a row trained with one seed, measured whole, and written down."""

from __future__ import annotations

import argparse
import platform
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from safegrpo.data.jsonl import read_jsonl
from safegrpo.microcosm.base import default_device
from safegrpo.microcosm.measure import logged
from safegrpo.microcosm.pairs import MicroPair, held_out
from safegrpo.microcosm.study.bases import BASES, base_folder
from safegrpo.microcosm.study.hashing import LESSONS, apart, row_hash
from safegrpo.microcosm.study.lessons import train_lessons
from safegrpo.microcosm.study.measure import measure_all
from safegrpo.microcosm.study.results import Result, write_result
from safegrpo.microcosm.study.rows import Row, Say, all_rows, grpo_recipe
from safegrpo.microcosm.study.worlds import counts, training_set
from safegrpo.models import load_model, load_processor
from safegrpo.thinking import GUIDE_FILE
from safegrpo.training.config import Recipe
from safegrpo.training.result import Measure, RunResult
from safegrpo.training.run import quiet, train

LIBRARIES = ("torch", "transformers", "trl")


def run_row(
    name: str,
    row: Row,
    seed: int,
    results: Path,
    work: Path,
    *,
    command: str = "",
    size: float = 1.0,
    bases: Path = BASES,
    say: Say,
) -> Path:
    """Train, measure, and write `results`/NAME-SEED.json; returns that file.

    `size` scales every held-out set. A run that was cut short goes on in its folder in `work`, if
    its settings are still the same; the folder is removed at the end.
    """
    quiet()
    began = time.perf_counter()
    base = base_folder(row.base, bases)
    digest = row_hash(row, size)
    folder = work / f"{name}-{seed}-{digest}-{default_device()}"
    pairs = training_set(row.world, seed) if row.method != "none" else []
    training: dict[str, Any] | None = None
    curve: list[dict[str, Any]] = []
    if row.method == "none":
        model, processor = _loaded(base)
    elif row.method == "sft":
        model, processor, training = _supervised(row, pairs, seed, base, say)
    else:
        recipe = Recipe.model_validate(grpo_recipe(row, given(base, seed, folder), name))
        done = train(
            recipe,
            train_pairs=[pair.tagged() for pair in pairs],
            measure=_progress(size),
            resume=folder.is_dir(),
        )
        model, processor = _loaded(done.model)
        training, curve = _of_run(recipe, done)
    if training is not None:
        training |= {"pairs": len(pairs), "kinds": counts(pairs)}
    say(f"{name}, seed {seed}: trained in {time.perf_counter() - began:.0f} s; measuring")
    measured = measure_all(
        model, processor, row.modes, split=row.split, size=size, apart=apart(row, size)
    )
    facts = {
        "row": name,
        "seed": seed,
        "command": command or f"safegrpo study --rows {shlex.quote(name)} --seeds {seed}",
        "hash": digest,
        "size": size,
        "versions": {library: version(library) for library in LIBRARIES},
        "machine": machine(),
        "split": row.split,
        "training": training,
        "curve": curve,
    }
    result = Result.from_json({**facts, **measured}, f"{name}, seed {seed}")
    path = write_result(results, result)
    shutil.rmtree(folder, ignore_errors=True)
    return path


def machine() -> str:
    """What a run was made on, as far as it may be told."""
    told = f"{platform.machine()}, {platform.system()}, {torch.get_num_threads()} thread(s)"
    return f"{told}, {torch.cuda.get_device_name()}" if torch.cuda.is_available() else told


def _loaded(folder: Path) -> tuple[Any, Any]:
    return load_model(folder, dtype="float32").to(default_device()), load_processor(folder)


def _progress(size: float) -> Measure:
    """A quarter of the development items, asked with the guide: how the run goes on."""
    dev = [pair.tagged() for pair in held_out("dev", size / 4)]

    def measure(model: Any, processor: Any, step: int) -> dict[str, float]:
        return logged(model, processor, dev, ("guided",))

    return measure


def given(base: Path, seed: int, folder: Path) -> dict[str, Any]:
    """What the study sets in every recipe. A GPU is to compute as a CPU does, only sooner."""
    return {
        "grpo": {"use_cpu": default_device() == "cpu", "bf16": False},
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
    model, processor = _loaded(base)
    taught = LESSONS[options.lessons](pairs)
    began = time.perf_counter()
    train_lessons(
        model,
        processor.tokenizer,
        taught,
        steps=options.steps,
        batch=options.batch_size,
        learning_rate=options.learning_rate * row.rate_scale(),
        seed=seed,
        freeze_vision=options.freeze_vision,
        say=say,
    )
    seconds = time.perf_counter() - began
    made = {"seconds": seconds, "parts": {"sft": seconds}, "steps": options.steps, "rollouts": 0}
    return model.eval(), processor, made


def log_of(run: Path) -> list[dict[str, Any]]:
    """The rows that a run has logged; those of training steps have a "reward"."""
    return [row for _, row in read_jsonl(run / "metrics.jsonl", torn_tail=True)]


def _of_run(recipe: Recipe, done: RunResult) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    rows = log_of(done.output)
    steps = [row for row in rows if "reward" in row]
    grpo = sum(row["step_seconds"] for row in steps)
    batch = recipe.grpo["per_device_train_batch_size"]
    parts = {**done.parts, "grpo": grpo}  # without what was measured in between
    apart = 0
    if done.cold_started is not None:
        parts["cold_start"] = done.cold_started.seconds
        apart += done.cold_started.sampled
    if done.internalised is not None:
        apart += done.internalised.sampled
    training = {
        "seconds": sum(parts.values()),
        "parts": parts,
        "steps": done.steps,
        "rollouts": batch * done.steps + apart,
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
    parser.add_argument("--bases", type=Path, default=BASES)
    parser.add_argument("--command", default="")
    args = parser.parse_args()
    row = all_rows(args.recipes)[args.name]
    run_row(
        args.name,
        row,
        args.seed,
        args.results,
        args.work,
        command=args.command,
        size=args.size,
        bases=args.bases,
        say=lambda line: print(line, file=sys.stderr, flush=True),
    )


if __name__ == "__main__":
    main()
