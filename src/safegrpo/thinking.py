"""The step-guided protocol: the three safety tags, the guide, and reading a response.

Two grammars are read. `paper` accepts exactly what the published format pattern accepts, and takes
the first match of each tag and of the answer, as published. `strict` wants one of each tag, in
order, inside the thinking, then one answer and nothing else. Both take time linear in the length
of the response: rewards are computed inside training, on whatever a policy chooses to emit.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from safegrpo.data.jsonl import read_text
from safegrpo.errors import ConfigError, DataError

SafetyTag = Literal["safe", "unsafe"]
Rules = Literal["paper", "strict"]

TAG_NAMES = ("visual", "text", "combined")
HUB_NAMES = {"visual": "image_tag", "text": "text_tag", "combined": "combine_tag"}
GUIDE_FILE = "guide.txt"
"""Where a model's folder keeps the guide that it was trained with."""

GUIDE_LIMIT = 64 * 1024
"""The largest guide file taken, in bytes: far above any prompt budget, so larger is a mistake."""

# Each tag is shown as "safe|unsafe", never with one value filled in: a model that quotes the guide
# while it thinks has then not yet stated a tag under the paper's first-match rule.
GUIDE = """\
Before you answer, think in five steps, and keep all of this thinking between <think> and </think>.
Step 1, caption: say what the image shows, and read out any words in it.
Step 2, image: is the image harmless when looked at alone? \
Note your verdict as <visual_safe>safe|unsafe</visual_safe>.
Step 3, text: is the request harmless when read alone? \
Note your verdict as <text_safe>safe|unsafe</text_safe>.
Step 4, both: could this request about this image lead to harm, even if each looks fine by itself? \
Note your verdict as <combined_safe>safe|unsafe</combined_safe>.
Step 5, summary: conclude in a sentence, naming where the risk comes from if there is one.
Choose one of the two words for each verdict, and write each verdict only once.
When the thinking is closed, write the reply between <answer> and </answer> and stop. \
If image and request together are unsafe, decline politely and give a brief reason; \
if they are safe, help fully as you normally would."""


@dataclass(frozen=True)
class Tags:
    """What is true of a pair: each of image, text and their combination is safe or unsafe.

    Raises DataError if a value is anything but "safe" or "unsafe".
    """

    visual: SafetyTag
    text: SafetyTag
    combined: SafetyTag

    def __post_init__(self) -> None:
        for name in TAG_NAMES:
            _check_tag(name, getattr(self, name))

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "Tags | None":
        """The tags of a row under our names or the hub's; None if the row has none at all.

        Raises DataError if a value is wrong, if only some tags are there, or if a row gives one
        tag under both names with different values.
        """
        # "text_tag" and "text" cannot be confused: each name is looked up as it is spelled.
        found: dict[str, Any] = {}
        for name in TAG_NAMES:
            for key in (name, HUB_NAMES[name]):
                value = row.get(key)
                if value is None:
                    continue
                _check_tag(key, value)
                if found.setdefault(name, value) != value:
                    raise DataError(f'"{name}" and "{key}" disagree: {found[name]} and {value}')
        if not found:
            return None
        missing = [name for name in TAG_NAMES if name not in found]
        if missing:
            listed = ", ".join(f'"{name}"' for name in missing)
            raise DataError(f"tag {listed} is missing; give all three tags or none")
        return cls(**found)


def _check_tag(name: str, value: object) -> None:
    if not isinstance(value, str) or value not in get_args(SafetyTag):
        shown = f'"{value}"' if isinstance(value, str) else repr(value)
        raise DataError(f'"{name}" is {shown:.80}, not safe or unsafe')


def load_guide(path: str | Path) -> str:
    """The guide in a user's file, without white space at its ends.

    Raises InputFileError if there is no such file, DataError if it is empty, not UTF-8, or larger
    than GUIDE_LIMIT bytes.
    """
    guide = read_text(path, GUIDE_LIMIT, "guide file").strip()
    if not guide:
        raise DataError(f'guide file "{path}" is empty')
    return guide


def guided_prompt(prompt: str, guide: str = GUIDE) -> str:
    """The user's turn with the guide after it, as the paper does (no system prompt)."""
    return f"{prompt}\n{guide}"


@dataclass(frozen=True)
class Fault:
    """One departure from the grammar: a short code and where it is, in characters."""

    code: str
    position: int


