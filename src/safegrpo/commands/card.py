"""`safegrpo card`: the card of an evaluated model, ready for the hub."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

from safegrpo.errors import ConfigError, InputFileError

_EXAMPLE = """\
examples:
  $ safegrpo card evals/mine -o README.md
  $ safegrpo card evals/mine evals/base --model-dir runs/mine/checkpoints/last --license apache-2.0

The card is of the first run's model; runs of other models are shown beside it. It holds the
numbers with intervals and coverage, how each was made, the sets' licences and what was not
measured. Where files and endpoints lie stays out of it. Read it before you publish it."""

_LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,63}")


def add_card(subparsers: Any) -> None:
    """Add `card` to the sub-parsers of argparse."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "card",
        help="write the card of an evaluated model",
        description="Write the card of an evaluated model, in Markdown for the Hugging Face hub.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "runs",
        metavar="EVALUATION",
        nargs="+",
        type=Path,
        help="folder that safegrpo eval has left",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="where to write it (default: README.md in --model-dir, else standard output)",
    )
    parser.add_argument(
        "--model-dir",
        type=Path,
        metavar="DIR",
        help="the model's folder: names the model, and its run what it was trained from",
    )
    parser.add_argument(
        "--license",
        default="unknown",
        metavar="ID",
        help="the model's licence, as the hub spells it (default: unknown)",
    )
    parser.set_defaults(run=run_card)


def run_card(args: argparse.Namespace) -> int:
    """Write the card, and print it or where it is."""
    from safegrpo.data.jsonl import write_text_atomic
    from safegrpo.report.card import (
        is_ours,
        model_card,
        read_evaluated,
        trained_from,
        training_part,
    )
    from safegrpo.report.reading import own_file

    if not _LICENSE.fullmatch(args.license):
        raise ConfigError(
            f"--license {args.license!r:.60} is no identifier of the hub, such as apache-2.0"
        )
    output, base, name = args.output, None, None
    if args.model_dir is not None:
        if not args.model_dir.is_dir():
            raise InputFileError(f"--model-dir {args.model_dir} is no folder")
        base, name = trained_from(args.model_dir), str(args.model_dir.resolve())
        output = args.model_dir / "README.md" if output is None else output
    if output is not None and output.is_dir():
        raise ConfigError(f"{output} is a folder; name a file in it: -o FILE")
    # A link out of the folder is not read: what it leads to is not to be published.
    found = own_file(output.parent, output.name) if output is not None else None
    old = found.read_text("utf-8", "replace") if found is not None else ""
    if old and args.output is None and not is_ours(old):
        raise ConfigError(f"{output} is somebody's own; pass -o {output} to replace it")
    runs = [read_evaluated(run) for run in args.runs]
    card = model_card(runs, args.license, base, name, training_part(old))
    if output is None:
        print(card, end="")
    else:
        write_text_atomic(output, card)
        print(output)
    return 0
