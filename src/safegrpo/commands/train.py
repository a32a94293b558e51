"""`safegrpo train`: run a training recipe, go on with one that was cut short, or estimate it."""

from __future__ import annotations

import argparse
import json
import math
import os
from typing import Any

from safegrpo.errors import ConfigError

_EXAMPLE = """\
example:
  $ safegrpo train recipes/tiny.yaml --set grpo.max_steps=2 --output runs/tiny
  $ safegrpo train recipes/tiny.yaml --output runs/tiny --resume

What it would take, from the model's config.json alone, before anything is started:
  $ safegrpo train recipes/qwen3_vl_4b_lora.yaml --dry-run --gpu-memory 80

On several GPUs start it with accelerate:
  $ accelerate launch --config_file recipes/accelerate/ddp.yaml --num_processes 4 \\
      -m safegrpo train recipes/qwen3_vl_4b_lora.yaml

The run folder then holds manifest.json, config.yaml, metrics.jsonl, rollouts/*.parquet and
checkpoints/ (last, best, and those that --resume goes on from)."""


def add_set_option(parser: argparse.ArgumentParser) -> None:
    """Add --set, whose values come as `overrides`."""
    parser.add_argument(
        "--set",
        metavar="a.b=c",
        action="append",
        default=[],
        dest="overrides",
        help="replace a key of the recipe, such as grpo.beta=0.04; may be given again",
    )


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
    add_set_option(parser)
    parser.add_argument("--output", metavar="DIR", help="the run folder (replaces the recipe's)")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on from the newest checkpoint of a run that was cut short",
    )
    _add_estimate(parser)
    parser.set_defaults(run=run_train)


def _add_estimate(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("estimate")
    group.add_argument(
        "--dry-run",
        action="store_true",
        help="train nothing; print memory of a GPU, tokens, operations and what they rest on",
    )
    group.add_argument("--gpus", type=int, metavar="N", help="processes, a GPU each (default: 1)")
    group.add_argument("--gpu-memory", type=float, metavar="GIB", help="of each GPU, to compare")
    group.add_argument(
        "--sharding",
        choices=("ddp", "fsdp", "zero2", "zero3"),
        help="what is divided among GPUs: nothing (ddp, the default), all of the model's states "
        "(fsdp, zero3), or gradients and optimizer (zero2)",
    )
    group.add_argument(
        "--generate-rate", type=float, metavar="TOKENS/S", help="measured, of one GPU: for hours"
    )
    group.add_argument(
        "--train-rate",
        type=float,
        metavar="TOKENS/S",
        help="measured, of one GPU: tokens trained on over all of a step but generation",
    )
    group.add_argument(
        "--tflops", type=float, metavar="T", help="of one GPU, instead of --train-rate"
    )
    group.add_argument(
        "--utilisation", type=float, metavar="SHARE", help="of --tflops that is reached, 0 to 1"
    )
    group.add_argument("--json", action="store_true", help="print the estimate as one JSON object")


def run_train(args: argparse.Namespace) -> int:
    """Train; prints the result as one JSON object and returns 0."""
    from safegrpo.training.config import load_recipe

    _check_estimate(args)
    recipe = load_recipe(args.recipe, args.overrides, {"output": args.output})
    if args.dry_run:
        return _estimate(args, recipe)
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


_NUMBERS = ("gpus", "gpu_memory", "generate_rate", "train_rate", "tflops", "utilisation")


def _check_estimate(args: argparse.Namespace) -> None:
    """Raises ConfigError for options of the estimate that mean nothing, alone or together."""
    given = {name: getattr(args, name) for name in _NUMBERS if getattr(args, name) is not None}
    for name, value in given.items():
        if not (0 < value < math.inf):
            raise ConfigError(f"{_flag(name)}: a number above 0 is wanted (given {value:g})")
    if not args.dry_run and (given or args.sharding or args.json):
        first = next(iter(given), "sharding" if args.sharding else "json")
        raise ConfigError(f"{_flag(first)} belongs to --dry-run")
    if args.dry_run and args.resume:
        raise ConfigError("--dry-run trains nothing that could be resumed: leave out --resume")
    if (args.tflops is None) != (args.utilisation is None):
        raise ConfigError("--tflops and --utilisation go together: no share is assumed")
    if args.tflops is not None and args.train_rate is not None:
        raise ConfigError("--train-rate and --tflops say the same: give one")
    if args.utilisation is not None and args.utilisation > 1:
        raise ConfigError("--utilisation: a share of --tflops, 1 or less, is wanted")


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _estimate(args: argparse.Namespace, recipe: Any) -> int:
    """Print what the recipe would take; returns 0 whether it fits or not."""
    from safegrpo.models import load_config
    from safegrpo.training.estimate.advice import advice
    from safegrpo.training.estimate.assumptions import assumptions
    from safegrpo.training.estimate.compute import Rates
    from safegrpo.training.estimate.estimate import estimate
    from safegrpo.training.estimate.shape import model_shape
    from safegrpo.training.estimate.table import as_json, lines
    from safegrpo.training.run import quiet

    quiet()
    operations = args.tflops * 1e12 * args.utilisation if args.tflops else None
    rates = Rates(args.generate_rate, args.train_rate, operations)
    config = load_config(recipe.model)
    found = estimate(
        recipe,
        gpus=args.gpus or 1,
        sharding=args.sharding or "ddp",
        gpu_memory=args.gpu_memory,
        rates=rates if rates != Rates() else None,
        shape=model_shape(config, recipe.lora),
    )
    said, turns = assumptions(found, recipe), advice(recipe, found, config)
    if args.json:
        print(json.dumps(as_json(found, said, turns)))
    else:
        print("\n".join(lines(found, said, turns)))
    return 0
