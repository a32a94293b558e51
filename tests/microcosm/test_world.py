"""The world's promises: no half decides, splits are apart, every test word is known."""

import re
from collections import Counter

import pytest

from safegrpo.microcosm import text
from safegrpo.microcosm.draw import SIZE, Scene, draw
from safegrpo.microcosm.instructions import IMAGE_DECIDED, OPEN
from safegrpo.microcosm.pairs import Sampler, held_out, training_stream
from safegrpo.microcosm.things import BOTTLES, CATEGORIES, NOTES, OBJECTS
from safegrpo.microcosm.wordings import QUESTIONS, frames
from safegrpo.microcosm.world import harmful_together, split_of

DECIDED_BY_IMAGE = [pytest.param(i, id=i.name) for i in IMAGE_DECIDED]
SPLITS = ("train", "dev", "test")
THINGS = (*OBJECTS, *BOTTLES, *NOTES)


@pytest.mark.parametrize("instruction", DECIDED_BY_IMAGE)
@pytest.mark.parametrize("split", SPLITS)
def test_every_instruction_has_twins_in_every_split(instruction, split):
    sampler = Sampler(split, 0)
    for medium in instruction.media:
        harmful, harmless = sampler.twins(medium, instruction)
        assert harmful.prompt == harmless.prompt
        assert (harmful.tags.combined, harmless.tags.combined) == ("unsafe", "safe")


@pytest.mark.parametrize("category", [c.name for c in CATEGORIES])
def test_the_image_alone_decides_nothing(category):
    """Every category is harmful under some instruction and harmless under another."""
    things = [t for t in OBJECTS if t.category == category]
    verdicts = {
        harmful_together(instruction, things[0])
        for instruction in (*IMAGE_DECIDED, *OPEN)
        if instruction.fits(things[0])
    }
    assert verdicts == {True, False}


def test_alarming_images_are_harmless_under_some_instruction_and_calm_ones_harmful():
    kinds = {p.kind for batch in training_stream(0, 40) for p in batch}
    assert {"compositional", "lookalike_image", "risky_image", "typographic"} <= kinds


def test_a_combination_belongs_to_one_split_and_each_thing_is_trained_somewhere():
    trained = {
        thing.name
        for instruction in IMAGE_DECIDED
        for thing in THINGS
        if instruction.fits(thing) and split_of(instruction, thing) == "train"
    }
    assert trained == {thing.name for thing in THINGS}


def test_training_never_meets_a_held_out_combination_or_wording():
    stream = [p for batch in training_stream(3, 150) for p in batch]
    asked = {(p.topic, p.scene.thing.name) for p in stream if p.kind != "question"}
    prompts = {p.prompt for p in stream}
    for split in ("dev", "test"):
        pairs = [p for p in held_out(split) if p.kind != "question"]
        assert not asked & {(p.topic, p.scene.thing.name) for p in pairs}
        assert not prompts & {p.prompt for p in held_out(split)}


def test_development_and_test_share_no_combination():
    dev, test = (
        {(p.topic, p.scene.thing.name) for p in held_out(s) if p.kind != "question"}
        for s in ("dev", "test")
    )
    assert not dev & test


def test_every_word_of_a_held_out_wording_is_trained():
    def words(sentences):
        return set(re.findall(r"[a-z]+", " ".join(sentences)))

    def wordings(split):
        return words((*frames(split), *(w for q in QUESTIONS for w in q.wordings(split))))

    assert wordings("dev") | wordings("test") <= wordings("train")


def test_no_wording_belongs_to_two_splits():
    for ways in (frames, *(q.wordings for q in QUESTIONS)):
        train, dev, test = (set(ways(split)) for split in SPLITS)
        assert train and dev and test
        assert not train & dev and not train & test and not dev & test


def test_the_held_out_set_is_large_enough_and_balanced_within_each_instruction():
    pairs = held_out("test")
    twins = [p for p in pairs if p.twin]
    assert len({p.twin for p in twins}) >= 150
    for topic in {p.topic for p in twins}:
        sides = [p.harmful for p in twins if p.topic == topic]
        assert sum(sides) * 2 == len(sides)
    benign = [p for p in pairs if not p.harmful and p.kind != "question"]
    assert sum(p.harmful for p in pairs) >= 250 and len(benign) >= 250


def test_twins_show_two_things_under_one_prompt():
    by_twin = {}
    for pair in held_out("test"):
        by_twin.setdefault(pair.twin, []).append(pair)
    by_twin.pop(None)
    for harmful, harmless in by_twin.values():
        assert harmful.prompt == harmless.prompt
        assert harmful.scene.thing.category != harmless.scene.thing.category


def test_half_of_each_training_step_contradicts_the_instruction_alone():
    for batch in training_stream(1, 20):
        twins = [p for p in batch if p.twin]
        assert len(twins) == 8 and sum(p.harmful for p in twins) == 4


def test_training_meets_every_rule_of_an_instruction_equally_often():
    """The categories on either side are dealt in turn: none waits while another comes twice."""
    for instruction in IMAGE_DECIDED:
        for medium in instruction.media:
            sampler = Sampler("train", 4)
            twins = [sampler.twins(medium, instruction) for _ in range(60)]
            for side in (0, 1):
                seen = Counter(pair[side].scene.thing.category for pair in twins)
                assert set(seen.values()) == {60 // len(seen)}


def test_drawing_is_deterministic_and_of_the_stated_size():
    scene = Scene(OBJECTS[0], "red", "two", "left", "sand", 7)
    assert draw(scene).size == (SIZE, SIZE)
    assert draw(scene).tobytes() == draw(scene).tobytes()


def test_things_of_one_color_look_different():
    seen = {draw(Scene(thing, "red", "one", "middle", "paper", 1)).tobytes() for thing in THINGS}
    assert len(seen) == len(THINGS)


def test_the_same_seed_draws_the_same_stream():
    first, again, other = (
        [p.id + p.prompt for batch in training_stream(seed, 5) for p in batch] for seed in (4, 4, 5)
    )
    assert first == again != other


def test_the_thinking_carries_the_tags_it_is_given():
    pair = held_out("test", 0.1)[0]
    thought = text.thinking(pair.scene, pair.topic, pair.tags)
    assert thought.count("<combined_safe>unsafe</combined_safe>") == 1
    assert "so i decline." in thought
