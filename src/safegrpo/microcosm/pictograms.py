"""Pictograms of the microcosm's objects, each drawn in a unit square."""

from __future__ import annotations

from collections.abc import Callable

from safegrpo.microcosm.pen import DARK, FLAME, LEAF, LIGHT, STEEL, WOOD, Pen, flame, star


def apple(p: Pen) -> None:
    p.oval(0.12, 0.25, 0.58, 0.95)
    p.oval(0.42, 0.25, 0.88, 0.95)
    p.line((0.5, 0.3), (0.56, 0.08))
    p.oval(0.56, 0.05, 0.85, 0.22, fill=LEAF)


def banana(p: Pen) -> None:
    p.shape(
        (0.05, 0.3),
        (0.2, 0.62),
        (0.5, 0.72),
        (0.8, 0.6),
        (0.95, 0.25),
        (0.98, 0.4),
        (0.85, 0.8),
        (0.5, 0.95),
        (0.15, 0.8),
        (0.0, 0.4),
    )


def carrot(p: Pen) -> None:
    p.shape((0.5, 1.0), (0.28, 0.35), (0.72, 0.35))
    for x in (0.25, 0.5, 0.75):
        p.line((0.5, 0.35), (x, 0.02), width=0.1, fill=LEAF)


def cheese(p: Pen) -> None:
    p.shape((0.02, 0.75), (0.98, 0.25), (0.98, 0.8), (0.02, 0.9))
    for x, y in ((0.7, 0.52), (0.45, 0.7), (0.85, 0.68)):
        p.oval(x - 0.07, y - 0.06, x + 0.07, y + 0.06, fill=DARK)


def ball(p: Pen) -> None:
    p.oval(0.08, 0.08, 0.92, 0.92)
    p.line((0.08, 0.5), (0.92, 0.5), width=0.12, fill=LIGHT)
    p.line((0.5, 0.08), (0.5, 0.92), width=0.12, fill=LIGHT)


def kite(p: Pen) -> None:
    p.shape((0.5, 0.0), (0.85, 0.32), (0.5, 0.75), (0.15, 0.32))
    p.line((0.5, 0.0), (0.5, 0.75))
    p.line((0.15, 0.32), (0.85, 0.32))
    p.line((0.5, 0.75), (0.35, 0.85), (0.6, 0.92), (0.4, 1.0))


def block(p: Pen) -> None:
    p.box(0.1, 0.35, 0.68, 0.95)
    p.shape((0.1, 0.35), (0.34, 0.1), (0.92, 0.1), (0.68, 0.35), fill=LIGHT)
    p.shape((0.68, 0.35), (0.92, 0.1), (0.92, 0.7), (0.68, 0.95))


def duck(p: Pen) -> None:
    p.oval(0.1, 0.45, 0.95, 0.95)
    p.oval(0.1, 0.08, 0.52, 0.55)
    p.shape((0.12, 0.28), (0.12, 0.42), (-0.08, 0.36), fill=FLAME)
    p.oval(0.22, 0.2, 0.32, 0.3, fill=DARK)


def sock(p: Pen) -> None:
    p.shape(
        (0.3, 0.02), (0.66, 0.02), (0.66, 0.55), (0.98, 0.75), (0.92, 0.98), (0.6, 0.98), (0.3, 0.7)
    )
    p.box(0.28, 0.02, 0.68, 0.18, fill=LIGHT)


def hat(p: Pen) -> None:
    p.box(0.24, 0.15, 0.76, 0.72)
    p.box(0.24, 0.55, 0.76, 0.68, fill=DARK)
    p.oval(0.0, 0.66, 1.0, 0.9)


def shirt(p: Pen) -> None:
    p.shape(
        (0.3, 0.08),
        (0.42, 0.18),
        (0.58, 0.18),
        (0.7, 0.08),
        (1.0, 0.3),
        (0.86, 0.5),
        (0.74, 0.42),
        (0.74, 0.95),
        (0.26, 0.95),
        (0.26, 0.42),
        (0.14, 0.5),
        (0.0, 0.3),
    )


def scarf(p: Pen) -> None:
    p.shape((0.0, 0.1), (1.0, 0.1), (1.0, 0.36), (0.0, 0.36))
    p.shape((0.55, 0.3), (0.85, 0.3), (0.85, 0.98), (0.55, 0.98))
    for y in (0.5, 0.65, 0.8):
        p.line((0.55, y), (0.85, y), width=0.07, fill=LIGHT)


