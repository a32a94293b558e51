"""The number that an answer comes to.

It is the one after "the answer is" or behind the last equals sign, or else the last that is stated.
Numbers that are denied, that bound ("more than 5") or label ("figure 5") are passed over; one with
an operator, a root or a power beside it is part of a sum that was not worked out, and is none.
"""

from __future__ import annotations

import re
from fractions import Fraction
from math import floor

from safegrpo.evaluation.answer_text import ANSWER_IS, denied, plain

_NUMBER = re.compile(
    r"(?<![\w.])(?P<sign>-)?(?:(?P<mixed>\d{1,9}) (?P<over>\d{1,9})/(?P<part>\d{1,9})(?!\d)"
    r"|(?P<body>(?:\d{1,3}(?:,\d{3}){1,12}(?!\d)|\d{1,3}(?: \d{3}){1,12}(?![\d.,/])|\d{1,40})"
    r"(?:\.\d{1,40})?|\.\d{1,40})"
    r"(?:[eE](?P<power>[+-]?\d{1,3})(?!\w))?(?:\s?/\s?(?P<under>\d{1,40}))?)"
    r"(?:\s(?P<scale>dozen|hundred|thousand|million|billion)\b)?",
    re.ASCII,
)
_SCALES = {"dozen": 12, "hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9}
_GROUPING = re.compile(r"(?<=\d)[ ,](?=\d{3}(?![\d/]))", re.ASCII)
_MINUS = re.compile(r"(?i)(?<![\d)] )(?<!\w)(?:minus|negative) (?=[\d.])")

_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_LEAD = re.compile(
    r"(?i)(?:about|approximately|roughly|exactly|around|only|just|\w{1,3}\s?=|[:=€£])"
)
_ASIDE = re.compile(r"(?<=[\w%°])\s?\([^()\n]{0,200}\)")
_COUNTED_OUT = re.compile(
    r"(?<=\w):\s{1,3}(?=\d{1,9} [^\d.=\n]{0,40}?(?:,|\band)[^\d.=\n]{0,9}\d)[^.=\n]{1,200}"
)
_MARKER = re.compile(r"(?m)^\s{0,9}\d{1,2}[.)]\s+(?=\S)")

_LABEL = re.compile(
    r"(?i)\b(?:figure|fig\.?|step|row|column|option|question|page|panel|table|line|item|problem"
    r"|part|example|section|chapter)\s?#?$"
)
_BOUND_BEFORE = re.compile(
    r"(?i)(?:\b(?:than|at (?:least|most)|(?:up|close|next) to|over|under|above|below|beyond"
    r"|exceed(?:s|ing)?|minimum of|maximum of)(?: (?:about|the))?|[<>≤≥])\s?$"
)
_BOUND_AFTER = re.compile(
    r"(?i)\s?(?:[a-z]{1,12}\s)?or (?:more|less|fewer|higher|lower|above|so)\b"
)
_BETWEEN = re.compile(
    r"(?i)\bbetween\b[^\d.\n]{0,40}[-\d.,]{1,20}[^\d.\n]{0,20}\band\b[^\d.\n]{0,20}"
)
_RANGE_AFTER = re.compile(r"-\d")
_RANGE_BEFORE = re.compile(r"\d-$")
_WORKED_BEFORE = re.compile(
    r"(?i)(?:[+\u00d7÷^√±/]|\d\)?\s-|\b[xyznk]\s?-|\d:|\b(?:root of|plus|times|divided by"
    r"|multiplied by|twice|half(?: of)?|double|log|ln|sin|cos|tan)|[\d)] minus)\s{0,2}[({]?\s?$"
)
_WORKED_AFTER = re.compile(
    r"(?i)\s{0,2}(?:[+\u00d7÷^√±π/]|:\d|-\s\d|x\s?\d|[xyznk](?![a-z])|pi\b|(?:plus|minus|times) \d"
    r"|(?:divided|multiplied) by|squared|cubed|to the power)"
)
_OR_NUMBER = re.compile(r"[^\w\n]{0,3}(?:[a-zA-Z]{0,12}\s?\b(?:or|to)\s{1,2}|,?\s?(?:and\s)?)")


def as_number(text: str) -> Fraction | None:
    """The number that a text is, with nothing beside it; None if it is none."""
    found = _NUMBER.fullmatch(plain(text))
    return _value(found) if found else None


def equal(value: Fraction, wanted: Fraction, precision: int | None) -> bool:
    """Whether two numbers are the same, to `precision` digits after the point where it is given.

    Both are rounded half away from zero, on the digits as they are written: 1.445 is 1.45, and
    1.455 is not. The authors' round() works on binary floats, and may differ at such a half.
    """
    if precision is None:
        return value == wanted
    scale = 10 ** max(0, min(precision, 40))
    return _rounded(value * scale) == _rounded(wanted * scale)


def _rounded(value: Fraction) -> int:
    nearest = floor(abs(value) + Fraction(1, 2))
    return nearest if value >= 0 else -nearest


def read_number(given: str) -> tuple[Fraction | None, str] | None:
    """(value, as it is written) of the number that a plain text comes to; None if it has no number.

    The value is None, too, for a division by zero; with nothing written, what is there is no one
    number: "3 or 4", "more than 5", "5 + 2".
    """
    given = _MINUS.sub("-", given)
    if not _NUMBER.search(given):
        return None
    if len(_MARKER.findall(given)) > 1:
        given = _MARKER.sub("", given)
    stated = list(ANSWER_IS.finditer(given))
    if stated:
        clause = _SENTENCE.split(given[stated[-1].end() :], maxsplit=1)[0]
        found = _in_sentence(clause, at_once=True)
        if found is not None:
            return found
    for sentence in reversed(_SENTENCE.split(given)):
        found = _in_sentence(sentence, at_once=False)
        if found is not None:
            return found
    return None, ""


def _in_sentence(sentence: str, at_once: bool) -> tuple[Fraction | None, str] | None:
    """What one sentence comes to; None if no number is stated in it.

    `at_once`: a number that opens it is its answer, as one behind an equals sign always is.
    """
    apart = _COUNTED_OUT.sub(" ", _ASIDE.sub(" ", sentence))
    sentence = apart if _NUMBER.search(apart) else sentence
    _, equals, right = sentence.rpartition("=")
    if equals and _NUMBER.search(right):
        sentence, at_once = right, True
    between = {one.end() for one in _BETWEEN.finditer(sentence)}
    numbers = list(_NUMBER.finditer(sentence))
    kept = [
        one
        for n, one in enumerate(numbers)
        if one.start() not in between
        and not (n + 1 < len(numbers) and numbers[n + 1].start() in between)
        and not _passed_over(sentence, one)
    ]
    if not kept:
        return None
    place = -1
    if at_once and kept[0] is numbers[0]:
        lead = sentence[: kept[0].start()].strip()
        place = 0 if not lead or _LEAD.fullmatch(lead) else -1
    one = kept[place]
    near = kept[:2] if place == 0 else kept[-2:]
    several = len(near) == 2 and _OR_NUMBER.fullmatch(sentence[near[0].end() : near[1].start()])
    if several or _worked(sentence, one):
        return None, ""
    return _value(one), _GROUPING.sub("", one.group()).replace(" / ", "/")


def _passed_over(sentence: str, one: re.Match[str]) -> bool:
    before, after = sentence[max(0, one.start() - 40) : one.start()], sentence[one.end() :][:40]
    return bool(
        _LABEL.search(before)
        or _BOUND_BEFORE.search(before)
        or _BOUND_AFTER.match(after)
        or _RANGE_BEFORE.search(before)
        or _RANGE_AFTER.match(after)
    ) or denied(sentence, one.start(), one.end())


def _worked(sentence: str, one: re.Match[str]) -> bool:
    before, after = sentence[max(0, one.start() - 40) : one.start()], sentence[one.end() :][:40]
    return bool(_WORKED_BEFORE.search(before) or _WORKED_AFTER.match(after))


def _value(one: re.Match[str]) -> Fraction | None:
    """The number of a match; None for a division by zero."""
    try:
        if one["mixed"]:
            value = int(one["mixed"]) + Fraction(int(one["over"]), int(one["part"]))
        else:
            value = Fraction(one["body"].replace(",", "").replace(" ", ""))
            value = value * Fraction(10) ** int(one["power"] or 0) / int(one["under"] or 1)
    except ZeroDivisionError:
        return None
    return value * _SCALES.get(one["scale"] or "", 1) * (-1 if one["sign"] else 1)