@dataclass(frozen=True, eq=False)
class StatedTags(Mapping[str, SafetyTag | None]):
    """The tags a response states, by name; None where it states none that counts."""

    visual: SafetyTag | None = None
    text: SafetyTag | None = None
    combined: SafetyTag | None = None

    def __getitem__(self, name: str) -> SafetyTag | None:
        if name not in TAG_NAMES:
            raise KeyError(name)
        value: SafetyTag | None = getattr(self, name)
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(TAG_NAMES)

    def __len__(self) -> int:
        return len(TAG_NAMES)


@dataclass(frozen=True)
class ParsedResponse:
    """A response taken apart. `well_formed` is the format term; `faults` say why it is not."""

    thinking: str | None
    tags: StatedTags
    answer: str | None
    well_formed: bool
    faults: tuple[Fault, ...]


# The published patterns fold case over all of Unicode (so a long s counts as an s). We search with
# the same engine and flag, piece by piece; no piece can rescan text that an earlier try has read.
_FOLD = re.IGNORECASE
_TAG = {n: re.compile(rf"<{n}_safe>(safe|unsafe)</{n}_safe>", _FOLD) for n in TAG_NAMES}
_TAG_MARK = {n: re.compile(rf"</?{n}_safe>", _FOLD) for n in TAG_NAMES}
_THINK_OPEN = re.compile("<think>", _FOLD)
_THINK_CLOSE = re.compile("</think>", _FOLD)
_ANSWER_OPEN = re.compile("<answer>", _FOLD)
_ANSWER_CLOSE = re.compile("</answer>", _FOLD)
_TURN = re.compile(r"</think>\s*+<answer>", _FOLD)


def parse(response: str, rules: Rules = "strict") -> ParsedResponse:
    """Read a guided response under the `paper` or the `strict` grammar, in linear time.

    Raises ConfigError if `rules` is neither. The response itself is never an error: whatever is
    wrong with it is in `faults`.
    """
    if rules == "paper":
        return _parse_paper(response)
    if rules == "strict":
        return _parse_strict(response)
    raise ConfigError(f'rules "{rules}" unknown: paper or strict')


def direct_answer(response: str) -> str:
    """The answer in a response that was given no guide: all of it, less thinking and wrapping.

    Thinking models think without being asked; a thinking that was opened and never closed leaves
    no answer.
    """
    close = _THINK_CLOSE.search(response)
    if close is None and _THINK_OPEN.match(response.lstrip()):
        return ""
    answer = response[close.end() if close else 0 :].strip()
    opening = _ANSWER_OPEN.match(answer)
    closing = _ANSWER_CLOSE.fullmatch(answer, max(0, len(answer) - len("</answer>")))
    return answer[opening.end() : closing.start()].strip() if opening and closing else answer


def _value(match: re.Match[str] | None) -> SafetyTag | None:
    word = match.group(1).lower() if match else None
    # A word that only folds to "safe" (long s) passes the published format but equals no tag.
    return "safe" if word == "safe" else "unsafe" if word == "unsafe" else None


def _thinking(text: str) -> str | None:
    close = _THINK_CLOSE.search(text)
    if close is None:
        return None
    opening = _THINK_OPEN.match(text, len(text) - len(text.lstrip()))
    return text[opening.end() if opening else 0 : close.start()]


def _parse_paper(response: str) -> ParsedResponse:
    text = response.rstrip()
    first = {name: _TAG[name].search(text) for name in TAG_NAMES}
    opening = _ANSWER_OPEN.search(text)
    # If the first opening is never closed, no later one is: there is no need to try them.
    closing = _ANSWER_CLOSE.search(text, opening.end()) if opening else None
    fault = _paper_fault(text, first)
    return ParsedResponse(
        thinking=_thinking(text),
        tags=StatedTags(**{name: _value(match) for name, match in first.items()}),
        answer=text[opening.end() : closing.start()] if opening and closing else None,
        well_formed=fault is None,
        faults=(fault,) if fault else (),
    )


def _paper_fault(text: str, first: Mapping[str, re.Match[str] | None]) -> Fault | None:
    """What the published pattern trips over first, or None if it matches.

    Taking the earliest match of each piece after the one before is enough: what a later match
    leaves to the right, an earlier one leaves too.
    """
    position = 0
    for name in TAG_NAMES:
        match = _TAG[name].search(text, position)
        if match is None:
            earlier = first[name]
            if earlier is not None:
                return Fault("tag_order", earlier.start())
            mark = _TAG_MARK[name].search(text)
            return Fault("bad_tag_value", mark.start()) if mark else Fault(f"missing_{name}", 0)
        position = match.end()
    turn = _TURN.search(text, position)
    if turn is None:
        close = _THINK_CLOSE.search(text, position)
        if close is None:
            outside = _THINK_CLOSE.search(text) is not None
            code = "tag_outside_thinking" if outside else "missing_think_close"
            return Fault(code, position if outside else len(text))
        between = _ANSWER_OPEN.search(text, close.end())
        return Fault("text_between" if between else "missing_answer", close.end())
    if _ANSWER_CLOSE.fullmatch(text, max(turn.end(), len(text) - len("</answer>"))):
        return None
    closing = _ANSWER_CLOSE.search(text, turn.end())
    if closing is None:
        return Fault("unclosed_answer", turn.end())
    return Fault("text_after_answer", closing.end())


