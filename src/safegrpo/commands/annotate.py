"""`safegrpo annotate`: a judge's ratings for pairs, and what people make of a sample of them."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safegrpo.commands.judges import (
    add_budget_options,
    add_judge_options,
    budget_from_args,
    judges_from_args,
)
from safegrpo.commands.sources import PLACES, add_source_options, spec_from_args
from safegrpo.data.jsonl import parse_object, write_text_atomic
from safegrpo.errors import ConfigError

if TYPE_CHECKING:
    from safegrpo.data.annotate import Annotation
    from safegrpo.data.sources import Pair, Unusable
    from safegrpo.judge.budget import Budget
    from safegrpo.judge.question import Judge

_EXAMPLE = """\
example:
  $ safegrpo annotate pairs.jsonl -o rated --judge-url http://localhost:8000/v1 \\
      --judge-model Qwen/Qwen3-VL-32B-Instruct --concurrency 64 --dry-run
  $ export JUDGE_KEY=...
  $ safegrpo annotate vlguard=VLGuard -o rated --judge-url https://api.example.com/v1 \\
      --judge-model MODEL --judge-key-env JUDGE_KEY --price-in 0.4 --price-out 1.6 --max-cost 20
  $ safegrpo annotate pairs.jsonl -o rated --audit 200       (a sample for people to label)
  $ safegrpo annotate pairs.jsonl -o rated --labels rated/audit/labels.csv

Leaves DIR/scores.jsonl, one row a pair. Run again it goes on where it stopped, and tries again what
ended as error, unparseable or skipped. Exit code 3 if pairs are left without a rating."""


def add_annotate(subparsers: Any) -> None:
    """Add `annotate` to the sub-parsers of argparse."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "annotate",
        help="have a judge rate the safety of pairs",
        description="Have a judge rate image, text and both of each pair, against a policy.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("pairs", metavar="[KIND=]PAIRS", help=PLACES)
    parser.add_argument("-o", "--output", metavar="DIR", required=True)
    judge = parser.add_argument_group("the judge")
    add_judge_options(judge)
    judge.add_argument(
        "--policy", metavar="FILE", help="what is safe and what is not, in words (default: ours)"
    )
    judge.add_argument(
        "--votes", type=int, default=1, metavar="N", help="ratings of each judge (default: 1)"
    )
    judge.add_argument(
        "--max-side",
        type=int,
        default=1536,
        metavar="N",
        help="pixels to which larger images are scaled down (default: %(default)s)",
    )
    spend = parser.add_argument_group("how much")
    spend.add_argument("--dry-run", action="store_true", help="only say what would be asked")
    add_budget_options(spend)
    spend.add_argument("--shard", metavar="i/n", help="rate the i-th of n parts, i from 1")
    people = parser.add_argument_group("people")
    people.add_argument(
        "--audit", type=int, metavar="N", help="put N rated pairs at random into DIR/audit"
    )
    people.add_argument(
        "--labels", metavar="FILE", help="the labels of such a sample: measure the judge by them"
    )
    add_source_options(parser)
    parser.set_defaults(run=run_annotate)


def run_annotate(args: argparse.Namespace) -> int:
    """Rate the pairs; 3 if some are left without a rating, 1 if the judge broke down midway."""
    from safegrpo.data.annotate import Annotation
    from safegrpo.data.rate import Asking
    from safegrpo.data.rating import load_policy
    from safegrpo.data.sources import read_source

    folder = Path(args.output)
    spec = spec_from_args(args.pairs, args)
    if not args.judge_model and (args.audit is not None or args.labels is not None):
        return _people(args, folder, spec)
    if args.votes > 1 and args.temperature == 0:
        raise ConfigError("--votes at temperature 0 all say the same; give a --temperature")
    budget = budget_from_args(args)
    how = Asking(load_policy(args.policy), args.votes, args.max_side, _shard(args.shard))
    judges = judges_from_args(args, budget)

    def read() -> Iterator[Pair | Unusable]:
        return read_source(spec)

    annotation = Annotation(read, spec.to_json(folder), judges, how, folder)
    if args.dry_run:
        print(json.dumps(asyncio.run(annotation.estimate(budget))))
        return 0
    code = asyncio.run(_rate(annotation, judges, budget, args, how.shard))
    if args.audit is not None or args.labels is not None:
        _people(args, folder, spec)
    return code


async def _rate(
    annotation: Annotation,
    judges: Sequence[Judge],
    budget: Budget,
    args: argparse.Namespace,
    shard: tuple[int, int] | None,
) -> int:
    from safegrpo.data.agreed import agreement
    from safegrpo.data.scores import SUMMARY_FILE, shard_name
    from safegrpo.judge.crew import INTERRUPTED

    start = time.monotonic()
    try:
        outcome = await annotation.run(budget, args.concurrency)
    finally:
        for judge in judges:
            await judge.close()
    if outcome.stopped:
        print(f"safegrpo: stopped: {outcome.stopped}; run again to go on", file=sys.stderr)
    path = Path(args.output) / shard_name(SUMMARY_FILE, shard)
    said = {
        "output": args.output,
        "pairs": annotation.total,
        "statuses": dict(sorted(outcome.statuses.items())),
        "not_reached": annotation.total - sum(outcome.statuses.values()),
        "stopped": outcome.stopped or None,
        "usage": budget.to_json(),
        "usage_total": _added(path, budget),
        "endpoints": [dict(judge.adapted) for judge in judges],
        "seconds": round(time.monotonic() - start, 2),
    }
    if len(judges) * args.votes > 1 and shard is None:
        said["agreement"] = agreement(Path(args.output))
        if all(one["share_equal"]["value"] == 1 for one in said["agreement"].values()):
            print("safegrpo: all votes are the same; does the judge sample?", file=sys.stderr)
    write_text_atomic(path, json.dumps(said, indent=2) + "\n")
    print(json.dumps(said))
    if outcome.broken or outcome.stopped == INTERRUPTED:
        return 1 if outcome.broken else 130
    return 0 if outcome.statuses.get("scored", 0) == annotation.total else 3


def _added(path: Path, budget: Budget) -> dict[str, Any]:
    """What this run and those before it have used."""
    usage = budget.to_json()
    before = parse_object(path.read_bytes(), str(path)) if path.is_file() else {}
    for name, value in (before.get("usage_total") or {}).items():
        if isinstance(value, int | float):
            usage[name] = round((usage.get(name) or 0) + value, 6)
    return usage


def _people(args: argparse.Namespace, folder: Path, spec: Any) -> int:
    """Export a sample for people, or hold the judge against their labels."""
    from safegrpo.data.agreed import against_people, sample_for_people

    if args.audit is not None:
        if args.audit < 1:
            raise ConfigError("--audit is 1 or more")
        count, place = sample_for_people(folder, spec, args.audit, args.seed)
        print(json.dumps({"audit": str(place), "pairs": count}))
    if args.labels is not None:
        print(json.dumps(against_people(folder, Path(args.labels))))
    return 0


def _shard(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    first, slash, last = text.partition("/")
    if not (slash and first.isdecimal() and last.isdecimal()):
        raise ConfigError(f"--shard is i/n with i from 1 to n, such as 1/4 (given {text})")
    return int(first), int(last)
