"""Options of every command that reads pairs, and `safegrpo pairs`, which gathers them."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from safegrpo.data.sources import KINDS, SourceSpec, spec_from_argument
from safegrpo.errors import ConfigError
from safegrpo.terminal import printable

PLACES = (
    "a file (.jsonl, .json, .csv, .tsv, .parquet), a folder or a hub name; with KIND= before it, a "
    f"published set in its own layout (kinds: {', '.join(KINDS)})"
)
_SHOWN = 3
_EXAMPLE = """\
example:
  $ safegrpo pairs vlguard=VLGuard spa_vl=SPA-VL mine.csv -o pairs
  $ safegrpo pairs beavertails=train.jsonl.xz --limit 300 -o drawn

Leaves DIR/pairs.jsonl with the images under DIR/images, named by content; DIR/unusable.jsonl says
of each row that is no pair why. Exit code 3 if there are any."""


def add_pairs(subparsers: Any) -> None:
    """Add `pairs` to the sub-parsers of argparse."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "pairs",
        help="gather image-text pairs from published sets and your own",
        description="Gather image-text pairs from published sets and your own into one folder.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("places", metavar="[KIND=]PLACE", nargs="+", help=PLACES)
    parser.add_argument("-o", "--output", metavar="DIR", required=True)
    add_source_options(parser)
    parser.set_defaults(run=run_pairs)


def add_source_options(parser: argparse.ArgumentParser) -> None:
    """The options that say how pairs are read."""
    group = parser.add_argument_group("reading pairs")
    group.add_argument("--split", help="the split to read (VLGuard: train unless test is named)")
    group.add_argument("--images", metavar="DIR", help="where image paths start")
    group.add_argument(
        "--column",
        metavar="OURS=THEIRS",
        action="append",
        default=[],
        help="a plain table's name for id, images, prompt, source or license; may be repeated",
    )
    group.add_argument("--source", metavar="NAME", help="what the pairs' source is called")
    group.add_argument("--license", metavar="NAME", help="the licence of the pairs")
    group.add_argument(
        "--limit", type=int, metavar="N", help="take N pairs of each place at random"
    )
    group.add_argument(
        "--look",
        action="append",
        metavar="NAME",
        help="how texts are drawn: list, handwriting, note or poster; may be given again "
        "(default: all)",
    )
    group.add_argument("--font", metavar="FILE", help="what texts are drawn in (.ttf, .otf)")
    group.add_argument("--seed", type=int, default=0, help="of samples and drawings (default: 0)")


def spec_from_args(argument: str, args: argparse.Namespace) -> SourceSpec:
    """The source that an argument and the options name; ConfigError if they make no sense."""
    from safegrpo.data.typography import LOOKS

    columns = dict(_column(one) for one in args.column)
    if args.limit is not None and args.limit < 1:
        raise ConfigError("--limit is 1 or more")
    unknown = sorted(set(args.look or ()) - set(LOOKS))
    if unknown:
        raise ConfigError(f"no look {unknown[0]}; there are {', '.join(LOOKS)}")
    return spec_from_argument(
        argument,
        split=args.split,
        images=args.images,
        source=args.source,
        license=args.license,
        columns=columns,
        limit=args.limit,
        looks=tuple(args.look or LOOKS),
        font=args.font,
        seed=args.seed,
    )


def _column(text: str) -> tuple[str, str]:
    ours, equals, theirs = text.partition("=")
    if not equals or not theirs:
        raise ConfigError(f"--column is OURS=THEIRS, such as prompt=question (given {text})")
    return ours, theirs


def run_pairs(args: argparse.Namespace) -> int:
    """Write the pairs; 3 if some rows are none."""
    from safegrpo.data.gather import gather

    specs = [spec_from_args(place, args) for place in args.places]
    done = gather(specs, Path(args.output))
    for one in done.unusable[:_SHOWN]:
        line = " ".join(printable(f"{one.id}: {one.problem}").split())
        print(f"not usable: {line[:500]}", file=sys.stderr)
    if len(done.unusable) > _SHOWN:
        rest = os.path.join(args.output, "unusable.jsonl")
        print(f"not usable: {len(done.unusable) - _SHOWN} more; see {rest}", file=sys.stderr)
    said = {
        "output": os.path.join(args.output, "pairs.jsonl"),
        "pairs": done.pairs,
        "unusable": len(done.unusable),
        "sources": done.sources,
    }
    print(json.dumps(said))
    return 3 if done.unusable else 0
