import json
import random
import time

import pytest

from safegrpo.errors import DataError
from safegrpo.evaluation.agreement import (
    Estimate,
    agreement_of_votes,
    alpha_estimate,
    cohen_kappa,
    kappa_estimate,
    krippendorff_alpha,
    share_estimate,
    tag_of_score,
)

# Krippendorff (2011), section C: four observers (rows) of twelve units (columns), 0 for missing.
PUBLISHED = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, 0, 0, 0],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, 0, 3],
    [0, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, 0],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, 0],
]


def published_units() -> list[list[int]]:
    return [[value for value in unit if value] for unit in zip(*PUBLISHED, strict=True)]


def random_units(count: int, raters: int, seed: int = 3) -> list[list[int]]:
    """Ratings from 0 to 4 that agree in part, up to `raters` a unit and sometimes none."""
    rng = random.Random(seed)
    units = []
    for _ in range(count):
        true = rng.randrange(5)
        votes = [true if rng.random() < 0.6 else rng.randrange(5) for _ in range(raters)]
        units.append([vote for vote in votes if rng.random() < 0.8])
    return units


def table_labels(table: list[list[int]]) -> tuple[list[int], list[int]]:
    """Two raters' labels that give this table of counts."""
    cells = [(i, j) for i, row in enumerate(table) for j, n in enumerate(row) for _ in range(n)]
    return [i for i, _ in cells], [j for _, j in cells]


def vote(visual: float, text: float = 9, combined: float = 1, judge: str = "a") -> dict:
    return {"judge": judge, "scores": {"visual": visual, "text": text, "combined": combined}}


# Alpha


@pytest.mark.parametrize(("level", "alpha"), [("nominal", 0.743), ("interval", 0.849)])
def test_alpha_of_the_published_example(level: str, alpha: float) -> None:
    assert krippendorff_alpha(published_units(), level) == pytest.approx(alpha, abs=5e-4)


def test_alpha_by_hand() -> None:
    # Two units agree (a a, b b), one does not (a b): n = 6, n_a = n_b = 3, two cells off the
    # diagonal. Nominal: 1 - 5 · 2 / (36 - 18) = 4/9; on 0 and 1 squared differences are the same.
    assert krippendorff_alpha(["aa", "bb", "ab"]) == pytest.approx(4 / 9)
    assert krippendorff_alpha([[0, 0], [1, 1], [0, 1]], "interval") == pytest.approx(4 / 9)


@pytest.mark.parametrize("level", ["nominal", "interval"])
@pytest.mark.parametrize("raters", [2, 3, 7])
def test_alpha_is_that_of_the_krippendorff_package(level: str, raters: int) -> None:
    krippendorff = pytest.importorskip("krippendorff", reason="the second route to alpha")
    units = random_units(60, raters)
    padded = [unit + [float("nan")] * (raters - len(unit)) for unit in units]
    theirs = krippendorff.alpha(
        reliability_data=list(zip(*padded, strict=True)), level_of_measurement=level
    )
    assert krippendorff_alpha(units, level) == pytest.approx(theirs, abs=1e-12)


@pytest.mark.parametrize("level", ["nominal", "interval"])
@pytest.mark.parametrize("units", [[], [[1], [2], []], [[0.1, 0.1, 0.1]] * 7])
def test_alpha_of_nothing_to_tell_apart_is_undefined(level: str, units: list) -> None:
    assert krippendorff_alpha(units, level) is None
    n = sum(len(unit) > 1 for unit in units)
    assert alpha_estimate(units, level) == Estimate(None, None, None, n)


def test_interval_alpha_is_the_same_on_any_linear_scale() -> None:
    units = random_units(40, 3)
    plain = krippendorff_alpha(units, "interval")
    moved = krippendorff_alpha(
        [[1e6 + 1e-3 * value for value in unit] for unit in units], "interval"
    )
    huge = krippendorff_alpha([[1e200 * value for value in unit] for unit in units], "interval")
    assert moved == pytest.approx(plain, abs=1e-6)
    assert huge == pytest.approx(plain)


