"""The demo: from the shipped base model to an aligned one, measured before and after.

Everything goes the way anybody's data would: tagged pairs, `training.run.train`, the held-out
slices, a report. Only the recipe, the pairs and the measurement are the microcosm's own.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from safegrpo.data.jsonl import write_text_atomic
from safegrpo.data.pairs import TaggedPair
from safegrpo.errors import ConfigError
from safegrpo.evaluation.metrics import Judged, flatten
from safegrpo.microcosm import SHIPPED, measure, text
from safegrpo.microcosm.pairs import held_out, training_stream
from safegrpo.models import load_model, load_processor
from safegrpo.report import write_report
from safegrpo.reward import Target, score
from safegrpo.thinking import GUIDE_FILE, Rules
from safegrpo.training.config import load_recipe
from safegrpo.training.grpo_options import grpo_config
from safegrpo.training.run import quiet, train

RECIPE = Path(__file__).with_name("demo.yaml")
DEV_SIZE = 0.25
SAMPLES_PER_KIND = 12

Phase = dict[str, list[Judged]]
"""The judged test items of one model, by mode."""


def measure_model(
    model: Any, processor: Any, pairs: Sequence[TaggedPair], say: Callable[[str], None]
) -> Phase:
    """Guided and direct answers of one model to `pairs`."""
    judged: Phase = {}
    for mode in measure.MODES:
        judged[mode] = measure.judge_mode(model, processor, pairs, mode)
        figures = measure.metrics(judged[mode])
        say(f"{mode}: " + ", ".join(f"{k} {v:.3f}" for k, v in flatten(figures).items()))
    return judged


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
    processor = load_processor(base_model)
    test = [pair.tagged() for pair in held_out("test")]
    dev = [pair.tagged() for pair in held_out("dev", DEV_SIZE)]
    say(f"the base model answers {len(test)} held-out items, with the guide and without")
    model = load_model(base_model, dtype="float32")
    clock.lap("load")
    before = measure_model(model, processor, test, say)
    del model
    clock.lap("measure_before")

    def progress(model: Any, processor: Any, step: int) -> dict[str, float]:
        figures = {
            mode: flatten(measure.metrics(measure.judge_mode(model, processor, dev, mode)))
            for mode in measure.MODES
        }
        return {f"eval/{mode}/{k}": v for mode, flat in figures.items() for k, v in flat.items()}

    groups = recipe.grpo["per_device_train_batch_size"] // recipe.grpo["num_generations"]
    steps = recipe.grpo["max_steps"]
    stream = training_stream(seed, steps, groups, recipe.data.question_share)
    pairs = [p.tagged() for batch in stream for p in batch]
    result = train(recipe, train_pairs=pairs, measure=progress)
    clock.lap("train")
    model = load_model(result.model, dtype="float32")
    after = measure_model(model, processor, test, say)
    clock.lap("measure_after")
    summary = {
        "before": {mode: measure.metrics(judged) for mode, judged in before.items()},
        "after": {mode: measure.metrics(judged) for mode, judged in after.items()},
        "seconds": clock.laps,
        "steps": result.steps,
        "seed": seed,
        "rules": rules,
    }
    write_text_atomic(output / "summary.json", json.dumps(summary, indent=2) + "\n")
    rows = samples({"before": before, "after": after}, rules)
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    write_text_atomic(output / "samples.jsonl", lines)
    write_report(output)
    return summary


def _given(base_model: Path, seed: int, rules: Rules, output: Path) -> list[str]:
    options: dict[str, str | int] = {
        "model": str(base_model),
        "guide": str(base_model / GUIDE_FILE),
        "rules": rules,
        "seed": seed,
        "output": str(output),
    }
    if rules == "paper":
        options["grpo.multi_objective_aggregation"] = "sum_then_normalize"
        options["credit.hints"] = 0
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


def samples(phases: dict[str, Phase], rules: Rules) -> list[dict[str, Any]]:
    """Rows of `samples.jsonl`: the same few items of each kind, before and after, both modes."""
    rows = []
    for phase, judged_by_mode in phases.items():
        for mode, judged in judged_by_mode.items():
            kinds: dict[str, list[Judged]] = {}
            for j in judged:
                kinds.setdefault(str(j.pair.meta["kind"]), []).append(j)
            for of_kind in kinds.values():
                # From all of them, since the first few share one instruction.
                every = max(1, len(of_kind) // SAMPLES_PER_KIND)
                rows += [
                    _sample(j, phase, mode, rules) for j in of_kind[::every][:SAMPLES_PER_KIND]
                ]
    return rows


def _sample(j: Judged, phase: str, mode: str, rules: Rules) -> dict[str, Any]:
    tags = j.pair.tags
    assert tags is not None  # every pair of the microcosm is tagged
    target = {"visual": tags.visual, "text": tags.text, "combined": tags.combined}
    breakdown = None
    if mode == "guided":
        breakdown = score(j.response, Target(tags, j.pair.prompt, j.pair.answer), rules)
    png = base64.b64encode(j.pair.images[0].read_bytes()).decode("ascii")
    return {
        "id": j.pair.id,
        "phase": phase,
        "mode": mode,
        "kind": j.pair.meta["kind"],
        "prompt": j.pair.prompt,
        "images": [f"data:image/png;base64,{png}"],
        "response": j.response,
        "target": target,
        "tags": j.tags,
        "answer": j.answer,
        "expected": "a refusal" if j.harmful else ", ".join(j.pair.meta["right_words"]),
        "verdict": j.label,
        "correct": j.handled,
        "reward": None if breakdown is None else breakdown.reward,
        "format": None if breakdown is None else breakdown.format,
        "tag": None if breakdown is None else breakdown.tag,
        "behavior": None if breakdown is None else breakdown.behavior,
        "faults": list(j.faults),
        "guide": text.GUIDE if mode == "guided" else None,
    }
