"""Telling an answer right from wrong by its key: letters, yes and no, numbers, texts, lists, words.

What cannot be read is wrong, and counts. Nothing is guessed: an answer that names two letters, or
says yes and no, has said neither. Of an overlong answer only its beginning and its end are read, so
that the time stays linear. Thinking is taken away before.

Left out: algebra. An equation or a formula is compared as text.
"""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction
from typing import Literal

from safegrpo.data.questions import LETTERS
from safegrpo.evaluation.item import AnswerKey
from safegrpo.reward import answer_is_right

_END = 4000  # characters read at either end of an overlong answer
_BOX, _BOX_LIMIT = "\\boxed{", 1000
_LATEX_WORDS = re.compile(r"\\(?:text|textbf|mathrm|mathbf)\{([^{}]*)\}")
# Curly apostrophe, minus, en dash, and the slash that NFKC makes of one half in one character.
_SIGNS = {0x2019: "'", 0x2212: "-", 0x2013: "-", 0x2044: "/"}
_PLAIN = {**_SIGNS, **dict.fromkeys(map(ord, "*_`$"))}
_ANSWER_IS = re.compile(
    r"(?i)\banswer\b[^.\n:=]{0,80}?(?:\bis\b|\bwould be\b|[:=])\s{0,5}:?\s{0,5}"
)

# A letter is a capital, in brackets, or at the end of a line: "the answer is a dog" names none.
_LETTER = r"(?:(?i:option|choice|letter) )?(?:\(?([A-J])(?![\w'-])|\(([a-j])\)|([a-j])\.?(?=\n|$))"
_NAMED = (
    re.compile(
        r"\b(?i:answer|option|choice)\b[^.\n:=]{0,80}?(?i:\bis\b|\bbe\b|[:=])\s{0,5}:?\s{0,5}"
        + _LETTER
    ),
    re.compile(r"(?:^|(?<=[\s(]))([A-J])\)? (?i:is (?:the )?(?:correct|best))\b"),
    re.compile(r"\b(?i:i(?: would|'d)? (?:choose|pick|select|go with)) " + _LETTER),
)
_SOLE = re.compile(r"(?:(?i:option|choice) )?\(?\s?([A-Ja-j])\s?\)?\s?[.):!]?")
_OPENS = re.compile(r"\(?([A-Ja-j])(?:\)|[.:,])(?=\s|$)")
_MARKED = re.compile(r"(?:^|\s)\(?([A-J])[.):](?=\s|$)")
_AT_END = re.compile(r"(?:^|[\s(])([A-J])\)?[.!]?$")
_OR_LETTER = re.compile(
    r"\)?\s{0,2}(?:,?\s?(?:or|and)\b|/|&)\s{0,2}(?:option |choice )?\(?([A-J])\b"
    r"|\)?\s{0,2},\s{0,2}\(?([A-J])\b(?!\)?\s(?:is|was|has|does|can|would|looks|seems)\b)"
    r"|[^\n]{0,60}\bor\s\(?([A-J])[.)]"
)
_LETTER_OR = re.compile(r"(?:\b[A-J]\)?\s{0,2}(?:,|/|&|,?\s?\b(?:or|and)\b)|\bnot|n't)\s{0,2}\(?$")

_YES_NO = re.compile(
    r"(?i)(?:(?:so|thus|therefore|hence|overall|finally|in (?:short|summary|conclusion))\b,?\s)?"
    r"[\"'(]?(yes|no)\b(?! one\b| longer\b)"
)
_YES_AND_NO = re.compile(
    r"(?i)\byes\b\W{0,3}(?:and|or)?\W{0,3}\bno\b|\bno\b\W{0,3}(?:and|or)?\W{0,3}\byes\b"
)
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_NONE_SEEN = re.compile(
    r"(?i)\bthere (?:is|are) (?:no|not)\b|\bthere (?:is|are)n't\b"
    r"|\b(?:do not|don't|cannot|can't) (?:see|find|spot|notice|detect)\b"
    r"|\bdoes(?: not|n't) (?:show|contain|include)\b"
    r"|\b(?:is|are)(?: not|n't) (?:visible|present|shown|seen|in the)\b"
)
_SEEN = re.compile(r"(?i)(?:there (?:is|are)|i (?:can )?see)\b")
_UNCLEAR = re.compile(
    r"(?i)\b(?:but|however|although|though|except|unless|if|whether|or)\b"
    r"|\bsee (?:the|any|an|your|this) (?:image|picture|photo)\b"
)
_NEGATION = re.compile(r"(?i)\b(?:no|not|none|nothing|neither|never|without)\b|n't\b")

