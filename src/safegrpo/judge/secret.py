"""A key that must appear in nothing that is written or shown, in whatever form it comes back."""

from __future__ import annotations

import base64
import html
import re
from urllib.parse import quote

BLOT = "[key]"
_SHORTEST = 8  # a shorter key is a stand-in such as EMPTY, and may be a word of any reply
# What JSON may spell as a number though it need not: letters, digits and the signs of keys.
# The backslash before it may itself be escaped, and then it is no escape.
_ESCAPED = re.compile(
    r"(?<!\\)((?:\\\\)*)\\u00(2[a-f]|3[0-9]|[46][1-9a-f]|[57][0-9a]|5f)", re.IGNORECASE
)


class Secret:
    """The key of an endpoint; None for one that has none."""

    def __init__(self, key: str | None) -> None:
        self._forms: re.Pattern[str] | None = None
        if key is not None and len(key) >= _SHORTEST:
            raw = key.encode()
            forms = {quote(key, safe=""), html.escape(key), raw.hex()}
            # Of base64 only what does not depend on the bytes before and after.
            for before in range(3):
                coded = base64.b64encode(b"\0" * before + raw).decode().rstrip("=")
                forms.add(coded[-(-before * 4 // 3) : -1])
            spread = r"\s*".join(map(re.escape, "".join(key.split())))
            self._forms = re.compile("|".join([spread, *map(re.escape, sorted(forms))]))

    def blot(self, text: str) -> str:
        """`text` without the key: plain, with spaces in it, as JSON, URL, HTML, hex or base64."""
        if self._forms is None:
            return text
        plain = _ESCAPED.sub(lambda match: match[1] + chr(int(match[2], 16)), text)
        return self._forms.sub(BLOT, plain)
