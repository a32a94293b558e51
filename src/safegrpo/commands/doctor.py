"""`safegrpo doctor`: what is installed, what is missing, and the line that mends it."""

from __future__ import annotations

import argparse
import json
from typing import Any

from safegrpo.doctor import PURPOSES, examine

_EXAMPLE = """\
example:
  $ safegrpo doctor --for train

Exit code 1 if something that the purpose needs is missing or does not work."""
_MARK = {"ok": "ok", "missing": "MISSING", "wrong": "WRONG", "note": "-"}


def add_doctor(subparsers: Any) -> None:
    """Add `doctor` to the sub-parsers of argparse."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "doctor",
        help="what is installed, what is missing, and the line that mends it",
        description="Look over the installation: what is there, what is missing, how to mend it.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--for",
        dest="purpose",
        choices=PURPOSES,
        default="score",
        help="what must work (default: %(default)s); the rest is shown and not held against it",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    parser.set_defaults(run=run_doctor)


def run_doctor(args: argparse.Namespace) -> int:
    """Print what was found; 0 if all that the purpose needs is well, else 1."""
    checks = examine(args.purpose)
    well = all(check.well or not check.needed for check in checks)
    if args.json:
        found = [check.to_json() for check in checks]
        print(json.dumps({"ok": well, "for": args.purpose, "checks": found}))
        return 0 if well else 1
    width = max(len(check.name) for check in checks)
    for check in checks:
        mark = _MARK[check.status] if check.needed or check.well else "not there"
        print(f"{mark:<9} {check.name:<{width}}  {check.found}")
        if check.mend and not check.well:
            print(f"{'':<9} {'':<{width}}  -> {check.mend}")
    print(f"\n{'All' if well else 'Not all'} that `{args.purpose}` needs is here.")
    return 0 if well else 1
