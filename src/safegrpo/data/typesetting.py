"""Words made ready to be drawn: cleaned, wrapped, and set in the largest type that fits.

Left out: hyphenation, emoji in colour, vertical writing, dictionaries for Thai and its kin (a long
run of Thai is broken wherever the line ends). A run of spaces or tabs is drawn as one space.
"""

from __future__ import annotations

import random
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from math import ceil, floor
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, features

from safegrpo.data.images import quoted
from safegrpo.errors import DataError, InputFileError

MAX_CHARACTERS = 4000
"""Characters above which a text is refused before anything is measured."""
_LONG_WORD = 20  # characters; a shorter word is broken only when no type size keeps it whole

_LINE_END = re.compile(r"\r\n?|[\x85\u2028\u2029]")
_SELECTORS = re.compile(r"[\u034f\u180b-\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]")
_SEEN_FORMATS = "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2"
JOINERS = "\u200c\u200d"
# Han, kana and full-width forms: a line may end after each, but not before what closes or pauses.
_WIDE = r"\u2e80-\u30ff\u31f0-\u9fff\uf900-\ufaff\uff01-\uff9f\U00020000-\U0003ffff"
_CLOSING = "’”、。〉》」』】ー！），：；？"  # noqa: RUF001
_PIECE = re.compile(rf" ?(?:[{_WIDE}][{_CLOSING}]*|[^ {_WIDE}]+)")
# The Brahmic scripts, Thai, Tibetan, Mongolian and kin; Arabic and Hebrew are known by direction.
_SHAPED = re.compile("[\u0900-\u109f\u1700-\u18af\u1900-\u1c7f\ua800-\uabff\U00011000-\U00011fff]")


def clean_text(text: str) -> str:
    r"""`text` in NFC, its line ends `\n`, its spaces single, without what is not seen.

    Joiners stay after letters that are shaped, where they change what is drawn. Raises
    `DataError` for more than `MAX_CHARACTERS` and for a text with nothing to draw.
    """
    if len(text) > MAX_CHARACTERS:
        raise DataError(
            f"the text has {len(text):,} characters; a picture takes at most "
            f"{MAX_CHARACTERS:,}. Shorten it or draw several"
        )
    kept = [""]
    for c in _SELECTORS.sub("", unicodedata.normalize("NFC", _LINE_END.sub("\n", text))):
        kind = unicodedata.category(c)
        if kind == "Zs" or (kind == "Cc" and c != "\n"):
            kept.append(" ")
        elif kind != "Cf" or c in _SEEN_FORMATS or (c in JOINERS and is_shaped(kept[-1])):
            kept.append(c)
    words = re.sub(" *\n *", "\n", re.sub(" +", " ", "".join(kept))).strip()
    if not words:
        raise DataError("the text is empty: it has nothing that can be drawn")
    return words


def wrap_line(
    line: str, width: float, measure: Callable[[str], float], break_words: bool = False
) -> list[str] | None:
    """`line` cut into lines that `measure` to at most `width`; None if it cannot be done.

    A word wider than a line is cut between characters, marks staying with their letter, if it has
    over 20 of them or with `break_words`. Chinese and Japanese are cut after any character that
    may end a line. Nothing but the spaces at the cuts is dropped.
    """
    pieces: list[str] = _PIECE.findall(line)
    lines = []
    start, cut = 0, -1  # the next piece, and the one that has been cut already
    while start < len(pieces):
        ahead = pieces[start : start + 500]  # keeps the time in proportion to the text
        count = _how_many(ahead, width, measure)
        start += count
        if not count:
            ahead = clusters(ahead[0].lstrip(" "))
            count = _how_many(ahead, width, measure)
            if not count or not (break_words or len(ahead) > _LONG_WORD or start == cut):
                return None
            cut = start
            pieces[start] = "".join(ahead[count:])
        lines.append("".join(ahead[:count]).lstrip(" "))
    return lines or [""]


def _how_many(parts: list[str], width: float, measure: Callable[[str], float]) -> int:
    """How many of the first `parts`, joined, measure to at most `width`."""
    counts = range(1, len(parts) + 1)
    return bisect_right(counts, width, key=lambda n: measure("".join(parts[:n]).lstrip(" ")))


