"""`safegrpo explain`: one response, the verdict of each rule on it, and where it failed."""

from __future__ import annotations

import argparse
from typing import Any
from unicodedata import combining, east_asian_width

from safegrpo.behavior import classify
from safegrpo.data.jsonl import read_jsonl, read_text
from safegrpo.errors import ConfigError, DataError
from safegrpo.reward import RewardBreakdown, Target, score
from safegrpo.terminal import printable
from safegrpo.thinking import TAG_NAMES, Fault, Rules, Tags, parse
from safegrpo.usefulness import is_promise

_EXAMPLE = """\
example:
  $ safegrpo explain rows.jsonl --row 3
  $ safegrpo explain response.txt --tags safe,safe,unsafe --prompt "can I hold it?"

A .jsonl file has rows as for `safegrpo score`; any other file is the text of one response, whose
true tags are given by --tags (visual,text,combined) or whose right answer by --answer."""

RESPONSE_LIMIT = 4 * 1024 * 1024
AROUND = 34
"""Characters shown on either side of a fault."""

MEANINGS = {
    "missing_visual": "no <visual_safe> tag",
    "missing_text": "no <text_safe> tag",
    "missing_combined": "no <combined_safe> tag",
    "repeated_visual": "a second <visual_safe> tag",
    "repeated_text": "a second <text_safe> tag",
    "repeated_combined": "a second <combined_safe> tag",
    "bad_tag_value": "a tag that is not closed, or says neither safe nor unsafe",
    "tag_order": "this tag stands before one that belongs before it",
    "tag_outside_thinking": "a tag after the end of the thinking",
    "missing_think_close": "the thinking is never closed",
    "repeated_think": "a second <think> or </think>",
    "text_before_think": "text before <think>",
    "text_between": "text between </think> and <answer>",
    "missing_answer": "no <answer>",
    "unclosed_answer": "<answer> is never closed",
    "repeated_answer": "a second answer",
    "answer_in_thinking": "<answer> inside the thinking",
    "text_after_answer": "text after </answer>",
}
"""What each code of a fault says, in words."""