def test_alpha_refuses_what_it_cannot_measure() -> None:
    with pytest.raises(ValueError, match="finite"):
        krippendorff_alpha([[1.0, float("nan")]], "interval")
    with pytest.raises(ValueError, match="level"):
        krippendorff_alpha([[1, 2]], "ordinal")  # type: ignore[arg-type]


# Kappa


def test_kappa_by_hand() -> None:
    # p_o = 35/50; margins 25, 25 and 30, 20: p_e = 0.5 · 0.6 + 0.5 · 0.4 = 0.5.
    assert cohen_kappa(*table_labels([[20, 5], [10, 15]])) == pytest.approx(0.4)
    assert cohen_kappa(["x", "y"], ["y", "x"]) == -1.0


def test_kappa_is_that_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="the second route to kappa")
    a, b = table_labels([[7, 2, 1], [0, 9, 4], [3, 3, 8]])
    assert cohen_kappa(a, b) == pytest.approx(metrics.cohen_kappa_score(a, b), abs=1e-12)


def test_kappa_is_undefined_when_chance_would_agree_always() -> None:
    assert cohen_kappa(["safe"] * 5, ["safe"] * 5) is None
    assert cohen_kappa([], []) is None


def test_kappa_wants_pairs() -> None:
    with pytest.raises(ValueError):
        cohen_kappa([1, 2], [1])


def test_kappa_of_several_is_the_mean_over_pairs_of_positions() -> None:
    a, b = table_labels([[20, 5], [10, 15]])
    c = [label if place % 3 else 1 - label for place, label in enumerate(b)]
    pairs = [cohen_kappa(a, b), cohen_kappa(a, c), cohen_kappa(b, c)]
    assert None not in pairs
    of_three = kappa_estimate(list(zip(a, b, c, strict=True)))
    assert of_three.value == pytest.approx(sum(pairs) / 3)  # type: ignore[arg-type]


def test_a_missing_third_vote_counts_in_the_other_pairs_only() -> None:
    a, b = table_labels([[20, 5], [10, 15]])
    units = [[*pair] for pair in zip(a, b, strict=True)]
    # The third rater is there twice and always right with b, wrong with a in one of two.
    units[0].append(units[0][1])
    units[30].append(units[30][1])
    with_a = cohen_kappa([units[0][0], units[30][0]], [units[0][1], units[30][1]])
    kappas = [0.4, with_a, cohen_kappa([units[0][1], units[30][1]], [units[0][1], units[30][1]])]
    defined = [kappa for kappa in kappas if kappa is not None]
    assert kappa_estimate(units).value == pytest.approx(sum(defined) / len(defined))


# Intervals


def test_an_interval_is_that_of_resampling_by_hand() -> None:
    numpy = pytest.importorskip("numpy", reason="draws the same resamples")
    units = [unit for unit in random_units(50, 3) if len(unit) > 1]
    drawn = numpy.random.default_rng(5).integers(len(units), size=(200, len(units)))
    for level in ("nominal", "interval"):
        slow = [krippendorff_alpha([units[i] for i in row], level) for row in drawn]
        quick = alpha_estimate(units, level, resamples=200, seed=5)
        assert (quick.low, quick.high) == pytest.approx(numpy.quantile(slow, [0.025, 0.975]))
    pairs = [unit[:2] for unit in units]
    slow = [cohen_kappa(*zip(*[pairs[i] for i in row], strict=True)) for row in drawn]
    quick = kappa_estimate(pairs, resamples=200, seed=5)
    assert (quick.low, quick.high) == pytest.approx(numpy.quantile(slow, [0.025, 0.975]))


def test_an_interval_holds_the_value_and_shrinks_with_n() -> None:
    few = alpha_estimate(random_units(40, 2))
    many = alpha_estimate(random_units(2000, 2))
    for found in (few, many):
        assert found.low is not None and found.value is not None and found.high is not None
        assert found.low < found.value < found.high
    assert many.high - many.low < (few.high - few.low) / 3  # type: ignore[operator]


