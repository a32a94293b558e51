"""The harder slices: the split's own combinations, in looks and words that are not trained on."""

import random

import numpy as np
import pytest

from safegrpo.data.images import open_image
from safegrpo.microcosm.draw import SIZE, draw, random_scene
from safegrpo.microcosm.instructions import ALL_INSTRUCTIONS
from safegrpo.microcosm.looks import LOOKS, draw_in
from safegrpo.microcosm.pairs import held_out
from safegrpo.microcosm.paraphrases import OPENERS, paraphrased
from safegrpo.microcosm.study.slices import SLICES, slice_pairs
from safegrpo.microcosm.things import BOTTLES, NOTES, OBJECTS
from safegrpo.microcosm.wordings import frames
from safegrpo.microcosm.world import split_of

BY_TOPIC = {instruction.topic: instruction for instruction in ALL_INSTRUCTIONS}


def by_twin(pairs):
    found = {}
    for pair in pairs:
        if pair.twin:
            found.setdefault(pair.twin, []).append(pair)
    return found


@pytest.mark.parametrize("name", SLICES)
def test_a_slice_is_the_same_each_time_and_of_a_useful_size(name):
    pairs = slice_pairs(name)
    assert pairs == slice_pairs(name)
    assert 120 <= len(pairs) <= 160 and len(by_twin(pairs)) >= 50
    assert len({pair.id for pair in pairs}) == len(pairs)


@pytest.mark.parametrize("name", SLICES)
@pytest.mark.parametrize("split", ["dev", "test"])
def test_its_combinations_are_the_split_s(name, split):
    pairs = slice_pairs(name, 0.5, split)
    assert {split_of(BY_TOPIC[p.topic], p.scene.thing) for p in pairs} == {split}


@pytest.mark.parametrize("name", SLICES)
def test_its_twins_differ_by_nothing_but_what_is_shown(name):
    for harmful, benign in by_twin(slice_pairs(name)).values():
        assert (harmful.harmful, benign.harmful) == (True, False)
        assert harmful.prompt == benign.prompt
        assert getattr(harmful, "look", None) == getattr(benign, "look", None)


def test_every_look_is_shown_equally_often_on_labels_and_on_notes():
    seen = [(p.look, p.scene.thing.medium) for p in slice_pairs("looks")]
    assert {seen.count(one) for one in seen} == {len(seen) // (2 * len(LOOKS))}
    assert {look for look, _ in seen} == set(LOOKS)


def test_its_pictures_are_in_their_look():
    for pair in slice_pairs("looks", 0.3):
        shown = open_image(pair.tagged().images[0])
        assert shown.tobytes() == draw_in(pair.look, pair.scene).tobytes()
        assert shown.tobytes() != draw(pair.scene).tobytes()


@pytest.mark.parametrize("look", [pytest.param(look, id=look.name) for look in LOOKS])
def test_a_look_changes_the_words_and_their_paper_alone(look):
    rng = random.Random(0)
    for thing in (*BOTTLES, *NOTES):
        scene = random_scene(rng, thing)
        plain, other = (np.array(i).astype(int) for i in (draw(scene), draw_in(look, scene)))
        assert other.shape == (SIZE, SIZE, 3)
        rows, columns = np.nonzero((plain != other).any(axis=2))
        top, bottom = (28, 54) if thing.medium == "label" else (4, 62)
        assert top <= rows.min() and rows.max() <= bottom
        assert columns.min() >= 2 and columns.max() <= SIZE - 3


def test_an_object_has_no_words():
    scene = random_scene(random.Random(0), OBJECTS[0])
    with pytest.raises(ValueError, match="has no words"):
        draw_in(LOOKS[0], scene)


def test_no_training_sentence_begins_like_a_paraphrase():
    begun = [opener.partition("{action}")[0] for opener in OPENERS]
    trained = [frame for split in ("train", "dev", "test") for frame in frames(split)]
    assert not [frame for frame in trained for start in begun if frame.startswith(start)]


def test_a_paraphrase_keeps_the_action_and_all_openers_occur():
    before = [pair for pair in held_out("test", 0.25) if pair.kind != "question"]
    used = set()
    for pair, other in zip(before, slice_pairs("paraphrases"), strict=True):
        actions = [a for a in BY_TOPIC[pair.topic].actions if a in pair.prompt]
        opener = other.prompt.replace(actions[0], "{action}")
        assert len(actions) == 1 and opener in OPENERS
        assert (other.scene, other.tags) == (pair.scene, pair.tags)
        used.add(opener)
    assert used == set(OPENERS)


def test_a_general_question_is_not_paraphrased():
    question = next(pair for pair in held_out("test", 0.01) if pair.kind == "question")
    with pytest.raises(ValueError, match="asks to do nothing"):
        paraphrased(question)
