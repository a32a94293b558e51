"""The demo: from the shipped base model to an aligned one, measured before and after.

Everything goes the way anybody's data would: tagged pairs, `training.run.train`, the held-out
slices, a report. Only the recipe, the pairs and the measurement are the microcosm's own.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from safegrpo.data.jsonl import write_text_atomic
from safegrpo.errors import ConfigError, DataError
from safegrpo.evaluation.evaluate import Asked, Evaluation
from safegrpo.evaluation.judging import read_judgements
from safegrpo.evaluation.metrics import joined
from safegrpo.evaluation.plan import Items, Plan
from safegrpo.evaluation.results import incomplete
from safegrpo.evaluation.rules import RULES
from safegrpo.evaluation.run import read_generations
from safegrpo.evaluation.summary import flatten
from safegrpo.judge.budget import Budget
from safegrpo.judge.endpoint import Sampling
from safegrpo.judge.local import LocalJudge
from safegrpo.microcosm import SHIPPED, measure
from safegrpo.microcosm.pairs import held_out, training_stream
from safegrpo.report import write_report
from safegrpo.thinking import GUIDE_FILE, Rules, load_guide
from safegrpo.training.config import load_recipe
from safegrpo.training.grpo_options import grpo_config
from safegrpo.training.run import quiet, train
from safegrpo.training.run_folder import EVALUATIONS

RECIPE = Path(__file__).with_name("demo.yaml")
DEV_SIZE = 0.25
DOZEN = 12  # pairs that hold both sides of an instruction, and a bit of everything
PAIRS = 1920
"""Pairs to train on, more if GRPO's steps use more: what comes after them asks all."""


def measure_model(
    model: Path, folder: Path, say: Callable[[str], None]
) -> dict[str, dict[str, Any]]:
    """The test items, guided and direct, asked of the model in a folder as `safegrpo eval` asks
    them; leaves the evaluation in `folder` and returns the metrics by mode."""
    budget = Budget()
    asked = LocalJudge(str(model), Sampling(), budget, measure.BATCH, name=model.name)
    guide = load_guide(model / GUIDE_FILE)
    plan = Plan(("microcosm",), modes=measure.MODES)
    evaluation = Evaluation(
        Items(plan), folder, Asked(asked, guide, budget, 2 * measure.BATCH), None
    )
    result = asyncio.run(evaluation.run())
    if result.asked is not None and result.asked.interrupted:
        raise KeyboardInterrupt
    if incomplete(result.metrics):
        raise DataError(f"some test items got no answer; see {folder}/generations.jsonl")
    found = {}
    rows = joined(read_generations(folder), read_judgements(folder))
    for mode in measure.MODES:
        found[mode] = measure.metrics(rows["microcosm", mode, RULES])
        say(f"{mode}: " + ", ".join(f"{k} {v:.3f}" for k, v in flatten(found[mode]).items()))
    return found


def run_demo(
    output: Path,
    *,
    seed: int,
    rules: Rules,
    overrides: Sequence[str] = (),
    base_model: Path = SHIPPED,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Train and measure; leaves a run folder with `summary.json` and `report.html` in `output`.

    Returns the summary (see the contract of `safegrpo demo`). Raises ConfigError if `output` holds
    something already, or for an override that does not fit.
    """
    clock = Clock()
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ConfigError(f"{output} is not empty; pass --output DIR for another")
    quiet()
    recipe = load_recipe(RECIPE, [*_given(base_model, seed, rules, output), *overrides])
    grpo_config(recipe, str(output / "checkpoints"))  # a wrong option is told before the long part
    dev = [pair.tagged() for pair in held_out("dev", DEV_SIZE)]
    say("the base model answers the held-out items, with the guide and without")
    before = measure_model(base_model, output / EVALUATIONS / "before", say)
    clock.lap("measure_before")

    def progress(model: Any, processor: Any, step: int) -> dict[str, float]:
        return measure.logged(model, processor, dev)

    groups = recipe.grpo["per_device_train_batch_size"] // recipe.grpo["num_generations"]
    dozens = -(-max(PAIRS, groups * recipe.grpo["max_steps"]) // DOZEN)
    stream = training_stream(seed, dozens, DOZEN, recipe.data.question_share)
    pairs = [p.tagged() for batch in stream for p in batch]
    result = train(recipe, train_pairs=pairs, measure=progress)
    clock.lap("train")
    after = measure_model(result.model, output / EVALUATIONS / "after", say)
    clock.lap("measure_after")
    summary = {
        "before": before,
        "after": after,
        "seconds": clock.laps,
        "steps": result.steps,
        "seed": seed,
        "rules": rules,
    }
    write_text_atomic(output / "summary.json", json.dumps(summary, indent=2) + "\n")
    write_report(output)
    return summary


def _given(base_model: Path, seed: int, rules: Rules, output: Path) -> list[str]:
    options: dict[str, str | int | None] = {
        "model": str(base_model),
        "guide": str(base_model / GUIDE_FILE),
        "rules": rules,
        "seed": seed,
        "output": str(output),
    }
    if rules == "paper":
        options["grpo.multi_objective_aggregation"] = "sum_then_normalize"
        options["credit.hints"] = 0
        options["cold_start"] = options["internalise"] = None
    return [f"{key}={json.dumps(value)}" for key, value in options.items()]  # JSON is YAML


class Clock:
    """Seconds of each part of a run, in order."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = round(now - self._last, 1)
        self._last = now
