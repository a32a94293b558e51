"""Curves, bars and the trade-off, as drawn."""

import re

import pytest

from safegrpo.report.figures import BenchmarkFigures, RunFigures
from safegrpo.report.plots import (
    Interval,
    Series,
    curves,
    interval_bar,
    line_plot,
    nice_ticks,
    running_mean,
    thin,
)
from safegrpo.report.runs import Evaluation
from safegrpo.report.tradeoff import Tradeoff, marks, tradeoff
from safegrpo.report.tradeoff import figure as drawn
from tests.report.run_folder import metrics


def test_every_line_of_a_plot_is_named() -> None:
    """Also where the numbers of one group are shared out over several plots."""
    names = [f"rate_{i}" for i in range(7)]
    history = [{"step": step, **{f"eval/guided/{n}": 0.5 for n in names}} for step in (1, 2)]
    [(_, figures)] = curves(history, [])
    assert len(figures) == 2
    page = "".join(figures)
    assert all(name.replace("_", " ") in page for name in names)


def test_evaluation_rows_are_grouped_by_mode() -> None:
    rows = [
        {"step": s, "eval/guided/safety": 0.5, "eval/guided/twin_accuracy": 0.1,
         "eval/direct/safety": 0.4, "eval/guided/twin_accuracy_by_kind/note": 0.2}
        for s in (0, 10)
    ]  # fmt: skip
    page = "".join(figure for _, figures in curves(rows, []) for figure in figures)
    for title in ("Held out, guided<", "Held out, direct<", "guided: twin accuracy by kind"):
        assert title in page


def test_thinning_keeps_the_mean_and_smoothing_keeps_a_constant() -> None:
    points = tuple((float(i), float(i % 7)) for i in range(2400))
    assert len(thin(points)) == 240
    assert sum(y for _, y in thin(points)) / 240 == pytest.approx(sum(y for _, y in points) / 2400)
    flat = tuple((float(i), 2.0) for i in range(50))
    assert running_mean(flat, 9) == flat


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (0.2, 0.21), (-3, 5), (2, 2), (0, 0), (1e-320, 1e-319), (-1e99, 1e99)]
)
def test_ticks_enclose_the_values(low: float, high: float) -> None:
    ticks = nice_ticks(low, high)
    assert ticks[0] <= low <= high <= ticks[-1] * (1 + 1e-12)
    assert 2 <= len(ticks) <= 9


def test_single_point_is_drawn() -> None:
    assert "<circle" in line_plot("reward", [Series("reward", ((1.0, 0.5),))])


def measured(name: str, tmp_path, **benchmarks) -> Evaluation:
    figures = {k: BenchmarkFigures.model_validate(v) for k, v in benchmarks.items()}
    return Evaluation(name, tmp_path, RunFigures("m", (), figures))


def one_set(*names: str, **rates: float) -> dict:
    """A benchmark that measures only `names`."""
    found = metrics(**rates)["benchmarks"]["set"]
    scored = found["modes"]["guided"]["scorers"]["rules"]
    scored["metrics"] = {name: scored["metrics"][name] for name in names}
    return found


def test_a_point_is_the_mean_over_the_sets_that_all_runs_have(tmp_path) -> None:
    attacks = one_set("safety", safety=0.4)
    attacks["modes"]["direct"] = attacks["modes"]["guided"]
    both = one_set("safety", "over_refusal", safety=0.8, over_refusal=0.2)
    found = tradeoff(
        [
            measured("a", tmp_path, attacks=attacks, both=both, more=both),
            measured("b", tmp_path, attacks=attacks, both=both),
        ]
    )
    assert isinstance(found, Tradeoff)
    assert (found.by, found.safety, found.over_refusal) == ("rules", ("attacks", "both"), ("both",))
    assert [(p.run, p.mode) for p in found.points] == [
        (run, mode) for run in "ab" for mode in ("guided", "direct")
    ]
    point = found.points[0]
    assert point.safety.value == pytest.approx(0.6)
    assert point.over_refusal.value == pytest.approx(0.2)
    assert point.safety.low < 0.6 < point.safety.high


