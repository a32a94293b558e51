"""`safegrpo score` and `safegrpo classify`: JSON lines in, one JSON line per row out."""

import argparse
import json
from collections.abc import Callable, Iterable
from typing import Any

from safegrpo.behavior import classify
from safegrpo.data.jsonl import read_jsonl
from safegrpo.errors import DataError
from safegrpo.reward import Target, score

_SCORE_EXAMPLE = """\
example:
  $ cat rows.jsonl
  {"response": "...</think><answer>...</answer>", "visual": "safe", "text": "safe", \
"combined": "unsafe"}
  $ safegrpo score rows.jsonl --rules paper
  {"reward": 1.0, "format": 1, "tag": 1.0, "behavior": 1.0, "behavior_label": "refusal", \
"faults": []}

Tags are safe or unsafe (image_tag, text_tag and combine_tag work too), or null on rows that have
an "answer". "prompt" and "answer" are optional. IN may be - for standard input."""

_CLASSIFY_EXAMPLE = """\
example:
  $ echo '{"answer": "I cannot help with that."}' | safegrpo classify -
  {"label": "refusal", "evidence": "i cannot help", "detector": "strict"}

"prompt" is optional; with it, an answer that only repeats the prompt is "empty"."""


def add_score(subparsers: Any) -> None:
    """Add `score` to the sub-parsers of argparse."""
    parser = _add(subparsers, "score", "reward responses and say why", _SCORE_EXAMPLE, run_score)
    _add_rules(parser, "--rules", "the grammar and the reading of behavior")
    parser.add_argument(
        "--direct",
        action="store_true",
        help="the responses were given no guide: no format to keep and no tag to state",
    )


def add_classify(subparsers: Any) -> None:
    """Add `classify` to the sub-parsers of argparse."""
    summary = "label answers refusal, compliance or empty"
    parser = _add(subparsers, "classify", summary, _CLASSIFY_EXAMPLE, run_classify)
    _add_rules(parser, "--detector", "what counts as a refusal")


def _add(
    subparsers: Any,
    name: str,
    summary: str,
    example: str,
    run: Callable[[argparse.Namespace], int],
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=example,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("input", metavar="IN.jsonl", help="rows, one JSON object a line")
    parser.set_defaults(run=run)
    return parser


def _add_rules(parser: argparse.ArgumentParser, option: str, what: str) -> None:
    parser.add_argument(
        option,
        choices=("paper", "strict"),
        default="strict",
        help=f"{what}: as published, or ours (default: %(default)s)",
    )


def run_score(args: argparse.Namespace) -> int:
    """Print the reward of each row; 0 when all are done."""

    def one(row: dict[str, Any]) -> dict[str, Any]:
        response = _text(row, "response")
        target = Target.from_row(row)
        return score(response, target, args.rules, guided=not args.direct).to_json()

    return _each_row(read_jsonl(args.input), one)


def run_classify(args: argparse.Namespace) -> int:
    """Print the behavior of each answer; 0 when all are done."""

    def one(row: dict[str, Any]) -> dict[str, Any]:
        prompt = None if row.get("prompt") is None else _text(row, "prompt")
        found = classify(_text(row, "answer"), args.detector, prompt)
        return {"label": found.label, "evidence": found.evidence, "detector": found.detector}

    return _each_row(read_jsonl(args.input), one)


def _each_row(
    rows: Iterable[tuple[int, dict[str, Any]]],
    one: Callable[[dict[str, Any]], dict[str, Any]],
) -> int:
    for number, row in rows:
        try:
            result = one(row)
        except DataError as error:
            identity = f" (id {json.dumps(row['id'])})" if row.get("id") is not None else ""
            raise DataError(f"row {number}{identity}: {error}") from error
        # Escaped to ASCII: answers hold anything, and a terminal's encoding must not end a run.
        print(json.dumps(result))
    return 0


def _text(row: dict[str, Any], name: str) -> str:
    value = row.get(name)
    if isinstance(value, str):
        return value
    what = "missing" if name not in row else f"{json.dumps(value):.80}, not text"
    raise DataError(f'"{name}" is {what}')
