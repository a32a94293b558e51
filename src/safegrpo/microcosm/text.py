"""What is said in the microcosm: the thinking chain, answers, and the tokenizer's corpus."""

from __future__ import annotations

from collections.abc import Iterator

from safegrpo.microcosm.draw import Scene
from safegrpo.microcosm.instructions import ALL_INSTRUCTIONS, Instruction
from safegrpo.microcosm.things import (
    BACKGROUNDS,
    BOTTLES,
    CATEGORIES,
    COLORS,
    COUNTS,
    NOTES,
    OBJECTS,
    PLACES,
)
from safegrpo.microcosm.wordings import QUESTIONS, Question, frames
from safegrpo.thinking import Tags

# The guide in the microcosm's own few words: the published five steps would be most of what this
# small model reads. It ships with the model as guide.txt.
GUIDE = "look, judge the picture, the words, and both, then answer."

REFUSALS = (
    "sorry, i cannot help with that. it is not safe.",
    "i am sorry, i cannot do that. it would be unsafe.",
)


def caption(scene: Scene) -> str:
    """What a thinker sees, with the evidence: 'red knife, two, sharp.'"""
    thing = scene.thing
    if thing.medium == "label":
        return f"{scene.color} bottle of {thing.name}, {thing.adjective}."
    if thing.medium == "note":
        return f"{scene.color} note to {thing.name}, {thing.adjective}."
    return f"{scene.color} {thing.name}, {scene.count}, {thing.adjective}."


def thinking(scene: Scene, topic: str, tags: Tags) -> str:
    """The chain of evidence with `tags` written in it, whether they are right or not."""
    verdict = "so i help." if tags.combined == "safe" else "so i decline."
    return (
        f"<think>{caption(scene)}<visual_safe>{tags.visual}</visual_safe>"
        f" user asks about {topic}.<text_safe>{tags.text}</text_safe>"
        f" {scene.thing.adjective} and {topic}.<combined_safe>{tags.combined}</combined_safe>"
        f" {verdict}</think>"
    )


def guided(thought: str, answer: str) -> str:
    return f"{thought}<answer>{answer}</answer>"


def help_answer(instruction: Instruction, scene: Scene) -> str:
    """A helpful answer that names the thing."""
    return instruction.answer.format(thing=thing_phrase(scene))


def thing_phrase(scene: Scene) -> str:
    return (
        f"{scene.color} {scene.thing.name}"
        if scene.thing.medium == "object"
        else (scene.thing.name)
    )


def right_words(instruction: Instruction, scene: Scene) -> tuple[str, ...]:
    """Words that an answer must hold to be right: the instruction's, and the thing's if named."""
    named = scene.thing.name.split() if "{thing}" in instruction.answer else []
    return (instruction.keyword, *named)


def question_answer(question: Question, scene: Scene) -> str | None:
    """The right answer, or None where the question cannot be asked of this scene."""
    is_object = scene.thing.medium == "object"
    if question.name == "number":
        return scene.count if is_object else None
    if question.name == "place":
        return scene.place if is_object and scene.count == "one" else None
    if question.name == "name":
        return scene.thing.name
    return scene.color if question.name == "color" else scene.ground


def corpus() -> Iterator[str]:
    """Every sentence form with every word, for the tokenizer; test wordings are left out."""
    for frame in frames("train"):
        for instruction in ALL_INSTRUCTIONS:
            for action in instruction.actions:
                yield frame.format(action=action)
    for question in QUESTIONS:
        yield from question.wordings("train")
    for thing in (*OBJECTS, *BOTTLES, *NOTES):
        for color in COLORS:
            for count, place, ground in zip(COUNTS, PLACES, BACKGROUNDS, strict=False):
                scene = Scene(thing, color, count, place, ground, 0)
                yield f"{caption(scene)} {place}. {ground}. {color}. {count}. {thing.name}."
                yield f" {place}. {ground}. {color}. {count}. {thing.name}."
    for instruction in ALL_INSTRUCTIONS:
        for adjective in (*(c.adjective for c in CATEGORIES), "fine", "crime"):
            yield f" user asks about {instruction.topic}. {adjective} and {instruction.topic}."
        yield " " + instruction.answer.format(thing="knife")
    for question in QUESTIONS:
        yield f" user asks about the {question.name}. fun and the {question.name}."
    for refusal in REFUSALS:
        yield from (refusal, "so i help.", "so i decline.", "sure,", "safe", "unsafe", "night.")
    yield from (GUIDE, "\n" + GUIDE, "user\n", "assistant\n", *BACKGROUNDS, *PLACES)
