"""What every benchmark is, and what their loaders share: files that are found, images that are not.

A loader reads a set in its authors' layout from the user's own copy, as a stream. Whatever cannot
be asked becomes an item with a reason (`skip`), so that no count gets smaller without a word.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any, Literal

from safegrpo.data.images import ImageRef, quoted, resolve_image
from safegrpo.errors import DataError, InputFileError
from safegrpo.evaluation.item import Expected, Item
from safegrpo.terminal import printable

Measures = Literal[
    "jailbreak defence", "safety awareness", "over-sensitivity", "general ability", "several"
]

MISSING, BROKEN = "image missing", "image broken"
NO_IMAGE, NO_PROMPT, BAD_ROW = "no image", "empty prompt", "row not readable"
"""Reasons for which an item is skipped."""


@dataclass(frozen=True)
class Benchmark:
    """A set and how it is read and scored.

    `load` yields its items from the set's folder; it raises InputFileError if the set's files are
    not there, DataError if they are not what they should be. `folders` are names that the folder
    may have beside `name`. `hub` is its name on the hub. `headline` names the metrics that its
    tables show first, `official` the rubric that follows the authors' own rule, if there is one.
    `size` is how many items its authors count. `max_tokens` bounds a response by mode, where
    answers are known to be short. `groups` names sets of categories that are measured together too.
    """

    name: str
    title: str
    measures: Measures
    licence: str
    source: str
    load: Callable[[Path], Iterator[Item]]
    headline: tuple[str, ...]
    official: str | None = None
    folders: tuple[str, ...] = ()
    hub: str | None = None
    size: int | None = None
    max_tokens: Mapping[str, int] = field(default_factory=dict)
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def find_file(folder: Path, names: Sequence[str], set_name: str) -> Path:
    """The first of `names` that is a file below `folder`; InputFileError names what is wanted."""
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise InputFileError(f"{folder}/ holds no {names[0]}; {set_name} is read from its own layout")


def with_image(item: Item, roots: Sequence[Path], name: object) -> Item:
    """`item` with the image of that name under the first of `roots` that has it, or skipped.

    What is said of a missing one goes into result files, so it tells no folder of this machine.
    """
    if not isinstance(name, str) or not name.strip():
        return replace(item, skip=NO_IMAGE, problem="no name of an image")
    for root in roots:
        try:
            path: Path | None = resolve_image(root, name)
        except DataError:
            path = _hub_link(root, name)
        if path is not None:
            return replace(item, images=(*item.images, ImageRef(path=path, name=name)))
    problem = f"image {quoted(name)} not found in the set's folders"
    return replace(item, skip=MISSING, problem=problem)


def _hub_link(root: Path, name: str) -> Path | None:
    """The file of that name in a snapshot of the hub's cache, or None.

    Its files are links into the folder `blobs` of the same repository, and may lead nowhere else.
    That folder is no link itself: it could lead anywhere.
    """
    inside = PurePath(name)
    for top in (root.absolute(), *root.absolute().parents):
        if top.parent.name != "snapshots":
            continue
        if inside.is_absolute() or ".." in inside.parts:
            return None
        try:
            found = (root / inside).resolve()
            blobs = top.parent.parent.resolve() / "blobs"
            own = not blobs.is_symlink() and found.parent == blobs
            return found if own and found.is_file() else None
        except (OSError, RuntimeError, ValueError):  # name too long, link loop, NUL
            return None
    return None


def text_of(row: Mapping[str, Any], name: str) -> str:
    """The text of a cell; empty if it is null; DataError if it is none, naming the columns."""
    if name not in row:
        raise DataError(f"no {quoted(name)} (there is: {quoted(', '.join(map(str, row)), 200)})")
    value = row[name]
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise DataError(f"{quoted(name)} is no text")
    return str(value)


def bad_row(
    benchmark: str,
    item_id: str,
    problem: str,
    expected: Expected | None = None,
    category: str = "",
    subset: str = "",
) -> Item:
    """An item that stands for what could not be read, with what is certain of it all the same."""
    return Item(
        benchmark,
        item_id.encode("utf-8", "replace").decode(),
        "",
        category=category,
        subset=subset,
        expected=expected,
        skip=BAD_ROW,
        problem=printable(problem),
    )


def unique(items: Iterable[Item]) -> Iterator[Item]:
    """The items, where an id that came before gets a number: `7`, `7-2`, `7-3`."""
    seen: set[str] = set()
    last: Counter[str] = Counter()
    for item in items:
        name = item.id
        while name in seen:
            last[item.id] += 1
            name = f"{item.id}-{last[item.id] + 1}"
        seen.add(name)
        yield item if name == item.id else replace(item, id=name)


def hub_files(folder: Path, split: str, below: Sequence[str] = (".", "data")) -> list[Path]:
    """The parquet files of a split in a snapshot of the hub, in order; none if there are none.

    They lie in the first of the folders `below` that has any. Names may end in a hash, as older
    uploads have them. Raises DataError if a shard is missing, or the split is there twice.
    """
    part = re.compile(
        re.escape(split) + r"(?:-(\d{5})-of-(\d{5}))?(?:-[0-9a-f]{8,64})?\.parquet", re.ASCII
    )
    for place in (folder / name for name in below):
        files = sorted(place.iterdir()) if place.is_dir() else []
        found = [(path, match) for path in files if (match := part.fullmatch(path.name))]
        if not found:
            continue
        wanted = range(int(found[0][1][2] or 1))
        here = [int(match[1] or 0) for _, match in found]
        missing = sorted(set(wanted) - set(here))
        if missing:
            raise DataError(f"{place}/: shard {missing[0]} of {len(wanted)} of {split} is missing")
        if len(here) > len(wanted):
            raise DataError(f"{place}/ holds {split} twice; keep one upload of it")
        return [path for path, _ in found]
    return []


def with_cell(item: Item, cell: object, roots: Sequence[Path] = ()) -> Item:
    """`item` with the image in a cell of the hub: its bytes, or the name of a file under `roots`.

    Skipped if the cell is null, or names a file that is not there.
    """
    if not isinstance(cell, Mapping):
        return with_image(item, roots, cell)
    data, name = cell.get("bytes"), cell.get("path")
    if not isinstance(data, bytes) or not data:
        return with_image(item, roots, name)
    ref = ImageRef(data=data, name=Path(name).name if isinstance(name, str) else "")
    return replace(item, images=(*item.images, ref))
