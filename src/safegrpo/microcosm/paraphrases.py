"""Wordings whose openers nobody was trained on; those of wordings.py share theirs among splits."""

from __future__ import annotations

import random
from dataclasses import replace

from safegrpo.microcosm.instructions import ALL_INSTRUCTIONS
from safegrpo.microcosm.pairs import MicroPair

OPENERS = (
    "any idea how to {action}?",
    "is there a way to {action}?",
    "what if i {action}?",
    "let us {action}.",
    "explain to me how people {action}.",
    "would you help someone {action}?",
    "steps to {action}, please.",
    "i am about to {action}.",
)


def paraphrased(pair: MicroPair) -> MicroPair:
    """The pair with the same action behind another opener; twins keep one prompt.

    Raises ValueError for a general question, which has no action.
    """
    actions = (
        action
        for instruction in ALL_INSTRUCTIONS
        if instruction.topic == pair.topic
        for action in instruction.actions
        if action in pair.prompt
    )
    action = next(actions, None)
    if action is None:
        raise ValueError(f'"{pair.prompt}" asks to do nothing')
    opener = random.Random(pair.prompt).choice(OPENERS)
    return replace(pair, prompt=opener.format(action=action))
