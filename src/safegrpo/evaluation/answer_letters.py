"""The letter of a multiple choice that an answer settles on.

A letter counts where it is stated ("the answer is B", "so it must be B"), stands alone, or opens
the answer; never for standing last ("hepatitis B", "see figure B"). Without one, the one choice
whose text, or number, is given is taken.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from safegrpo.data.questions import LETTERS
from safegrpo.evaluation.answer_numbers import as_number, read_number
from safegrpo.evaluation.answer_text import DENIAL, denied, plain
from safegrpo.evaluation.item import AnswerKey
from safegrpo.reward import answer_is_right

# "A" before a word is an article, unless that word goes on about the letter; "I" is the speaker.
_NO_ARTICLE = (
    r"(?!A (?!(?:because|since|as|is|was|and|or|but|due|for|which|with|not|in|based|given|if|would"
    r"|rather|instead|so|than|then|has|can|seems|looks|does|that|from|by|of|on|at)\b)[a-z])"
    r"(?!I [a-z])"
)
# A letter is a capital, in brackets, or at the end of a line: "the answer is a dog" names none.
_LETTER = (
    r"(?:(?i:option|choice|letter) )?"
    rf"(?:{_NO_ARTICLE}\(?([A-J])(?![\w'-])|\(([a-j])\)|([a-j])\.?(?=\n|$))"
)
_BEST = r"(?:the )?(?:most |more )?(?:correct|best|right|likely|plausible|accurate|suitable|answer)"
_NAMED = (
    re.compile(
        r"\b(?i:answer|option|choice)\b[^.\n:=]{0,80}?(?i:\bis\b|\bbe\b|[:=])\s{0,5}:?\s{0,5}"
        + _LETTER
    ),
    re.compile(rf"(?:^|(?<=[\s(]))([A-J])\)?(?: \([^()\n]{{1,40}}\))? (?i:is {_BEST})\b"),
    re.compile(
        r"\b(?i:i(?:'m| am| would|'d| will|'ll)? "
        r"(?:choose|pick|select|go with|going with|say|think|believe|guess)"
        r"(?: that)?(?: it is| it's| it must be)?) " + _LETTER
    ),
    re.compile(
        r"\b(?i:so|thus|therefore|hence|it is|it's|it (?:must|should|has to|would) be),? "
        rf"(?:(?:option|choice) )?\(?{_NO_ARTICLE}([A-J])\)?[.!]?$"
    ),
)
_SOLE = re.compile(r"(?:(?i:option|choice) )?\(?\s?([A-Ja-j])\s?\)?\s?[.):!]?")
_OPENS = re.compile(r"(?:- )?(?:(?i:option|choice) )?\(?([A-Ja-j])(?:\)|[.:,])(?=\s|$)")
_MARKED = re.compile(r"(?:^|\s)\(?([A-J])[.):](?=\s|$)")
_AT_END = re.compile(
    r"(?:(?:^|[\n.!?:])\s{0,2}\(|[\n.!?]\s{0,2}"
    r"|(?i:\b(?:option|choice|letter|is|be|but|leaves|leaving)) "
    r"|(?i:\b(?:final|result|solution|conclusion|response|selection|therefore|so|thus)):\s?)"
    r"\(?([A-J])\)?[.!]?$"
)
_OR_LETTER = re.compile(
    r"\)?\s{0,2}(?:,?\s?(?:or|and)\b|/|&)\s{0,2}(?:option |choice )?\(?([A-J])\b(?! [a-z])"
    r"|\)?\s{0,2}(?:,?\s?(?:or|and)\b|/|&)\s{0,2}(?:option |choice )?\(?([B-HJ])\b"
    r"|\)?\s{0,2},\s{0,2}\(?([A-HJ])\b(?!\)?\s(?:is|was|has|does|can|would|looks|seems)\b)"
    r"|[^\n]{0,60}\bor\s\(?([A-J])[.)]"
)
_LETTER_OR = re.compile(r"(?:\b[A-J]\)?\s{0,2}(?:,|/|&|,?\s?\b(?:or|and)\b)|\bnot|n't)\s{0,2}\(?$")

_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_CONCLUDES = re.compile(r"(?i)(?:so|thus|therefore|hence|overall|in conclusion|this|that|it)\b")
_UNIT = re.compile(r"(-?[\d.,/ ]{1,40})(\D{0,12})")
_REFUSED = re.compile(
    rf"(?i)(?:{DENIAL}|\bno\b(?! doubt))[^.,;:!?\n]{{0,200}}?"
    r"(?=\bbut\b|\band (?:is|are|so)\b|[.,;:!?\n]|$)"
)


def read_letter(key: AnswerKey, given: str) -> str:
    """The letter that a plain text settles on, or that of the one choice it names; else empty."""
    given = given.translate({ord("["): "(", ord("]"): ")", ord("{"): "(", ord("}"): ")"})
    letters = LETTERS[: len(key.choices)] or LETTERS
    whole = _SOLE.fullmatch(given)
    if whole and whole[1].upper() in letters:
        return whole[1].upper()
    named = [match for one in _NAMED for match in one.finditer(given)]
    named = [match for match in named if _found(match) in letters and not _no(given, match)]
    if named:
        # The last word is the answer's own, whichever way it is put.
        return _unhedged(given, max(named, key=re.Match.end))
    lines = [line.strip() for line in given.splitlines() if line.strip()]
    alone = [_SOLE.fullmatch(line) for line in (lines[0], lines[-1])]
    ends = {one[1].upper() for one in alone if one}
    if ends:  # a letter above its reasons, or below them or a list of all choices
        return ends.pop() if len(ends) == 1 and ends <= set(letters) else ""
    opened = [_OPENS.match(line) for line in lines]
    marked = {letter for line in lines for letter in _MARKED.findall(line)}
    first = opened[0]
    if first and len(marked | {one[1].upper() for one in opened if one}) == 1:
        good = first[1].upper() in letters and not _no(given, first)
        return _unhedged(given, first) if good else ""
    listed = _as_listed(key, lines, opened)
    by_text = listed or _choice_named(key, given)
    last = _AT_END.search(given)
    if by_text or last is None or last[1] not in letters or _no(given, last):
        return by_text
    return _unhedged(given, last)


def says(given: str, wanted: str) -> bool:
    """Whether an answer gives the expected words, as the reward reads it, in no clause that denies.

    "I don't think it is red" and "without red" do not say red.
    """
    if not _REFUSED.search(wanted):
        given = _REFUSED.sub(" ", given)
    return answer_is_right(given, wanted)


def _found(match: re.Match[str]) -> str:
    return str(match[match.lastindex or 1]).upper()


def _no(given: str, match: re.Match[str]) -> bool:
    group = match.lastindex or 1
    return denied(given, match.start(group), match.end(group))


def _unhedged(given: str, match: re.Match[str]) -> str:
    """The letter that was found; empty if another is offered beside it."""
    group, letter = match.lastindex or 1, _found(match)
    other = _OR_LETTER.match(given[match.end(group) : match.end(group) + 80])
    before = given[max(0, match.start(group) - 20) : match.start(group)]
    hedged = bool(other and _found(other) != letter) or bool(_LETTER_OR.search(before))
    return "" if hedged else letter


def _as_listed(key: AnswerKey, lines: Sequence[str], opened: Sequence[re.Match[str] | None]) -> str:
    """The letter of a first or last line that is a choice as it is listed, with nothing beside it.

    Not so in a list of the choices, where the line beside it opens with a letter as well.
    """
    for place, beside in ((0, 1), (len(lines) - 1, len(lines) - 2)):
        match = opened[place]
        alone = not (0 <= beside < len(lines)) or opened[beside] is None
        if match is None or not alone or match[1].upper() not in LETTERS[: len(key.choices)]:
            continue
        choice = plain(key.choices[LETTERS.index(match[1].upper())])
        if lines[place][match.end() :].strip(" .").casefold() == choice.strip(" .").casefold():
            return match[1].upper()
    return ""


def _choice_named(key: AnswerKey, given: str) -> str:
    """The letter of the one choice whose text is given; of texts within each other, the longest."""
    texts = [plain(choice).casefold() for choice in key.choices[: len(LETTERS)]]
    whole = given.casefold().rstrip(".")
    if whole in texts:
        return LETTERS[texts.index(whole)]
    if amounts := _amounts(texts):
        number = read_number(given)
        if number is not None:
            same = [place for place, amount in enumerate(amounts) if amount == number[0]]
            return LETTERS[same[0]] if same else ""
    sentences = [one for one in _SENTENCE.split(given) if one]
    for part in (given, sentences[-1] if _CONCLUDES.match(sentences[-1]) else ""):
        # A choice that is a letter itself would be looked for as one.
        found = [text for text in texts if text and not _SOLE.fullmatch(text) and says(part, text)]
        longest = max(found, key=len, default="")
        if found:
            return LETTERS[texts.index(longest)] if all(t in longest for t in found) else ""
    return ""


def _amounts(texts: Sequence[str]) -> list[object]:
    """The numbers that all choices are, each with the same unit; empty if they are none."""
    parts = [_UNIT.fullmatch(text) for text in texts]
    if not all(parts) or len({part[2].strip() for part in parts if part}) != 1:
        return []
    numbers = [as_number(part[1]) for part in parts if part]
    return [] if None in numbers else list(numbers)
