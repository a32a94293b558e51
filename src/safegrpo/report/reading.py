"""What every reader of a run's folder keeps to: its own files only, and nothing nested too deep.

A run may come from somebody else. A link in it could lead to a file of this machine, which a page
that is sent around would then show; a value of a thousand nested lists ends any recursion.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safegrpo.errors import DataError

MAX_DEPTH = 32
"""Lists and objects inside each other; what a run leaves has about ten."""

_NESTING = (dict, list, tuple)


def own_file(folder: Path, name: str) -> Path | None:
    """The file `name` of a run's folder; None if there is none.

    Raises DataError if it lies elsewhere, by a symbolic link or because `name` leads out.
    """
    path = folder / name
    try:
        found, root = path.resolve(), folder.resolve()
        if not found.is_file():
            return None
    except (OSError, RuntimeError, ValueError) as error:  # a ring of links, a name that is none
        raise DataError(f"{name} is no usable path: {error}") from error
    if not found.is_relative_to(root):
        raise DataError(
            f"{name} is a link out of the run's folder and is not read; put a copy in its place"
        )
    return path


def check_depth(value: dict[str, Any]) -> None:
    """DataError if lists and objects of `value` are nested deeper than `MAX_DEPTH`."""
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [
            one
            for outer in level
            for one in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(one, _NESTING)
        ]
        if not level:
            return
    raise DataError(f"it is nested deeper than {MAX_DEPTH} levels")
