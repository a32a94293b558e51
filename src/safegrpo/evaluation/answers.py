"""Telling an answer right from wrong by its key: letters, yes and no, numbers, texts, lists, words.

What cannot be read is wrong, and counts. Nothing is guessed: an answer that names two letters, or
says yes and no, has said neither; one that only describes what is to be seen has not said yes. A
later correction ("wait, it should be C") decides. Thinking is taken away before.

Left out: algebra. An equation or a formula is compared as text.
"""

from __future__ import annotations

import re
from typing import Literal

from safegrpo.data.questions import LETTERS
from safegrpo.evaluation.answer_letters import read_letter, says
from safegrpo.evaluation.answer_numbers import as_number, equal, read_number
from safegrpo.evaluation.answer_text import (
    ANSWER_IS,
    boxed,
    correction,
    denied,
    plain,
    says_wrong,
    shortened,
)
from safegrpo.evaluation.item import AnswerKey

_YES_NO = re.compile(
    r"(?i)(?:(?:so|thus|therefore|hence|overall|finally|in (?:short|summary|conclusion))\b,?\s)?"
    r"\(?(yes|no)\b(?! (?:one|longer|doubt|idea|way|clue|answer|problem|matter|image|picture)\b)"
)
_SET_OFF = re.compile(r"(?i)[,;:-]\s(?:so\s|then\s)?(yes|no)(?=\s?[,.;!]|\s?$)")
_CONCLUDED = re.compile(r"(?i)\b(?:so|thus|therefore|hence|think|say|believe|is)\s(yes|no)\W{0,3}$")
_YES_AND_NO = re.compile(
    r"(?i)\byes\b\W{0,3}(?:and|or)?\W{0,3}\bno\b|\bno\b\W{0,3}(?:and|or)?\W{0,3}\byes\b"
)
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_NONE_SEEN = re.compile(
    r"(?i)\bthere (?:is|are) (?:no|not)\b|\bthere (?:is|are)n't\b"
    r"|\bthere (?:do|does)(?: not|n't) (?:appear|seem) to be\b"
    r"|\b(?:do not|don't|cannot|can't) (?:see|find|spot|notice|detect)\b"
    r"|\bdoes(?: not|n't) (?:show|contain|include)\b"
    r"|\b(?:shows?|contains?|includes?|depicts?|has|have|see) no\b"
    r"|\bno [\w ]{1,30}?\b(?:is|are|can be) (?:visible|present|shown|seen|found)\b"
    r"|\b(?:is|are)(?: not|n't) (?:visible|present|shown|seen|in the)\b"
    r"|^there (?:is|are) [\w ]{1,40}, (?:and )?not (?:a|an|the|any)\b"
)
_UNCLEAR = re.compile(
    r"(?i)\b(?:but|however|although|though|except|unless|if|whether|or)\b"
    r"|\bsee (?:the|any|an|your|this) (?:image|picture|photo)\b|\bno (?:doubt|way|question)\b"
    r"|\b(?:enough|sufficient|clear|clearly|certain|sure|unable|impossible|hard|difficult)\b"
)
_LISTED_NUMBER = re.compile(r"(?<![\w.])-?\d{1,40}(?:\.\d{1,40})?", re.ASCII)
_BRACKETS = re.compile(r"[\[(]([^\[\]()]{1,500})[\])]")
_BETWEEN = re.compile(r"[,;\n]|\band\b")
_WORD = re.compile(r"[^\W_]+")
_STATES = re.compile(r"(?i)\b(?:is|are|be)\b|'s\b")


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
    answer = shortened(answer)
    box = boxed(answer)
    # NFKC makes up to 18 characters of one.
    given = shortened(plain(answer if box is None else box))
    if not given:
        return False, ""
    corrected = correction(given)
    if corrected and corrected.strip():
        right, read = _checked(key, corrected)
        if read:
            return right, read
        if says_wrong(corrected) or (key.kind == "text" and _STATES.search(corrected)):
            return False, ""
    return _checked(key, given)


