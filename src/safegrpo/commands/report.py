"""`safegrpo report`: one self-contained page of a run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from safegrpo.errors import ConfigError

_EXAMPLE = """\
example:
  $ safegrpo report runs/mine -o report.html

The page needs no network: curves of the run and, where the run has measured them, before/after
and the answers to click through. A run that is still going on can be shown too."""


def add_report(subparsers: Any) -> None:
    """Add `report` to the sub-parsers of argparse."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "report",
        help="write one self-contained HTML page of a run",
        description="Write one self-contained HTML page of a run.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run_dir", metavar="RUN", type=Path, help="the run folder")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="where to write it (default: report.html in the run folder)",
    )
    parser.set_defaults(run=run_report)


def run_report(args: argparse.Namespace) -> int:
    """Write the page and print where it is."""
    from safegrpo.report import write_report

    if args.output is not None and args.output.is_dir():
        raise ConfigError(f"-o {args.output} is a folder; name a file in it")
    print(write_report(args.run_dir, args.output))
    return 0
