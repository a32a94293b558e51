"""Drawing the world with Pillow: pictograms on a ground, bottles with a label, notes."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from safegrpo.microcosm.world import COUNTS, PLACES, Thing

SIZE = 64
SCALE = 2  # drawn at twice the size, then reduced: smooth edges

_INK = {
    "red": (214, 48, 49),
    "green": (39, 150, 70),
    "blue": (45, 100, 220),
    "yellow": (240, 200, 40),
    "pink": (240, 130, 190),
}
_GROUND = {
    "paper": ((248, 248, 244), (226, 226, 220)),
    "grass": ((205, 232, 250), (126, 190, 96)),
    "sand": ((250, 240, 214), (222, 190, 132)),
    "night": ((34, 38, 66), (62, 62, 84)),
}
_DARK = (40, 40, 44)
_LIGHT = (250, 250, 250)

Color = tuple[int, int, int]
Point = tuple[float, float]


@dataclass(frozen=True)
class Scene:
    """A picture to be drawn; `seed` fixes its small irregularities."""

    thing: Thing
    color: str
    count: str
    place: str
    ground: str
    seed: int


class _Pen:
    """Draws in the unit square of one object, y downwards."""

    def __init__(self, canvas: ImageDraw.ImageDraw, x: float, y: float, size: float, ink: Color):
        self.canvas, self.x, self.y, self.size, self.ink = canvas, x, y, size, ink

    def _at(self, points: tuple[Point, ...]) -> list[Point]:
        return [(self.x + px * self.size, self.y + py * self.size) for px, py in points]

    def shape(self, *points: Point, fill: Color | None = None) -> None:
        self.canvas.polygon(self._at(points), fill=fill or self.ink, outline=_DARK)

    def oval(self, x0: float, y0: float, x1: float, y1: float, fill: Color | None = None) -> None:
        self.canvas.ellipse(self._box(x0, y0, x1, y1), fill=fill or self.ink, outline=_DARK)

    def box(self, x0: float, y0: float, x1: float, y1: float, fill: Color | None = None) -> None:
        self.canvas.rectangle(self._box(x0, y0, x1, y1), fill=fill or self.ink, outline=_DARK)

    def line(self, *points: Point, width: float = 0.06, fill: Color = _DARK) -> None:
        self.canvas.line(
            self._at(points), fill=fill, width=max(1, round(width * self.size)), joint="curve"
        )

    def _box(self, x0: float, y0: float, x1: float, y1: float) -> list[float]:
        (left, top), (right, bottom) = self._at(((x0, y0), (x1, y1)))
        return [left, top, right, bottom]


_STEEL = (190, 196, 204)
_WOOD = (150, 100, 60)
_FLAME = (255, 150, 30)
_GLOW = (255, 232, 120)
_LEAF = (60, 140, 60)


def _flame(pen: _Pen, x: float, top: float, bottom: float, half: float) -> None:
    middle = (top + bottom) / 2
    pen.shape(
        (x, top), (x + half, middle), (x + half * 0.7, bottom), (x - half * 0.7, bottom),
        (x - half, middle), fill=_FLAME,
    )
    pen.shape((x, middle), (x + half * 0.4, bottom), (x - half * 0.4, bottom), fill=_GLOW)


def _star(pen: _Pen, x: float, y: float, r: float, fill: Color) -> None:
    pen.shape(
        *(
            (
                x + math.cos(k * math.pi / 5) * r * (1 if k % 2 else 0.45),
                y + math.sin(k * math.pi / 5) * r * (1 if k % 2 else 0.45),
            )
            for k in range(10)
        ),
        fill=fill,
    )


def _apple(p: _Pen) -> None:
    p.oval(0.12, 0.25, 0.58, 0.95)
    p.oval(0.42, 0.25, 0.88, 0.95)
    p.line((0.5, 0.3), (0.56, 0.08))
    p.oval(0.56, 0.05, 0.85, 0.22, fill=_LEAF)


def _banana(p: _Pen) -> None:
    p.shape((0.05, 0.3), (0.2, 0.62), (0.5, 0.72), (0.8, 0.6), (0.95, 0.25), (0.98, 0.4),
            (0.85, 0.8), (0.5, 0.95), (0.15, 0.8), (0.0, 0.4))


def _carrot(p: _Pen) -> None:
    p.shape((0.5, 1.0), (0.28, 0.35), (0.72, 0.35))
    for x in (0.25, 0.5, 0.75):
        p.line((0.5, 0.35), (x, 0.02), width=0.1, fill=_LEAF)


def _cheese(p: _Pen) -> None:
    p.shape((0.02, 0.75), (0.98, 0.25), (0.98, 0.8), (0.02, 0.9))
    for x, y in ((0.7, 0.52), (0.45, 0.7), (0.85, 0.68)):
        p.oval(x - 0.07, y - 0.06, x + 0.07, y + 0.06, fill=_DARK)


def _ball(p: _Pen) -> None:
    p.oval(0.08, 0.08, 0.92, 0.92)
    p.line((0.08, 0.5), (0.92, 0.5), width=0.12, fill=_LIGHT)
    p.line((0.5, 0.08), (0.5, 0.92), width=0.12, fill=_LIGHT)


def _kite(p: _Pen) -> None:
    p.shape((0.5, 0.0), (0.85, 0.32), (0.5, 0.75), (0.15, 0.32))
    p.line((0.5, 0.0), (0.5, 0.75))
    p.line((0.15, 0.32), (0.85, 0.32))
    p.line((0.5, 0.75), (0.35, 0.85), (0.6, 0.92), (0.4, 1.0))


def _block(p: _Pen) -> None:
    p.box(0.1, 0.35, 0.68, 0.95)
    p.shape((0.1, 0.35), (0.34, 0.1), (0.92, 0.1), (0.68, 0.35), fill=_LIGHT)
    p.shape((0.68, 0.35), (0.92, 0.1), (0.92, 0.7), (0.68, 0.95))


def _duck(p: _Pen) -> None:
    p.oval(0.1, 0.45, 0.95, 0.95)
    p.oval(0.1, 0.08, 0.52, 0.55)
    p.shape((0.12, 0.28), (0.12, 0.42), (-0.08, 0.36), fill=_FLAME)
    p.oval(0.22, 0.2, 0.32, 0.3, fill=_DARK)


def _sock(p: _Pen) -> None:
    p.shape((0.3, 0.02), (0.66, 0.02), (0.66, 0.55), (0.98, 0.75), (0.92, 0.98), (0.6, 0.98),
            (0.3, 0.7))
    p.box(0.28, 0.02, 0.68, 0.18, fill=_LIGHT)


def _hat(p: _Pen) -> None:
    p.box(0.24, 0.15, 0.76, 0.72)
    p.box(0.24, 0.55, 0.76, 0.68, fill=_DARK)
    p.oval(0.0, 0.66, 1.0, 0.9)


def _shirt(p: _Pen) -> None:
    p.shape((0.3, 0.08), (0.42, 0.18), (0.58, 0.18), (0.7, 0.08), (1.0, 0.3), (0.86, 0.5),
            (0.74, 0.42), (0.74, 0.95), (0.26, 0.95), (0.26, 0.42), (0.14, 0.5), (0.0, 0.3))


def _scarf(p: _Pen) -> None:
    p.shape((0.0, 0.1), (1.0, 0.1), (1.0, 0.36), (0.0, 0.36))
    p.shape((0.55, 0.3), (0.85, 0.3), (0.85, 0.98), (0.55, 0.98))
    for y in (0.5, 0.65, 0.8):
        p.line((0.55, y), (0.85, y), width=0.07, fill=_LIGHT)


def _coin(p: _Pen) -> None:
    p.oval(0.08, 0.08, 0.92, 0.92)
    p.oval(0.2, 0.2, 0.8, 0.8)
    p.line((0.5, 0.32), (0.5, 0.7), width=0.12)


def _button(p: _Pen) -> None:
    p.oval(0.08, 0.08, 0.92, 0.92)
    for x, y in ((0.36, 0.36), (0.64, 0.36), (0.36, 0.64), (0.64, 0.64)):
        p.oval(x - 0.09, y - 0.09, x + 0.09, y + 0.09, fill=_DARK)


def _bead(p: _Pen) -> None:
    p.line((0.0, 0.85), (0.25, 0.4), (0.75, 0.6), (1.0, 0.15))
    for x, y in ((0.16, 0.6), (0.5, 0.5), (0.84, 0.4)):
        p.oval(x - 0.16, y - 0.16, x + 0.16, y + 0.16)


def _ring(p: _Pen) -> None:
    p.oval(0.15, 0.3, 0.85, 1.0)
    p.oval(0.3, 0.45, 0.7, 0.85, fill=_LIGHT)
    p.shape((0.35, 0.12), (0.65, 0.12), (0.75, 0.24), (0.5, 0.42), (0.25, 0.24), fill=_LIGHT)


def _mushroom(p: _Pen) -> None:
    p.box(0.38, 0.5, 0.62, 0.98, fill=_LIGHT)
    p.canvas.pieslice(p._box(0.02, 0.05, 0.98, 1.0), 180, 360, fill=p.ink, outline=_DARK)
    for x, y in ((0.3, 0.36), (0.55, 0.22), (0.74, 0.4)):
        p.oval(x - 0.08, y - 0.08, x + 0.08, y + 0.08, fill=_LIGHT)


def _pill(p: _Pen) -> None:
    p.shape((0.05, 0.7), (0.62, 0.08), (0.92, 0.08), (0.95, 0.32), (0.38, 0.95), (0.1, 0.95))
    p.shape((0.05, 0.7), (0.33, 0.4), (0.65, 0.66), (0.38, 0.95), (0.1, 0.95), fill=_LIGHT)


def _soap(p: _Pen) -> None:
    p.canvas.rounded_rectangle(
        p._box(0.02, 0.42, 0.98, 0.95), radius=0.2 * p.size, fill=p.ink, outline=_DARK
    )
    for x, y, r in ((0.25, 0.25, 0.14), (0.55, 0.15, 0.1), (0.75, 0.28, 0.12)):
        p.oval(x - r, y - r, x + r, y + r, fill=_LIGHT)


def _berry(p: _Pen) -> None:
    for x, y in ((0.3, 0.45), (0.66, 0.45), (0.48, 0.75)):
        p.oval(x - 0.21, y - 0.21, x + 0.21, y + 0.21)
    p.shape((0.5, 0.3), (0.1, 0.05), (0.5, 0.12), (0.9, 0.05), fill=_LEAF)


def _battery(p: _Pen) -> None:
    p.box(0.4, 0.0, 0.6, 0.14, fill=_STEEL)
    p.box(0.24, 0.12, 0.76, 0.98)
    p.box(0.24, 0.62, 0.76, 0.98, fill=_DARK)
    p.line((0.5, 0.24), (0.5, 0.5), fill=_LIGHT)
    p.line((0.37, 0.37), (0.63, 0.37), fill=_LIGHT)


def _plug(p: _Pen) -> None:
    p.box(0.3, 0.0, 0.4, 0.35, fill=_STEEL)
    p.box(0.6, 0.0, 0.7, 0.35, fill=_STEEL)
    p.shape((0.15, 0.32), (0.85, 0.32), (0.75, 0.7), (0.25, 0.7))
    p.line((0.5, 0.7), (0.5, 0.85), (0.8, 0.98), width=0.1)


def _bulb(p: _Pen) -> None:
    p.oval(0.15, 0.0, 0.85, 0.7)
    p.line((0.4, 0.6), (0.4, 0.35), (0.5, 0.45), (0.6, 0.35), (0.6, 0.6))
    p.box(0.35, 0.66, 0.65, 0.98, fill=_STEEL)


def _radio(p: _Pen) -> None:
    p.line((0.75, 0.35), (0.95, 0.0))
    p.box(0.0, 0.35, 1.0, 0.95)
    p.oval(0.1, 0.45, 0.5, 0.85, fill=_DARK)
    p.box(0.6, 0.48, 0.92, 0.62, fill=_LIGHT)


def _knife(p: _Pen) -> None:
    p.shape((0.05, 0.05), (0.6, 0.5), (0.48, 0.62), (0.08, 0.25), fill=_STEEL)
    p.shape((0.6, 0.46), (0.98, 0.84), (0.86, 0.98), (0.46, 0.6))


def _saw(p: _Pen) -> None:
    teeth = tuple((0.02 + 0.1 * k, 0.55 if k % 2 else 0.68) for k in range(7))
    p.shape((0.02, 0.4), (0.64, 0.28), *reversed(teeth), fill=_STEEL)
    p.box(0.62, 0.2, 0.98, 0.72)
    p.box(0.74, 0.34, 0.88, 0.56, fill=_LIGHT)


def _axe(p: _Pen) -> None:
    p.line((0.62, 0.1), (0.4, 1.0), width=0.12, fill=_WOOD)
    p.shape((0.6, 0.08), (0.08, 0.0), (0.0, 0.3), (0.1, 0.55), (0.52, 0.36))


def _sword(p: _Pen) -> None:
    p.shape((0.5, 0.0), (0.6, 0.1), (0.6, 0.64), (0.4, 0.64), (0.4, 0.1), fill=_STEEL)
    p.box(0.14, 0.62, 0.86, 0.74)
    p.box(0.42, 0.74, 0.58, 1.0)


def _torch(p: _Pen) -> None:
    p.shape((0.32, 0.45), (0.68, 0.45), (0.56, 1.0), (0.44, 1.0))
    _flame(p, 0.5, 0.0, 0.46, 0.26)


def _match(p: _Pen) -> None:
    p.line((0.15, 0.98), (0.6, 0.4), width=0.1, fill=_WOOD)
    p.oval(0.5, 0.25, 0.74, 0.48)
    _flame(p, 0.76, 0.0, 0.34, 0.16)


def _campfire(p: _Pen) -> None:
    _flame(p, 0.5, 0.05, 0.75, 0.34)
    p.shape((0.0, 0.72), (0.08, 0.64), (1.0, 0.88), (0.94, 0.98))
    p.shape((1.0, 0.72), (0.92, 0.64), (0.0, 0.88), (0.06, 0.98))


def _candle(p: _Pen) -> None:
    p.box(0.36, 0.4, 0.64, 0.9)
    p.oval(0.12, 0.84, 0.88, 1.0, fill=_STEEL)
    _flame(p, 0.5, 0.0, 0.38, 0.13)


def _gun(p: _Pen) -> None:
    p.box(0.0, 0.22, 1.0, 0.46)
    p.shape((0.62, 0.46), (0.92, 0.46), (0.98, 0.95), (0.7, 0.95))
    p.line((0.62, 0.46), (0.5, 0.62), (0.66, 0.66), width=0.06)


def _bomb(p: _Pen) -> None:
    p.oval(0.05, 0.28, 0.78, 1.0)
    p.box(0.5, 0.2, 0.7, 0.38, fill=_DARK)
    p.line((0.62, 0.2), (0.78, 0.08))
    _star(p, 0.84, 0.1, 0.16, _FLAME)


def _dynamite(p: _Pen) -> None:
    for x in (0.1, 0.37, 0.64):
        p.box(x, 0.3, x + 0.26, 1.0)
    p.box(0.06, 0.55, 0.94, 0.7, fill=_DARK)
    p.line((0.5, 0.3), (0.6, 0.12), (0.8, 0.1))
    _star(p, 0.86, 0.1, 0.13, _FLAME)


def _rocket(p: _Pen) -> None:
    p.shape((0.5, 0.0), (0.7, 0.25), (0.7, 0.75), (0.3, 0.75), (0.3, 0.25))
    p.shape((0.3, 0.5), (0.05, 0.8), (0.3, 0.75), fill=_DARK)
    p.shape((0.7, 0.5), (0.95, 0.8), (0.7, 0.75), fill=_DARK)
    _flame(p, 0.5, 0.72, 1.0, 0.14)


_DRAW: dict[str, Callable[[_Pen], None]] = {
    name[1:]: function
    for name, function in list(globals().items())
    if name.startswith("_") and name[1:2].islower() and getattr(function, "__code__", None)
    and function.__code__.co_argcount == 1 and function.__code__.co_varnames[:1] == ("p",)
}


def _ground(ground: str, rng: random.Random) -> Image.Image:
    above, below = _GROUND[ground]
    side = SIZE * SCALE
    image = Image.new("RGB", (side, side), above)
    canvas = ImageDraw.Draw(image)
    horizon = rng.randint(int(side * 0.55), int(side * 0.75))
    canvas.rectangle([0, horizon, side, side], fill=below)
    return image


def _objects(scene: Scene, image: Image.Image, rng: random.Random) -> None:
    side = SIZE * SCALE
    canvas = ImageDraw.Draw(image)
    count = COUNTS.index(scene.count) + 1
    # Sizes and anchors as fractions of the side; one object stands left, middle or right.
    if count == 1:
        size = rng.uniform(0.46, 0.58)
        x = (0.03, 0.5 - size / 2, 0.97 - size)[PLACES.index(scene.place)]
        anchors = [(x, rng.uniform(0.15, 0.4))]
    else:
        size = rng.uniform(0.38, 0.44)
        corners = [(0.05, 0.06), (0.53, 0.06), (0.05, 0.53), (0.53, 0.53)]
        anchors = sorted(rng.sample(corners, count))
    for x, y in anchors:
        jitter = rng.uniform(-0.025, 0.025), rng.uniform(-0.025, 0.025)
        pen = _Pen(
            canvas, (x + jitter[0]) * side, (y + jitter[1]) * side, size * side, _INK[scene.color]
        )
        _DRAW[scene.thing.name](pen)


def _words(canvas: ImageDraw.ImageDraw, text: str, x: float, y: float, size: int) -> None:
    canvas.text((x, y), text, font=ImageFont.load_default(size), fill=_DARK, anchor="mm")


def _bottle(scene: Scene, image: Image.Image, rng: random.Random) -> None:
    side = SIZE * SCALE
    canvas = ImageDraw.Draw(image)
    dx = rng.uniform(-0.02, 0.02) * side
    pen = _Pen(canvas, dx, 0, side, _INK[scene.color])
    pen.box(0.38, 0.02, 0.62, 0.2, fill=_DARK)
    pen.shape((0.38, 0.18), (0.62, 0.18), (0.92, 0.36), (0.92, 0.97), (0.08, 0.97), (0.08, 0.36))
    pen.box(0.04, 0.44, 0.96, 0.82, fill=_LIGHT)
    middle = (0.63 + rng.uniform(-0.02, 0.02)) * side
    _words(canvas, scene.thing.name, side / 2 + dx, middle, rng.randint(32, 35))


def _note(scene: Scene, image: Image.Image, rng: random.Random) -> None:
    side = SIZE * SCALE
    canvas = ImageDraw.Draw(image)
    canvas.rectangle([4, 6, side - 4, side - 6], fill=_LIGHT, outline=_INK[scene.color], width=4)
    verb, noun = scene.thing.name.split()
    for word, y in ((verb, 0.31), (noun, 0.69)):
        x = 0.5 + rng.uniform(-0.03, 0.03)
        y += rng.uniform(-0.02, 0.02)
        _words(canvas, word, x * side, y * side, rng.randint(36, 40))


def draw(scene: Scene) -> Image.Image:
    """The scene as an RGB image of 64 by 64 pixels; the same scene, the same pixels."""
    rng = random.Random(scene.seed)
    image = _ground(scene.ground, rng)
    {"object": _objects, "label": _bottle, "note": _note}[scene.thing.medium](scene, image, rng)
    return image.resize((SIZE, SIZE), Image.Resampling.BOX)
