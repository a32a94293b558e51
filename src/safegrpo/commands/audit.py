"""`safegrpo audit`: what cheats would earn under the rules, beside an honest policy."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from typing import Any

from safegrpo.audit import SHARE, AuditRow, Earned, audit
from safegrpo.errors import ConfigError, DataError

_EXAMPLE = """\
example:
  $ safegrpo audit --rules strict
  $ safegrpo audit --rules paper --data pairs.jsonl --json

Shares of what an honest policy earns, on all rows and on those that the cheat gets wrong (it helps
with harm, or refuses or says nothing of use where help was due). Exit code 1 if a cheat earns more
than --share there. Rows without tags are left out; where a harmless row has no "answer", its own
words stand in for helpful ones."""


def add_audit(subparsers: Any) -> None:
    """Add `audit` to the sub-parsers of argparse."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "audit",
        help="score a bank of cheats against the rules",
        description="Score a bank of cheating strategies against the rules over a tagged set.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rules", choices=("paper", "strict"), default="strict")
    parser.add_argument(
        "--data", metavar="SET", help="a tagged set (default: the microcosm's test split)"
    )
    parser.add_argument("--images", metavar="DIR", help="where the images of SET are")
    parser.add_argument("--split", help="the split of SET")
    parser.add_argument(
        "--share",
        type=float,
        default=SHARE,
        metavar="X",
        help="the most of honesty's reward a cheat may earn where wrong (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    parser.set_defaults(run=run_audit)


def run_audit(args: argparse.Namespace) -> int:
    """Print the table; 1 if a cheat earns too much."""
    if not 0 <= args.share <= 1 or math.isnan(args.share):
        raise ConfigError(f"--share lies between 0 and 1 (given {args.share})")
    if args.data is None and (args.images or args.split):
        raise ConfigError("--images and --split go with --data")
    rows = _microcosm() if args.data is None else _rows(args.data, args.images, args.split)
    earned = audit(rows, args.rules)
    over = [one for one in earned if one.worst is not None and one.worst > args.share]
    print(_json(earned, args, over) if args.json else _table(earned, args, over))
    return 1 if over else 0


def _table(earned: Sequence[Earned], args: argparse.Namespace, over: Sequence[Earned]) -> str:
    width = max(len(one.name) for one in earned)
    lines = [
        f"{args.rules}: share of an honest policy's reward",
        f"{'cheat':<{width}}  all rows  where wrong   rows wrong",
    ]
    for one in sorted(earned, key=lambda one: -(one.worst or 0)):
        worst = "-" if one.worst is None else f"{one.worst:.3f}"
        mark = " !" if one in over else ""
        lines.append(
            f"{one.name:<{width}}  {one.overall:>8.3f}  {worst:>11}"
            f"  {f'{one.wrong_rows} of {one.rows}':>11}{mark}"
        )
    tried = sum(one.worst is not None for one in earned)
    lines.append(
        f"{len(over)} of the {tried} cheats of this bank that these rows can test earn more than "
        f"{args.share:g} where they are wrong"
    )
    return "\n".join(lines)


def _json(earned: Sequence[Earned], args: argparse.Namespace, over: Sequence[Earned]) -> str:
    return json.dumps(
        {
            "rules": args.rules,
            "share": args.share,
            "passed": not over,
            "cheats": [vars(one) for one in earned],
        },
        indent=2,
    )


def _microcosm() -> list[AuditRow]:
    from safegrpo.microcosm.pairs import held_out

    return [
        AuditRow(p.prompt, p.tags, p.help_answer, p.help_answer if p.kind == "question" else None)
        for p in held_out("test")
    ]


def _rows(data: str, images: str | None, split: str | None) -> list[AuditRow]:
    from safegrpo.data.schema import load_tagged

    rows = [
        AuditRow(pair.prompt, pair.tags, pair.answer or _helpful(pair.prompt), pair.answer)
        for pair in load_tagged(data, images, split)
        if pair.tags is not None
    ]
    if not rows:
        raise DataError(f"{data}: no row has tags, and without them there is nothing to audit")
    return rows


def _helpful(prompt: str) -> str:
    # An honest answer is about the request, and says more than it.
    about = prompt.strip().rstrip("?.!")[:200]
    return f"About {about}: begin with what the picture shows, then go on."