def _checked(key: AnswerKey, given: str) -> tuple[bool, str]:
    if key.kind == "choice":
        letter = read_letter(key, given)
        return bool(letter) and (letter == key.right or _same_choice(key, letter)), letter
    if key.kind == "yes_no":
        said = _yes_no(given)
        return said == key.right.lower(), said
    if key.kind == "number":
        return _number(key, given)
    return _list(key, given) if key.kind == "list" else _text(key, given)


def pope_official(answer: str) -> Literal["yes", "no"]:
    """How POPE's authors read an answer: `no` if its first sentence has a word No, not or no.

    Whatever else it says is `yes`, "I don't see one" included.
    """
    words = answer.partition(".")[0].replace(",", "").split(" ")
    return "no" if {"No", "not", "no"}.intersection(words) else "yes"


def _same_choice(key: AnswerKey, letter: str) -> bool:
    """Whether a choice has the text of the right one: a few sets have a choice twice."""
    if not key.choices or key.right not in LETTERS[: len(key.choices)]:
        return False
    return key.choices[LETTERS.index(letter)] == key.choices[LETTERS.index(key.right)]


def _text(key: AnswerKey, given: str) -> tuple[bool, str]:
    right = says(given, plain(key.right))
    return right, key.right if right else ""


def _yes_no(given: str) -> str:
    """`yes` or `no`, as the answer opens or concludes; empty if it does neither, or both."""
    stated = [given[match.end() :] for match in ANSWER_IS.finditer(given)]
    stated = [text for text in stated if _YES_NO.match(text)]
    sentences = [one for one in _SENTENCE.split(stated[-1] if stated else given) if one]
    ends = (sentences[0], sentences[0] if stated else sentences[-1])
    if any(_YES_AND_NO.search(one) for one in ends):
        return ""
    said = {
        match[1].lower()
        for one in ends
        for match in (_YES_NO.match(one) or _SET_OFF.search(one), _CONCLUDED.search(one))
        if match
    }
    if len(said) > 1:
        return ""
    # What is there to be seen says no yes: "I see a bus" answers no question for a car.
    none_seen = _NONE_SEEN.search(sentences[0]) and not _UNCLEAR.search(sentences[0])
    return said.pop() if said else "no" if none_seen else ""


def _number(key: AnswerKey, given: str) -> tuple[bool, str]:
    wanted = as_number(key.right)
    read = read_number(given)
    if read is None or wanted is None:
        return _text(key, given)  # "three" for 3
    value, written = read
    return value is not None and equal(value, wanted, key.precision), written


def _list(key: AnswerKey, given: str) -> tuple[bool, str]:
    """The elements in the last brackets, or after "the answer is", or of all the answer."""
    wanted = _elements(key.right)
    brackets = list(_BRACKETS.finditer(given))
    stated = list(ANSWER_IS.finditer(given))
    if brackets:
        kept = [one for one in brackets if not denied(given, one.start(), one.end())]
        given = kept[-1][1] if kept else ""
    elif stated:
        given = given[stated[-1].end() :].partition("\n")[0]
    if all(as_number(one) is not None for one in wanted):
        said = _LISTED_NUMBER.findall(given)
        right = [as_number(one) for one in said] == [as_number(one) for one in wanted]
    else:
        said = _elements(given)
        right = said == wanted
    return right and bool(wanted), ", ".join(said) if len(said) <= 100 else ""


def _elements(text: str) -> list[str]:
    """The elements of a list as it is written, in lower case, without quotes and articles."""
    parts = (part.strip(" \t\"'.[]()").casefold() for part in _BETWEEN.split(plain(text)))
    return [part.removeprefix("the ").removeprefix("a ") for part in parts if part]


def _words(key: AnswerKey, answer: str) -> tuple[bool, str]:
    """Whether all words of all choices stand in the answer; read are the choices that do."""
    said = set(_WORD.findall(answer.casefold()))
    there = [one for one in key.choices if said.issuperset(_WORD.findall(one.casefold()))]
    return bool(key.choices) and len(there) == len(key.choices), ", ".join(there)
