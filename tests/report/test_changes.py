"""What a change is told by: the same questions, one judge, and a p for all that are looked at."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from safegrpo.evaluation.stats import holm, mcnemar
from safegrpo.report import write_report
from safegrpo.report.changes import Changes, Delta, NotCompared
from safegrpo.report.runs import read_runs
from tests.report.run_folder import Page, evaluation, figure, generation, judgement, metrics

PLACE = ("set", "guided", "rules")


def run(
    folder: Path,
    safe: list[bool],
    judge: str | None = None,
    judges: list[str] | None = None,
    direct: list[bool] | None = None,
    **row: Any,
) -> Path:
    """A run whose q0, q1, … are safe or not, guided, and direct where that is given."""
    found = metrics(sum(safe) / len(safe), n=len(safe))
    for mode in found["benchmarks"]["set"]["modes"].values():
        mode["scorers"] = {"rules": mode["scorers"]["rules"] | {"judge": judge}}
    sides = [("guided", safe), ("direct", direct or [])]
    rows = [generation(i, mode, **row) for mode, side in sides for i in range(len(side))]
    said = [
        judgement(i, mode, safe=one, refused=one, **({"judge": judges[i]} if judges else {}))
        for mode, side in sides
        for i, one in enumerate(side)
    ]
    return evaluation(folder, found, rows, said)


def change(*folders: Path) -> Any:
    """Of safety, guided, from the first to the second."""
    found = read_runs(folders)
    assert found.baseline is not None
    changes = Changes(found.baseline)
    changes.settle([(found.evaluations[1], PLACE, "safety")])
    return changes.of(found.evaluations[1], PLACE, "safety")


def test_questions_are_paired_by_what_was_asked(tmp_path: Path) -> None:
    before = run(tmp_path / "a", [False] * 20, content="0123456789abcdef")
    found = change(before, run(tmp_path / "b", [True] * 20, content="0123456789abcdef"))
    assert isinstance(found, Delta)
    assert (found.n, found.of, found.verdict) == (20, (20, 20), "better")


@pytest.mark.parametrize(
    "other", [{"content": "b" * 16}, {"item": {"prompt": "x"}, "content": "b" * 16}, {}]
)
def test_another_set_with_the_same_ids_is_not_compared(tmp_path: Path, other: Any) -> None:
    before = run(tmp_path / "a", [False] * 20, content="a" * 16)
    found = change(before, run(tmp_path / "b", [True] * 20, **other))
    assert found == NotCompared("no question is known to be the same in both")


def test_rows_that_do_not_know_their_content_are_paired_by_the_prompt(tmp_path: Path) -> None:
    before = run(tmp_path / "a", [False] * 20)
    assert change(before, run(tmp_path / "b", [True] * 20)).n == 20
    other = run(tmp_path / "c", [True] * 20, item={"prompt": "Something else?"})
    assert isinstance(change(before, other), NotCompared)


def test_what_is_in_both_is_counted_of_what_each_has(tmp_path: Path) -> None:
    runs = [run(tmp_path / "a", [False] * 20), run(tmp_path / "b", [True] * 30)]
    found = change(*runs)
    assert (found.n, found.of) == (20, (20, 30))
    assert "20 in both, of 20 and 30" in Page(write_report(*runs)).text


def test_numbers_of_two_judges_have_no_verdict_and_no_p(tmp_path: Path) -> None:
    runs = [
        run(tmp_path / "a", [False] * 20, judge="judge-x"),
        run(tmp_path / "b", [True] * 20, judge="/models/judge-y"),
    ]
    assert change(*runs) == NotCompared("judged by judge-y, baseline by judge-x")
    page = write_report(*runs)
    text = Page(page).text
    assert "judged by judge-y, baseline by judge-x" in text
    assert "rules by judge-x and judge-y" in text
    assert "<em>" not in page.read_text()  # no verdict of anything
    assert not re.search(r"· p \d|\d in both", text)


def test_a_judge_that_changed_midway_has_no_verdict(tmp_path: Path) -> None:
    judges = ["judge-x"] * 10 + ["judge-y"] * 10
    found = change(
        *(run(tmp_path / name, [safe] * 20, "judge-x, judge-y", judges)
          for name, safe in (("a", False), ("b", True)))
    )  # fmt: skip
    assert found == NotCompared("several judges: judge-x, judge-y")


def test_one_judge_is_named_beside_the_scorer(tmp_path: Path) -> None:
    text = Page(write_report(run(tmp_path / "a", [True] * 5, judge="judge-x"))).text
    assert "Guided · rules by judge-x" in text


def test_all_p_of_the_summary_are_adjusted_together(tmp_path: Path) -> None:
    """One p of 0.03 alone is a change; beside another comparison it is not."""
    six = [True] * 6 + [False] * 14
    runs = [
        run(tmp_path / "a", [False] * 20, direct=[False] * 20),
        run(tmp_path / "b", six, direct=[True] * 3 + [False] * 17),
    ]
    alone, beside = mcnemar(0, 6), holm([mcnemar(0, 6), mcnemar(0, 3)])[0]
    assert alone < 0.05 < beside
    assert change(*runs).verdict == "better"
    page = write_report(*runs)
    text = Page(page).text
    assert f"p {beside:.3f} after Holm" in text.partition("How to read this")[0]
    assert "<em>better" not in page.read_text()
    assert "(Holm)" in text


def test_a_comparison_has_one_p_wherever_it_is_shown(tmp_path: Path) -> None:
    found = read_runs([run(tmp_path / "a", [False] * 20), run(tmp_path / "b", [True] * 20)])
    assert found.baseline is not None
    changes = Changes(found.baseline)
    one = (found.evaluations[1], PLACE, "safety")
    changes.settle([one])
    first = changes.of(*one)
    changes.settle([one, *((one[0], PLACE, name) for name in ("attack_success", "refusal"))])
    assert changes.of(*one) == first


def test_an_equal_value_is_no_change(tmp_path: Path) -> None:
    runs = [run(tmp_path / name, [True, False] * 5) for name in "ab"]
    text = Page(write_report(*runs)).text
    assert "= 0.0  no change" in text
    assert "may be chance" not in text.partition("How to read this")[0]


@pytest.mark.parametrize("value", [10**400, "word", [[1]], {"a": 1}])
def test_a_score_that_is_none_stops_no_comparison(tmp_path: Path, value: Any) -> None:
    found = metrics()
    for mode in found["benchmarks"]["set"]["modes"].values():
        scored = mode["scorers"]["rules"]["metrics"]
        scored["score"] = scored["safety"]
    rows = [generation(item={"expected": "answer"})]
    runs = [evaluation(tmp_path / n, found, rows, [judgement(score=value)]) for n in "ab"]
    assert write_report(*runs).exists()


def test_an_interval_too_narrow_for_few_changes_is_told(tmp_path: Path) -> None:
    """Four of four: the interval leaves out zero, and the exact test does not believe it."""
    runs = [run(tmp_path / "a", [False] * 4), run(tmp_path / "b", [True] * 4)]
    assert change(*runs).verdict == "unclear"
    text = Page(write_report(*runs)).text.partition("How to read this")[0]
    assert "may be chance" in text
    assert f"too few to tell: p {mcnemar(0, 4):.3f}" in text


@pytest.mark.parametrize(("count", "verdict"), [(20, "changed"), (4, "unclear")])
def test_what_is_neither_better_nor_worse_changes_beyond_chance_only(
    tmp_path: Path, count: int, verdict: str
) -> None:
    folders = []
    for name, refused in (("a", False), ("b", True)):
        folder = run(tmp_path / name, [refused] * count)
        found = metrics(n=count)
        for mode in found["benchmarks"]["set"]["modes"].values():
            mode["scorers"]["rules"]["metrics"]["refusal"] = figure(
                float(refused), count, "neither"
            )
        (folder / "metrics.json").write_text(json.dumps(found))
        folders.append(folder)
    found_runs = read_runs(folders)
    assert found_runs.baseline is not None
    changes = Changes(found_runs.baseline)
    changes.settle([(found_runs.evaluations[1], PLACE, "refusal")])
    delta = changes.of(found_runs.evaluations[1], PLACE, "refusal")
    assert isinstance(delta, Delta)
    assert delta.verdict == verdict
