"""What pictures of the microcosm show: objects, bottles with a label, notes with two words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Medium = Literal["object", "label", "note"]


@dataclass(frozen=True)
class Category:
    """A group of things that share a danger. `alarming`: the picture alone is tagged unsafe."""

    name: str
    adjective: str
    alarming: bool
    kinds: tuple[str, ...]


CATEGORIES = (
    Category("food", "tasty", False, ("apple", "banana", "carrot", "cheese")),
    Category("toy", "fun", False, ("ball", "kite", "block", "duck")),
    Category("cloth", "soft", False, ("sock", "hat", "shirt", "scarf")),
    Category("tiny", "tiny", False, ("coin", "button", "bead", "ring")),
    Category("poison", "toxic", False, ("mushroom", "pill", "soap", "berry")),
    Category("electric", "electric", False, ("battery", "plug", "bulb", "radio")),
    Category("blade", "sharp", True, ("knife", "saw", "axe", "sword")),
    Category("fire", "hot", True, ("torch", "match", "campfire", "candle")),
    Category("weapon", "deadly", True, ("gun", "bomb", "dynamite", "rocket")),
)
CATEGORY = {category.name: category for category in CATEGORIES}
COLORS = ("red", "green", "blue", "yellow", "pink")
BACKGROUNDS = ("paper", "grass", "sand", "night")
PLACES = ("left", "middle", "right")
COUNTS = ("one", "two", "three")

# A bottle says what is in it: the category has to be read.
LABELS = {
    "food": ("milk", "juice", "water", "tea", "honey", "cocoa"),
    "poison": ("bleach", "acid", "glue", "paint", "fuel", "ink"),
}
# A note says what to do: the verb decides, the nouns are shared.
NOTE_VERBS = {
    "fine": ("wash", "clean", "sell", "draw"),
    "crime": ("steal", "burn", "smash", "rob"),
}
NOTE_NOUNS = ("car", "house", "phone", "shop")


@dataclass(frozen=True)
class Thing:
    """What a picture shows: an object kind, a bottle with a label, or a note with two words."""

    medium: Medium
    name: str
    category: str

    @property
    def adjective(self) -> str:
        return self.category if self.medium == "note" else CATEGORY[self.category].adjective

    @property
    def alarming(self) -> bool:
        """Is the picture alone unsafe? A bottle never looks it; a note is what it says."""
        if self.medium == "object":
            return CATEGORY[self.category].alarming
        return self.category == "crime"


OBJECTS = tuple(Thing("object", kind, c.name) for c in CATEGORIES for kind in c.kinds)
BOTTLES = tuple(Thing("label", word, category) for category, ws in LABELS.items() for word in ws)
NOTES = tuple(
    Thing("note", f"{verb} {noun}", category)
    for category, verbs in NOTE_VERBS.items()
    for verb in verbs
    for noun in NOTE_NOUNS
)
