import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from safegrpo.data.duplicates import image_hash
from safegrpo.data.images import ImageRef, open_image
from safegrpo.data.select import (
    COMPOSITIONAL,
    STOCK_PROMPT,
    Candidate,
    Choice,
    Kin,
    Thresholds,
    balanced,
    levelled,
    rated,
    split,
)
from safegrpo.errors import ConfigError, DataError, InputFileError

from .rated_folder import CELLS, picture, rated_folder, rating, rating_of, row, wording

SAFE = ("safe", "safe", "safe")
HARMFUL = ("safe", "unsafe", "unsafe")


def candidate(number: int, cell: Any = SAFE, **changes: Any) -> Candidate:
    one = Candidate(f"p{number}", cell, 9.0, "", (0, 0, 0), (), (number,), wording(number))
    for name, value in changes.items():
        setattr(one, name, value)
    return one


def kin(found: Sequence[Candidate]) -> Kin:
    """With a picture of its own for each image number."""
    count = 1 + max((number for one in found for number in one.images), default=-1)
    shown = (open_image(ImageRef(data=picture(seed))) for seed in range(count))
    return Kin(found, [image_hash(image) for image in shown])


def shares(found: Sequence[Candidate], chosen: Sequence[int]) -> dict[Any, int]:
    return dict(Counter(found[index].cell for index in chosen))


# Thresholds


@pytest.mark.parametrize(
    ("scores", "confidences", "expected"),
    [
        ((3, 7, 3), 7, ("unsafe", "safe", "unsafe")),
        ((0, 10, 0), 10, ("unsafe", "safe", "unsafe")),
        ((3.5, 9, 9), 9, "unclear_score"),
        ((9, 6.9, 9), 9, "unclear_score"),
        ((9, 9, 5), 9, "unclear_score"),
        ((9, 9, 9), (6.9, 9, 9), "low_confidence"),
        ((9, 9, 9), (9, 9, 6.9), "low_confidence"),
        ((5, 9, 9), 1, "unclear_score"),
    ],
)
def test_published_thresholds_at_their_edges(scores, confidences, expected) -> None:
    assert Thresholds().tags(rating(scores, confidences)) == expected


@pytest.mark.parametrize("cell", CELLS)
def test_each_of_the_eight_cells_comes_from_its_scores(cell) -> None:
    assert Thresholds().tags(rating_of(cell)) == cell


@pytest.mark.parametrize(
    "wrong",
    [
        {"unsafe_max": 7},
        {"unsafe_max": -1},
        {"safe_min": 11},
        {"min_confidence": 10.5},
        {"min_confidence": float("nan")},
        {"safe_min": float("nan")},
    ],
)
def test_thresholds_that_make_no_sense_are_refused(wrong) -> None:
    with pytest.raises(ConfigError, match="from 0 to 10"):
        Thresholds(**wrong)


@pytest.mark.parametrize("wrong", [{"size": 0}, {"per_cell": 0}, {"test_share": 1.0}])
def test_a_choice_that_makes_no_sense_is_refused(wrong) -> None:
    with pytest.raises(ConfigError, match="--"):
        Choice(**wrong)


# What is rated


def test_rows_are_candidates_or_counted_by_reason(tmp_path: Path) -> None:
    rows = [
        row(0),
        row(1, confidence=6.9),
        row(2, rating=rating((5, 9, 9))),
        *(row(3 + n, status=s) for n, s in enumerate(("refused", "error", "skipped", "error"))),
    ]
    found = rated(rated_folder(tmp_path, rows), Thresholds())
    assert (found.rows, list(found.candidates)) == (7, ["p0"])
    expected = {"low_confidence": 1, "unclear_score": 1, "refused": 1, "error": 2, "skipped": 1}
    assert found.dropped == expected


def test_the_last_row_of_an_id_counts(tmp_path: Path) -> None:
    folder = rated_folder(tmp_path, [row(0, status="error"), row(1), row(0, HARMFUL)])
    found = rated(folder, Thresholds())
    assert found.rows == 2
    assert found.candidates["p0"].cell == HARMFUL


def test_shards_of_scores_are_one_set(tmp_path: Path) -> None:
    folder = rated_folder(tmp_path, [row(n) for n in range(5)], shards=2)
    assert set(rated(folder, Thresholds()).candidates) == {f"p{n}" for n in range(5)}


def test_a_missing_shard_is_an_error(tmp_path: Path) -> None:
    folder = rated_folder(tmp_path, [row(n) for n in range(4)], shards=2)
    (folder / "scores-00001-of-00002.jsonl").unlink()
    with pytest.raises(DataError, match=r"scores-00001-of-00002\.jsonl is missing"):
        rated(folder, Thresholds())


