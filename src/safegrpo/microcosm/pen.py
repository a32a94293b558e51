"""The pen that draws one pictogram, in the unit square whatever its size."""

from __future__ import annotations

import math

from PIL import ImageDraw

Color = tuple[int, int, int]
Point = tuple[float, float]

DARK = (40, 40, 44)
LIGHT = (250, 250, 250)
STEEL = (190, 196, 204)
WOOD = (150, 100, 60)
FLAME = (255, 150, 30)
GLOW = (255, 232, 120)
LEAF = (60, 140, 60)


class Pen:
    """Draws in the unit square of one object, y downwards."""

    def __init__(self, canvas: ImageDraw.ImageDraw, x: float, y: float, size: float, ink: Color):
        self.canvas, self.x, self.y, self.size, self.ink = canvas, x, y, size, ink

    def _at(self, points: tuple[Point, ...]) -> list[Point]:
        return [(self.x + px * self.size, self.y + py * self.size) for px, py in points]

    def shape(self, *points: Point, fill: Color | None = None) -> None:
        self.canvas.polygon(self._at(points), fill=fill or self.ink, outline=DARK)

    def oval(self, x0: float, y0: float, x1: float, y1: float, fill: Color | None = None) -> None:
        self.canvas.ellipse(self._box(x0, y0, x1, y1), fill=fill or self.ink, outline=DARK)

    def box(self, x0: float, y0: float, x1: float, y1: float, fill: Color | None = None) -> None:
        self.canvas.rectangle(self._box(x0, y0, x1, y1), fill=fill or self.ink, outline=DARK)

    def line(self, *points: Point, width: float = 0.06, fill: Color = DARK) -> None:
        self.canvas.line(
            self._at(points), fill=fill, width=max(1, round(width * self.size)), joint="curve"
        )

    def _box(self, x0: float, y0: float, x1: float, y1: float) -> list[float]:
        (left, top), (right, bottom) = self._at(((x0, y0), (x1, y1)))
        return [left, top, right, bottom]


def flame(pen: Pen, x: float, top: float, bottom: float, half: float) -> None:
    middle = (top + bottom) / 2
    pen.shape(
        (x, top),
        (x + half, middle),
        (x + half * 0.7, bottom),
        (x - half * 0.7, bottom),
        (x - half, middle),
        fill=FLAME,
    )
    pen.shape((x, middle), (x + half * 0.4, bottom), (x - half * 0.4, bottom), fill=GLOW)


def star(pen: Pen, x: float, y: float, r: float, fill: Color) -> None:
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
