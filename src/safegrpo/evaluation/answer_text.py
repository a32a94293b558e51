"""The text of an answer made plain, and what its clauses deny or take back.

The readers of letters, of numbers and of all other answers share it. Of an overlong answer only its
beginning and its end are read, and every pattern is bounded: time stays linear.
"""

from __future__ import annotations

import re
import unicodedata

_END = 4000  # characters read at either end of an overlong answer
_BOX, _BOX_LIMIT = "\\boxed{", 1000

# A power stays one: without this NFKC makes 25 of two to the fifth, and 22/2 of two and a half.
_POWERS = {ord(sign): f"^{digit}" for digit, sign in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")}
_AND_A_PART = re.compile(r"(?<=\d)(?=[¼-¾⅐-⅞])")
# Quotes, minus, dashes, and the slash that NFKC makes of one half in one character.
_SIGNS = {
    **dict.fromkeys((0x2018, 0x2019), "'"),
    **dict.fromkeys((0x201C, 0x201D, ord('"')), ""),
    **dict.fromkeys((0x2212, 0x2013), "-"),
    **{0x2044: "/", 0x2248: "=", ord("~"): " "},
}
_LATEX_WORDS = re.compile(r"\\(?:text|textbf|mathrm|mathbf|textit|mathit)\{([^{}]{0,1000})\}")
_LATEX = {
    **{
        "times": "\u00d7",
        "cdot": "\u00d7",
        "div": "÷",
        "pm": "±",
        "sqrt": "√",
        "pi": "π",
        "approx": "=",
    },
    **{"circ": "°", "degree": "°", "left": "", "right": "", "quad": " "},
}
_COMMAND = re.compile(rf"\\({'|'.join(_LATEX)})(?![a-zA-Z])")
_FRACTION = re.compile(r"\\[dt]?frac\s?(?:\{(-?\d{1,40})\}\{(\d{1,40})\}|(\d)\s?(\d))")
_DEGREES = re.compile(r"\^\s?(?:°|\{\s?°\s?\})")
_UNIT_POWER = re.compile(r"(?<=[a-zA-Z])\^(?:\d|\{\d\})")
_PRODUCT = re.compile(r"(?<=\d) ?\*(?!\*) ?(?=\d)")
_UNSAID = re.compile(r"\\[()\[\],;!]|(?<!\w)'|'(?!\w)|[*_`$\\]")
_ALL_BUT = re.compile(r"(?i)\b(?:anything|everything|all(?: [a-z]{1,12})?) but\b")

ANSWER_IS = re.compile(
    r"(?i)(?<!cannot )(?<!can't )(?<!not )(?<!unable to )\banswer\b"
    r"(?:[^.\n:=]{0,80}?(?:\b(?:is|(?:w|sh)ould be|must be)\b|[:=])\s{0,5}:?\s{0,5}"
    r"|[ \t]{0,3}\n\s{0,5})"
)
"""What leads to an answer; what follows it is the answer."""

DENIAL = (
    r"(?:\b(?:not(?! (?:only|just|sure|certain)\b)|cannot|never|neither|nor|none|hardly|barely"
    r"|without|except|exclud(?:e|es|ed|ing)|eliminat(?:e|es|ed|ing)|rul(?:e|es|ed|ing) out"
    r"|discard|discarded|reject|rejected|doubt|far from|other than|rather than|instead of|unlike)"
    r"\b|n't\b)"
)
"""Words that say no to what follows them in their clause."""

_DENIES = re.compile(rf"(?i){DENIAL}")
_CLAUSE_ENDS = re.compile(
    r"(?i)[,;:!?\n]|\.(?!\d)|\b(?:but|so|because|since|therefore|hence|thus|leav(?:es|ing)|which)\b"
)
_DENIED_AFTER = re.compile(
    r"(?i)[)\]]?(?:\s\([^()\n]{1,40}\))?\s{1,2}(?:is|was|can|could|would|does|seems|looks|must|are)"
    r"(?:n't\b|\s?not\b(?! only)|\s(?:(?:be|to be|clearly|definitely|also|therefore|simply)\s){0,2}"
    r"(?:wrong|incorrect|out|false|eliminated|ruled out|excluded|tempting)\b)"
)
_TAKEN_BACK = re.compile(
    r"(?i)(?:^|(?<=[.!?\n,;-]))\s{0,3}(?:(?:oh|hm+|but|no),?\s)?"
    r"(?:wait|correction|scratch that|on second thoughts?|i made a mistake|i was wrong"
    r"|actually(?=,? (?:no|it|the answer|that)\b))\b[\s,.:!-]{0,5}"
)
_AFTER_ALL_WRONG = re.compile(r"(?i)\b(?:wrong|incorrect|not right|not correct|mistaken?)\b")


def shortened(answer: str) -> str:
    """An answer, or the two ends of an overlong one."""
    return answer if len(answer) <= 2 * _END else answer[:_END] + "\n" + answer[-_END:]


def boxed(answer: str) -> str | None:
    """What the last box holds; None without a box that closes."""
    start = answer.rfind(_BOX)
    if start < 0:
        return None
    start, depth = start + len(_BOX), 1
    for end in range(start, min(len(answer), start + _BOX_LIMIT)):
        depth += (answer[end] == "{") - (answer[end] == "}")
        if depth == 0:
            return answer[start:end]
    return None


def plain(text: str) -> str:
    """A text without emphasis, quotes and LaTeX, with one kind of apostrophe, minus and fraction.

    "Anything but" becomes "except", so that "but" always begins what holds.
    """
    text = _AND_A_PART.sub(" ", text.translate(_POWERS))
    text = unicodedata.normalize("NFKC", text).translate(_SIGNS).replace("{,}", ",")
    for _ in range(2):  # one within another
        text = _LATEX_WORDS.sub(r"\1", text)
    text = _FRACTION.sub(lambda m: f" {m[1] or m[3]}/{m[2] or m[4]}", text)
    text = _DEGREES.sub("°", _COMMAND.sub(lambda m: _LATEX[m[1]], text))
    text = _PRODUCT.sub("\u00d7", _UNIT_POWER.sub("", text))
    return _ALL_BUT.sub("except", _UNSAID.sub("", text)).strip()


def denied(given: str, start: int, end: int) -> bool:
    """Whether the clause before given[start:end] says no to it, or what follows does."""
    before = given[max(0, start - 80) : start]
    ends = [one.end() for one in _CLAUSE_ENDS.finditer(before)]
    clause = before[ends[-1] :] if ends else before
    return bool(_DENIES.search(clause) or _DENIED_AFTER.match(given, end))


def correction(given: str) -> str | None:
    """What follows the last "wait", "on second thought" or the like; None if there is none."""
    found = list(_TAKEN_BACK.finditer(given))
    return given[found[-1].end() :] if found else None


def says_wrong(text: str) -> bool:
    """Whether a correction calls what was said wrong, whatever else it says."""
    return bool(_AFTER_ALL_WRONG.search(text))