def test_an_id_in_two_shards_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match='"p0" is rated in two shards'):
        rated(rated_folder(tmp_path, [row(0), row(0)], shards=2), Thresholds())


def test_a_folder_without_scores_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="safegrpo annotate"):
        rated(tmp_path, Thresholds())


@pytest.mark.parametrize(
    ("cell", "flags"),
    [
        (("unsafe", "safe", "safe"), ("image_unsafe_combined_safe",)),
        (("safe", "unsafe", "safe"), ("text_unsafe_combined_safe",)),
        (COMPOSITIONAL, ()),
    ],
)
def test_tags_that_are_rare_together_are_flagged(tmp_path: Path, cell, flags) -> None:
    found = rated(rated_folder(tmp_path, [row(0, cell)]), Thresholds())
    assert found.candidates["p0"].flags == flags


def test_votes_that_give_other_tags_are_flagged(tmp_path: Path) -> None:
    agreeing, other = [rating((9, 9, 9)), rating((8, 9, 9))], [rating(), rating((9, 9, 5))]
    rows = [row(0, votes=agreeing), row(1, votes=other)]
    found = rated(rated_folder(tmp_path, rows), Thresholds()).candidates
    assert [found["p0"].flags, found["p1"].flags] == [(), ("votes_disagree",)]


# Near-duplicates


def test_of_near_duplicates_the_surest_stays() -> None:
    found = [candidate(n, images=(0,), prompt=wording(0), sure=7.0 + n % 2) for n in range(4)]
    assert kin(found).thinned() == ([1], Counter(near_duplicate=3, contradiction=0))


def test_the_same_picture_with_another_prompt_is_no_duplicate() -> None:
    found = [candidate(0), candidate(1, images=(0,))]
    assert kin(found).thinned()[0] == [0, 1]


def test_near_duplicates_with_other_tags_stay_and_are_flagged() -> None:
    prompt = wording(0)
    found = [candidate(0), candidate(1, HARMFUL, images=(0,), prompt=prompt + " " + "x" * 3)]
    long = " ".join(wording(n) for n in range(20))
    found[0].prompt, found[1].prompt = long, long + " so"
    assert kin(found).thinned()[0] == [0, 1]
    assert {one.flags for one in found} == {("near_duplicate_other_tags",)}


@pytest.mark.parametrize("keep_duplicates", [False, True])
def test_the_same_pair_with_other_tags_is_dropped_altogether(keep_duplicates) -> None:
    prompts = ("What is it?", "what is IT")
    found = [
        candidate(n, cell, images=(0,), prompt=p)
        for n, (cell, p) in enumerate(zip((SAFE, HARMFUL), prompts, strict=True))
    ]
    kept, dropped = kin([*found, candidate(2)]).thinned(keep_duplicates)
    assert kept == [2]
    assert +dropped == {"contradiction": 2}


def test_duplicates_can_be_kept() -> None:
    found = [candidate(n, images=(0,), prompt=wording(0)) for n in range(3)]
    assert kin(found).thinned(keep_duplicates=True)[0] == [0, 1, 2]


def test_pairs_without_images_are_duplicates_by_their_prompts() -> None:
    found = [candidate(n, images=(), prompt=p) for n, p in enumerate(("Why?", "why", "Where?"))]
    assert kin(found).thinned()[0] == [0, 2]


def test_pairs_of_several_images_are_duplicates_only_if_all_are() -> None:
    same = {"prompt": wording(0)}
    found = [candidate(n, images=i, **same) for n, i in enumerate([(0, 1), (0, 1), (0, 2), (0,)])]
    assert kin(found).thinned()[0] == [0, 2, 3]


# Balance


def many(counts: dict[Any, int], source: str = "a") -> list[Candidate]:
    return [candidate(n, c, source=source) for c, count in counts.items() for n in range(count)]


@pytest.mark.parametrize(
    ("counts", "total", "expected"),
    [
        ({"a": 5, "b": 5, "c": 5}, 9, {"a": 3, "b": 3, "c": 3}),
        ({"a": 1, "b": 9, "c": 9}, 11, {"a": 1, "b": 5, "c": 5}),
        ({"a": 2, "b": 3}, 100, {"a": 2, "b": 3}),
        ({"a": 2, "b": 3}, 0, {"a": 0, "b": 0}),
        ({}, 4, {}),
    ],
)
def test_counts_are_cut_to_one_level(counts, total, expected) -> None:
    assert levelled(counts, total) == expected


def test_a_size_leaves_the_compositional_cell_whole_and_levels_the_others() -> None:
    found = many({COMPOSITIONAL: 10, SAFE: 50, HARMFUL: 4})
    chosen = balanced(found, range(64), Choice(size=30))
    assert shares(found, chosen) == {COMPOSITIONAL: 10, SAFE: 16, HARMFUL: 4}