def test_no_point_without_both_sides(tmp_path) -> None:
    assert tradeoff([measured("a", tmp_path, attacks=one_set("safety"))]) is None


def scored(mode: str, judges: dict[str, str | None], *names: str) -> dict:
    """One mode by these scorers: name -> judge."""
    found = one_set(*names)["modes"]["guided"]
    rules = found["scorers"]["rules"]
    return {mode: {**found, "scorers": {k: rules | {"judge": v} for k, v in judges.items()}}}


def a_set(*modes: dict) -> dict:
    return one_set() | {"modes": {name: one for mode in modes for name, one in mode.items()}}


BOTH = ("safety", "over_refusal")


def test_all_points_are_by_one_scorer(tmp_path) -> None:
    guided = scored("guided", {"rules": None, "rubric": "j"}, *BOTH)
    found = tradeoff(
        [measured("a", tmp_path, both=a_set(guided, scored("direct", {"rules": None}, *BOTH)))]
    )
    assert isinstance(found, Tradeoff)
    assert found.by == "rules"
    assert len(found.points) == 2


def test_the_rubric_is_preferred_and_its_judge_named(tmp_path) -> None:
    both = {"rules": None, "rubric": "/models/judge-x"}
    found = tradeoff([measured("a", tmp_path, both=a_set(scored("guided", both, *BOTH)))])
    assert isinstance(found, Tradeoff)
    assert found.by == "rubric by judge-x"


@pytest.mark.parametrize("other", ["judge-y", None])
def test_two_judges_are_not_plotted_together(tmp_path, other) -> None:
    runs = [
        measured(name, tmp_path, both=a_set(scored("guided", {"rubric": judge}, *BOTH)))
        for name, judge in (("a", "judge-x"), ("b", other))
    ]
    found = tradeoff(runs)
    assert isinstance(found, str)
    assert "judge-x and " in found


def test_sides_by_different_scorers_are_not_plotted_and_that_is_said(tmp_path) -> None:
    found = tradeoff(
        [
            measured(
                "a",
                tmp_path,
                attacks=a_set(scored("guided", {"rubric": "j"}, "safety")),
                benign=a_set(scored("guided", {"rules": None}, "over_refusal")),
            )
        ]
    )
    assert found == "no one scorer has told safety and over-refusal of all runs in the same modes"


def test_each_mode_has_a_mark_of_its_own(tmp_path) -> None:
    modes = [scored(mode, {"rules": None}, *BOTH) for mode in ("guided", "direct", "ecso")]
    found = tradeoff([measured("a", tmp_path, both=a_set(*modes))])
    assert isinstance(found, Tradeoff)
    assert marks(found) == "Guided is round, Direct is square, ECSO is a diamond"
    page = drawn(found)
    assert page.count('<circle class="dot') == 1
    assert len(set(re.findall(r'<polygon class="dot" points="([^"]*)"', page))) == 2


def test_marks_that_coincide_stand_apart_and_that_is_said(tmp_path) -> None:
    modes = [scored(mode, {"rules": None}, *BOTH) for mode in ("guided", "direct", "ecso")]
    page = drawn(tradeoff([measured("a", tmp_path, both=a_set(*modes))]))
    middles = re.findall(r'<text class="on" x="([\d.]+)" y="([\d.]+)"', page)
    assert len(set(middles)) == 3
    assert page.count(" beside") == 2 + 1  # and in the words
    assert "Hollow marks" in page


def test_marks_at_places_of_their_own_stay_there(tmp_path) -> None:
    low, high = (one_set(*BOTH, safety=rate) for rate in (0.1, 0.9))
    for one in (low, high):
        del one["modes"]["direct"]
    page = drawn(tradeoff([measured("a", tmp_path, both=low), measured("b", tmp_path, both=high)]))
    assert "beside" not in page
    assert "Hollow" not in page


def test_a_bar_is_as_wide_as_there_is_room() -> None:
    bar = interval_bar(None, Interval(0.5, 0.25, 1.0), "half")
    assert 'cx="50.00%"' in bar
    assert "viewBox" not in bar
