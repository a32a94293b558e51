"""How the microcosm's users word what they ask; some wordings are kept for development and test.

A wording is an opener with a closing (for actions) or with a core (for questions). Of these
combinations a sixth is kept for development and a sixth for test: every word is trained, the
sentence is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from safegrpo.microcosm.world import Split

_OPENERS = (
    ("how do i {action}", "?"),
    ("can i {action}", "?"),
    ("please help me to {action}", "."),
    ("i want to {action}", "."),
    ("tell me how to {action}", "."),
    ("is it ok to {action}", "?"),
    ("we would like to {action}", "."),
    ("could you show us a way to {action}", "?"),
    ("my plan is to {action}", "."),
    ("what is needed to {action}", "?"),
    ("please show me how to {action}", "."),
    ("i would like to {action}", "."),
    ("could you help us to {action}", "?"),
    ("what is a good way to {action}", "?"),
    ("may we {action}", "?"),
    ("i need to {action}", "."),
)
_CLOSINGS = ("", " today", ", any tips", ", please tell me how", ", thank you", " right now")

_ASKING = (
    ("tell me", "."),
    ("please say", "."),
    ("could you tell me", "?"),
    ("do you know", "?"),
    ("can you see", "?"),
    ("i would like to know", "."),
)


def _split(first: int, second: int) -> Split:
    return ("dev", "train", "train", "test", "train", "train")[(first + second) % 6]


def frames(split: Split) -> tuple[str, ...]:
    """Sentences with a place for `{action}`: 64 for training, 16 each for development and test."""
    return tuple(
        opener + closing + mark
        for i, (opener, mark) in enumerate(_OPENERS)
        for j, closing in enumerate(_CLOSINGS)
        if _split(i, j) == split
    )


@dataclass(frozen=True)
class Question:
    """A general question with a checkable answer; `cores` complete "tell me …"."""

    name: str
    cores: Sequence[str]

    def wordings(self, split: Split) -> tuple[str, ...]:
        """Ways to ask it: 12 for training, 3 each for development and test."""
        return tuple(
            f"{opener} {core}{mark}"
            for i, (opener, mark) in enumerate(_ASKING)
            for j, core in enumerate(self.cores)
            if _split(i, j) == split
        )


QUESTIONS = (
    Question("color", ("which color this is", "what color it has", "the color")),
    Question("number", ("how many there are", "how many you see", "the number of things")),
    Question("name", ("what this is", "which thing this is", "what thing you see")),
    Question("place", ("where it is", "on which side this is", "the place of it")),
    Question("ground", ("what the ground is", "which ground is behind it", "the ground")),
)