_FRACTION = re.compile(r"\\[dt]?frac\{(-?\d{1,40})\}\{(\d{1,40})\}")
_NUMBER = re.compile(
    r"(?<![\w.])-?(?:\d{1,3}(?:,\d{3}){1,12}(?!\d)|\d{1,40})(?:\.\d{1,40})?(?:\s?/\s?\d{1,40})?"
    r"|(?<![\w.])-?\.\d{1,40}",
    re.ASCII,
)
_OR_NUMBER = re.compile(r"[^\w\n]{0,3}[a-zA-Z]{0,12}\s?\b(?:or|to)\s{1,2}")
_LISTED_NUMBER = re.compile(r"(?<![\w.])-?\d{1,40}(?:\.\d{1,40})?", re.ASCII)
_BRACKETS = re.compile(r"[\[(]([^\[\]()]{1,500})[\])]")
_BETWEEN = re.compile(r"[,;\n]|\band\b")
_WORD = re.compile(r"[^\W_]+")


def check_answer(key: AnswerKey, answer: str) -> tuple[bool, str]:
    """(whether the answer is right, what was read of it).

    What was read is a letter, `yes` or `no`, a number, the elements of a list, or the words that
    were looked for; it is empty if nothing can be read, which is wrong. Takes time linear in the
    length of the answer. Raises ValueError for a `graded` key: a judge grades it.
    """
    if key.kind == "graded":
        raise ValueError("a graded answer is graded by a judge, not checked against a key")
    if not answer.strip():
        return False, ""
    if key.kind == "words":
        return _words(key, answer)
    if len(answer) > 2 * _END:
        answer = answer[:_END] + "\n" + answer[-_END:]
    if key.kind == "text":
        return _text(key, answer)
    boxed = _boxed(answer)
    given = _plain(answer if boxed is None else boxed)
    if not given:
        return False, ""
    if key.kind == "choice":
        letter = _letter(key, given)
        return bool(letter) and (letter == key.right or _same_choice(key, letter)), letter
    if key.kind == "yes_no":
        said = _yes_no(given)
        return said == key.right.lower(), said
    return _number(key, given) if key.kind == "number" else _list(key, given)


def pope_official(answer: str) -> Literal["yes", "no"]:
    """How POPE's authors read an answer: `no` if its first sentence has a word No, not or no.

    Whatever else it says is `yes`, "I don't see one" included.
    """
    words = answer.partition(".")[0].replace(",", "").split(" ")
    return "no" if {"No", "not", "no"}.intersection(words) else "yes"


def as_number(text: str) -> Fraction | None:
    """The number that a text is, with nothing beside it; None if it is none."""
    found = _NUMBER.fullmatch(_plain(text))
    return _value(found.group()) if found else None


def _boxed(answer: str) -> str | None:
    """What the last box holds, without the LaTeX around words; None without a box that closes."""
    start = answer.rfind(_BOX)
    if start < 0:
        return None
    start, depth = start + len(_BOX), 1
    for end in range(start, min(len(answer), start + _BOX_LIMIT)):
        depth += (answer[end] == "{") - (answer[end] == "}")
        if depth == 0:
            return _LATEX_WORDS.sub(r"\1", answer[start:end])
    return None


def _plain(text: str) -> str:
    """A text without emphasis, with one kind of apostrophe, minus and fraction."""
    plain = unicodedata.normalize("NFKC", text).translate(_PLAIN).replace("{,}", ",")
    return _FRACTION.sub(r"\1/\2", plain).strip()


def _text(key: AnswerKey, answer: str) -> tuple[bool, str]:
    right = answer_is_right(answer, key.right)
    return right, key.right if right else ""


def _letter(key: AnswerKey, given: str) -> str:
    """The letter that an answer settles on, or that of the one choice it names; else empty."""
    letters = LETTERS[: len(key.choices)] or LETTERS
    whole = _SOLE.fullmatch(given)
    if whole and whole[1].upper() in letters:
        return whole[1].upper()
    named = [(match, _found(match)) for one in _NAMED for match in one.finditer(given)]
    named = [(match, letter) for match, letter in named if letter in letters]
    if named:
        # The last word is the answer's own, whichever way it is put.
        match, letter = max(named, key=lambda one: one[0].end())
        return "" if _hedged(given, match, letter) else letter
    lines = [line.strip() for line in given.splitlines() if line.strip()]
    alone = [_SOLE.fullmatch(line) for line in (lines[0], lines[-1])]
    ends = {one[1].upper() for one in alone if one}
    if ends:  # a letter above its reasons, or below them or a list of all choices
        return ends.pop() if len(ends) == 1 and ends <= set(letters) else ""
    opened = [_OPENS.match(line) for line in lines]
    marked = {letter for line in lines for letter in _MARKED.findall(line)}
    first = opened[0]
    if first and len(marked | {one[1].upper() for one in opened if one}) == 1:
        letter = first[1].upper()
        return letter if letter in letters and not _hedged(given, first, letter) else ""
    by_text = _choice_named(key, given)
    last = _AT_END.search(given)
    if by_text or last is None or last[1] not in letters or _hedged(given, last, last[1]):
        return by_text
    return last[1]


def _found(match: re.Match[str]) -> str:
    return str(match[match.lastindex or 1]).upper()


def _hedged(given: str, match: re.Match[str], letter: str) -> bool:
    """Whether another letter is offered beside the one that was found, or it is denied."""
    group = match.lastindex or 1
    other = _OR_LETTER.match(given[match.end(group) : match.end(group) + 80])
    before = given[max(0, match.start(group) - 20) : match.start(group)]
    return bool(other and _found(other) != letter) or bool(_LETTER_OR.search(before))


