"""A guided response taken apart for reading; put together, the parts are the response again.

`thinking.parse` says what counts; here nothing may be lost, whatever state the response is in.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from safegrpo.thinking import TAG_NAMES

_MARK = re.compile(
    rf"<(?P<name>{'|'.join(TAG_NAMES)})_safe>(?:safe|unsafe)</(?P=name)_safe>"
    r"|</?(?:think|answer)>",
    re.IGNORECASE,
)


class Part(NamedTuple):
    """A piece of a response.

    `kind` is a step (`caption`, `visual`, `text`, `combined`, `summary`), `thinking` that is none
    of them, `tag`, `mark` (other markup), `answer`, or `outside` of all of it.
    """

    kind: str
    text: str


def parts(response: str) -> list[Part]:
    """The parts in order. Takes time linear in the length of the response."""
    found: list[Part] = []
    marks = list(_MARK.finditer(response))
    said = [mark.group().lower() for mark in marks]
    # Templates of thinking models open the thinking in the prompt: a closing alone is enough.
    zone = "thinking" if "</think>" in said or "<think>" in said else "outside"
    tagged, start = False, 0
    for mark, name in zip(marks, said, strict=True):
        step = mark.group("name")
        if (zone == "answer" and name != "</answer>") or (step and zone != "thinking"):
            continue  # quoted, and no turn of the response
        text = response[start : mark.start()]
        if step:
            found += _step(step.lower(), text)
            tagged = True
        elif zone == "thinking":
            found.append(Part("summary" if tagged and name == "</think>" else "thinking", text))
        else:
            found.append(Part(zone, text))
        found.append(Part("tag" if step else "mark", mark.group()))
        start = mark.end()
        if name in ("<answer>", "</answer>", "</think>"):
            zone = "answer" if name == "<answer>" else "outside"
    found.append(Part(zone, response[start:]))
    return [part for part in found if part.text]


def _step(name: str, text: str) -> list[Part]:
    """The text before a tag; before the image's the caption stands too, on lines of its own."""
    body = text.rstrip()
    at = body.rfind("\n") + 1 if name == "visual" else 0
    if not body[:at].strip():
        return [Part(name, text)]
    return [Part("caption", text[:at]), Part(name, text[at:])]
