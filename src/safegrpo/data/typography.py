"""Text drawn as an image, as FigStep does it: a text prompt becomes a picture that says it.

All that varies (colours, tilt, jitter) comes from a generator seeded with the seed, the look and
the text, so equal arguments give equal pixels.
"""

from __future__ import annotations

import random
import re
import unicodedata
from math import ceil
from pathlib import Path

from PIL import Image, ImageColor, ImageDraw, ImageFilter

from safegrpo.data.images import quoted
from safegrpo.data.typesetting import (
    Block,
    Face,
    Line,
    Page,
    check_drawable,
    clean_text,
    clusters,
    is_shaped,
    open_font,
)
from safegrpo.errors import ConfigError, DataError

LOOKS = ("list", "handwriting", "note", "poster")
"""What `draw_text` can make of the words."""

# Pillow's own font has but one dash.
_DASHES = str.maketrans(dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-"))
_MIN_SIDE, _MAX_SIDE = 64, 4096
_ITEMS = "\n1.\n2.\n3."
_NOTES = ("#fff296", "#ffd0d8", "#c8ecbe", "#bee0fa", "#ffdcaa")
_POSTERS = (  # ground, type, frame
    ("#183868", "#ffffff", "#facc50"),
    ("#961e2c", "#fff6e4", "#ffd696"),
    ("#125c4e", "#fafaf0", "#aae0be"),
    ("#facc3c", "#1e1e22", "#963c14"),
    ("#482c6e", "#fffaff", "#f0a0be"),
    ("#f0eadc", "#8c1e1e", "#283c5a"),
)


def draw_text(
    text: str,
    look: str = "list",
    size: tuple[int, int] = (760, 760),
    font: str | Path | None = None,
    seed: int = 0,
) -> Image.Image:
    """`text` as an RGB picture of `size` (width, height) pixels, each side from 64 to 4096.

    `list` is FigStep's: the statement, then three empty items to fill in. `handwriting` is ink on
    ruled paper, `note` a slip pinned to a desk, `poster` large centred type in a frame. `font`
    names a .ttf or .otf file; Pillow's own, used without it, has little beyond ASCII. The type is
    the largest that fits, up to a share of the short side, and never below 12 pixels (8 in a
    small picture).

    Raises `ConfigError` for an unknown look or a size out of range, `InputFileError` for a
    missing font file, and `DataError` for a file that is no font and for a text that is empty,
    over `MAX_CHARACTERS`, too long for the picture, in a script that this Pillow cannot shape,
    or with characters that the font lacks.
    """
    if look not in LOOKS:
        raise ConfigError(f"look {quoted(look)} is not one of {', '.join(LOOKS)}")
    if not all(isinstance(side, int) and _MIN_SIDE <= side <= _MAX_SIDE for side in size):
        raise ConfigError(f"size {size}: width and height go from {_MIN_SIDE} to {_MAX_SIDE}")
    words = clean_text(text)
    if font is None:
        words = words.translate(_DASHES)
    draw = {"list": _list, "handwriting": _paper, "note": _note, "poster": _poster}[look]
    rng = random.Random(f"{seed}\n{look}\n{words}".encode("utf-8", "surrogatepass"))
    opened = open_font(font)
    try:
        check_drawable(words + _ITEMS if look == "list" else words, opened)
        return draw(Page(size, words, opened, rng, look))
    except OSError as error:  # FreeType reads a glyph only when it is asked for
        raise DataError(f"font file {quoted(str(font))} is damaged: {error}") from error


def _printed(
    block: Block, size: tuple[int, int], x: int, y: int, width: int, middle: bool = False
) -> Image.Image:
    """An L mask of `size` with the block's lines between x and x + width, from y down."""
    mask = Image.new("L", size)
    for row, line in enumerate(block.lines):
        left, _, right, _ = block.face.extent(line)
        share = 0.5 if middle else float(line.rtl)
        start = x - left + share * (width - right + left)
        block.face.draw(mask, start, y + block.ascent + row * block.pitch, line)
    return mask


def _written(
    block: Block, size: tuple[int, int], x: int, y: int, width: int, rng: random.Random
) -> Image.Image:
    """As `_printed`, but each letter (word, where letters join) slanted and placed by hand."""
    mask = Image.new("L", size)
    em = block.face.font.size
    lean = rng.uniform(0.1, 0.25)
    for row, line in enumerate(block.lines):
        units = _units(line)
        steps = [block.face.font.getlength(unit) + em * rng.uniform(0, 0.05) for unit in units]
        room = width - 0.8 * em
        # Apart, letters lack the kerning that the line was measured with.
        tight = min(1.0, room / (sum(steps) or 1.0))
        pen = x + 0.4 * em + line.rtl * (room - tight * sum(steps))
        slope = rng.uniform(-0.12, 0.12) * em / width
        baseline = y + block.ascent + row * block.pitch
        for unit, step in zip(units, steps, strict=True):
            if unit != " ":
                dip = slope * (pen - x) + rng.uniform(-0.04, 0.04) * em
                _stamp(mask, block.face, Line(unit, line.rtl), pen, baseline + dip, lean, rng)
            pen += step * tight
    return mask


def _units(line: Line) -> list[str]:
    """What of `line` can be placed by itself, from left to right."""
    words = re.findall(" |[^ ]+", line.text)
    kinds = [{unicodedata.bidirectional(c) for c in word} for word in words]
    if line.rtl or any(kind & {"R", "AL", "AN"} for kind in kinds):
        # Only words that all run the same way have an order that needs no bidirectional layout.
        same = all(
            kind <= {"R", "AL", "NSM", "CS", "ON", "BN", "WS"} and kind & {"R", "AL", "WS"}
            for kind in kinds
        )
        return words[::-1] if same and line.rtl else [line.text]
    return [u for word in words for u in ([word] if is_shaped(word) else clusters(word))]


def _stamp(
    mask: Image.Image, face: Face, unit: Line, x: float, y: float, lean: float, rng: random.Random
) -> None:
    """Set `unit` with its baseline starting at (x, y), leaning and a little out of shape."""
    em = face.font.size
    pad = ceil(em / 2)  # more than the corners move
    left, top, right, bottom = face.extent(unit)
    width, height = right - left + 2 * pad, bottom - top + 2 * pad
    tile = Image.new("L", (width, height))
    face.draw(tile, pad - left, pad - top, unit)
    rise, fall = lean * (pad - top), lean * (pad + bottom)
    corners = (-rise, 0, fall, height, width + fall, height, width - rise, 0)  # NW, SW, SE, NE
    moved = tuple(value + rng.uniform(-0.04, 0.04) * em for value in corners)
    tile = tile.transform(tile.size, Image.Transform.QUAD, moved, Image.Resampling.BICUBIC)
    mask.paste(255, (round(x) + left - pad, round(y) + top - pad), tile)


def _list(page: Page) -> Image.Image:
    rng, (width, height) = page.rng, page.size
    edge = max(3, round(min(page.size) * rng.uniform(0.03, 0.06)))
    block = page.fit(width - 2 * edge, height - 2 * edge, share=0.115, weight=0.03, below=_ITEMS)
    image = Image.new("RGB", page.size, "white")
    ink = rng.randrange(30), rng.randrange(30), rng.randrange(30)
    image.paste(ink, mask=_printed(block, page.size, edge, edge, width - 2 * edge))
    return image


def _paper(page: Page) -> Image.Image:
    rng, (width, height) = page.rng, page.size
    margin, edge = round(width * rng.uniform(0.09, 0.12)), round(min(page.size) * 0.06)
    block = page.fit(
        width - margin - edge, height - 2 * edge, share=0.09, weight=0.02, leading=1.3, loose=True
    )
    rtl = block.lines[0].rtl
    image = Image.new("RGB", page.size, rng.choice(("#fdfcf4", "#fbf8ec", "#f8fafc")))
    pen = ImageDraw.Draw(image)
    rule = max(1, round(min(page.size) / 500))
    baseline = edge + block.ascent
    for y in range((baseline + block.pitch // 8) % block.pitch, height, block.pitch):
        pen.line((0, y, width, y), fill="#bccde6", width=rule)
    side = width - margin * 9 // 10 if rtl else margin * 9 // 10
    pen.line((side, 0, side, height), fill="#eba9a9", width=rule)
    start = edge if rtl else margin
    ink = rng.choice(("#1b2a6b", "#23252e", "#143a60", "#3a1d4c"))
    image.paste(ink, mask=_written(block, page.size, start, edge, width - margin - edge, rng))
    return image


def _note(page: Page) -> Image.Image:
    rng, (width, height) = page.rng, page.size
    short = min(page.size)
    image = Image.new("RGB", page.size)
    pen = ImageDraw.Draw(image)
    wood, shade = rng.choice(((150, 108, 70), (120, 84, 56), (176, 136, 96))), 0.0
    for y in range(height):  # grain: a shade that wanders from row to row
        shade = 0.9 * shade + rng.uniform(-5, 5)
        pen.line((0, y, width, y), fill=tuple(round(part + shade) for part in wood))

    slip_size = round(width * 0.84), round(height * 0.84)
    edge, top = round(short * 0.06), round(short * 0.1)
    inner = slip_size[0] - 2 * edge
    block = page.fit(inner, slip_size[1] - edge - top, share=0.1)
    slip = Image.new("RGB", slip_size, rng.choice(_NOTES))
    slip.paste("#26262c", mask=_printed(block, slip_size, edge, top, inner))
    x, r = slip_size[0] // 2, max(2, round(short * 0.018))
    ImageDraw.Draw(slip).ellipse((x - r, top // 2 - r, x + r, top // 2 + r), fill="#c02a2a")

    # A long slip turns less, so that its corners stay on the desk.
    angle = rng.choice((-1, 1)) * rng.uniform(1.5, 4.5) * short / max(page.size)
    turned = slip.rotate(angle, Image.Resampling.BICUBIC, expand=True)
    shape = Image.new("L", slip_size)  # a dark rim, for what is turned to have smooth edges
    ImageDraw.Draw(shape).rectangle((1, 1, slip_size[0] - 2, slip_size[1] - 2), fill=255)
    shape = shape.rotate(angle, Image.Resampling.BICUBIC, expand=True)
    corner = (width - turned.width) // 2, (height - turned.height) // 2
    drop = max(1, round(short * 0.01))
    shadow = Image.new("L", page.size)
    shadow.paste(110, (corner[0] + drop, corner[1] + drop), shape)
    image.paste("black", mask=shadow.filter(ImageFilter.BoxBlur(drop)))
    image.paste(turned, corner, shape)
    return image


def _poster(page: Page) -> Image.Image:
    rng, (width, height) = page.rng, page.size
    ground, ink, frame = rng.choice(_POSTERS)
    short = min(page.size)
    # A tint of its own, since a small picture has few other ways to differ from the next.
    tint = [min(255, max(0, part + rng.randint(-9, 9))) for part in ImageColor.getrgb(ground)]
    image = Image.new("RGB", page.size, tuple(tint))
    outer, line = round(short * rng.uniform(0.03, 0.05)), max(1, round(short * 0.012))
    pen = ImageDraw.Draw(image)
    for inset, thickness in ((outer, line), (outer + 2 * line, max(1, line // 3))):
        pen.rectangle(
            (inset, inset, width - 1 - inset, height - 1 - inset), outline=frame, width=thickness
        )
    edge = outer + 4 * line
    block = page.fit(width - 2 * edge, height - 2 * edge, share=0.17, weight=0.03)
    top = (height - block.height) // 2
    image.paste(ink, mask=_printed(block, page.size, edge, top, width - 2 * edge, middle=True))
    return image
