"""`safegrpo study`: the paper's tables on the microcosm, with seeds and statistics."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safegrpo.data.jsonl import locked
from safegrpo.errors import ConfigError, MissingDependencyError

if TYPE_CHECKING:
    from safegrpo.microcosm.study.rows import Row

_EXAMPLE = """\
examples:
  $ safegrpo study --quick
  $ safegrpo study --list
  $ safegrpo study --rows published,ours --seeds 1000-1002 --jobs 2 -o runs/study
  $ safegrpo study --render -o docs

Each run leaves DIR/results/ROW-SEED.json; a study that was cut short, or is asked for more, goes on
from what is there. DIR/results.md and DIR/results/plots/ are made of these files alone.
"""

QUICK = ("base", "guide", "vlguard", "published-twins", "ours")
QUICK_SIZE = 0.5


def add_study(subparsers: Any) -> None:
    """Add `study` to the sub-parsers of argparse."""
    parser = subparsers.add_parser(
        "study",
        help="the paper's tables on the built-in tiny model, with seeds and statistics",
        description="Train and measure the rows of the study on the microcosm: baselines, SafeGRPO "
        "as published, its ablations, ours; then write the tables.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help=f"one seed of {', '.join(QUICK)} on half of the held-out items: under 20 minutes",
    )
    parser.add_argument("--rows", metavar="A,B", help="only these rows (default: all, no sweeps)")
    parser.add_argument("--sweeps", metavar="A,B", help="also these sweeps; `all` for all of them")
    parser.add_argument("--seeds", metavar="N|A-B", help="only these of the rows' seeds")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time (default: 1)")
    parser.add_argument("--recipes", type=Path, metavar="DIR", help="rows of your own")
    parser.add_argument(
        "--bases",
        type=Path,
        metavar="DIR",
        default=Path("runs/bases"),
        help="base models that are not shipped, by name (default: %(default)s)",
    )
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("runs/study"), help="default: %(default)s"
    )
    parser.add_argument(
        "--cost",
        action="store_true",
        help="also what recipes take to reach a target, timed: leave the machine alone meanwhile",
    )
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--list", action="store_true", help="say what there is, and what is done")
    only.add_argument("--render", action="store_true", help="only write tables and plots again")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    try:
        import torch  # noqa: F401 - asked for early, to say what to install
        import trl  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            f"the study needs {error.name}; install it with: pip install 'safegrpo[train]'"
        ) from error
    from safegrpo.microcosm.study.bases import prepare
    from safegrpo.microcosm.study.hashing import row_hashes
    from safegrpo.microcosm.study.page import render
    from safegrpo.microcosm.study.rows import (
        load_rows,
        load_sweeps,
        own,
        recipes_folder,
        swept,
    )
    from safegrpo.microcosm.study.schedule import is_done, run_tasks, tasks
    from safegrpo.microcosm.study.target import SEEDS, race

    if args.jobs < 1:
        raise ConfigError(f"--jobs must be 1 or more, not {args.jobs}")
    recipes = args.recipes or recipes_folder()
    # Half of the items compare with none of the whole study's results: a folder of their own.
    output = args.output / "quick" if args.quick else args.output
    size = QUICK_SIZE if args.quick else 1.0
    results = output / "results"
    rows = load_rows(recipes)
    sweeps = load_sweeps(recipes)
    known = {**rows, **swept(rows, sweeps)}
    chosen = _chosen(args, rows, known, swept(rows, _some(args.sweeps, sweeps, "sweep")))
    every = list(tasks(chosen, _seeds(args.seeds), 1 if args.quick else None))
    if not every:
        raise ConfigError(f"--seeds {args.seeds}: no row has such a seed; see --list")
    hashes = row_hashes(known, size)
    todo = [task for task in every if not is_done(task, results, hashes[task.name])]
    if args.list:
        for name, row in chosen.items():
            of_row = [task for task in every if task.name == name]
            left = sum(task in todo for task in of_row)
            print(f"{name}\t{len(of_row) - left} of {len(of_row)}\t{row.title}")
        return 0
    failures = 0
    if not args.render:
        work = output / "work"
        with locked(work / "lock"):  # two studies in one folder would do the same runs
            _say(f"{len(every) - len(todo)} of {len(every)} runs are there, {len(todo)} to go")
            prepare((task.row.base for task in todo), args.bases, _say)
            failures = run_tasks(
                todo,
                results=results,
                work=work,
                recipes=recipes,
                bases=args.bases,
                size=size,
                asked=_asked(args),
                jobs=args.jobs,
                say=_say,
            )
            if args.cost:
                failures += race(results, work, recipes, SEEDS, _say, args.bases)
    render(
        results,
        rows,
        output / "results.md",
        results / "plots",
        own=own(rows, sweeps),
        shown_sweeps=sweeps,
        hashes=hashes,
    )
    print(output / "results.md")
    return 3 if failures else 0


def _chosen(
    args: argparse.Namespace,
    rows: Mapping[str, Row],
    known: Mapping[str, Row],
    more: Mapping[str, Row],
) -> dict[str, Row]:
    if args.quick:
        if args.rows or args.sweeps or args.seeds:
            raise ConfigError("--quick has rows and a seed of its own; leave out the others")
        return {name: rows[name] for name in QUICK if name in rows}
    return {**(rows if args.rows is None else _some(args.rows, known, "row")), **more}


def _some(names: str | None, known: Mapping[str, Any], what: str) -> dict[str, Any]:
    """The entries of `known` that a list of names asks for."""
    from safegrpo.training.config_errors import nearest

    if names is None:
        return {}
    if names == "all":
        return dict(known)
    found = {}
    for name in names.split(","):
        if name not in known:
            raise ConfigError(f'no {what} "{name}"{nearest(name, known)}')
        found[name] = known[name]
    return found


def _seeds(text: str | None) -> range | list[int] | None:
    if text is None:
        return None
    try:
        first, dash, last = text.partition("-")
        if dash:
            return range(int(first), int(last) + 1)
        return [int(one) for one in text.split(",")]
    except ValueError as error:
        raise ConfigError(f'--seeds "{text}": write 1000, 1000,1003 or 1000-1004') from error


def _asked(args: argparse.Namespace) -> str:
    """The command again, without the rows and seeds of a single run."""
    said = ["safegrpo", "study"]
    if args.quick:
        said += ["--quick"]
    if args.recipes:
        said += ["--recipes", str(args.recipes)]
    return shlex.join(said)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