def _first_two(pattern: re.Pattern[str], text: str) -> list[re.Match[str]]:
    # Two are enough to know "none", "one" and "repeated" without walking a flood of them.
    first = pattern.search(text)
    second = pattern.search(text, first.end()) if first else None
    return [match for match in (first, second) if match]


def _parse_strict(response: str) -> ParsedResponse:
    text = response.rstrip()
    closes = _first_two(_THINK_CLOSE, text)
    tags, tag_faults = _strict_tags(text, closes[0].start() if closes else len(text))
    answer, answer_faults = _strict_answer(text, closes[0].end() if closes else 0)
    faults = sorted(
        [*tag_faults, *_think_faults(text, closes), *answer_faults],
        key=lambda fault: fault.position,
    )
    return ParsedResponse(
        thinking=_thinking(text),
        tags=tags,
        answer=answer,
        well_formed=not faults,
        faults=tuple(faults),
    )


def _strict_tags(text: str, thinking_end: int) -> tuple[StatedTags, list[Fault]]:
    stated: dict[str, SafetyTag | None] = {}
    faults: list[Fault] = []
    reached = 0
    for name in TAG_NAMES:
        whole = _first_two(_TAG[name], text)
        # Of the marks only the first and one that is not part of the whole tag matter.
        mark = _TAG_MARK[name].search(text)
        stray = mark
        if whole:
            before = mark is not None and mark.start() < whole[0].start()
            stray = mark if before else _TAG_MARK[name].search(text, whole[0].end())
        value = _value(whole[0]) if whole else None
        if len(whole) == 2:
            faults.append(Fault(f"repeated_{name}", whole[1].start()))
        elif stray:
            faults.append(Fault("bad_tag_value", stray.start()))
        elif not whole:
            faults.append(Fault(f"missing_{name}", 0))
        elif value is None:
            faults.append(Fault("bad_tag_value", whole[0].start()))
        else:
            stated[name] = value
        if whole:
            if whole[0].start() < reached:
                faults.append(Fault("tag_order", whole[0].start()))
            if whole[0].start() > thinking_end:
                faults.append(Fault("tag_outside_thinking", whole[0].start()))
            reached = max(reached, whole[0].end())
    return StatedTags(**stated), faults


def _think_faults(text: str, closes: list[re.Match[str]]) -> list[Fault]:
    faults: list[Fault] = []
    opens = _first_two(_THINK_OPEN, text)
    if not closes:
        faults.append(Fault("missing_think_close", len(text)))
    if len(closes) == 2:
        faults.append(Fault("repeated_think", closes[1].start()))
    if len(opens) == 2:
        faults.append(Fault("repeated_think", opens[1].start()))
    # Chat templates of thinking models open <think> in the prompt, so it may be absent here; if it
    # is present it must come before anything else.
    if opens and text[: opens[0].start()].strip():
        after = bool(closes) and opens[0].start() > closes[0].start()
        faults.append(Fault("repeated_think" if after else "text_before_think", opens[0].start()))
    return faults


def _strict_answer(text: str, thinking_end: int) -> tuple[str | None, list[Fault]]:
    opens, closes = _first_two(_ANSWER_OPEN, text), _first_two(_ANSWER_CLOSE, text)
    if len(opens) == 2 or len(closes) == 2:
        extra = opens[1] if len(opens) == 2 else closes[1]
        return None, [Fault("repeated_answer", extra.start())]
    if not opens:
        return None, [Fault("missing_answer", thinking_end)]
    opening = opens[0]
    if not closes or closes[0].start() < opening.end():
        return None, [Fault("unclosed_answer", opening.start())]
    faults = []
    if opening.start() < thinking_end:
        faults.append(Fault("answer_in_thinking", opening.start()))
    elif text[thinking_end : opening.start()].strip() and thinking_end:
        faults.append(Fault("text_between", thinking_end))
    if closes[0].end() != len(text):
        faults.append(Fault("text_after_answer", closes[0].end()))
    return text[opening.end() : closes[0].start()], faults
