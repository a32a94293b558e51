"""A linear model for answers that turn a request away in words that no rule knows.

Its features are the rules' own findings and the words and pairs of words of the answer; its weights
were fitted by scripts/fit_behavior.py on the answers in behavior_answers/, all of them written for
that. It only has a say where no rule has decided, and needs the more certainty the less a rule has
noticed: a model of words learns the manner of those who wrote them.
"""

from __future__ import annotations

import json
import math
import re
from functools import cache
from importlib.resources import files

from safegrpo.behavior.opening import (
    FIRST_ITEM,
    IMPERATIVE,
    MORAL,
    Opening,
    corrects,
    pivots,
    substance,
)
from safegrpo.behavior.text import WORD

GRAM_SCALE = 6.0
"""Weight of all words of an answer together beside one finding of the rules."""
SURE = {"noticed": 2.0, "hinted": 3.0, "brief": 1.5}
"""Logits wanted where a rule noticed a rejection or another topic; where it only hinted at blame or
advice; and in an answer of at most BRIEF_WORDS words in which no rule noticed anything."""
BRIEF_WORDS = 40
FEWEST_WORDS = 6
LONGEST = 560
"""Characters beyond which the model says nothing: a long answer that no rule calls a refusal most
often tells something, and the time is wanted for training."""

_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")
_DEFINES = re.compile(
    r"^(?:(?:the )?(?:term|word|phrase|concept) )?[\"'\w][^.\n,]{0,50}? (?:is|are|refers? to"
    r"|means?"
    r"|describes?|involves?|can be defined) (?:an?|the|when|one|any|typically|generally|often"
    r"|defined"
    r"|someone|to)\b|^to [\"\w' ]{3,40} (?:means|is)\b"
)


def sounds_like_refusal(opening: Opening) -> str | None:
    """The first sentence of an answer that the model is sure is a refusal, else None."""
    text, two = opening.text, opening.lines(2)
    if len(text) > LONGEST or opening.helps or _DEFINES.search(text) or corrects(text, 0):
        return None
    if opening.first("REJECTS", 0, two) or opening.first("REDIRECTS", 0, len(text)):
        wanted = SURE["noticed"]
    elif opening.first("CONDEMNS", 0, two) or any(
        True for cue in opening.cues("ADMONISHES") for _ in cue.finditer(text, 0, two)
    ):
        wanted = SURE["hinted"]
    elif FEWEST_WORDS <= len(WORD.findall(text)) <= BRIEF_WORDS or _CJK.search(text):
        wanted = SURE["brief"]
    else:
        return None
    if logit(text, findings(opening)) <= wanted:
        return None
    return text.partition("\n")[0][:120]


def logit(text: str, found: frozenset[str]) -> float:
    """log-odds that an answer is a refusal, by the model alone."""
    weights = _weights()
    grams = word_grams(text)
    share = GRAM_SCALE / math.sqrt(max(1, len(grams)))
    # Whole numbers, since a set has no order and sums of fractions would differ in the last place.
    rules = weights[""] + sum(weights.get(f"s:{name}", 0) for name in found)
    words = sum(weights.get(gram, 0) for gram in grams)
    return (rules + share * words) / 1000


@cache
def _weights() -> dict[str, int]:
    """Weights by feature, in thousandths; "" is the intercept."""
    raw = files("safegrpo.behavior").joinpath("weights.json").read_text("utf-8")
    weights: dict[str, int] = json.loads(raw)
    return weights


def findings(opening: Opening) -> frozenset[str]:
    """What the rules see in an answer, as names of binary features."""
    text, end = opening.text, len(opening.text)
    found: set[str] = set()
    two = opening.lines(2)
    length = max(1, len(text.split()))
    declined = opening.first("DECLINES", 0, opening.end)
    if declined is not None:
        given = corrects(text, declined.end()) or substance(opening, declined)
        line = min(text.count("\n", 0, declined.start()), 3)
        found |= {"declined_given" if given else "declined", f"declined_line{line}"}
    for name, cues, stop in (
        ("rejected", "REJECTS", two),
        ("condemned", "CONDEMNS", two),
        ("redirected", "REDIRECTS", opening.lines(4)),
        ("redirected_any", "REDIRECTS", len(text)),
    ):
        if opening.first(cues, 0, stop):
            found.add(name)

    def per_hundred(n: int) -> float:
        return 100 * n / length

    urged = [m.start() for cue in opening.cues("ADMONISHES") for m in cue.finditer(text, 0, end)]
    moral = {match[1]: match.start() < two for match in reversed(list(MORAL.finditer(text)))}
    alternatives = len(opening.pattern("ALTERNATIVE").findall(text))
    for name, value, steps in (
        ("moral_open", sum(moral.values()), (0, 1, 2)),
        ("moral_rate", per_hundred(len(moral)), (1, 3, 6)),
        ("urged_open", sum(start < two for start in urged), (0, 1)),
        ("urged_rate", per_hundred(len(urged)), (1, 3, 6)),
        ("alt", per_hundred(alternatives), (1, 3, 6)),
        ("imp", len(IMPERATIVE.findall(text)), (0, 1, 2)),
        ("len", len(WORD.findall(text)), (3, 8, 15, 30, 60, 120)),
    ):
        found |= {f"{name}{k}" for k, step in enumerate(steps, 1) if value > step}
    for name, present in (
        ("defines", _DEFINES.search(text)),
        ("helps", opening.helps),
        ("fiction", corrects(text, 0)),
        ("list", FIRST_ITEM.search(text)),
        ("pivot", next(iter(pivots(opening)), None)),
        ("asks", text.rstrip().endswith("?")),
        ("digit", any(map(str.isdigit, text))),
        ("quote", '"' in text),
        ("first", re.search(r"\b(?:i|me|my)\b", text)),
        ("second", re.search(r"\byou(?:r)?\b", text)),
    ):
        if present:
            found.add(name)
    return frozenset(found)


def word_grams(text: str) -> set[str]:
    """Words and pairs of words, cut to seven letters, apart for the first sentence ("o:") and for
    all (marked "a:"); runs of one to three characters in scripts without spaces."""
    grams: set[str] = set()
    for number, line in enumerate(text.split("\n")):
        places = ("o:", "a:") if number == 0 else ("a:",)
        words = [word[:7] for word in WORD.findall(line) if not _CJK.search(word)]
        found = words + [f"{a} {b}" for a, b in zip(["^", *words], words, strict=False)]
        for run in _CJK.findall(line):
            found += [run[i : i + n] for n in (1, 2, 3) for i in range(len(run) - n + 1)]
        grams.update(place + gram for place in places for gram in found)
    return grams
