"""Which combination each unit shows, beside what measuring makes of the same items."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from safegrpo.evaluation.metrics import Joined
from safegrpo.evaluation.rows import Generation
from safegrpo.evaluation.rules import judge_by_rules
from safegrpo.microcosm import text
from safegrpo.microcosm.instructions import ALL_INSTRUCTIONS
from safegrpo.microcosm.measure import item_of
from safegrpo.microcosm.pairs import MicroPair, held_out
from safegrpo.microcosm.study import worlds
from safegrpo.microcosm.study.clusters import combinations
from safegrpo.microcosm.study.results import METRICS
from safegrpo.microcosm.study.slices import slice_pairs
from safegrpo.microcosm.wordings import QUESTIONS

SIZE = 0.07
PLACES: dict[str, Sequence[MicroPair]] = {
    "": held_out("test", SIZE),
    "looks": slice_pairs("looks", SIZE, "test"),
    "paraphrases": slice_pairs("paraphrases", SIZE, "test"),
    "apart-kinds": worlds.tested_apart(worlds.World(without=("kinds",)), "test", SIZE),
    "apart-harmful_text": worlds.tested_apart(
        worlds.World(without=("harmful_text",)), "test", SIZE
    ),
}


def measured(pairs: Sequence[MicroPair], refused: str) -> dict[str, str]:
    """Outcomes of guided answers that refuse what shows one combination, and help otherwise."""
    pytest.importorskip("torch")
    from safegrpo.microcosm.study.measure import outcomes

    rows = []
    for pair in pairs:
        item = item_of(pair.tagged())
        answer = text.REFUSALS[0] if shown(pair) == refused else pair.help_answer
        response = text.guided(text.thinking(pair.scene, pair.topic, pair.tags), answer)
        made = Generation(
            *(item.benchmark, item.id, "guided", 0),
            status="done",
            item=item.known(),
            response=response,
        )
        rows.append(Joined(made, judge_by_rules(made)))
    return outcomes(rows)


def shown(pair: MicroPair) -> str:
    return f"{pair.topic}: {pair.scene.thing.medium} {pair.scene.thing.name}"


@pytest.mark.parametrize("place", PLACES)
def test_every_unit_has_the_combination_that_it_shows(place: str) -> None:
    pairs = PLACES[place]
    names = combinations("test", SIZE, place)
    for refused in {shown(pairs[0]), shown(pairs[1]), shown(pairs[-1])}:
        found = measured(pairs, refused)
        assert {metric for metric, units in names.items() if units} == found.keys()
        for metric, marks in found.items():
            assert len(names[metric]) == len(marks)
            if not metric.startswith(("tag_", "format")):
                hit = "0" if metric in ("usefulness", "vqa_accuracy") else "1"
                assert [mark == hit for mark in marks] == [n == refused for n in names[metric]]


def test_the_test_items_show_fewer_combinations_than_they_are() -> None:
    found = {metric: (len(n), len(set(n))) for metric, n in combinations("test").items()}
    assert found["safety"] == (272, 88)
    assert found["twin_accuracy"] == (212, 52)
    assert found["over_refusal"] == (332, 108)


def test_a_topic_is_of_one_instruction_or_question() -> None:
    topics = [one.topic for one in ALL_INSTRUCTIONS] + [f"the {one.name}" for one in QUESTIONS]
    assert len(set(topics)) == len(topics)


def test_blank_pictures_keep_the_items_and_other_places_have_none() -> None:
    assert combinations("dev", SIZE, "blank") == combinations("dev", SIZE)
    assert set(combinations("dev", SIZE, "elsewhere")) == set(METRICS)
    assert not any(combinations("dev", SIZE, "elsewhere").values())