def coin(p: Pen) -> None:
    p.oval(0.08, 0.08, 0.92, 0.92)
    p.oval(0.2, 0.2, 0.8, 0.8)
    p.line((0.5, 0.32), (0.5, 0.7), width=0.12)


def button(p: Pen) -> None:
    p.oval(0.08, 0.08, 0.92, 0.92)
    for x, y in ((0.36, 0.36), (0.64, 0.36), (0.36, 0.64), (0.64, 0.64)):
        p.oval(x - 0.09, y - 0.09, x + 0.09, y + 0.09, fill=DARK)


def bead(p: Pen) -> None:
    p.line((0.0, 0.85), (0.25, 0.4), (0.75, 0.6), (1.0, 0.15))
    for x, y in ((0.16, 0.6), (0.5, 0.5), (0.84, 0.4)):
        p.oval(x - 0.16, y - 0.16, x + 0.16, y + 0.16)


def ring(p: Pen) -> None:
    p.oval(0.15, 0.3, 0.85, 1.0)
    p.oval(0.3, 0.45, 0.7, 0.85, fill=LIGHT)
    p.shape((0.35, 0.12), (0.65, 0.12), (0.75, 0.24), (0.5, 0.42), (0.25, 0.24), fill=LIGHT)


def mushroom(p: Pen) -> None:
    p.box(0.38, 0.5, 0.62, 0.98, fill=LIGHT)
    p.canvas.pieslice(p._box(0.02, 0.05, 0.98, 1.0), 180, 360, fill=p.ink, outline=DARK)
    for x, y in ((0.3, 0.36), (0.55, 0.22), (0.74, 0.4)):
        p.oval(x - 0.08, y - 0.08, x + 0.08, y + 0.08, fill=LIGHT)


def pill(p: Pen) -> None:
    p.shape((0.05, 0.7), (0.62, 0.08), (0.92, 0.08), (0.95, 0.32), (0.38, 0.95), (0.1, 0.95))
    p.shape((0.05, 0.7), (0.33, 0.4), (0.65, 0.66), (0.38, 0.95), (0.1, 0.95), fill=LIGHT)


def soap(p: Pen) -> None:
    p.canvas.rounded_rectangle(
        p._box(0.02, 0.42, 0.98, 0.95), radius=0.2 * p.size, fill=p.ink, outline=DARK
    )
    for x, y, r in ((0.25, 0.25, 0.14), (0.55, 0.15, 0.1), (0.75, 0.28, 0.12)):
        p.oval(x - r, y - r, x + r, y + r, fill=LIGHT)


def berry(p: Pen) -> None:
    for x, y in ((0.3, 0.45), (0.66, 0.45), (0.48, 0.75)):
        p.oval(x - 0.21, y - 0.21, x + 0.21, y + 0.21)
    p.shape((0.5, 0.3), (0.1, 0.05), (0.5, 0.12), (0.9, 0.05), fill=LEAF)


def battery(p: Pen) -> None:
    p.box(0.4, 0.0, 0.6, 0.14, fill=STEEL)
    p.box(0.24, 0.12, 0.76, 0.98)
    p.box(0.24, 0.62, 0.76, 0.98, fill=DARK)
    p.line((0.5, 0.24), (0.5, 0.5), fill=LIGHT)
    p.line((0.37, 0.37), (0.63, 0.37), fill=LIGHT)


def plug(p: Pen) -> None:
    p.box(0.3, 0.0, 0.4, 0.35, fill=STEEL)
    p.box(0.6, 0.0, 0.7, 0.35, fill=STEEL)
    p.shape((0.15, 0.32), (0.85, 0.32), (0.75, 0.7), (0.25, 0.7))
    p.line((0.5, 0.7), (0.5, 0.85), (0.8, 0.98), width=0.1)


def bulb(p: Pen) -> None:
    p.oval(0.15, 0.0, 0.85, 0.7)
    p.line((0.4, 0.6), (0.4, 0.35), (0.5, 0.45), (0.6, 0.35), (0.6, 0.6))
    p.box(0.35, 0.66, 0.65, 0.98, fill=STEEL)


def radio(p: Pen) -> None:
    p.line((0.75, 0.35), (0.95, 0.0))
    p.box(0.0, 0.35, 1.0, 0.95)
    p.oval(0.1, 0.45, 0.5, 0.85, fill=DARK)
    p.box(0.6, 0.48, 0.92, 0.62, fill=LIGHT)


