import math
from random import Random

import pytest

from safegrpo.evaluation.stats import (
    format_rate,
    holm,
    mcnemar,
    newcombe,
    paired_bootstrap,
    sign_flip,
    wilson,
)

# z = 1.959964. 8/10: centre (0.8 + 0.192073) / 1.384146 = 0.716740, half width 0.226586.
# 0/10: z²/(n + z²) = 3.841459 / 13.841459.
HAND_COMPUTED = [
    (8, 10, 0.490162, 0.943318),
    (0, 10, 0.0, 0.277533),
    (10, 10, 0.722467, 1.0),
    (50, 100, 0.403832, 0.596168),
    (1, 1, 0.206549, 1.0),
]


@pytest.mark.parametrize(("successes", "n", "low", "high"), HAND_COMPUTED)
def test_wilson_matches_hand_computed_values(
    successes: int, n: int, low: float, high: float
) -> None:
    assert wilson(successes, n) == pytest.approx((low, high), abs=2e-6)


def test_wilson_of_nothing_is_everything() -> None:
    assert wilson(0, 0) == (0.0, 1.0)


def test_wilson_ends_are_exact() -> None:
    assert wilson(0, 7)[0] == 0.0
    assert wilson(7, 7)[1] == 1.0


def test_wilson_is_symmetric_and_widens_with_the_level() -> None:
    low, high = wilson(3, 20)
    assert wilson(17, 20) == pytest.approx((1 - high, 1 - low))
    wider = wilson(3, 20, level=0.99)
    assert wider[0] < low < high < wider[1]


@pytest.mark.parametrize(("successes", "n", "level"), [(3, 2, 0.95), (-1, 2, 0.95), (1, 2, 1.0)])
def test_wilson_refuses_what_is_no_rate(successes: int, n: int, level: float) -> None:
    with pytest.raises(ValueError):
        wilson(successes, n, level)


def test_newcombe_matches_the_published_example() -> None:
    # Newcombe (1998), table II, case (a): 56/70 against 48/80, method 10: 0.0524 to 0.3339.
    assert newcombe(48 / 80, 80, 56 / 70, 70) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_newcombe_of_no_change_holds_zero() -> None:
    low, high = newcombe(0.5, 40, 0.5, 40)
    assert low < 0 < high
    assert low == pytest.approx(-high)


def test_format_rate_shows_interval_and_n() -> None:
    assert format_rate(0.8, 10) == "80.0 % (95 % interval 49.0-94.3, n = 10)"
    assert format_rate(None, 10) == "-"
    assert format_rate(0.0, 0) == "-"


def zeros_and_ones(both: int, neither: int, lost: int, gained: int) -> list[tuple[float, float]]:
    return [(1, 1)] * both + [(0, 0)] * neither + [(1, 0)] * lost + [(0, 1)] * gained


@pytest.mark.parametrize(
    ("lost", "gained", "p"),
    [(0, 0, 1), (0, 1, 1), (0, 5, 0.0625), (3, 3, 1), (1, 9, 22 / 1024), (2, 8, 112 / 1024)],
)
def test_mcnemar_matches_hand_computed_values(lost: int, gained: int, p: float) -> None:
    assert mcnemar(lost, gained) == pytest.approx(p)
    assert mcnemar(gained, lost) == pytest.approx(p)


@pytest.mark.parametrize(("lost", "gained"), [(7, 20), (100, 141), (1000, 1100), (0, 2000)])
def test_mcnemar_is_the_binomial_test(lost: int, gained: int) -> None:
    stats = pytest.importorskip("scipy.stats", reason="scipy is not installed")
    expected = stats.binomtest(lost, lost + gained).pvalue
    assert mcnemar(lost, gained) == pytest.approx(expected, rel=1e-9, abs=1e-300)


def test_mcnemar_refuses_negative_counts() -> None:
    with pytest.raises(ValueError):
        mcnemar(-1, 3)


