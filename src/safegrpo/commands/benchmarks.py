"""`safegrpo benchmarks`: the sets that can be measured by, and what a copy of one holds."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safegrpo.errors import ConfigError, DataError

if TYPE_CHECKING:
    from safegrpo.evaluation.benchmarks.base import Benchmark
    from safegrpo.evaluation.item import Item

_EXAMPLE = """\
example:
  $ safegrpo benchmarks
  $ safegrpo benchmarks figstep --data FigStep --json

With a name and --data every item is read and every image decoded. Exit code 3 if some are skipped.
"""

_AT_A_TIME = 256


def add_benchmarks(subparsers: Any) -> None:
    """Add `benchmarks` to the sub-parsers of argparse."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "benchmarks",
        help="list the benchmarks, or say what a copy of one holds",
        description="List the benchmarks, or read a copy of one and say what it holds.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", nargs="?", help="one of the list")
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="the set's folder, or one of folders of sets"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run_benchmarks)


def run_benchmarks(args: argparse.Namespace) -> int:
    """Print the list or the counts."""
    from safegrpo.evaluation.benchmarks import BENCHMARKS, benchmark, folder_of

    if args.name is None:
        if args.data is not None:
            raise ConfigError("--data goes with the NAME of a benchmark")
        listed = [_described(one) for one in BENCHMARKS.values()]
        print(json.dumps(listed) if args.json else _lines(listed))
        return 0
    one = benchmark(args.name)
    if args.data is None and one.name != "microcosm":
        raise ConfigError(f"--data DIR is missing: a copy of {one.title}, from {one.source}")
    found = holds(one, folder_of(one, args.data))
    print(json.dumps(found) if args.json else _counts(one, found))
    return 3 if found["skipped"] else 0


def holds(one: Benchmark, folder: Path) -> dict[str, Any]:
    """Counts of a copy: `items`, of them `skipped` by reason, and all of them by category and
    subset. InputFileError, DataError as the set's loader raises them."""
    reasons: Counter[str] = Counter()
    categories: Counter[str] = Counter()
    subsets: Counter[str] = Counter()
    problems: list[str] = []
    items = 0
    with ThreadPoolExecutor() as threads:
        for item, reason, problem in _looked_at(one.load(folder), threads):
            items += 1
            categories[item.category] += 1
            subsets[item.subset] += 1
            if reason:
                reasons[reason] += 1
                problems.append(f"{item.id}: {problem}")
    if not items:
        raise DataError(f"{one.name}: {folder}/ holds no items")
    for problem in problems[:5]:
        print(f"skipped {problem}"[:300], file=sys.stderr)
    said = {"items": items, "skipped": dict(sorted(reasons.items()))}
    said["categories"] = {name: count for name, count in categories.items() if name}
    if set(subsets) != {""}:
        said["subsets"] = {name: count for name, count in subsets.items() if name}
    return said


def _looked_at(
    items: Iterator[Item], threads: ThreadPoolExecutor
) -> Iterator[tuple[Item, str, str]]:
    """(item, why it would be skipped or empty, the details), a few hundred images at a time."""
    part: list[Item] = []
    for item in items:
        part.append(item)
        if len(part) == _AT_A_TIME:
            yield from zip(part, *zip(*threads.map(_problem, part), strict=True), strict=True)
            part = []
    if part:
        yield from zip(part, *zip(*threads.map(_problem, part), strict=True), strict=True)


def _problem(item: Item) -> tuple[str, str]:
    from safegrpo.data.images import image_as_sent
    from safegrpo.evaluation.benchmarks.base import BROKEN

    if item.skip:
        return item.skip, item.problem
    try:
        for ref in item.images:
            image_as_sent(ref)
    except DataError as error:
        return BROKEN, str(error)
    return "", ""


def _described(one: Benchmark) -> dict[str, Any]:
    return {
        "name": one.name,
        "title": one.title,
        "measures": one.measures,
        "metrics": list(one.headline),
        "official_rule": one.official is not None,
        "licence": one.licence,
        "source": one.source,
        "hub": one.hub,
    }


def _lines(listed: list[dict[str, Any]]) -> str:
    wide = max(len(one["name"]) for one in listed)
    return "\n".join(
        f"{one['name']:<{wide}}  {one['measures']:<18}  {', '.join(one['metrics'])}"
        for one in listed
    )


def _counts(one: Benchmark, found: dict[str, Any]) -> str:
    lines = [f"{one.title}: {found['items']} items"]
    for what in ("skipped", "categories", "subsets"):
        if found.get(what):
            lines.append(f"{what}:")
            lines += [f"  {name}: {count}" for name, count in found[what].items()]
    return "\n".join(lines)
