"""`safegrpo export`: a recipe and its data for verl or EasyR1."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safegrpo.commands.train import add_set_option
from safegrpo.terminal import printable

_EXAMPLE = """\
example:
  $ safegrpo export verl --recipe recipes/qwen3_vl_4b_paper.yaml -o out
  $ safegrpo export verl tagged --split train --recipe recipes/qwen3_vl_4b_lora.yaml \\
      --set credit.hints=0 --eval tagged --eval-split test --gpus-per-node 1 -o out
  $ safegrpo export easyr1 tagged --split train --recipe recipes/qwen3_vl_4b_paper.yaml -o out
  $ out/run.sh trainer.total_epochs=1

Leaves DIR/train.parquet (and test.parquet), DIR/reward.py, DIR/run.sh, which starts the engine, and
DIR/export.json: what it was made from, which rows were left out, what the engine is without. The
folder may be moved. Batch sizes are those that safegrpo train has on as many GPUs."""


def add_export(subparsers: Any) -> None:
    """Add `export` to the sub-parsers of argparse."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "export",
        help="write a recipe and its data for verl or EasyR1",
        description="Write a recipe, its data and its reward for verl or EasyR1.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("engine", choices=("verl", "easyr1"))
    parser.add_argument(
        "data", metavar="DATA", nargs="?", help="the tagged set (default: the recipe's data.train)"
    )
    parser.add_argument("--recipe", metavar="RECIPE.yaml", required=True)
    parser.add_argument("-o", "--output", metavar="DIR", required=True)
    parser.add_argument("--split", help="the split of DATA")
    parser.add_argument("--eval", metavar="SET", help="held-out rows (default: data.eval)")
    parser.add_argument("--eval-split", metavar="SPLIT", help="the split of SET")
    parser.add_argument("--images", metavar="DIR", help="where image paths start")
    add_set_option(parser)
    parser.add_argument("--nodes", type=int, default=1, metavar="N", help="machines (default: 1)")
    parser.add_argument(
        "--gpus-per-node", type=int, default=4, metavar="N", help="GPUs of each (default: 4)"
    )
    parser.set_defaults(run=run_export)


def run_export(args: argparse.Namespace) -> int:
    """Write the folder; prints what came of it as one JSON object and returns 0."""
    from safegrpo.export.settings import Cluster
    from safegrpo.export.write import export
    from safegrpo.training.config import load_recipe

    named = {
        "data.train": args.data,
        "data.split": args.split,
        "data.eval": args.eval,
        "data.eval_split": args.eval_split,
        "data.images": args.images,
    }
    recipe = load_recipe(args.recipe, args.overrides, named)
    cluster = Cluster(args.nodes, args.gpus_per_node)
    record = export(args.engine, recipe, Path(args.output), cluster)
    for line in _told(record):
        print(f"safegrpo: {' '.join(printable(line).split())}", file=sys.stderr)
    said = {
        "output": args.output,
        "rows": {name: part["rows"] for name, part in record["data"].items()},
        "too_long": {name: part["too_long"]["rows"] for name, part in record["data"].items()},
        **{key: record[key] for key in ("batch", "mini_batch", "gpus", "batches")},
    }
    print(json.dumps(said))
    return 0


def _told(record: Mapping[str, Any]) -> Iterator[str]:
    """What somebody should know of an export without reading its record."""
    yield (
        f"batches of {record['batch']} prompts, {record['mini_batch']} an update: what safegrpo "
        f"train makes of this recipe on {record['gpus']} GPUs"
    )
    for name, part in record["data"].items():
        left = part["too_long"]
        if left["rows"]:
            yield (
                f"{left['rows']} {name} rows left out, longer than data.max_prompt_length: their "
                "ids are in export.json"
            )
    yield from record["notices"]
