"""`safegrpo train`: run a training recipe, or go on with one that was cut short."""

from __future__ import annotations

import argparse
import json
import os
from typing import Any

_EXAMPLE = """\
example:
  $ safegrpo train recipes/tiny.yaml --set grpo.max_steps=2 --output runs/tiny
  $ safegrpo train recipes/tiny.yaml --output runs/tiny --resume

On several GPUs start it with accelerate:
  $ accelerate launch --num_processes 4 "$(which safegrpo)" train recipes/qwen3_vl_4b_lora.yaml

The run folder then holds manifest.json, config.yaml, metrics.jsonl, rollouts/*.parquet and
checkpoints/ (last, best, and those that --resume goes on from)."""


def add_train(subparsers: Any) -> None:
    """Add `train` to the sub-parsers of argparse."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "train",
        help="train a model with GRPO as a recipe says",
        description="Train a vision-language model with GRPO as a recipe says.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("recipe", metavar="RECIPE.yaml", help="what to train, on what and how")
    parser.add_argument(
        "--set",
        metavar="a.b=c",
        action="append",
        default=[],
        dest="overrides",
        help="replace a key of the recipe, such as grpo.beta=0.04; may be given again",
    )
    parser.add_argument("--output", metavar="DIR", help="the run folder (replaces the recipe's)")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on from the newest checkpoint of a run that was cut short",
    )
    parser.set_defaults(run=run_train)


def run_train(args: argparse.Namespace) -> int:
    """Train; prints the result as one JSON object and returns 0."""
    from safegrpo.training.config import load_recipe

    overrides = list(args.overrides)
    if args.output is not None:
        overrides.append(f"output={json.dumps(args.output)}")  # JSON is YAML: quoted, as it is
    recipe = load_recipe(args.recipe, overrides)
    from safegrpo.training.run import leave_processes, train

    result = train(recipe, resume=args.resume)
    if os.environ.get("RANK", "0") == "0":
        said = {
            "output": str(result.output),
            "model": str(result.model),
            "steps": result.steps,
            "seconds": round(result.seconds, 1),
            "metrics": result.metrics,
            "best": None,
        }
        if result.best is not None:
            best = result.best
            said["best"] = {"path": str(best.path), "step": best.step, "value": best.value}
        print(json.dumps(said))
    leave_processes()
    return 0
