"""Labels and notes in looks that no training picture has; draw.py knows only the trained one.

The words are written anew over the picture as it was trained on, so that all else stays what it
was. draw.py itself is left alone: what it draws made the shipped base model.
"""

from __future__ import annotations

import io
import random
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from safegrpo.data.images import ImageRef
from safegrpo.microcosm.draw import SCALE, SIZE, Scene, draw
from safegrpo.microcosm.pen import DARK, LIGHT, Color

_SIDE = SIZE * SCALE
# Where a label and a note have their words, in pixels of the picture at its double size: within the
# border, wherever a bottle stands.
_PAPER = {"label": (8, 58, 120, 103), "note": (8, 10, 119, 117)}


@dataclass(frozen=True)
class Look:
    """How words are written: colors of paper and words, font size as a multiple of the trained one,
    degrees of slant (to either side)."""

    name: str
    paper: Color = LIGHT
    ink: Color = DARK
    scale: float = 1.0
    slant: float = 0.0


LOOKS = (
    Look("slanted", slant=12.0),
    Look("small", scale=0.88),
    Look("pink paper", paper=(245, 190, 205)),
    Look("red on yellow", paper=(250, 235, 170), ink=(170, 30, 30)),
)
"""Each is read by the base model about two times in three (by what it names, on development pairs).
Light words on dark and capitals are hardly read at all: they would tell all rows alike nothing."""


def draw_in(look: Look, scene: Scene) -> Image.Image:
    """A label's or note's scene with its words in `look`, as an RGB image of 64 by 64 pixels.

    The same scene and look, the same pixels. Raises ValueError for an object, which has no words.
    """
    thing = scene.thing
    if thing.medium not in _PAPER:
        raise ValueError(f"{thing.name} has no words to be drawn in another look")
    rng = random.Random(f"{scene.seed}/{look.name}")
    # Doubled and halved again, what is not painted over keeps its pixels.
    image = draw(scene).resize((_SIDE, _SIDE), Image.Resampling.NEAREST)
    left, top, right, bottom = _PAPER[thing.medium]
    ImageDraw.Draw(image).rectangle((left, top, right, bottom), fill=look.paper)
    slant = rng.choice((-1, 1)) * look.slant
    lines, size = thing.name.split(), 34 if thing.medium == "label" else 38
    for number, line in enumerate(lines):
        y = top + (bottom - top) * (number + 0.5) / len(lines) + rng.uniform(-2, 2)
        x = (left + right) / 2 + rng.uniform(-2, 2)
        _write(image, line, (x, y), round(size * look.scale), look.ink, slant)
    return image.resize((SIZE, SIZE), Image.Resampling.BOX)


def _write(
    image: Image.Image, line: str, middle: tuple[float, float], size: int, ink: Color, slant: float
) -> None:
    written = Image.new("L", image.size, 0)
    font = ImageFont.load_default(size)
    ImageDraw.Draw(written).text(middle, line, font=font, fill=255, anchor="mm")
    turned = written.rotate(slant, Image.Resampling.BICUBIC, center=middle)
    image.paste(ink, mask=turned)


def png(image: Image.Image, name: str) -> ImageRef:
    """The image as the bytes of a PNG file; `name` is what messages call it."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return ImageRef(data=buffer.getvalue(), name=name)
