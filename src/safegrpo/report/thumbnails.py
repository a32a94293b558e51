"""Small pictures for a page: drawn anew from files nobody vouches for, within a budget."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from safegrpo.data.images import ImageRef, open_image, resolve_image
from safegrpo.errors import DataError, SafeGRPOError
from safegrpo.report.public import without_places

SIDES = (320, 256, 192, 128, 96)
"""Pixels of the longer side, from what is wanted to the least that says something."""

MAX_PIXELS = 25_000_000  # an image larger than this is not decoded
BLOCK_BYTES = 1_000_000  # of one block of the page, before base64
TRIED = 48  # images that stand for all in the choice of a side

Name = tuple[str, str]  # a run, and a file of its folder of images


@dataclass(frozen=True)
class Pictures:
    """`places`: where each image lies, as (block, place in it), or why it is not shown.

    `blocks` hold data URLs, each distinct image once. `side` is their longer side at most, in
    pixels. `unfit` counts the images that the budget had no room for.
    """

    places: dict[Name, tuple[int, int] | str] = field(default_factory=dict)
    blocks: tuple[tuple[str, ...], ...] = ()
    side: int = SIDES[0]
    unfit: int = 0


def draw(names: Iterable[Name], folders: Mapping[str, Path], budget: int) -> Pictures:
    """The pictures of `names`, in that order, in at most `budget` bytes before base64.

    `folders` are the folders of images by run, each in the folder of its run: a file that lies
    elsewhere, if only by a link, is not shown. What cannot be shown has its reason instead.
    """
    places: dict[Name, tuple[int, int] | str] = {}
    sources: dict[str, Path] = {}  # by content: runs keep copies of the same images
    content: dict[Name, str] = {}
    for name in dict.fromkeys(names):
        try:
            path = _own_image(folders[name[0]], name[1])
            digest = hashlib.sha256(ImageRef(path=path).read_bytes()).hexdigest()
        except SafeGRPOError as error:
            places[name] = _reason(error)
            continue
        content[name] = digest
        sources.setdefault(digest, path)
    side = _side(list(sources.values()), budget)
    while True:
        drawn, blocks, unfit = _draw_all(sources, side, budget)
        if not unfit or side == SIDES[-1]:
            break
        side = next(smaller for smaller in SIDES if smaller < side)
    for name, digest in content.items():
        place = drawn[digest]
        places[name] = _reason(place) if isinstance(place, Exception) else place
    return Pictures(places, blocks, side, unfit)


def _own_image(folder: Path, name: str) -> Path:
    """The file of an image. DataError if it lies outside of the run, if only by a link."""
    # The folder itself may be a link: what it leads to is somebody's, and not of this run.
    if not folder.resolve().is_relative_to(folder.parent.resolve()):
        raise DataError("the folder of images is a link out of the run's folder")
    return resolve_image(folder, name)


def _side(paths: list[Path], budget: int) -> int:
    """The largest side at which a few of them say that all will fit."""
    some = paths[:: max(1, len(paths) // TRIED)]
    for side in SIDES:
        used = 0
        for path in some:
            try:
                used += len(_small(path, side)[1])
            except SafeGRPOError:
                continue
        if used * len(paths) <= budget * len(some):
            return side
    return SIDES[-1]


def _draw_all(
    sources: Mapping[str, Path], side: int, budget: int
) -> tuple[dict[str, tuple[int, int] | Exception], tuple[tuple[str, ...], ...], int]:
    drawn: dict[str, tuple[int, int] | Exception] = {}
    blocks: list[list[str]] = []
    used = unfit = filled = 0
    for digest, path in sources.items():
        if unfit and side != SIDES[-1]:
            break  # all of it is drawn once more, smaller
        try:
            kind, data = _small(path, side)
            if used + len(data) > budget:
                unfit += 1
                raise _NoRoomError("the page's room for images is used up")
        except SafeGRPOError as error:
            drawn[digest] = error
            continue
        used += len(data)
        if not blocks or filled + len(data) > BLOCK_BYTES:
            blocks.append([])
            filled = 0
        filled += len(data)
        blocks[-1].append(f"data:image/{kind};base64," + base64.b64encode(data).decode("ascii"))
        drawn[digest] = (len(blocks) - 1, len(blocks[-1]) - 1)
    return drawn, tuple(map(tuple, blocks)), unfit


class _NoRoomError(SafeGRPOError):
    pass


def _small(path: Path, side: int) -> tuple[str, bytes]:
    image = open_image(ImageRef(path=path), max_pixels=MAX_PIXELS)
    image.thumbnail((side, side))
    buffer = io.BytesIO()
    if max(image.size) <= 64:  # a drawing of few pixels, which are to stay what they are
        image.save(buffer, "PNG", optimize=True)
        return "png", buffer.getvalue()
    image.save(buffer, "WEBP", quality=75, method=2)
    return "webp", buffer.getvalue()


def _reason(error: Exception) -> str:
    # The page is sent to others: it does not tell them where the run lay.
    said = without_places(str(error).replace("; pass --images DIR", ""))
    return f"Image not shown: {said}"[:300]
