"""The order of the rows: couples together, each as often as it should be."""

from collections import Counter

import pytest

from safegrpo.thinking import Tags
from safegrpo.training.sampling import EpochSampler, balanced_order

from .conftest import pair

UNSAFE = Tags("safe", "safe", "unsafe")


@pytest.fixture
def rows():
    """Six rows of one prompt (two harmful), four of another (two harmful), five without a twin."""
    first = [pair(i, prompt="use it", **({"tags": UNSAFE} if i < 2 else {})) for i in range(6)]
    second = [
        pair(i, prompt="Eat  it", **({"tags": UNSAFE} if i < 8 else {})) for i in range(6, 10)
    ]
    alone = [pair(i) for i in range(10, 14)] + [
        pair(14, prompt="eat it now", tags=None, answer="x")
    ]
    return first + second + alone


def coupled(rows, batch):
    """Prompts of the harmful rows of a batch that have a harmless row beside them."""
    sides = {}
    for i in batch:
        if rows[i].tags:
            sides.setdefault(rows[i].prompt, set()).add(rows[i].tags.combined)
    return [prompt for prompt, seen in sides.items() if "unsafe" in seen and len(seen) == 2]


def test_every_row_comes_once_and_couples_stay_together(rows) -> None:
    order = balanced_order(rows, batch=4, seed=1, epoch=0)
    assert sorted(order) == list(range(15))
    harmful = {i for i, row in enumerate(rows) if row.tags == UNSAFE}
    for start in range(0, 15, 4):
        batch = order[start : start + 4]
        for i in harmful.intersection(batch):
            assert rows[i].prompt in coupled(rows, batch)


def test_tilt_brings_coupled_rows_more_often(rows) -> None:
    drawn = Counter()
    for epoch in range(200):
        order = balanced_order(rows, batch=5, seed=0, epoch=epoch, tilt=3)
        assert len(order) == 15
        drawn.update(order)
    twins = sum(drawn[i] for i in (0, 1, 6, 7)) / 4
    others = sum(drawn[i] for i in range(10, 15)) / 5
    assert 2.4 < twins / others < 3.6


def test_the_order_hangs_on_seed_and_epoch_alone(rows) -> None:
    one = balanced_order(rows, 4, 1, 0)
    assert one == balanced_order(rows, 4, 1, 0)
    assert one != balanced_order(rows, 4, 1, 1) and one != balanced_order(rows, 4, 2, 0)


@pytest.mark.parametrize("harmful", [0, 3, 8])
def test_sets_with_one_side_or_without_tags_have_an_order_too(harmful) -> None:
    rows = [pair(i, prompt="x", combined="unsafe" if i < harmful else "safe") for i in range(8)]
    for tilt in (1, 5):
        order = balanced_order(rows, 3, 0, 0, tilt)
        assert len(order) == 8 and set(order) <= set(range(8))


def test_the_sampler_repeats_a_given_order_as_trl_repeats_its_own(rows) -> None:
    def sampled(order):
        return list(
            EpochSampler(
                data_source=rows,
                mini_repeat_count=2,
                batch_size=4,
                repeat_count=3,
                shuffle=False,
                seed=0,
                epoch=lambda: 0,
                order=order,
            )
        )

    assert sampled(lambda epoch, batch: range(15)) == sampled(None)
    seen = []
    sampled(lambda epoch, batch: seen.append((epoch, batch)) or range(15))
    assert seen == [(0, 4)]
