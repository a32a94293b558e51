import json

import pytest

from safegrpo.evaluation.compare import change
from safegrpo.evaluation.stats import mcnemar, sign_flip


def run(**counts: int) -> tuple[dict[str, float | None], dict[str, float | None]]:
    """Two runs with `kept`, `lost`, `gained` and `missed` units."""
    values = {"kept": (1.0, 1.0), "lost": (1.0, 0.0), "gained": (0.0, 1.0), "missed": (0.0, 0.0)}
    before: dict[str, float | None] = {}
    after: dict[str, float | None] = {}
    for kind, count in counts.items():
        for number in range(count):
            before[f"{kind}{number}"], after[f"{kind}{number}"] = values[kind]
    return before, after


def test_units_are_paired_by_their_id_and_not_by_their_order() -> None:
    before, after = run(kept=20, lost=4, gained=12, missed=4)
    found = change("safety", before, dict(reversed(after.items())), "higher")
    assert found is not None
    assert (found.n, found.before, found.after) == (40, 24 / 40, 32 / 40)
    assert found.difference == pytest.approx(8 / 40)
    assert found.low < found.difference < found.high
    assert found.p == mcnemar(4, 12)


def test_units_known_in_one_run_only_are_counted_and_left_out() -> None:
    before, after = run(kept=3, gained=2)
    before |= {"kept0": None, "old": 1.0}
    after |= {"new": 0.0, "newer": 1.0, "unknown": None}
    found = change("safety", before, after, "higher")
    assert found is not None
    assert (found.n, found.only_before, found.only_after) == (4, 1, 3)
    assert found.after == 1.0


def test_nothing_known_in_both_is_no_change() -> None:
    assert change("safety", {"a": 1.0, "b": None}, {"b": 1.0, "a": None}, "higher") is None
    assert change("safety", {}, {}, "higher") is None


def test_which_way_is_better_decides_the_verdict() -> None:
    before, after = run(kept=20, gained=20, missed=20)
    verdicts = {}
    for better in ("higher", "lower"):
        found = change("m", before, after, better)
        assert found is not None
        verdicts[better] = found.verdict
    assert verdicts == {"higher": "better", "lower": "worse"}
    back = change("m", after, before, "higher")
    assert back is not None and back.verdict == "worse"


def test_as_many_lost_as_gained_is_unclear() -> None:
    found = change("m", *run(kept=20, lost=10, gained=10), "higher")
    assert found is not None
    assert found.verdict == "unclear"
    assert found.low < 0 < found.high


@pytest.mark.parametrize("gained", [1, 4])
def test_a_few_changed_units_are_unclear_though_the_bootstrap_excludes_nothing_else(
    gained: int,
) -> None:
    found = change("m", *run(kept=0, gained=gained), "higher")
    assert found is not None
    assert found.low > 0
    assert found.verdict == "unclear"


def test_nothing_changed_is_unclear() -> None:
    found = change("m", *run(kept=5, missed=5), "lower")
    assert found is not None
    assert (found.low, found.high, found.p, found.verdict) == (0, 0, 1, "unclear")


def test_means_of_several_samples_are_tested_by_their_signs() -> None:
    before: dict[str, float | None] = {str(n): n % 4 / 4 for n in range(12)}
    after: dict[str, float | None] = {str(n): min(1.0, n % 4 / 4 + 0.25) for n in range(12)}
    found = change("score", before, after, "higher")
    assert found is not None
    assert found.p == sign_flip([0.25] * 12)
    assert found.verdict == "better"


def test_what_is_no_fraction_is_refused_by_its_unit() -> None:
    with pytest.raises(ValueError, match="safety of unit 'a'"):
        change("safety", {"a": float("nan")}, {"a": 1.0}, "higher")


def test_the_row_of_a_change_holds_its_verdict() -> None:
    found = change("m", *run(gained=30), "higher")
    assert found is not None
    row = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert row["verdict"] == "better"
    assert row["n"] == 30
