"""The study from rows to the page, at the smallest size."""

import json
import shutil
from pathlib import Path

import pytest

from safegrpo.cli import main
from safegrpo.data.jsonl import locked
from safegrpo.microcosm.study.results import read_results
from safegrpo.microcosm.study.rows import load_rows
from safegrpo.microcosm.study.run import run_row

ROWS = {
    "01-base": "{title: Base, method: none, modes: [direct], home: direct}",
    "02-sft": "{title: Taught, method: sft, home: direct, seeds: 2, world: {pairs: 24}, "
    "supervised: {lessons: labels, steps: 2, batch_size: 4, learning_rate: 1.0e-4}}",
    "03-ours": "{title: Ours, seeds: 1, world: {pairs: 24, without: [kinds]}, recipe: {grpo: "
    "{max_steps: 2, per_device_train_batch_size: 16}, internalise: {steps: 2, batch_size: 2}}}",
}


@pytest.fixture
def rows(tmp_path):
    folder = tmp_path / "rows"
    folder.mkdir()
    for name, content in ROWS.items():
        (folder / f"{name}.yaml").write_text(content, "utf-8")
    return folder


def test_a_row_is_trained_measured_and_written_down(rows, tmp_path):
    row = load_rows(rows)["ours"]
    said = []
    run_row("ours", row, 1000, tmp_path / "r", tmp_path / "work", size=0.02, say=said.append)
    [result] = read_results(tmp_path / "r")["ours"].values()
    assert (result.row, result.seed, result.split) == ("ours", 1000, "test")
    assert result.command == "safegrpo study --rows ours --seeds 1000"
    made = result.training
    assert (made.steps, made.pairs) == (2, 24)
    assert made.rollouts == 24 + 2 * 16 + 24  # the look, GRPO, then one a pair
    assert made.parts["cold_start"] > 0
    assert sum(made.kinds.values()) == 24 and made.parts["grpo"] > 0
    assert set(result.modes) == {"guided", "direct"} and set(result.slices) >= {
        "looks",
        "apart-kinds",
    }
    assert result.controls.forced_tag is not None and result.controls.blank["direct"].outcomes
    assert not any((tmp_path / "work").iterdir())  # weights are not kept


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--rows", "oors"], 'no row "oors"; did you mean "ours"'),
        (["--sweeps", "x"], 'no sweep "x"'),
        (["--seeds", "a-b"], "--seeds"),
        (["--jobs", "0"], "--jobs must be 1 or more"),
        (["--quick", "--rows", "ours"], "--quick has rows and a seed of its own"),
    ],
)
def test_wrong_arguments_are_told_in_one_line(rows, tmp_path, capsys, arguments, said):
    place = ["--recipes", str(rows), "-o", str(tmp_path / "out")]
    assert main(["study", *place, *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_list_says_what_is_done(rows, tmp_path, capsys):
    assert main(["study", "--recipes", str(rows), "-o", str(tmp_path), "--list"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "base\t0 of 1\tBase",
        "sft\t0 of 2\tTaught",
        "ours\t0 of 1\tOurs",
    ]


def test_two_studies_in_one_folder_are_refused(rows, tmp_path, capsys):
    with locked(tmp_path / "work" / "lock"):
        assert main(["study", "--recipes", str(rows), "-o", str(tmp_path)]) == 2
    assert "another run is at work" in capsys.readouterr().err
    assert not (tmp_path / "results.md").exists()


@pytest.mark.slow
def test_a_study_goes_on_where_it_stopped(rows, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("safegrpo.commands.study.QUICK", ("base", "sft"))
    monkeypatch.setattr("safegrpo.commands.study.QUICK_SIZE", 0.02)
    place = ["study", "--recipes", str(rows), "-o", str(tmp_path / "out"), "--quick"]
    assert main(place) == 0
    out = tmp_path / "out" / "quick"
    assert "2 to go" in capsys.readouterr().err
    assert {p.name for p in (out / "results").glob("*.json")} == {"base-1000.json", "sft-1000.json"}
    assert "Taught" in (out / "results.md").read_text("utf-8")
    (out / "results" / "sft-1000.json").write_text(
        json.dumps({**json.loads((out / "results" / "sft-1000.json").read_text()), "hash": "old"})
    )
    assert main(place) == 0
    assert "1 of 2 runs are there, 1 to go" in capsys.readouterr().err
    (rows / "02-sft.yaml").write_text(ROWS["02-sft"].replace("steps: 2", "steps: -2"), "utf-8")
    assert main(place) == 2


@pytest.mark.slow
def test_the_page_in_docs_is_made_of_the_files_beside_it(tmp_path):
    docs = Path(__file__).parents[3] / "docs"
    shutil.copytree(docs / "results", tmp_path / "results")
    assert main(["study", "--render", "-o", str(tmp_path)]) == 0
    assert (tmp_path / "results.md").read_text("utf-8") == (docs / "results.md").read_text("utf-8")