def test_a_size_below_the_compositional_cell_leaves_that_cell_alone() -> None:
    found = many({COMPOSITIONAL: 10, SAFE: 50})
    assert shares(found, balanced(found, range(60), Choice(size=3))) == {COMPOSITIONAL: 10}


def test_per_cell_cuts_all_cells_but_the_compositional_one() -> None:
    found = many({COMPOSITIONAL: 10, SAFE: 50, HARMFUL: 4})
    chosen = balanced(found, range(64), Choice(per_cell=6))
    assert shares(found, chosen) == {COMPOSITIONAL: 10, SAFE: 6, HARMFUL: 4}


def test_sources_are_levelled_within_a_cell() -> None:
    found = many({SAFE: 30}, "a") + many({SAFE: 8}, "b") + many({SAFE: 2}, "c")
    chosen = balanced(found, range(40), Choice(per_cell=18))
    assert Counter(found[i].source for i in chosen) == {"a": 8, "b": 8, "c": 2}


def test_without_size_or_per_cell_all_stay() -> None:
    found = many({SAFE: 3, HARMFUL: 9})
    assert balanced(found, [1, 4, 5], Choice()) == [1, 4, 5]


def test_the_seed_alone_decides_which_pairs_are_cut() -> None:
    found = many({SAFE: 60})
    first, again, other = (balanced(found, range(60), Choice(size=20, seed=s)) for s in (1, 1, 2))
    assert first == again != other


# Splits


def parts_of(found: Sequence[Candidate], **choice: Any) -> dict[str, list[int]]:
    related = kin(found)
    return split(found, related.tied(range(len(found))), Choice(**choice))


@pytest.mark.parametrize("seed", range(8))
def test_a_split_never_parts_near_duplicate_images_or_prompts(seed) -> None:
    rng = random.Random(seed)
    found = [
        candidate(
            n,
            rng.choice(CELLS),
            images=tuple(rng.choices(range(60), k=rng.randrange(3))),
            prompt=wording(rng.randrange(50)).translate({ord(" "): rng.choice(" -,")}),
        )
        for n in range(70)
    ]
    parts = parts_of(found, test_share=0.3, seed=seed)
    assert sorted(i for part in parts.values() for i in part) == list(range(70))
    seen = [
        {("image", image) for i in part for image in found[i].images}
        | {("prompt", found[i].prompt.replace("-", " ").replace(",", " ")) for i in part}
        for part in parts.values()
    ]
    assert not set.intersection(*seen) or len(parts) == 1


def test_a_prompt_that_many_pairs_share_ties_none_of_them() -> None:
    found = [candidate(n, prompt="What is in this picture?") for n in range(STOCK_PROMPT + 1)]
    assert len(kin(found).tied(range(STOCK_PROMPT + 1))) == STOCK_PROMPT + 1
    assert len(kin(found).tied(range(STOCK_PROMPT))) == 1
    assert kin(found).stock_prompts(range(STOCK_PROMPT + 1)) == 1


def test_ties_reach_as_far_as_they_go() -> None:
    found = [candidate(0), candidate(1, images=(0, 1)), candidate(2, images=(1,)), candidate(3)]
    assert kin(found).tied(range(4)) == [[0, 1, 2], [3]]


@pytest.mark.parametrize("share", [0.05, 0.1, 0.25, 0.5])
def test_each_cell_gives_its_share_to_the_test_split(share) -> None:
    found = many({cell: 20 + 17 * n for n, cell in enumerate(CELLS)})
    groups = [[index] for index in range(len(found))]
    parts = split(found, groups, Choice(test_share=share))
    for cell, count in shares(found, parts["test"]).items():
        assert abs(count - share * shares(found, range(len(found)))[cell]) < 1


def test_groups_bring_each_cell_close_to_its_share() -> None:
    rng = random.Random(0)
    found = many({cell: 100 for cell in CELLS})
    order = rng.sample(range(800), 800)
    groups = [order[start : start + 4] for start in range(0, 800, 4)]
    parts = split(found, groups, Choice(test_share=0.2))
    assert all(abs(count - 20) <= 3 for count in shares(found, parts["test"]).values())


def test_small_cells_give_their_share_together() -> None:
    found = many({cell: 4 for cell in CELLS})
    assert len(split(found, [[i] for i in range(32)], Choice(test_share=0.1))["test"]) == 3


def test_a_share_of_nothing_makes_no_test_split() -> None:
    assert list(split(many({SAFE: 9}), [[i] for i in range(9)], Choice(test_share=0))) == ["train"]


def test_the_seed_alone_decides_the_split() -> None:
    found, groups = many({SAFE: 60}), [[i] for i in range(60)]
    first, again, other = (split(found, groups, Choice(seed=seed)) for seed in (1, 1, 2))
    assert first == again != other