def clusters(word: str) -> list[str]:
    """The characters of `word`, each with its marks, its joiners and what a virama binds to it."""
    found = [""]
    for c in word:
        if unicodedata.category(c)[0] == "M" or c in JOINERS or _ends_in_virama(found[-1]):
            found[-1] += c
        else:
            found.append(c)
    return [cluster for cluster in found if cluster]


def _ends_in_virama(cluster: str) -> bool:
    return unicodedata.combining(cluster[-1:] or " ") == 9


def _is_rtl(text: str, otherwise: bool) -> bool:
    """Whether the first letter that has a direction runs from right to left, if there is one."""
    directions = (unicodedata.bidirectional(c) for c in text)
    return next((d != "L" for d in directions if d in ("L", "R", "AL")), otherwise)


def is_shaped(text: str) -> bool:
    """Whether `text` cannot be drawn one character beside the next."""
    turns = any(unicodedata.bidirectional(c) in ("R", "AL", "AN") for c in text)
    return (
        turns or any(unicodedata.category(c)[0] == "M" for c in text) or bool(_SHAPED.search(text))
    )


def open_font(font: str | Path | None) -> ImageFont.FreeTypeFont:
    """The font at 40 pixels; other sizes are variants of it."""
    engine = ImageFont.Layout.RAQM if features.check("raqm") else ImageFont.Layout.BASIC
    if font is None:
        own = ImageFont.load_default(40)
        assert isinstance(own, ImageFont.FreeTypeFont)  # as it is whenever a size is given
        return own.font_variant(layout_engine=engine)
    try:
        # Read into memory: every size that is tried opens the font anew.
        return ImageFont.truetype(BytesIO(Path(font).read_bytes()), 40, layout_engine=engine)
    except FileNotFoundError as error:
        raise InputFileError(f"font file {quoted(str(font))} not found") from error
    except (OSError, ValueError) as error:
        name = quoted(str(font))
        raise DataError(f"font file {name} is not a readable .ttf or .otf: {error}") from error


def check_drawable(text: str, font: ImageFont.FreeTypeFont) -> None:
    """`DataError` if the font lacks characters of `text`, or Pillow what it takes to join them."""
    # Without layout, one character is one glyph; what looks just as a code point that can have
    # none does is missing. It holds for every glyph of Aileron and of the DejaVu fonts.
    plain = font.font_variant(layout_engine=ImageFont.Layout.BASIC)

    def drawing(c: str) -> tuple[object, ...]:
        return plain.getlength(c), plain.getbbox(c), bytes(plain.getmask(c))

    blank = drawing("\U0010ffff")
    seen = sorted(set(text) - set(" \n" + JOINERS))
    lacking = [c for c in seen if unicodedata.category(c) == "Cs" or drawing(c) == blank]
    if lacking:
        names = [f"{quoted(c)} {unicodedata.name(c, f'U+{ord(c):04X}')}" for c in lacking[:4]]
        more = f" and {len(lacking) - 4} more" if len(lacking) > 4 else ""
        raise DataError(
            f"the font {' '.join(filter(None, font.getname()))} has no {', '.join(names)}{more}; "
            "name a .ttf or .otf file that has them (--font FILE)"
        )
    if font.layout_engine == ImageFont.Layout.BASIC and is_shaped(text):
        shaped = next(c for c in seen if is_shaped(c))
        raise DataError(
            f"{quoted(shaped)} {unicodedata.name(shaped, '')} is of a script whose letters are "
            "joined or reordered, for which Pillow needs raqm; install a Pillow built with it"
        )


@dataclass(frozen=True)
class Line:
    """Words on one line, and whether their paragraph runs from right to left."""

    text: str
    rtl: bool