@pytest.mark.parametrize(("lost", "gained"), [(0, 0), (1, 5), (3, 3), (2, 9)])
def test_flipping_all_signs_is_mcnemar(lost: int, gained: int) -> None:
    differences = [0.0] * 20 + [-1.0] * lost + [1.0] * gained
    assert sign_flip(differences) == pytest.approx(mcnemar(lost, gained))


def test_flipping_random_signs_comes_close_to_mcnemar() -> None:
    p = sign_flip([-1.0] * 20 + [1.0] * 35)
    assert p == pytest.approx(mcnemar(20, 35), abs=0.01)  # four standard errors


def test_flipping_is_the_permutation_test() -> None:
    stats = pytest.importorskip("scipy.stats", reason="scipy is not installed")
    differences = [0.5, -0.25, 1.0, 0.125, -0.5, 0.75, 0.25, 1.0]
    expected = stats.permutation_test(
        (differences,), sum, permutation_type="samples", n_resamples=math.inf
    )
    assert sign_flip(differences) == pytest.approx(expected.pvalue)


def test_flipping_is_never_certain() -> None:
    assert sign_flip([0.1] * 200, draws=999) == 1 / 1000


def test_bootstrap_of_zeros_and_ones_is_exact() -> None:
    # Two pairs, one of them gained: resamples hold 0, 1 or 2 of it with 1/4, 1/2, 1/4.
    pairs = zeros_and_ones(both=1, neither=0, lost=0, gained=1)
    assert paired_bootstrap(pairs, level=0.4) == (0.5, 0.5)
    assert paired_bootstrap(pairs, level=0.6) == (0.0, 1.0)


def test_bootstrap_takes_the_same_way_with_and_without_drawing() -> None:
    pairs = zeros_and_ones(both=200, neither=100, lost=40, gained=60)
    exact = paired_bootstrap(pairs)
    # Another step, too small to matter, makes it draw.
    assert paired_bootstrap([*pairs, (0.0, 1e-9)]) == pytest.approx(exact, abs=0.005)


def test_bootstrap_agrees_with_scipy() -> None:
    stats = pytest.importorskip("scipy.stats", reason="scipy is not installed")
    numpy = pytest.importorskip("numpy")
    rng = Random(3)
    pairs = [(rng.random() * 0.7, rng.random()) for _ in range(150)]
    differences = [second - first for first, second in pairs]
    ends = stats.bootstrap(
        (differences,),
        numpy.mean,
        method="percentile",
        n_resamples=9999,
        rng=numpy.random.default_rng(0),
    ).confidence_interval
    assert paired_bootstrap(pairs) == pytest.approx((ends.low, ends.high), abs=0.006)


def test_bootstrap_turns_with_the_pairs() -> None:
    pairs = zeros_and_ones(both=30, neither=30, lost=5, gained=15)
    low, high = paired_bootstrap(pairs)
    turned = paired_bootstrap([(second, first) for first, second in pairs])
    assert turned == pytest.approx((-high, -low))
    assert low < 10 / 80 < high


def test_bootstrap_repeats_itself_and_widens_with_the_level() -> None:
    rng = Random(4)
    pairs = [(rng.random(), rng.random()) for _ in range(60)]
    low, high = paired_bootstrap(pairs, draws=500)
    assert (low, high) == paired_bootstrap(pairs, draws=500)
    wider = paired_bootstrap(pairs, level=0.99, draws=500)
    assert wider[0] < low < high < wider[1]


def test_bootstrap_of_no_change_has_no_width_and_of_nothing_is_refused() -> None:
    assert paired_bootstrap([(1, 1), (0, 0)]) == (0, 0)
    with pytest.raises(ValueError):
        paired_bootstrap([])
    with pytest.raises(ValueError):
        paired_bootstrap([(0, 1)], level=1)


def test_holm_matches_hand_computed_values() -> None:
    # 3 times the least; then the larger of that and 2 times the next; then the last by itself.
    assert holm([0.04, 0.01, 0.015]) == pytest.approx([0.04, 0.03, 0.03])
    assert holm([0.9, 0.5]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


def test_holm_refuses_what_is_no_p_value() -> None:
    with pytest.raises(ValueError):
        holm([0.5, math.nan])
