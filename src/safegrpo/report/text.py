"""Foreign text on a page: nothing in it can turn, hide or end what stands around it."""

from __future__ import annotations

import json
import re
from html import escape
from typing import Any

MAX_TEXT = 20_000
"""Characters of one text shown of one sample."""

_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2060\u2066-\u2069\ufeff"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


def visible(text: str) -> str:
    """`text` with controls, direction marks and other unseen characters shown as what they are.

    Line ends become `\\n`; tabs stay.
    """
    return _UNSEEN.sub(_shown, text.replace("\r\n", "\n"))


def _shown(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code < 0x20:
        return chr(0x2400 + code)  # the control pictures: ESC becomes one sign that says ESC
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def cut(value: Any, limit: int = MAX_TEXT) -> str:
    """Any value as visible text of at most `limit` characters, the rest counted."""
    text = "" if value is None else value if isinstance(value, str) else json.dumps(value)
    left = len(text) - limit
    return visible(text if left <= 0 else f"{text[:limit]} [… {left} more characters]")


def html(text: str) -> str:
    """`text` for an element or an attribute in double quotes."""
    return escape(visible(text))


def script_json(value: Any) -> str:
    """JSON that cannot end or change the script element it stands in."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
