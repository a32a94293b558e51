"""What a manifest says, as it may be published: not where files and endpoints lie."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import PurePath

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
CHECKPOINTS = "checkpoints"

_PLACES = {"url", "path", "folder", "dir", "file", "key", "host", "server", "endpoint"}


def model_name(model: str) -> str:
    """A model's name; of a folder not where it lies, and of a checkpoint the name of its run."""
    if HUB_NAME.fullmatch(model):
        return model
    parts = PurePath(model).parts
    if CHECKPOINTS in parts[1:]:
        parts = parts[: parts.index(CHECKPOINTS, 1)]
    return parts[-1] if parts else model


def told(value: object, depth: int = 0) -> str:
    """Facts in a line, such as `model x, wording 3`, without places and what lies too deep."""
    if isinstance(value, Mapping):
        if depth > 2:
            return ""
        pairs = {str(k): told(v, depth + 1) for k, v in list(value.items())[:40]}
        shown = {k: v for k, v in pairs.items() if v and _PLACES.isdisjoint(k.lower().split("_"))}
        return ", ".join(f"{k} {v}" for k, v in shown.items())
    if isinstance(value, list | tuple):
        return "; ".join(filter(None, (told(one, depth + 1) for one in value[:40])))
    text = "" if value is None else str(value)
    return "" if "://" in text or text.startswith(("/", "~", "..")) else text


def command_line(command: object) -> str | None:
    """A command without the places in it."""
    if not isinstance(command, list) or not all(isinstance(one, str) for one in command):
        return None
    shown = []
    for word in command:
        option, equals, value = word.partition("=") if word.startswith("-") else ("", "", word)
        if "://" in value:
            value = "URL"
        elif value.startswith(("/", "~")):
            value = PurePath(value).name
        shown.append(option + equals + value)
    return shlex.join(shown)