def _same_choice(key: AnswerKey, letter: str) -> bool:
    """Whether a choice has the text of the right one: a few sets have a choice twice."""
    if not key.choices or key.right not in LETTERS[: len(key.choices)]:
        return False
    return key.choices[LETTERS.index(letter)] == key.choices[LETTERS.index(key.right)]


def _choice_named(key: AnswerKey, given: str) -> str:
    """The letter of the one choice whose text is given; of texts within each other, the longest."""
    texts = [_plain(choice).casefold() for choice in key.choices[: len(LETTERS)]]
    whole = given.casefold().rstrip(".")
    # A choice that is a letter itself would be looked for as one.
    found = [i for i, text in enumerate(texts) if text == whole] or [
        i
        for i, text in enumerate(texts)
        if text and not _SOLE.fullmatch(text) and answer_is_right(given, text)
    ]
    longest = max((texts[i] for i in found), key=len, default="")
    if not found or any(texts[i] not in longest for i in found):
        return ""
    return LETTERS[texts.index(longest)]


def _yes_no(given: str) -> str:
    """`yes` or `no`, as the answer opens or concludes; empty if it does neither, or both."""
    stated = [given[match.end() :] for match in _ANSWER_IS.finditer(given)]
    stated = [text for text in stated if _YES_NO.match(text)]
    sentences = stated[-1:] or [one for one in _SENTENCE.split(given) if one]
    said = {
        found[1].lower() for one in (sentences[0], sentences[-1]) if (found := _YES_NO.match(one))
    }
    if len(said) > 1 or any(_YES_AND_NO.match(one) for one in (sentences[0], sentences[-1])):
        return ""
    return said.pop() if said else _described(sentences[0])


def _described(sentence: str) -> str:
    """The yes or no in a sentence that tells what is to be seen, without either word."""
    if _UNCLEAR.search(sentence):
        return ""
    if _NONE_SEEN.search(sentence):
        return "no"
    return "yes" if _SEEN.match(sentence) and not _NEGATION.search(sentence) else ""


def _number(key: AnswerKey, given: str) -> tuple[bool, str]:
    """The number after "the answer is", or else the last one; "3 or 4" is none."""
    wanted = as_number(key.right)
    stated = list(_ANSWER_IS.finditer(given))
    if stated:
        concluded = given[stated[-1].end() :].partition("\n")[0]
        equation = concluded.rpartition("=")[2]
        numbers = list(_NUMBER.finditer(equation))
        given = equation if numbers else given
        place = 0 if numbers else -1
    else:
        place = -1
    found = list(_NUMBER.finditer(given))
    if not found or wanted is None:
        return _text(key, given)  # "three" for 3
    near = found[:2] if place == 0 else found[-2:]
    if len(near) == 2 and _OR_NUMBER.fullmatch(given[near[0].end() : near[1].start()]):
        return False, ""
    written = found[place].group().replace(",", "").replace(" ", "")
    value = _value(written)
    return value is not None and _equal(value, wanted, key.precision), written


def _value(written: str) -> Fraction | None:
    over, _, under = written.replace(",", "").replace(" ", "").partition("/")
    try:
        return Fraction(over) / Fraction(under or "1")
    except ZeroDivisionError:
        return None


def _equal(value: Fraction, wanted: Fraction, precision: int | None) -> bool:
    """With a precision, what rounds to the wanted number is equal; half a digit off still is."""
    if precision is None:
        return value == wanted
    return abs(value - wanted) <= Fraction(1, 2 * 10 ** max(0, min(precision, 40)))


def _list(key: AnswerKey, given: str) -> tuple[bool, str]:
    """The elements in the last brackets, or after "the answer is", or of all the answer."""
    wanted = _elements(key.right)
    brackets = _BRACKETS.findall(given)
    stated = list(_ANSWER_IS.finditer(given))
    if brackets:
        given = brackets[-1]
    elif stated:
        given = given[stated[-1].end() :].partition("\n")[0]
    if all(as_number(one) is not None for one in wanted):
        said = _LISTED_NUMBER.findall(given)
        right = [_value(one) for one in said] == [as_number(one) for one in wanted]
    else:
        said = _elements(given)
        right = said == wanted
    return right and bool(wanted), ", ".join(said) if len(said) <= 100 else ""


def _elements(text: str) -> list[str]:
    """The elements of a list as it is written, in lower case, without quotes and articles."""
    parts = (part.strip(" \t\"'.[]()").casefold() for part in _BETWEEN.split(_plain(text)))
    return [part.removeprefix("the ").removeprefix("a ") for part in parts if part]


def _words(key: AnswerKey, answer: str) -> tuple[bool, str]:
    """Whether all words of all choices stand in the answer; read are the choices that do."""
    said = set(_WORD.findall(answer.casefold()))
    there = [one for one in key.choices if said.issuperset(_WORD.findall(one.casefold()))]
    return bool(key.choices) and len(there) == len(key.choices), ", ".join(there)
