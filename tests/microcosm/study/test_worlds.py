"""Each number of a world changes one thing about the training set, and leaves the rest alone."""

import subprocess
import sys
from itertools import pairwise

import pytest
from pydantic import ValidationError

from safegrpo.errors import ConfigError
from safegrpo.microcosm.pairs import held_out, training_stream
from safegrpo.microcosm.study import worlds
from safegrpo.microcosm.study.worlds import UNSEEN_KINDS, World, counts, training_set
from safegrpo.microcosm.things import CATEGORIES

STYLES = ("risky_image", "harmful_text")


def drawn(seed=0, **options):
    return training_set(World(**{"pairs": 600} | options), seed)


def rows(pairs):
    return [pair.id for pair in pairs]


def harmful_share(pairs):
    tagged = [p for p in pairs if p.kind != "question"]
    return sum(p.harmful for p in tagged) / len(tagged)


@pytest.mark.parametrize(
    "options",
    [
        {"pairs": 11},
        {"pairs": 6001},
        {"label_noise": 0.5},
        {"label_noise": float("nan")},
        {"harmful_share": 1.01},
        {"compositional": -0.1},
        {"without": ("notes",)},
        {"noise": 0.1},
    ],
)
def test_a_world_out_of_bounds_is_refused_when_made(options):
    with pytest.raises(ValidationError, match=next(iter(options))):
        World(**options)


def test_the_whole_world_is_the_stream_as_it_comes():
    stream = [p for batch in training_stream(3, 50) for p in batch]
    assert drawn(seed=3) == stream
    assert drawn(seed=3, pairs=100) == stream[:100]


@pytest.mark.parametrize(
    "options",
    [
        {"questions": False},
        {"label_noise": 0.2},
        {"harmful_share": 0.1},
        {"harmful_share": 0.8, "questions": False},
        {"compositional": 0.3},
        {"without": ("kinds", "typographic", *STYLES)},
        {"pairs": 13, "harmful_share": 0.5},
    ],
)
def test_whatever_is_left_out_there_are_as_many_pairs_in_order_and_the_seed_decides_which(options):
    pairs, n = drawn(seed=5, **options), options.get("pairs", 600)
    assert len(pairs) == n
    assert rows(pairs) == sorted(set(rows(pairs)))
    assert drawn(seed=5, **options) == pairs != drawn(seed=6, **options)


def test_without_questions_the_other_rows_are_the_same_ones():
    with_them = [p for p in drawn() if p.kind != "question"]
    without = drawn(questions=False)
    assert without[: len(with_them)] == with_them
    assert counts(without)["question"] == 0


def test_each_tag_is_flipped_at_the_stated_rate():
    noisy, clean = drawn(pairs=6000, label_noise=0.2), drawn(pairs=6000)
    told = [(a.tags, b.tags) for a, b in zip(noisy, clean, strict=True) if a.kind != "question"]
    flips = [
        [getattr(a, name) != getattr(b, name) for name in ("visual", "text", "combined")]
        for a, b in told
    ]
    for tag in zip(*flips, strict=True):
        assert sum(tag) / len(tag) == pytest.approx(0.2, abs=0.02)
    assert sum(map(all, flips)) / len(flips) == pytest.approx(0.2**3, abs=0.005)


def test_noise_leaves_questions_and_kinds_as_they_are():
    noisy, clean = drawn(label_noise=0.4), drawn()
    assert [p.kind for p in noisy] == [p.kind for p in clean]
    assert [p for p in noisy if p.kind == "question"] == [p for p in clean if p.kind == "question"]


def test_more_noise_flips_what_less_noise_does():
    clean, less, more = (drawn(label_noise=noise) for noise in (0, 0.1, 0.3))
    wrong = [a.harmful != b.harmful for a, b in zip(clean, less, strict=True)]
    assert any(wrong)
    assert all(c.harmful == b.harmful for w, b, c in zip(wrong, less, more, strict=True) if w)


@pytest.mark.parametrize("share", [0, 0.1, 0.45, 0.67, 0.9, 1])
def test_the_harmful_share_is_the_one_asked_for(share):
    pairs = drawn(harmful_share=share)
    assert harmful_share(pairs) == pytest.approx(share, abs=0.001)
    assert counts(pairs)["question"] == 50


def test_a_share_takes_alike_of_every_kind_and_of_the_whole_run():
    whole, few = drawn(pairs=3000), drawn(pairs=3000, harmful_share=0.1)
    by_kind, total = counts(whole), sum(p.harmful for p in whole)
    kept = sum(p.harmful for p in few)
    for kind in ("compositional", "risky_image", "harmful_text"):
        assert counts(few)[kind] / kept == pytest.approx(by_kind[kind] / total, abs=0.07)
    assert sum(p.harmful for p in few[:1500]) / kept == pytest.approx(0.5, abs=0.1)


def test_a_share_counts_what_pairs_are_and_not_what_noise_says():
    noisy = drawn(harmful_share=0.1, label_noise=0.3)
    assert rows(noisy) == rows(drawn(harmful_share=0.1))
    assert harmful_share(noisy) > 0.2


