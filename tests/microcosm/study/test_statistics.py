"""Intervals and tests over seeds and items."""

import time
from random import Random

import pytest

from safegrpo.evaluation.stats import paired_bootstrap, wilson
from safegrpo.microcosm.study.statistics import Comparison, compare, mean_interval, no_worse


def drawn(rates: list[float], seeds: int, rng: Random) -> dict[int, str]:
    """Runs in which each unit comes out "1" at its own rate."""
    return {seed: "".join("01"[rng.random() < rate] for rate in rates) for seed in range(seeds)}


def test_an_interval_is_the_same_each_time() -> None:
    runs = drawn([0.8] * 100, 5, Random(0))
    assert mean_interval(runs) == mean_interval(dict(reversed(runs.items())))


def test_one_run_has_the_interval_of_its_items() -> None:
    runs = {7: "1" * 150 + "0" * 50}
    mean, low, high = mean_interval(runs)
    assert mean == 0.75
    assert (low, high) == pytest.approx(wilson(150, 200), abs=0.01)


def test_items_of_one_cluster_count_as_one() -> None:
    """Three copies of each unit say no more than the unit, if they are named as one cluster."""
    one = drawn([0.8] * 60, 1, Random(0))[0]
    names = [str(i // 3) for i in range(180)]
    _, low, high = mean_interval({0: one})
    thrice = {0: "".join(3 * mark for mark in one)}
    assert mean_interval(thrice, names)[1:] == pytest.approx((low, high), abs=0.01)
    naive = mean_interval(thrice)
    assert naive[2] - naive[1] < 0.65 * (high - low)


def test_few_clusters_that_came_out_otherwise_are_wilsons() -> None:
    """Twelve wrong units of four clusters are four observations, of thirty."""
    names = [str(i // 3) for i in range(90)]
    _, low, high = mean_interval({0: "0" * 12 + "1" * 78}, names)
    least, most = wilson(26, 30)
    assert low <= least and high >= most


def test_what_differs_between_seeds_widens_an_interval() -> None:
    alike = {seed: "1" * 80 + "0" * 20 for seed in range(6)}
    apart = {seed: "1" * (65 + 6 * seed) + "0" * (35 - 6 * seed) for seed in range(6)}
    narrow, wide = mean_interval(alike), mean_interval(apart)
    assert narrow[0] == pytest.approx(wide[0])
    assert wide[2] - wide[1] > 1.15 * (narrow[2] - narrow[1])


def test_many_seeds_do_not_make_more_items() -> None:
    """Ten runs that agree on every item say no more of new items than one of them."""
    one = mean_interval({0: "10" * 50})
    ten = mean_interval({seed: "10" * 50 for seed in range(10)})
    assert ten[2] - ten[1] == pytest.approx(one[2] - one[1], rel=0.05)


@pytest.mark.parametrize("mark", ["0", "1"])
def test_no_variation_never_means_no_width(mark: str) -> None:
    mean, low, high = mean_interval({seed: mark * 100 for seed in range(10)})
    assert mean == float(mark)
    assert (low, high) == pytest.approx(wilson(100 * mean, 100))


def test_intervals_cover_the_rate_of_new_seeds_and_new_items() -> None:
    """Units and seeds each have their own effect; the interval must allow for both."""
    rng, covered, worlds = Random(1), 0, 120
    for _ in range(worlds):
        units = [rng.betavariate(4, 1) for _ in range(80)]  # mean 0.8
        lifts = [rng.gauss(0, 0.05) for _ in range(8)]
        runs = {
            seed: "".join("01"[rng.random() < unit + lift] for unit in units)
            for seed, lift in enumerate(lifts)
        }
        _, low, high = mean_interval(runs, draws=400)
        covered += low <= 0.797 <= high  # 0.8, less what is cut off at 1
    assert covered / worlds > 0.92


def test_few_seeds_that_differ_much_are_allowed_for() -> None:
    """A plain bootstrap of three such runs holds the truth four times in five."""
    rng, covered, worlds = Random(2), 0, 150
    for _ in range(worlds):
        lifts = [rng.gauss(0, 0.13) for _ in range(3)]
        runs = {
            seed: "".join("01"[rng.random() < 0.6 + lift] for _ in range(200))
            for seed, lift in enumerate(lifts)
        }
        _, low, high = mean_interval(runs, draws=300)
        covered += low <= 0.6 <= high
    assert covered / worlds > 0.92


def test_units_without_a_value_do_not_count() -> None:
    assert mean_interval({0: "1-0-" * 30, 1: "1-0-" * 30})[0] == 0.5
    with pytest.raises(ValueError, match="no unit"):
        mean_interval({0: "---"})


def test_a_comparison_is_of_the_same_seeds_and_units() -> None:
    found = compare({1: "1100-", 2: "0000-", 9: "11111"}, {1: "1110-", 2: "1100-"})
    assert found is not None
    assert (found.n_seeds, found.n_units) == (2, 4)
    assert found.difference == pytest.approx((0.25 + 0.5) / 2)
    assert found.rate_b - found.rate_a == pytest.approx(found.difference)
    assert compare({1: "1"}, {}) is None
    assert compare({1: "1", 2: "1"}, {3: "1", 4: "1"}) is None
    assert compare({1: "1-"}, {1: "-1"}) is None


def test_one_run_is_paired_with_every_seed() -> None:
    found = compare({0: "0" * 60}, {seed: "1" * 60 for seed in range(10)})
    assert found is not None
    assert (found.n_seeds, found.difference, found.d_z) == (10, 1.0, None)
    assert found.p_seeds == 2 / 1024
    assert found.h == pytest.approx(3.14159, abs=1e-4)
    assert 0.9 < found.low < found.high == 1.0


def test_the_interval_of_one_pair_is_the_paired_bootstraps() -> None:
    a, b = "1100" * 40, "1110" * 39 + "0000"
    found = compare({0: a}, {0: b})
    assert found is not None
    low, high = paired_bootstrap([(int(x), int(y)) for x, y in zip(a, b, strict=True)])
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.013)


def test_a_gain_of_all_seeds_on_few_items_is_not_called_one() -> None:
    found = compare({s: "0" * 50 for s in range(10)}, {s: "1" + "0" * 49 for s in range(10)})
    assert found is not None
    assert found.p_seeds == 2 / 1024
    assert found.p == found.p_items == 1.0


def test_a_gain_of_few_combinations_is_not_called_one() -> None:
    """Thirty items that all gain, and show but three combinations."""
    a, b = ({seed: mark * 30 + "0" * 70 for seed in range(10)} for mark in "01")
    names = [str(i // 10) for i in range(100)]
    items, combinations = compare(a, b), compare(a, b, names)
    assert items is not None and combinations is not None
    assert items.p == 2 / 1024
    assert combinations.p == combinations.p_items == 2 / 8
    assert (combinations.n_units, combinations.n_clusters) == (100, 10)
    assert combinations.difference == items.difference


def test_a_gain_of_one_seed_is_not_called_one() -> None:
    a = {seed: "0" * 50 for seed in range(8)}
    found = compare(a, a | {3: "1" * 50})
    assert found is not None
    assert found.p_items < 0.001
    assert found.p == found.p_seeds == 1.0


def test_items_alone_decide_between_rows_without_seeds() -> None:
    found = compare({0: "0" * 50}, {0: "1" * 50}, seeded=False)
    assert found is not None
    assert found.p_seeds is None
    assert found.p == found.p_items < 0.001


def test_no_difference_has_an_interval_and_can_be_no_worse() -> None:
    same = {seed: "1" * 200 for seed in range(10)}
    found = compare(same, same)
    assert found is not None
    assert found.low == -found.high < 0 == found.difference
    assert found.high == pytest.approx(wilson(0, 200)[1])
    assert no_worse(found, "higher")
    assert no_worse(found, "lower")
    assert not no_worse(found, "higher", margin=0.01)


def test_what_never_moved_is_judged_by_its_combinations() -> None:
    same = {seed: "1" * 200 for seed in range(10)}
    found = compare(same, same, [str(i // 4) for i in range(200)])
    assert found is not None
    assert found.high == pytest.approx(wilson(0, 50)[1])
    assert not no_worse(found, "higher")


def test_an_interval_of_few_moves_is_no_narrower_than_one_of_none() -> None:
    a = {seed: "1" * 200 for seed in range(10)}
    still, moved = compare(a, a), compare(a, a | {0: "0" + "1" * 199})
    assert still is not None and moved is not None
    assert moved.low < still.low
    assert moved.high == pytest.approx(still.high, abs=0.002)


@pytest.mark.parametrize(("seeds", "enough"), [(4, False), (5, True)])
def test_a_verdict_needs_seeds(seeds: int, enough: bool) -> None:
    runs = {seed: "10" * 20 for seed in range(seeds)}
    found, unseeded = compare(runs, runs), compare({0: "10" * 20}, {0: "10" * 20}, seeded=False)
    assert found is not None and unseeded is not None
    assert found.enough is enough
    assert unseeded.enough


def test_no_worse_looks_at_the_bad_side() -> None:
    gain = Comparison(0.5, 0.6, 0.1, 0.05, 0.15, 0.01, 0.01, 0.2, 1.0, 10, 100, 100)
    assert no_worse(gain, "higher")
    assert not no_worse(gain, "lower")


def test_runs_of_other_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="not the same"):
        mean_interval({0: "11", 1: "111"})
    with pytest.raises(ValueError, match="3 units have a cluster, and there are 2"):
        mean_interval({0: "11"}, ["a", "b", "b"])


def test_a_whole_page_of_intervals_takes_seconds() -> None:
    runs = drawn([0.9] * 754, 10, Random(0))
    mean_interval(runs)  # the draws are made once for so many units
    began = time.process_time()
    for shift in range(10):
        mean_interval({seed + shift + 1: text for seed, text in runs.items()}, seed=0)
    assert time.process_time() - began < 4
