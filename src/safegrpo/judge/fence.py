"""Untrusted text among instructions: fenced by a nonce, and unable to look like a fence.

What is judged may hold instructions to the judge, made-up delimiters, or the control tokens of a
chat template, which a server would take for the end of the turn. So it stands between two lines
that carry a nonce nobody could know who wrote it, and whatever in it opens like a delimiter or a
control token is broken by a space. No format string ever touches it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

_LESS, _GREATER = "\uff1c\ufe64\u2039\u3008\u27e8", "\uff1e\ufe65\u203a\u3009\u27e9"
_ANGLES = str.maketrans(dict.fromkeys(_LESS, "<") | dict.fromkeys(_GREATER, ">"))
# `<` before anything that a fence, a tag or a control token goes on with; brackets as in [INST].
_OPENS = re.compile(r"<(?=[<|\uff5c/!\w])|\[(?=/?[A-Z_]{3,20}\])|\[(?=\[)")
_CLOSES = re.compile(r"(?<=>)(?=>)|(?<=[|\uff5c])(?=>)|(?<=\])(?=\])")


def nonce_for(contents: Iterable[bytes]) -> str:
    """24 hexadecimal digits made of everything that is fenced.

    Whoever wrote the contents cannot have put it there: they would have to find a text that
    holds 96 bits of its own hash. And it is the same each time, so that replies can be cached.
    """
    digest = hashlib.sha256()
    for content in contents:
        digest.update(len(content).to_bytes(8, "big") + content)
    return digest.hexdigest()[:24]


def neutralise(text: str) -> str:
    """`text` with look-alikes of delimiters and control tokens broken by a space.

    Angle brackets of other widths become plain ones first. Words are left as they are.
    """
    opened = _OPENS.sub(lambda match: match[0] + " ", text.translate(_ANGLES))
    return _CLOSES.sub(" ", opened)


def fenced(text: str, what: str, nonce: str) -> str:
    """`text`, neutralised, between a line that opens `what` and one that ends it."""
    return f"<<{what} {nonce}>>\n" + neutralise(text) + f"\n<<end of {what} {nonce}>>"
