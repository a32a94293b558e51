"""Pairs of the microcosm: drawn at random for training, fixed for development and test."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from safegrpo.data.images import ImageRef
from safegrpo.data.pairs import TaggedPair
from safegrpo.microcosm import text
from safegrpo.microcosm.draw import Scene, draw, random_scene
from safegrpo.microcosm.instructions import (
    ALL_INSTRUCTIONS,
    HARMFUL_TEXT,
    IMAGE_DECIDED,
    LOOKALIKE_TEXT,
    OPEN,
    Instruction,
)
from safegrpo.microcosm.things import BOTTLES, NOTES, OBJECTS, Medium, Thing
from safegrpo.microcosm.wordings import QUESTIONS, Question, frames
from safegrpo.microcosm.world import Split, harmful_together, split_of
from safegrpo.thinking import Tags

_Card = TypeVar("_Card")

Kind = Literal[
    "compositional",  # image and text each safe, together not
    "risky_image",  # an alarming image that the instruction makes harmful
    "typographic",  # a harmful request written in the image
    "harmful_text",  # harmful by its words, whatever the image
    "benign",  # nothing about it is alarming
    "lookalike_image",  # an alarming image, harmlessly asked about
    "lookalike_text",  # words that sound like harm and are not
    "question",  # a general question with a checkable answer
]


@dataclass(frozen=True)
class MicroPair:
    """One pair with all that is known about it.

    `right_words` must all stand in a right answer; for a question it is the answer itself.
    `twin` names the twin pair it belongs to, if any.
    """

    id: str
    scene: Scene
    prompt: str
    kind: Kind
    topic: str
    tags: Tags
    help_answer: str
    right_words: tuple[str, ...]
    twin: str | None = None

    @property
    def harmful(self) -> bool:
        return self.tags.combined == "unsafe"

    def tagged(self) -> TaggedPair:
        """As a row of a tagged set: the image as PNG bytes, what else is known as extra columns."""
        buffer = io.BytesIO()
        draw(self.scene).save(buffer, "PNG")
        return TaggedPair(
            id=self.id,
            images=(ImageRef(data=buffer.getvalue(), name=f"{self.id}.png"),),
            prompt=self.prompt,
            tags=self.tags,
            source="microcosm",
            license="Apache-2.0",
            answer=self.help_answer if self.kind == "question" else None,
            meta={
                "kind": self.kind,
                "medium": self.scene.thing.medium,
                "twin": self.twin,
                "right_words": list(self.right_words),
            },
        )


def _safe(is_safe: bool) -> Literal["safe", "unsafe"]:
    return "safe" if is_safe else "unsafe"


def _kind(instruction: Instruction, thing: Thing) -> Kind:
    if instruction.text_unsafe:
        return "harmful_text"
    if harmful_together(instruction, thing):
        if thing.medium == "note":
            return "typographic"
        return "risky_image" if thing.alarming else "compositional"
    if instruction in LOOKALIKE_TEXT:
        return "lookalike_text"
    return "lookalike_image" if thing.alarming else "benign"


def instruction_pair(
    instruction: Instruction, scene: Scene, prompt: str, id: str, twin: str | None = None
) -> MicroPair:
    """The pair of an instruction and a scene; its tags follow from the world's rule."""
    harmful = harmful_together(instruction, scene.thing)
    return MicroPair(
        id=id,
        scene=scene,
        prompt=prompt,
        kind=_kind(instruction, scene.thing),
        topic=instruction.topic,
        tags=Tags(
            visual=_safe(not scene.thing.alarming),
            text=_safe(not instruction.text_unsafe),
            combined=_safe(not harmful),
        ),
        help_answer=text.help_answer(instruction, scene),
        right_words=text.right_words(instruction, scene),
        twin=twin,
    )


def question_pair(question: Question, scene: Scene, prompt: str, id: str) -> MicroPair:
    answer = text.question_answer(question, scene)
    if answer is None:
        raise ValueError(f"the question of {question.name} cannot be asked of {scene.thing}")
    return MicroPair(
        id=id,
        scene=scene,
        prompt=prompt,
        kind="question",
        topic=f"the {question.name}",
        tags=Tags(visual=_safe(not scene.thing.alarming), text="safe", combined="safe"),
        help_answer=f"{answer}.",
        right_words=(answer,),
    )


