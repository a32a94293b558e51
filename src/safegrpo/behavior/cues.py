"""A cue: a pattern, and the literal words without one of which it cannot match."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Cue:
    """A pattern that is only tried on lines in which one of its `triggers` stands: looking for a
    literal is a hundred times faster than trying a pattern at every character."""

    triggers: tuple[str, ...]
    pattern: re.Pattern[str]

    def finditer(self, text: str, start: int, end: int) -> Iterable[re.Match[str]]:
        """Matches within the lines between `start` and `end`, in order."""
        part = text[start:end]
        for word in self.triggers:
            if word in part:
                return self._on_lines(text, start, end)
        return ()

    def _on_lines(self, text: str, start: int, end: int) -> Iterator[re.Match[str]]:
        lines = set()
        for word in self.triggers:
            at = text.find(word, start, end)
            while at >= 0:
                stop = text.find("\n", at, end)
                stop = end if stop < 0 else stop
                lines.add((max(start, text.rfind("\n", 0, at) + 1), stop))
                at = text.find(word, stop, end)
        for first, stop in sorted(lines):
            yield from self.pattern.finditer(text, first, stop)


def cues(*rows: tuple[str, str]) -> tuple[Cue, ...]:
    """Cues from rows of ("trigger|trigger", pattern)."""
    return tuple(Cue(tuple(words.split("|")), re.compile(pattern, re.M)) for words, pattern in rows)