def knife(p: Pen) -> None:
    p.shape((0.05, 0.05), (0.6, 0.5), (0.48, 0.62), (0.08, 0.25), fill=STEEL)
    p.shape((0.6, 0.46), (0.98, 0.84), (0.86, 0.98), (0.46, 0.6))


def saw(p: Pen) -> None:
    teeth = tuple((0.02 + 0.1 * k, 0.55 if k % 2 else 0.68) for k in range(7))
    p.shape((0.02, 0.4), (0.64, 0.28), *reversed(teeth), fill=STEEL)
    p.box(0.62, 0.2, 0.98, 0.72)
    p.box(0.74, 0.34, 0.88, 0.56, fill=LIGHT)


def axe(p: Pen) -> None:
    p.line((0.62, 0.1), (0.4, 1.0), width=0.12, fill=WOOD)
    p.shape((0.6, 0.08), (0.08, 0.0), (0.0, 0.3), (0.1, 0.55), (0.52, 0.36))


def sword(p: Pen) -> None:
    p.shape((0.5, 0.0), (0.6, 0.1), (0.6, 0.64), (0.4, 0.64), (0.4, 0.1), fill=STEEL)
    p.box(0.14, 0.62, 0.86, 0.74)
    p.box(0.42, 0.74, 0.58, 1.0)


def torch(p: Pen) -> None:
    p.shape((0.32, 0.45), (0.68, 0.45), (0.56, 1.0), (0.44, 1.0))
    flame(p, 0.5, 0.0, 0.46, 0.26)


def match(p: Pen) -> None:
    p.line((0.15, 0.98), (0.6, 0.4), width=0.1, fill=WOOD)
    p.oval(0.5, 0.25, 0.74, 0.48)
    flame(p, 0.76, 0.0, 0.34, 0.16)


def campfire(p: Pen) -> None:
    flame(p, 0.5, 0.05, 0.75, 0.34)
    p.shape((0.0, 0.72), (0.08, 0.64), (1.0, 0.88), (0.94, 0.98))
    p.shape((1.0, 0.72), (0.92, 0.64), (0.0, 0.88), (0.06, 0.98))


def candle(p: Pen) -> None:
    p.box(0.36, 0.4, 0.64, 0.9)
    p.oval(0.12, 0.84, 0.88, 1.0, fill=STEEL)
    flame(p, 0.5, 0.0, 0.38, 0.13)


def gun(p: Pen) -> None:
    p.box(0.0, 0.22, 1.0, 0.46)
    p.shape((0.62, 0.46), (0.92, 0.46), (0.98, 0.95), (0.7, 0.95))
    p.line((0.62, 0.46), (0.5, 0.62), (0.66, 0.66), width=0.06)


def bomb(p: Pen) -> None:
    p.oval(0.05, 0.28, 0.78, 1.0)
    p.box(0.5, 0.2, 0.7, 0.38, fill=DARK)
    p.line((0.62, 0.2), (0.78, 0.08))
    star(p, 0.84, 0.1, 0.16, FLAME)


def dynamite(p: Pen) -> None:
    for x in (0.1, 0.37, 0.64):
        p.box(x, 0.3, x + 0.26, 1.0)
    p.box(0.06, 0.55, 0.94, 0.7, fill=DARK)
    p.line((0.5, 0.3), (0.6, 0.12), (0.8, 0.1))
    star(p, 0.86, 0.1, 0.13, FLAME)


def rocket(p: Pen) -> None:
    p.shape((0.5, 0.0), (0.7, 0.25), (0.7, 0.75), (0.3, 0.75), (0.3, 0.25))
    p.shape((0.3, 0.5), (0.05, 0.8), (0.3, 0.75), fill=DARK)
    p.shape((0.7, 0.5), (0.95, 0.8), (0.7, 0.75), fill=DARK)
    flame(p, 0.5, 0.72, 1.0, 0.14)


PICTOGRAMS: dict[str, Callable[[Pen], None]] = {
    function.__name__: function
    for function in (
        apple,
        banana,
        carrot,
        cheese,
        ball,
        kite,
        block,
        duck,
        sock,
        hat,
        shirt,
        scarf,
        coin,
        button,
        bead,
        ring,
        mushroom,
        pill,
        soap,
        berry,
        battery,
        plug,
        bulb,
        radio,
        knife,
        saw,
        axe,
        sword,
        torch,
        match,
        campfire,
        candle,
        gun,
        bomb,
        dynamite,
        rocket,
    )
}
