import pytest

from safegrpo.evaluation.stats import format_rate, newcombe, wilson

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