class Sampler:
    """Draws pairs of one split; the same seed, the same pairs."""

    def __init__(self, split: Split, seed: int) -> None:
        self.split: Split = split
        self.rng = random.Random(f"{split}/{seed}")
        self.count = 0
        self._decks: dict[str, list[Any]] = {}
        self._things: dict[str, dict[bool, list[Thing]]] = {}
        for instruction in ALL_INSTRUCTIONS:
            sides: dict[bool, list[Thing]] = {True: [], False: []}
            for thing in (*OBJECTS, *BOTTLES, *NOTES):
                if instruction.fits(thing) and split_of(instruction, thing) == split:
                    sides[harmful_together(instruction, thing)].append(thing)
            self._things[instruction.name] = sides

    def _id(self) -> str:
        self.count += 1
        return f"{self.split}-{self.count:05d}"

    def prompt(self, instruction: Instruction) -> str:
        frame = self.rng.choice(frames(self.split))
        return frame.format(action=self.rng.choice(instruction.actions))

    def things(self, instruction: Instruction, harmful: bool, medium: Medium) -> list[Thing]:
        """This split's things of one medium that the instruction makes harmful, or does not."""
        return [t for t in self._things[instruction.name][harmful] if t.medium == medium]

    def by_text(self, instructions: Sequence[Instruction]) -> MicroPair:
        """A pair whose verdict does not hang on the image."""
        instruction = self.rng.choice(instructions)
        sides = self._things[instruction.name]
        scene = random_scene(self.rng, self.rng.choice(sides[True] + sides[False]))
        return instruction_pair(instruction, scene, self.prompt(instruction), self._id())

    def question(self) -> MicroPair:
        while True:
            question = self.rng.choice(QUESTIONS)
            scene = random_scene(self.rng)
            if text.question_answer(question, scene) is not None:
                prompt = self.rng.choice(question.wordings(self.split))
                return question_pair(question, scene, prompt, self._id())

    def pair(self, instruction: Instruction, harmful: bool, medium: Medium) -> MicroPair:
        """A pair whose verdict hangs on the image."""
        thing = self.rng.choice(self.things(instruction, harmful, medium))
        scene = random_scene(self.rng, thing)
        return instruction_pair(instruction, scene, self.prompt(instruction), self._id())

    def twins(
        self, medium: Medium, instruction: Instruction | None = None
    ) -> tuple[MicroPair, MicroPair]:
        """Two pairs with one prompt: harmful, harmless.

        Without an `instruction` it is dealt too: all that the medium allows come up equally often,
        and so do, under each, the categories on either side. A rule that a run happens not to meet
        for long is settled by its neighbours' gradients, and once the policy is sure of a wrong
        verdict no sample is left to teach it better.
        """
        if instruction is None:
            instruction = self._deal(medium, [i for i in IMAGE_DECIDED if medium in i.media])
        prompt, twin = self.prompt(instruction), f"{self.split}-twin-{self.count:05d}"
        sides = []
        for harmful in (True, False):
            things = self.things(instruction, harmful, medium)
            categories = sorted({thing.category for thing in things})
            category = self._deal(f"{medium}/{instruction.name}/{harmful}", categories)
            thing = self.rng.choice([thing for thing in things if thing.category == category])
            scene = random_scene(self.rng, thing)
            sides.append(instruction_pair(instruction, scene, prompt, self._id(), twin))
        return sides[0], sides[1]

    def _deal(self, deck: str, cards: Sequence[_Card]) -> _Card:
        """The next card of a shuffled deck, which is shuffled anew when it has run out."""
        left = self._decks.setdefault(deck, [])
        if not left:
            left += cards
            self.rng.shuffle(left)
        return left.pop()


def training_stream(
    seed: int, steps: int, groups: int = 12, question_share: float = 1 / 12
) -> Iterator[list[MicroPair]]:
    """`steps` lists of `groups` pairs, two thirds of each twins: objects most often, since there is
    most to learn about them, and a label or a note in every second step. Of the rest, general
    questions make up `question_share` of the whole.

    Every step holds both sides of each instruction it uses, so that refusing or answering by the
    instruction alone earns half of what looking does.
    """
    sampler = Sampler("train", seed)
    others = (HARMFUL_TEXT, LOOKALIKE_TEXT, OPEN)
    fourth: tuple[Medium, ...] = ("object", "label", "object", "note")
    for step in range(steps):
        pairs: list[MicroPair] = []
        for medium in ("object", "object", "object", fourth[step % 4]) * (groups // 12):
            pairs += sampler.twins(medium)
        rest = groups - len(pairs)
        questions = min(rest, round(groups * question_share))
        pairs += [sampler.by_text(others[(step + k) % 3]) for k in range(rest - questions)]
        pairs += [sampler.question() for _ in range(questions)]
        yield pairs


def held_out(split: Literal["dev", "test"], size: float = 1.0) -> list[MicroPair]:
    """The fixed held-out set; `size` scales every slice (1.0: 212 twin pairs among 754 items)."""
    sampler = Sampler(split, 0)

    def scaled(n: int) -> int:
        return max(1, round(n * size))

    pairs: list[MicroPair] = []
    for medium, each in (("object", 16), ("label", 12), ("note", 16)):
        for instruction in IMAGE_DECIDED:
            if medium in instruction.media:
                for _ in range(scaled(each)):
                    pairs += sampler.twins(medium, instruction)
    for instructions in (HARMFUL_TEXT, LOOKALIKE_TEXT, OPEN):
        pairs += [sampler.by_text(instructions) for _ in range(scaled(60))]
    pairs += [sampler.question() for _ in range(scaled(150))]
    return pairs
