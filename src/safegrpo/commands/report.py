"""`safegrpo report`: one self-contained page of one or several runs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from safegrpo.errors import ConfigError
from safegrpo.report import IMAGE_BUDGET, MAX_SAMPLES, write_report

_EXAMPLE = """\
examples:
  $ safegrpo report runs/mine -o report.html
  $ safegrpo report evals/base evals/tuned --baseline evals/base -o report.html
  $ safegrpo report evals/base evals/tuned --table md
  $ safegrpo report evals/mine --table csv > results.csv

A RUN is an evaluation (what `safegrpo eval` leaves) or a training run, whose evaluations may lie in
RUN/eval/. The page needs no network. A run that is still going on can be shown too. Where files and
endpoints lie stays out of it: of paths the last component is shown, of URLs nothing."""


def add_report(subparsers: Any) -> None:
    """Add `report` to the sub-parsers of argparse."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "report",
        help="write one self-contained HTML page of runs",
        description="Write one self-contained HTML page of one or several runs.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("runs", metavar="RUN", type=Path, nargs="+", help="a run's folder")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="where to write it (default: report.html in the first RUN)",
    )
    parser.add_argument(
        "--baseline",
        type=Path,
        metavar="RUN",
        help="the run that others are compared with (default: the first; in a demo, before)",
    )
    parser.add_argument(
        "--max-samples",
        type=int,
        metavar="N",
        default=MAX_SAMPLES,
        help="answers to browse at most, evenly spread over the items (default: %(default)s)",
    )
    parser.add_argument(
        "--table",
        choices=("md", "latex", "csv", "json"),
        help="print the results as a table instead, headlines (md, latex) or all (csv, json)",
    )
    images = parser.add_mutually_exclusive_group()
    images.add_argument(
        "--image-budget",
        type=float,
        metavar="MIB",
        default=IMAGE_BUDGET / 2**20,
        help="room for all images together, before base64 (default: %(default)g)",
    )
    images.add_argument("--no-images", action="store_true", help="leave images out")
    parser.set_defaults(run=run_report)


def run_report(args: argparse.Namespace) -> int:
    """Write the page and print where it is, or print a table."""
    if args.table is not None:
        if args.output is not None:
            raise ConfigError("--table is printed, so it goes without -o; write > FILE")
        print(_table(args), end="")
        return 0
    if args.output is not None and args.output.is_dir():
        raise ConfigError(f"-o {args.output} is a folder; name a file in it")
    if args.max_samples < 1:
        raise ConfigError(f"--max-samples {args.max_samples}: at least 1")
    if not 0 < args.image_budget <= 1024:
        raise ConfigError(
            f"--image-budget {args.image_budget:g}: above 0 and at most 1024 MiB; "
            "--no-images leaves them out"
        )
    page = write_report(
        *args.runs,
        output=args.output,
        baseline=args.baseline,
        max_samples=args.max_samples,
        image_budget=0 if args.no_images else int(args.image_budget * 2**20),
    )
    print(page)
    return 0


def _table(args: argparse.Namespace) -> str:
    from safegrpo.report.results import rows_of_runs
    from safegrpo.report.runs import read_runs
    from safegrpo.report.tables import as_csv, as_json, as_latex, as_markdown, one_line

    found = read_runs(args.runs, args.baseline)
    for note in found.notes:
        print(f"safegrpo: {one_line(note, 400)}", file=sys.stderr)
    rows = rows_of_runs({one.name: one.figures for one in found.evaluations})
    form = {"md": as_markdown, "latex": as_latex, "csv": as_csv, "json": as_json}[args.table]
    return form(rows)
