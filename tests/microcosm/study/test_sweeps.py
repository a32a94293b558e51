"""One setting at several values, and rows over their steps."""

from dataclasses import replace
from pathlib import Path

import pytest

from safegrpo.microcosm.study.results import read_results
from safegrpo.microcosm.study.study import Study
from safegrpo.microcosm.study.sweeps import (
    ROLLOUTS,
    Sweep,
    against_table,
    chosen_lines,
    is_wide,
    step_charts,
    sweep_charts,
    sweep_table,
    sweeps,
)
from tests.microcosm.study.made_up import GOOD, HOMES, ROWS, SFT, lines, write


def test_a_sweep_is_ordered_by_its_values_and_has_the_rows_own(study: Study) -> None:
    found = {one.key: one for one in sweeps(study, {"ours@pairs": "1920"})}
    (swept,) = found["pairs"].rows
    assert [value for value, _ in swept.points] == ["60", "300", "1920", "6000"]
    assert [line[-1] for line in lines(sweep_table(study, found["pairs"]))] == ["3", "3", "10", "3"]
    drawn = sweep_charts(study, found["pairs"])
    assert [x for x, *_ in drawn["safety"]["ours"]] == [60, 300, 1920, 6000]
    assert is_wide(drawn)
    assert sweep_charts(study, found["without"]) == {}  # its value is a word
    assert against_table(study, found["pairs"]) == ""  # nobody else was swept


def test_other_items_are_kept_apart(tmp_path: Path) -> None:
    write(tmp_path, "ours", 1, {"guided": GOOD})
    write(tmp_path, "ours@pairs=60", 1, {"guided": GOOD}, split="dev")
    found = swept_once(tmp_path, {"ours@pairs": "1920"})[1]
    assert found.rows[0].points == (("60", "ours@pairs=60"),)
    assert found.split == "dev"


def swept_once(folder: Path, own: dict[str, str]) -> tuple[Study, Sweep]:
    study = Study(read_results(folder), ROWS, HOMES)
    (found,) = sweeps(study, own)
    return study, found


def test_rows_that_were_swept_alike_are_set_beside_each_other(tmp_path: Path) -> None:
    write(tmp_path, "ours@pairs=60", 2, {"guided": GOOD})
    write(tmp_path, "vlguard@pairs=60", 2, {"direct": SFT})
    write(tmp_path, "ours@pairs=300", 2, {"guided": GOOD})
    study, found = swept_once(tmp_path, {})
    assert [one.row for one in found.rows] == ["vlguard", "ours"]  # as the study's rows are
    (line,) = lines(against_table(study, found))
    assert line[:2] == ["`vlguard`", "60"] and line[-1] == "2"
    assert line[5].startswith("-")  # over-refusal
    assert set(sweep_charts(study, found)["safety"]) == {"ours"}  # the other has one point only


def test_budgets_of_other_steps_are_drawn_over_their_rollouts(tmp_path: Path) -> None:
    for steps, rollouts in ((10, 960), (20, 1920)):
        training = {"seconds": 1.0, "steps": steps, "rollouts": rollouts, "pairs": 9}
        write(tmp_path, f"ours@steps={steps}", 1, {"guided": GOOD}, training=training)
    study, found = swept_once(tmp_path, {})
    assert [x for x, *_ in sweep_charts(study, found, ROLLOUTS)["twins"]["ours"]] == [960, 1920]
    assert [line[2] for line in lines(sweep_table(study, found, ROLLOUTS))] == ["960", "1,920"]


@pytest.mark.parametrize(("own", "end"), [("1e-04", ""), ("0.01", "; the row's own is `0.01`")])
def test_a_learning_rate_is_chosen_by_what_the_files_say(
    tmp_path: Path, own: str, end: str
) -> None:
    kept = GOOD | {"over_refusal": 0.0, "vqa_accuracy": 1.0, "usefulness": 1.0, "safety": 1.0}
    for value, rates in (("0.0001", kept), ("0.001", SFT)):
        write(tmp_path, f"ours@learning_rate={value}", 1, {"guided": rates}, split="dev")
    study, found = swept_once(tmp_path, {"ours@learning_rate": own})
    assert list(chosen_lines(study, found)) == [f"- `ours`: `0.0001`, at 100.0{end}"]
    assert list(chosen_lines(study, replace(found, key="beta"))) == []
    assert list(chosen_lines(study, replace(found, split="test"))) == []


def test_of_learning_rates_that_are_alike_the_largest_is_chosen(tmp_path: Path) -> None:
    for value in ("3e-05", "0.0001"):
        write(tmp_path, f"ours@learning_rate={value}", 1, {"guided": GOOD}, split="dev")
    (said,) = chosen_lines(*swept_once(tmp_path, {}))
    assert said.startswith("- `ours`: `0.0001`, at ")


def test_steps_are_means_over_the_seeds_in_percent_of_all(study: Study) -> None:
    assert step_charts(study) == {
        "safety": {"ours": [(0, 0, 0, 0), (25, 40, 40, 40), (50, 80, 80, 80)]}
    }
