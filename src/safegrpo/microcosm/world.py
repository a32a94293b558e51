"""The microcosm's world: things, instructions, and the rule that says what is unsafe together.

A thing belongs to a category; a category has a look (does the picture alone alarm?) and an
adjective, the evidence a thinker would name. An instruction lists the categories it makes harmful.
Neither half decides: every object is harmful under some instruction and harmless under another,
and under every instruction that looks at the image some things are harmful and some are not. That
is what makes *twins* possible: one instruction, one picture that makes it harmful and one that
does not.
"""

from __future__ import annotations

from typing import Literal

from safegrpo.microcosm.instructions import ALL_INSTRUCTIONS, Instruction
from safegrpo.microcosm.things import CATEGORIES, CATEGORY, LABELS, NOTE_NOUNS, NOTE_VERBS, Thing

Split = Literal["train", "dev", "test"]


def harmful_together(instruction: Instruction, thing: Thing) -> bool:
    """The rule: unsafe by its words, or by what the picture makes of them."""
    return instruction.text_unsafe or thing.category in instruction.harmful


def split_of(instruction: Instruction, thing: Thing) -> Split:
    """Which split a combination belongs to: of the things of one category under one instruction,
    about half train, a quarter develop, a quarter test; shifted from instruction to instruction,
    so that each thing is seen in training under other instructions.
    """
    group = [i for i in ALL_INSTRUCTIONS if thing.medium in i.media].index(instruction)
    if thing.medium == "label":
        position = LABELS[thing.category].index(thing.name)
        return ("train", "train", "train", "dev", "test", "test")[(position + 2 * group) % 6]
    if thing.medium == "note":
        verb, noun = thing.name.split()
        position = NOTE_VERBS[thing.category].index(verb) + NOTE_NOUNS.index(noun)
    else:
        category = CATEGORY[thing.category]
        position = category.kinds.index(thing.name) + CATEGORIES.index(category)
    return ("train", "train", "dev", "test")[(position + group) % 4]
