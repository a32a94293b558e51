"""What a run says, as it may be published: not where its files and endpoints lie.

One rule for cards and pages. A URL becomes the word URL, its host included: that of a judge in
one's own network is nobody's business, and an endpoint worth telling has an alias. A path that is
absolute, of a home or leads upwards becomes its last component. Paths with spaces are known as such
where they are quoted, or a whole value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
CHECKPOINTS = "checkpoints"

_PLACES = {"url", "path", "folder", "dir", "file", "key", "host", "server", "endpoint"}
_SECRET = re.compile(r"[\w.-]*(?:token|key|secret|password|authorization)", re.IGNORECASE)
_LIMIT = 40  # entries of a list or object that are told

_URL = re.compile(r"\b[A-Za-z][A-Za-z0-9+.-]{1,20}://[^\s\"'`<>]*")
_ROOT = r"(?:(?:~[\w-]*|\.\.?|[A-Za-z]:)?[/\\])"
_WHOLE = re.compile(rf"{_ROOT}[^\n]*")
# In a sentence: `</think>`, `1/2` and `and/or` are no paths, `../x` and `/a/b` are.
_PART = r"[^\s/\\\"'`<>|]+"
_PATHS = re.compile(
    rf"(?P<quote>[\"'`])(?P<quoted>{_ROOT}[^\"'`\n]*)(?P=quote)"
    rf"|(?<![\w.~<\\/])(?:~[\w-]*(?:/+{_PART})+|(?:\.\.?/+)+{_PART}(?:/+{_PART})*"
    rf"|(?:/+{_PART}){{2,}}|(?:[A-Za-z]:|\\)(?:\\{_PART})+)/?"
)
_BEFORE_VALUE = re.compile(r"[ \t]*(?:- )*(?:[\w.-]+: +)?")


def without_places(text: str) -> str:
    """`text` with URLs and paths of the machine it was written on cut short."""
    if "/" not in text and "\\" not in text:
        return text
    return _PATHS.sub(_cut_path, _URL.sub("URL", text))


def _cut_path(match: re.Match[str]) -> str:
    if (quoted := match["quoted"]) is not None:
        return match["quote"] + _last(quoted) + match["quote"]
    return _last(match[0])


def _last(path: str) -> str:
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1]


def value_without_places(text: str) -> str:
    """A whole value, such as a word of a command: `--data=/home/me/my sets` becomes
    `--data=my sets`."""
    option, equals, value = text.partition("=") if text.startswith("-") else ("", "", text)
    return option + equals + (_last(value) if _WHOLE.fullmatch(value) else without_places(value))


def settings_without_places(text: str) -> str:
    """A recipe in YAML, line by line as it stands, without places."""
    return "\n".join(map(_setting, text.split("\n")))


def _setting(line: str) -> str:
    before = _BEFORE_VALUE.match(line)
    head = before[0] if before else ""
    value = line[len(head) :].strip()
    quote = value[0] if len(value) > 1 and value[0] in "\"'" and value[-1] == value[0] else ""
    inner = value[1:-1] if quote else value
    return without_places(head) + quote + value_without_places(inner) + quote


def model_name(model: str) -> str:
    """A model's name; of a folder not where it lies, and of a checkpoint the name of its run."""
    if HUB_NAME.fullmatch(model):
        return model
    parts = [one for one in re.split(r"[/\\]", model) if one]
    if CHECKPOINTS in parts[1:]:
        parts = parts[: parts.index(CHECKPOINTS, 1)]
    return parts[-1] if parts else model


def judge_name(judge: object) -> str:
    """Who judged, as metrics.json has it: a name, or several with commas; empty for rules."""
    if isinstance(judge, str):
        return ", ".join(model_name(one) for one in judge.split(", ") if one)
    return told(judge)


def told(value: object, depth: int = 0) -> str:
    """Facts in a line, such as `model x, wording 3`, without places and what lies too deep."""
    if depth > 2 and isinstance(value, Mapping | list | tuple):
        return ""
    if isinstance(value, Mapping):
        shown = _published_keys(value)
        pairs = {key: told(one, depth + 1) for key, one in shown.items()}
        return ", ".join(f"{key} {one}" for key, one in pairs.items() if one)
    if isinstance(value, list | tuple):
        return "; ".join(filter(None, (told(one, depth + 1) for one in value[:_LIMIT])))
    return "" if value is None else value_without_places(str(value))


def published(value: Any) -> Any:
    """JSON's values without places; the caller has seen to their depth."""
    if isinstance(value, Mapping):
        return {key: published(one) for key, one in _published_keys(value, None).items()}
    if isinstance(value, list | tuple):
        return [published(one) for one in value]
    return value_without_places(value) if isinstance(value, str) else value


def is_secret(name: str) -> bool:
    """Whether a setting's name, such as `hf_token`, says that its value is nobody else's."""
    return bool(_SECRET.fullmatch(name))


def _published_keys(value: Mapping[Any, Any], limit: int | None = _LIMIT) -> dict[str, Any]:
    """The entries of `value` but for those whose names say that they are places or secrets."""
    named = {value_without_places(str(key)): one for key, one in list(value.items())[:limit]}
    return {
        key: one
        for key, one in named.items()
        if _PLACES.isdisjoint(key.lower().split("_")) and not is_secret(key)
    }
