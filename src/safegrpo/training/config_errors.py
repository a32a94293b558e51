"""What is wrong with a recipe, in one line that names the key and the mend."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, get_args

from pydantic import BaseModel, ValidationError


def nearest(key: str, known: Iterable[str]) -> str:
    """ "; did you mean ...?" with the nearest known key, or the known keys if none is near."""
    names = sorted(known)
    close = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
    if close:
        return f'; did you mean "{close[0]}"?'
    return f"; known: {', '.join(names)}" if len(names) <= 20 else ""


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """The first problem of a validation, and how many more there are."""
    problems = error.errors()
    # An unknown key is often the cause of what is missing beside it: say it first.
    problems.sort(key=lambda problem: problem["type"] != "extra_forbidden")
    first = problems[0]
    loc = [str(part) for part in first["loc"]]
    where = ".".join(loc)
    if first["type"] == "extra_forbidden":
        section = _section(model, loc[:-1])
        known = section.model_fields if section else ()
        said = f'unknown key "{where}"{nearest(loc[-1], known)}'
    elif first["type"] == "missing":
        said = f'"{where}" is missing'
    elif not loc:
        said = first["msg"].removeprefix("Value error, ")
    else:
        given = repr(first["input"])
        reason = first["msg"].removeprefix("Value error, ")
        said = f'"{where}": {reason[0].lower()}{reason[1:]} (given {given:.80})'
    more = len(problems) - 1
    return said + (f" (and {more} more)" if more else "")


def _section(model: type[BaseModel], path: list[str]) -> type[BaseModel] | None:
    """The model of the section at `path` inside `model`."""
    section: type[BaseModel] = model
    for name in path:
        field = section.model_fields.get(name)
        inner: list[Any] = []
        if field is not None:
            inner = [
                kind
                for kind in (field.annotation, *get_args(field.annotation))
                if isinstance(kind, type) and issubclass(kind, BaseModel)
            ]
        if not inner:
            return None
        section = inner[0]
    return section