def add_explain(subparsers: Any) -> None:
    """Add `explain` to the sub-parsers of argparse."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "explain",
        help="show what each rule makes of one response, and where it failed",
        description="Show what each rule makes of one response, and where it failed.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", help="rows (.jsonl, - for standard input) or text")
    parser.add_argument("--row", type=int, default=1, metavar="N", help="which row (default: 1)")
    parser.add_argument(
        "--rules", choices=("strict", "paper", "both"), default="both", help="(default: both)"
    )
    parser.add_argument("--tags", metavar="V,T,C", help="true tags of a text file's response")
    parser.add_argument("--prompt", help="the user's words, of a text file's response")
    parser.add_argument("--answer", help="the right answer, of a text file's response")
    parser.add_argument("--direct", action="store_true", help="it was given no guide")
    parser.set_defaults(run=run_explain)


def run_explain(args: argparse.Namespace) -> int:
    """Print the explanation; 0 whatever the response earned."""
    if args.file == "-" or args.file.casefold().endswith(".jsonl"):
        if args.tags or args.prompt or args.answer:
            raise ConfigError("--tags, --prompt and --answer are for a text file; rows have them")
        response, target = _row(args.file, args.row)
    else:
        if args.row != 1:
            raise ConfigError("--row is for .jsonl; a text file is one response")
        response, target = read_text(args.file, RESPONSE_LIMIT), _given(args)
    rules: tuple[Rules, ...] = ("strict", "paper") if args.rules == "both" else (args.rules,)
    print("\n\n".join(explain(response, target, one, not args.direct) for one in rules))
    return 0


def explain(response: str, target: Target, rules: Rules, guided: bool = True) -> str:
    """What `rules` make of a response, term by term, as lines for a terminal."""
    breakdown = score(response, target, rules, guided)
    parsed = parse(response, rules)
    lines = [f"{rules}: reward {breakdown.reward:g}"]
    if guided:
        lines.append(_line("format", breakdown.format, "kept" if parsed.well_formed else "broken"))
        for fault in parsed.faults:
            lines += _fault_lines(response, fault)
        if target.tags is not None:
            for name in TAG_NAMES:
                said, true = parsed.tags[name], getattr(target.tags, name)
                verdict = "right" if said == true else f"wrong, it is {true}"
                lines.append(_line(name, None, f"{said or 'not stated'}: {verdict}"))
            lines.append(_line("tag", breakdown.tag, _tag_reason(breakdown.tag)))
    reason = _behavior_reason(response, breakdown, target, rules)
    lines.append(_line("behavior", breakdown.behavior, reason))
    return "\n".join(lines)


def _line(name: str, value: float | None, said: str) -> str:
    number = "" if value is None else f"{value:g}"
    return f"  {name:<9} {number:<5} {said}"


def _tag_reason(tag: float | None) -> str:
    return "nothing without the combined tag" if tag == 0 else "half for combined, a quarter each"


def _behavior_reason(
    response: str, breakdown: RewardBreakdown, target: Target, rules: Rules
) -> str:
    answer = breakdown.answer
    if answer is None:
        return "no answer to read"
    behavior = classify(answer, rules, target.prompt)
    said = {
        "empty": "the answer is empty",
        "refusal": "the answer is a refusal",
        "compliance": "the answer complies",
    }[behavior.label]
    if behavior.evidence:
        span = behavior.span(answer)
        start = response.find(answer)
        where = f" at {_where(response, start + span[0])}" if span and start >= 0 else ""
        said += f' ("{printable(behavior.evidence)}"{where})'
    if behavior.label == "compliance" and rules == "strict" and is_promise(answer):
        said = "the answer only promises to help"
    tags = target.tags
    harmful = tags is not None and tags.combined == "unsafe"
    if target.answer is not None and not harmful and (tags is None or rules == "strict"):
        due = f'"{printable(target.answer)}" is the right answer'
    else:
        due = "a refusal is due" if harmful else "help is due"
    if not breakdown.behavior and tags is not None and breakdown.stated.combined != tags.combined:
        due += ", and nothing pays after a wrong combined tag"
    return f"{said}; {due}"


def _fault_lines(response: str, fault: Fault) -> list[str]:
    at = fault.position
    before = response[max(0, at - AROUND) : at]
    after = response[at : at + AROUND]
    # One line, every character as wide as it is drawn: what is shown before decides the column.
    shown = printable(before).replace("\n", "⏎")
    rest = printable(after).replace("\n", "⏎")
    return [
        f"    {fault.code} at {_where(response, at)}: {MEANINGS[fault.code]}",
        f"      {shown}{rest}",
        f"      {' ' * _columns(shown)}^",
    ]


def _columns(text: str) -> int:
    """Columns that a text takes on a terminal, where wide characters take two."""
    return sum(2 if east_asian_width(c) in "WF" else 0 if combining(c) else 1 for c in text)


def _where(text: str, position: int) -> str:
    line = text.count("\n", 0, position) + 1
    column = position - (text.rfind("\n", 0, position) + 1) + 1
    return f"character {position} (line {line}, column {column})"


def _row(path: str, wanted: int) -> tuple[str, Target]:
    if wanted < 1:
        raise ConfigError(f"--row counts from 1 (given {wanted})")
    count = 0
    for number, row in read_jsonl(path):
        count += 1
        if count < wanted:
            continue
        response = row.get("response")
        if not isinstance(response, str):
            raise DataError(f'row {number}: "response" is missing or not text')
        try:
            return response, Target.from_row(row)
        except DataError as error:
            raise DataError(f"row {number}: {error}") from error
    rows = "1 row" if count == 1 else f"{count} rows"
    raise ConfigError(f"--row {wanted}: the file has {rows}")


def _given(args: argparse.Namespace) -> Target:
    tags = None
    if args.tags is not None:
        values = [value.strip() for value in args.tags.split(",")]
        if len(values) != len(TAG_NAMES):
            raise ConfigError("--tags wants three, such as safe,safe,unsafe")
        try:
            tags = Tags(*values)
        except DataError as error:
            raise ConfigError(f"--tags: {error}") from error
    elif args.answer is None:
        raise ConfigError("a text file needs --tags V,T,C or --answer, to be scored against")
    return Target(tags, args.prompt, args.answer)
