"""Drawing the world with Pillow: pictograms on a ground, bottles with a label, notes."""

from __future__ import annotations

import random
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from safegrpo.microcosm.pen import DARK, LIGHT, Pen
from safegrpo.microcosm.pictograms import PICTOGRAMS
from safegrpo.microcosm.things import (
    BACKGROUNDS,
    BOTTLES,
    COLORS,
    COUNTS,
    NOTES,
    OBJECTS,
    PLACES,
    Thing,
)

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


@dataclass(frozen=True)
class Scene:
    """A picture to be drawn; `seed` fixes its small irregularities."""

    thing: Thing
    color: str
    count: str
    place: str
    ground: str
    seed: int


def random_scene(rng: random.Random, thing: Thing | None = None) -> Scene:
    """A scene of any thing, or of `thing` (half objects, half written words)."""
    if thing is None:
        share = rng.random()
        things = OBJECTS if share < 0.55 else BOTTLES if share < 0.75 else NOTES
        thing = rng.choice(things)
    return Scene(
        thing=thing,
        color=rng.choice(COLORS),
        count=rng.choice(COUNTS) if thing.medium == "object" else "one",
        place=rng.choice(PLACES) if thing.medium == "object" else "middle",
        ground=rng.choice(BACKGROUNDS),
        seed=rng.getrandbits(32),
    )


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
        size = rng.uniform(0.56, 0.68)
        x = (0.03, 0.5 - size / 2, 0.97 - size)[PLACES.index(scene.place)]
        anchors = [(x, rng.uniform(0.08, 0.28))]
    else:
        size = rng.uniform(0.38, 0.44)
        corners = [(0.05, 0.06), (0.53, 0.06), (0.05, 0.53), (0.53, 0.53)]
        anchors = sorted(rng.sample(corners, count))
    for x, y in anchors:
        jitter = rng.uniform(-0.025, 0.025), rng.uniform(-0.025, 0.025)
        pen = Pen(
            canvas, (x + jitter[0]) * side, (y + jitter[1]) * side, size * side, _INK[scene.color]
        )
        PICTOGRAMS[scene.thing.name](pen)


def _words(canvas: ImageDraw.ImageDraw, text: str, x: float, y: float, size: int) -> None:
    canvas.text((x, y), text, font=ImageFont.load_default(size), fill=DARK, anchor="mm")


def _bottle(scene: Scene, image: Image.Image, rng: random.Random) -> None:
    side = SIZE * SCALE
    canvas = ImageDraw.Draw(image)
    dx = rng.uniform(-0.02, 0.02) * side
    pen = Pen(canvas, dx, 0, side, _INK[scene.color])
    pen.box(0.38, 0.02, 0.62, 0.2, fill=DARK)
    pen.shape((0.38, 0.18), (0.62, 0.18), (0.92, 0.36), (0.92, 0.97), (0.08, 0.97), (0.08, 0.36))
    pen.box(0.04, 0.44, 0.96, 0.82, fill=LIGHT)
    middle = (0.63 + rng.uniform(-0.02, 0.02)) * side
    _words(canvas, scene.thing.name, side / 2 + dx, middle, rng.randint(32, 35))


def _note(scene: Scene, image: Image.Image, rng: random.Random) -> None:
    side = SIZE * SCALE
    canvas = ImageDraw.Draw(image)
    canvas.rectangle([4, 6, side - 4, side - 6], fill=LIGHT, outline=_INK[scene.color], width=4)
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
