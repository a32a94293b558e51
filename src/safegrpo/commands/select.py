"""`safegrpo select`: from ratings to a tagged set."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safegrpo.errors import ConfigError, InputFileError, MissingDependencyError

if TYPE_CHECKING:
    from safegrpo.data.sources import SourceSpec

_EXAMPLE = """\
example:
  $ safegrpo select rated -o tagged
  $ safegrpo select rated -o tagged --size 3000 --test-share 0.1
  $ safegrpo train recipes/qwen3_vl_4b_lora.yaml --set data.train=tagged --set data.split=train

Leaves DIR/data/*.parquet (train and test, images inside), DIR/README.md (the card, with plots) and
DIR/selection.json (kept and dropped by reason, tag cells), which is printed too. Thresholds are
those published unless they are given."""


def add_select(subparsers: Any) -> None:
    """Add `select` to the sub-parsers of argparse."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "select",
        help="make a tagged set of what was rated",
        description="Make a tagged set, in the hub's layout, of what `annotate` has rated.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("scores", metavar="SCORES_DIR", help="what annotate has left")
    parser.add_argument("-o", "--output", metavar="DIR", required=True)
    parser.add_argument("--pairs", metavar="[KIND=]PLACE", help="where the pairs are now, if moved")
    parser.add_argument("--images", metavar="DIR", help="where their image paths start")
    limits = parser.add_argument_group("thresholds")
    for name, value, what in (
        ("unsafe-max", 3.0, "the highest score that is unsafe"),
        ("safe-min", 7.0, "the lowest score that is safe"),
        ("min-confidence", 7.0, "the least that all three confidences are"),
    ):
        limits.add_argument(
            f"--{name}", type=float, default=value, metavar="X", help=f"{what} (default: {value:g})"
        )
    choice = parser.add_argument_group(
        "choice", "pairs whose image and text are each safe, and together unsafe, are all kept"
    )
    choice.add_argument("--size", type=int, metavar="N", help="N pairs, cells as level as can be")
    choice.add_argument("--per-cell", type=int, metavar="N", help="at most N pairs of a tag cell")
    choice.add_argument(
        "--test-share",
        type=float,
        default=0.1,
        metavar="X",
        help="what goes to the test split (default: %(default)s)",
    )
    choice.add_argument(
        "--keep-duplicates", action="store_true", help="keep near-duplicate pairs, in one split"
    )
    choice.add_argument("--seed", type=int, default=0)
    choice.add_argument("--push", metavar="OWNER/NAME", help="put it on the hub, private")
    parser.set_defaults(run=run_select)


def run_select(args: argparse.Namespace) -> int:
    """Select, write and print the counts; returns 0."""
    from safegrpo.data.select import Choice, Thresholds
    from safegrpo.data.tagged_set import select

    if args.push is not None and not re.fullmatch(r"[\w.-]+/[\w.-]+", args.push):
        raise ConfigError(f"--push is OWNER/NAME (given {args.push})")
    scores, output = Path(args.scores), Path(args.output)
    thresholds = Thresholds(args.unsafe_max, args.safe_min, args.min_confidence)
    choice = Choice(args.size, args.per_cell, args.test_share, args.keep_duplicates, args.seed)
    try:
        report = select(scores, output, thresholds, choice, _source(args))
    except InputFileError as error:
        if args.pairs is not None or not (scores / "manifest.json").is_file():
            raise
        raise InputFileError(f"{error}; if pairs have moved, name the place: --pairs") from error
    print(json.dumps(report))
    for line in _told(report, args):
        print(f"safegrpo: {line}", file=sys.stderr)
    if args.push is not None:
        _push(output, args.push)
    return 0


def _told(report: Mapping[str, Any], args: argparse.Namespace) -> Iterator[str]:
    """What somebody should know of a selection without reading its JSON."""
    reasons = ", ".join(f"{name} {count}" for name, count in report["dropped"].items())
    yield f"{report['kept']} of {report['rows']} rated pairs kept; dropped: {reasons or 'none'}"
    if report["not_rated"]:
        yield (
            f"{report['not_rated']} pairs of the source were never rated; run annotate again, or "
            "what is selected may lean to those that come first"
        )
    if args.size is not None and report["kept"] > args.size:
        yield f"more than {args.size}: all that are unsafe only together are kept"
    elif args.size is not None and report["kept"] < args.size:
        yield f"fewer than {args.size}: there are no more"
    if args.test_share > 0 and "test" not in report["splits"]:
        yield "no test split: too few pairs, or all of them tied by near-duplicates"


def _source(args: argparse.Namespace) -> SourceSpec:
    """The source that was rated, moved as the options say; KIND=PLACE names another one."""
    from safegrpo.data.sources import spec_from_argument
    from safegrpo.data.tagged_set import rated_source

    given = spec_from_argument(args.pairs) if args.pairs is not None else None
    rated = (Path(args.scores) / "manifest.json").is_file()
    if given is not None and (given.place != args.pairs or not rated):
        return replace(given, images=args.images)
    spec = rated_source(Path(args.scores))
    if given is not None:
        spec = replace(spec, place=given.place)
    return spec if args.images is None else replace(spec, images=args.images)


def _push(folder: Path, name: str) -> None:
    """Upload a set; private, since most sources do not allow publishing their images."""
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise MissingDependencyError(
            "--push needs huggingface_hub: pip install 'safegrpo[judge]'"
        ) from error
    api = HfApi()
    try:
        api.create_repo(name, repo_type="dataset", private=True, exist_ok=True)
        if not api.dataset_info(name).private:
            # One that exists stays as it is, whatever was asked for.
            raise ValueError("it is public; make it private, or name another")
        api.upload_folder(
            folder_path=folder,
            repo_id=name,
            repo_type="dataset",
            allow_patterns=["data/*.parquet", "plots/*.png", "README.md", "selection.json"],
            delete_patterns=["data/*.parquet"],  # of a larger set that was there before
        )
    except Exception as error:  # network, access and name each raise their own kind
        raise InputFileError(
            f"{folder}/ is written, but the hub did not take it: {error}"
        ) from error
    print(f"https://huggingface.co/datasets/{name} (private)", file=sys.stderr)
