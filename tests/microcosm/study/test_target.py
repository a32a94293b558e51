"""The race to a target, without the runs that are raced."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from safegrpo.errors import ConfigError
from safegrpo.microcosm.study import target
from safegrpo.microcosm.study.cost import read_cost
from safegrpo.microcosm.study.rows import all_rows, recipes_folder

FEW = (
    target.Contender("ours", "ours", False, 2, 160),
    target.Contender("ours", "ours-unlinked", False, 2, 160),
)


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The runs that were started, by row and seed; each costs a hundred rollouts more."""
    begun: list[tuple[str, int]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        contender, seed = target.CONTENDERS[int(command[3])], int(command[4])
        begun.append((contender.row, seed))
        if seed == 13:
            return subprocess.CompletedProcess(command, 1, "")
        base = target._base(all_rows(recipes_folder())[contender.row])
        made = {"recipe": contender.title, "base": base, "seed": seed, "reached": True}
        made |= dict.fromkeys(("tokens", "seconds", "step"), 1.0) | {"rollouts": 100.0 * len(begun)}
        return subprocess.CompletedProcess(command, 0, json.dumps(made))

    monkeypatch.setattr(target, "CONTENDERS", FEW)
    monkeypatch.setattr(target, "prepare", lambda *_: None)
    monkeypatch.setattr(target.subprocess, "run", run)
    return begun


def go(folder: Path, *seeds: int) -> tuple[int, list[str]]:
    said: list[str] = []
    work = folder / "work"
    return target.race(folder, work, recipes_folder(), seeds, said.append), said


def test_contenders_run_in_turn_and_races_stay_apart(
    tmp_path: Path, ran: list[tuple[str, int]]
) -> None:
    failed, said = go(tmp_path, 1, 2)
    assert failed == 0
    assert ran == [("ours", 1), ("ours-unlinked", 1), ("ours", 2), ("ours-unlinked", 2)]
    assert said[1] == "unlinked: ours, seed 1: 200.0 rollouts, 1.0 s"
    cost = read_cost(tmp_path / "cost.json")
    assert cost is not None
    assert {base: [run.rollouts for run in race.runs] for base, race in cost.races().items()} == {
        "": [100, 300],
        "unlinked": [200, 400],
    }


def test_it_goes_on_where_it_stopped(tmp_path: Path, ran: list[tuple[str, int]]) -> None:
    go(tmp_path, 1)
    go(tmp_path, 1, 2)
    assert len(ran) == 4 and ran[2:] == [("ours", 2), ("ours-unlinked", 2)]


def test_runs_by_other_settings_are_run_again(
    tmp_path: Path, ran: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    go(tmp_path, 1)
    further = target.Contender("ours", "ours-unlinked", False, 2, 320)
    monkeypatch.setattr(target, "CONTENDERS", (FEW[0], further))
    go(tmp_path, 1)
    assert ran[2:] == [("ours-unlinked", 1)]


def test_a_failed_run_is_counted_and_told(tmp_path: Path, ran: list[tuple[str, int]]) -> None:
    failed, said = go(tmp_path, 13)
    assert failed == 2
    assert "unlinked: ours, seed 13: failed, see" in said[1]
    assert not (tmp_path / "cost.json").exists()


def test_a_base_model_is_made_only_for_what_is_left(
    tmp_path: Path, ran: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted: list[list[str]] = []
    monkeypatch.setattr(target, "prepare", lambda bases, *_: wanted.append(list(bases)))
    go(tmp_path, 1)
    go(tmp_path, 1)
    assert wanted == [["2m", "unlinked"], []]


def test_rows_that_the_race_needs_and_lacks_are_named(tmp_path: Path) -> None:
    (tmp_path / "01-base.yaml").write_text("{title: Base, method: none}")
    with pytest.raises(ConfigError, match='needs the row "ours"'):
        target.race(tmp_path, tmp_path / "work", tmp_path, [1], print)


def test_contenders_have_rows_and_names_of_their_own() -> None:
    rows = all_rows(recipes_folder())
    names = [(target._base(rows[one.row]), one.title) for one in target.CONTENDERS]
    assert len(set(names)) == len(names)
    first = {base: title for base, title in reversed(names)}
    assert first == {"": "ours", "unlinked": "ours"}
