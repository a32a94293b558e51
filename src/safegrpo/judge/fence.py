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

_LIKE = {
    "<": "\uff1c\ufe64\u2039\u3008\u27e8",
    ">": "\uff1e\ufe65\u203a\u3009\u27e9",
    "[": "\uff3b\ufe47\u3010\u301a\u27e6",
    "]": "\uff3d\ufe48\u3011\u301b\u27e7",
    "|": "\uff5c\u2223",
}
_PLAIN = str.maketrans({like: plain for plain, likes in _LIKE.items() for like in likes})
# What is not seen, up to a bound that keeps it linear.
_UNSEEN = "[\u00ad\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufe00-\ufe0f\ufeff]{0,8}"
# What an angle or square bracket opens that could be a fence, a tag or a control token of some
# chat template, such as <|…|>, </…>, [INST], ]~b]; tokenizers may drop what is not seen.
_OPENS = re.compile(
    rf"<(?={_UNSEEN}[<|/!\w])|\[(?={_UNSEEN}(?:\[|(?:/{_UNSEEN})?\w[\w-]{{1,40}}[\]~]|e~))"
)
_CLOSES = re.compile(r"(?<=>)(?=>)|(?<=\|)(?=>)|(?<=\])(?=[\]~])|(?<=~)(?=\[)")


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

    Brackets of other forms become plain ones first. Words are left as they are.
    """
    opened = _OPENS.sub(lambda match: match[0] + " ", text.translate(_PLAIN))
    return _CLOSES.sub(" ", opened)


def fenced(text: str, what: str, nonce: str) -> str:
    """`text`, neutralised, between a line that opens `what` and one that ends it."""
    return f"<<{what} {nonce}>>\n" + neutralise(text) + f"\n<<end of {what} {nonce}>>"