def test_an_interval_depends_on_the_seed_alone() -> None:
    units = random_units(40, 2)
    assert alpha_estimate(units, seed=1) == alpha_estimate(units, seed=1)
    assert alpha_estimate(units, seed=1) != alpha_estimate(units, seed=2)


def test_chunks_of_resamples_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    units = random_units(40, 3)
    at_once = kappa_estimate(units)
    monkeypatch.setattr("safegrpo.evaluation.agreement._CHUNK", 100)
    assert kappa_estimate(units) == at_once


def test_undefined_resamples_are_left_out() -> None:
    # 37 % of the resamples lack the one unit that differs.
    found = alpha_estimate(["aa"] * 39 + ["bb"])
    assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)


def test_no_interval_when_most_resamples_are_undefined() -> None:
    # A single resample holds both units and is 1, or one of them twice and is undefined.
    lows = {alpha_estimate(["aa", "bb"], resamples=1, seed=seed).low for seed in range(10)}
    assert lows == {None, 1.0}


def test_no_interval_of_one_unit() -> None:
    assert alpha_estimate(["ab"]) == Estimate(0.0, None, None, 1)


def test_large_samples_take_a_second_or_so() -> None:
    units = random_units(3000, 3)
    start = time.perf_counter()
    alpha_estimate(units)
    alpha_estimate(units, "interval")
    kappa_estimate(units)
    assert time.perf_counter() - start < 10  # far above what it takes, for a busy machine


def test_a_share_has_its_wilson_interval() -> None:
    assert share_estimate(8, 10).low == pytest.approx(0.490162, abs=2e-6)
    assert share_estimate(0, 0) == Estimate(None, None, None, 0)


# Votes


@pytest.mark.parametrize(
    ("score", "tag"),
    [(0, "unsafe"), (3, "unsafe"), (3.1, "unclear"), (6.9, "unclear"), (7, "safe")],
)
def test_thresholds_count_as_reached(score: float, tag: str) -> None:
    assert tag_of_score(score) == tag


def test_votes_are_measured_by_modality() -> None:
    rows = [[vote(1), vote(2)], [vote(8), vote(9)], [vote(2), vote(8)], [vote(5)], []]
    report = agreement_of_votes(iter(rows))
    assert list(report) == ["visual", "text", "combined"]
    visual = report["visual"]
    assert visual["units"] == 3
    assert visual["alpha_tags"]["value"] == pytest.approx(4 / 9)
    assert visual["kappa"]["value"] == pytest.approx(0.4)  # p_o = 2/3, p_e = (2·1 + 1·2)/9
    assert visual["share_equal"]["value"] == pytest.approx(2 / 3)
    expected = krippendorff_alpha([[1, 2], [8, 9], [2, 8]], "interval")
    assert visual["alpha_scores"]["value"] == pytest.approx(expected)
    assert report["text"]["alpha_tags"] == {"value": None, "low": None, "high": None, "n": 3}
    assert report["text"]["share_equal"]["value"] == 1.0
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_votes_are_read_by_the_thresholds_given() -> None:
    rows = [[vote(4), vote(2)], [vote(8), vote(5)]]
    assert agreement_of_votes(rows)["visual"]["share_equal"]["value"] == 0.0
    wider = agreement_of_votes(rows, unsafe_max=4, safe_min=5)
    assert wider["visual"]["share_equal"]["value"] == 1.0
    with pytest.raises(ValueError, match="below"):
        agreement_of_votes(rows, unsafe_max=7, safe_min=7)


def test_no_votes_are_no_agreement() -> None:
    report = agreement_of_votes([])["visual"]
    assert report["units"] == 0
    assert report["kappa"] == report["share_equal"]
    assert report["kappa"]["value"] is None


@pytest.mark.parametrize("wrong", [None, "9", True, float("nan"), 11, -1, [5]])
def test_a_score_that_is_none_is_named(wrong: object) -> None:
    rows = [[vote(1), vote(2)], [vote(1), vote(2, text=wrong)]]  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r'row 2, vote 2: score "text" must be a number'):
        agreement_of_votes(rows)