@dataclass(frozen=True)
class Face:
    """A font at one size with the thickness, in pixels, that a stroke adds all round."""

    font: ImageFont.FreeTypeFont
    stroke: int

    def extent(self, line: Line) -> tuple[int, int, int, int]:
        """Left, top, right, bottom of `line`, in pixels from where its baseline starts."""
        box = self.font.getbbox(
            line.text, direction=self._direction(line), stroke_width=self.stroke, anchor="ls"
        )
        left, top, right, bottom = box
        return floor(left), floor(top), ceil(right), ceil(bottom)

    def width(self, line: Line) -> int:
        left, _, right, _ = self.extent(line)
        return right - left

    def draw(self, mask: Image.Image, x: float, y: float, line: Line) -> None:
        """Set `line` into an L `mask`, its baseline starting at (x, y)."""
        ImageDraw.Draw(mask).text(
            (round(x), round(y)),
            line.text,
            fill=255,
            font=self.font,
            anchor="ls",
            direction=self._direction(line),
            stroke_width=self.stroke,
        )

    def _direction(self, line: Line) -> str | None:
        if self.font.layout_engine == ImageFont.Layout.BASIC:
            return None  # it knows no other than left to right
        return "rtl" if line.rtl else "ltr"


@dataclass(frozen=True)
class Block:
    """Lines that fit: their face, and in pixels the first baseline, line to line, and height."""

    lines: list[Line]
    face: Face
    ascent: int
    pitch: int
    height: int


@dataclass(frozen=True)
class Page:
    """What is to be drawn: `size` in pixels, the cleaned text, and where chance comes from."""

    size: tuple[int, int]
    text: str
    font: ImageFont.FreeTypeFont
    rng: random.Random
    look: str

    def fit(
        self,
        width: int,
        height: int,
        share: float,
        weight: float = 0.0,
        leading: float = 1.1,
        loose: bool = False,
        below: str = "",
    ) -> Block:
        """The text in the largest type that fits `width` x `height` pixels, else `DataError`.

        `share` of the short side is the largest size; `weight` is the stroke as a share of the
        type size, `leading` the pitch as one of the line height. `loose` leaves room for a hand,
        and `below` is set under the text.
        """
        side = min(self.size)
        smallest = min(12, max(8, round(side / 64)))
        largest = max(smallest, round(side * share * self.rng.uniform(0.88, 1.0)))

        def block(points: int, break_words: bool) -> Block | None:
            font = self.font.font_variant(size=points)
            # Rounded down: small type clots sooner than it looks thin.
            face = Face(font, int(points * weight))
            return _set(self.text + below, face, width, height, leading, loose, break_words)

        for break_words in (False, True):
            best = block(smallest, break_words)
            if best is None:
                continue
            low, high = smallest, largest
            while low < high:
                middle = (low + high + 1) // 2
                trial = block(middle, break_words)
                low, high = (middle, high) if trial else (low, middle - 1)
                best = trial or best
            return best
        raise DataError(
            f'the {len(self.text):,} characters of the text do not fit a "{self.look}" of '
            f"{self.size[0]} x {self.size[1]} pixels even in type of {smallest} pixels; "
            "pass a larger size or shorten the text"
        )


def _set(
    text: str, face: Face, width: int, height: int, leading: float, loose: bool, break_words: bool
) -> Block | None:
    """`text` in lines of this type, or None if they are wider or higher than allowed."""
    ascent, descent = face.font.getmetrics()
    pitch = round((ascent + descent) * leading)
    lines: list[Line] = []
    rtl = False
    for paragraph in text.split("\n"):
        rtl = _is_rtl(paragraph, otherwise=rtl)  # so that numbers stand on the side of the text

        def measure(words: str, rtl: bool = rtl) -> float:
            slack = face.font.size * (0.8 + 0.05 * len(words)) if loose else 0
            return face.width(Line(words, rtl)) + slack

        wrapped = wrap_line(paragraph, width, measure, break_words)
        if wrapped is None or (len(lines) + len(wrapped) - 1) * pitch > height:
            return None
        lines += [Line(words, rtl) for words in wrapped]
    # Stacked accents may rise above what the font states as its ascent.
    extents = [face.extent(line) for line in lines]
    ascent = max(ascent, *(-top for _, top, _, _ in extents))
    descent = max(descent, *(bottom for _, _, _, bottom in extents))
    total = ascent + descent + (len(lines) - 1) * pitch
    return Block(lines, face, ascent, pitch, total) if total <= height else None