def test_a_share_out_of_reach_says_so():
    world = World(
        pairs=12, harmful_share=0.5, compositional=0, without=("typographic", "kinds", *STYLES)
    )
    with pytest.raises(ConfigError, match=r"harmful_share 0\.5 is out of reach.*raise composit"):
        training_set(world, 0)


def test_compositional_pairs_are_thinned_alone():
    whole, few = drawn(pairs=3000), drawn(pairs=3000, compositional=0.3)
    seen = {p.id for p in few}
    among = [p for p in whole if p.id <= few[-1].id]
    kept = [p.id in seen for p in among if p.kind == "compositional"]
    assert sum(kept) / len(kept) == pytest.approx(0.3, abs=0.06)
    assert all(p.id in seen for p in among if p.kind != "compositional")
    assert counts(drawn(compositional=0))["compositional"] == 0


def test_a_smaller_share_of_compositional_pairs_is_part_of_a_larger_one():
    less, more = (drawn(compositional=share) for share in (0.2, 0.6))
    last = more[-1].id
    few, many = ({p.id for p in w if p.kind == "compositional"} for w in (less, more))
    assert {i for i in few if i <= last} < many


def test_the_published_share_of_compositional_pairs_is_reached_as_documented():
    pairs = drawn(pairs=6000, compositional=0.45)
    assert counts(pairs)["compositional"] / 6000 == pytest.approx(300 / 3293, abs=0.01)


def test_unseen_kinds_are_one_of_every_category_and_nowhere_in_training():
    assert {thing.category for thing in UNSEEN_KINDS} == {c.name for c in CATEGORIES}
    assert len(UNSEEN_KINDS) == len(CATEGORIES)
    pairs = drawn(pairs=3000, without=("kinds",))
    assert not UNSEEN_KINDS & {p.scene.thing for p in pairs}
    assert counts(pairs)["question"] > 100


def test_without_kinds_twins_still_stand_side_by_side():
    twins = [p for p in drawn(without=("kinds",), questions=False) if p.twin]
    assert sum(a.twin == b.twin for a, b in pairwise(twins)) == len(twins) // 2


def test_without_notes_there_is_none_on_either_side_or_in_a_question():
    assert any(p.scene.thing.medium == "note" for p in drawn())
    assert not any(p.scene.thing.medium == "note" for p in drawn(without=("typographic",)))


@pytest.mark.parametrize("style", STYLES)
def test_without_a_style_its_lookalikes_and_the_other_styles_stay(style):
    number = counts(drawn(without=(style,)))
    assert number.pop(style) == 0
    assert all(number.values())


def test_nothing_is_tested_apart_if_nothing_was_left_out():
    assert worlds.tested_apart(World()) == []


def test_unseen_kinds_are_tested_in_twins_that_show_one():
    pairs = worlds.tested_apart(World(without=("kinds",)))
    for harmful, harmless in zip(pairs[::2], pairs[1::2], strict=True):
        assert harmful.twin == harmless.twin and harmful.prompt == harmless.prompt
        assert (harmful.harmful, harmless.harmful) == (True, False)
        assert UNSEEN_KINDS & {harmful.scene.thing, harmless.scene.thing}
    assert len({p.topic for p in pairs}) == 8 and len(pairs) == 8 * 2 * 16


def test_unseen_kinds_are_harmful_in_some_items_and_harmless_in_others():
    pairs = worlds.tested_apart(World(without=("kinds",)))
    assert {p.harmful for p in pairs if p.scene.thing in UNSEEN_KINDS} == {True, False}


def test_what_is_tested_apart_is_new_to_the_whole_world_too():
    trained = {(p.topic, p.scene.thing) for p in drawn(pairs=6000) if p.kind != "question"}
    apart = worlds.tested_apart(World(without=("kinds", "typographic", *STYLES)))
    assert not trained & {(p.topic, p.scene.thing) for p in apart}
    assert len({p.id for p in apart}) == len(apart)


@pytest.mark.parametrize("style", ["typographic", *STYLES])
def test_a_style_is_tested_with_all_its_items_and_its_harmless_side(style):
    apart = worlds.tested_apart(World(without=(style,)))
    held = held_out("test")
    assert [p for p in apart if p.kind == style] == [p for p in held if p.kind == style]
    harmless = {p.kind for p in apart if not p.harmful}
    assert {p.kind for p in apart if p.harmful} == {style}
    assert harmless == {"lookalike_text"} if style == "harmful_text" else "benign" in harmless
    assert sum(p.harmful for p in apart) * 2 == len(apart)


def test_the_size_scales_what_is_tested_apart():
    world = World(without=("kinds", "typographic"))
    assert (
        len(worlds.tested_apart(world, "dev", 0.25)) == len(worlds.tested_apart(world, "dev")) / 4
    )


def test_counts_name_every_kind():
    pairs = drawn(pairs=24)
    assert sum(counts(pairs).values()) == 24
    assert counts([])["typographic"] == 0


def test_worlds_load_without_torch():
    code = "import sys, safegrpo.microcosm.study.worlds; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
