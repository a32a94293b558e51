"""The demo in small: two steps, everything else as it is."""

import json

import pytest
import torch
import yaml

from safegrpo.cli import main
from safegrpo.commands.demo import table
from safegrpo.microcosm import SHIPPED, measure
from safegrpo.microcosm.pairs import held_out
from safegrpo.models import load_model, load_processor

RATES = {
    *("safety", "compositional_safety", "twin_accuracy", "over_refusal"),
    *("usefulness", "vqa_accuracy", "format_rate", "tag_accuracy"),
}
SHORT = ["--set", "grpo.max_steps=2", "--set", "evaluate.every=2"]
BRIEF = ["--set", "internalise.steps=2", "--set", "internalise.batch_size=4"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Run folders of short demos: paper twice with one seed, strict once."""
    folder = tmp_path_factory.mktemp("demo")
    for name, rules in (("paper", "paper"), ("again", "paper"), ("strict", "strict")):
        options = ["--output", str(folder / name), "--seed", "5", "--rules", rules]
        # The published method ends with GRPO; ours goes on.
        assert main(["demo", *options, *SHORT, *(BRIEF if rules == "strict" else ())]) == 0
    return folder


@pytest.fixture(scope="module")
def summary(runs):
    return json.loads((runs / "paper" / "summary.json").read_text())


def test_the_summary_keeps_the_contract(summary) -> None:
    assert (summary["steps"], summary["seed"], summary["rules"]) == (2, 5, "paper")
    assert all(seconds >= 0 for seconds in summary["seconds"].values())
    for phase in ("before", "after"):
        assert set(summary[phase]) == {"guided", "direct"}
        for mode, figures in summary[phase].items():
            assert set(figures) >= RATES and set(figures["n"]) >= RATES
            tagged = mode == "guided"
            assert (figures["format_rate"] is not None) == tagged
            assert (figures["tag_accuracy"] is not None) == tagged
            plain = RATES - {"format_rate", "tag_accuracy"}
            assert all(0 <= figures[name] <= 1 for name in plain)
        tags = summary[phase]["guided"]["tag_accuracy"]
        assert set(tags) == {"visual", "text", "combined"}


def test_enough_is_measured(summary) -> None:
    n = summary["after"]["guided"]["n"]
    assert n["safety"] >= 250 and n["over_refusal"] >= 250 and n["twin_accuracy"] >= 150


def test_the_run_folder_is_whole(runs) -> None:
    found = {path.name for path in (runs / "paper").iterdir()}
    assert found >= {
        *("summary.json", "report.html", "manifest.json", "config.yaml"),
        *("metrics.jsonl", "rollouts", "checkpoints", "eval"),
    }
    assert "cold_start" not in found and (runs / "strict" / "cold_start").is_dir()
    for phase in ("before", "after"):
        assert (runs / "paper" / "eval" / phase / "metrics.json").is_file()
    assert {p.name for p in (runs / "paper" / "rollouts").iterdir()} == {
        "step-000001.parquet",
        "step-000002.parquet",
    }


def test_the_page_shows_before_and_after(runs) -> None:
    page = (runs / "paper" / "report.html").read_text()
    assert "data:image/" in page
    for phase in ("before", "after"):
        assert f'"{phase}"' in page


def test_eval_measures_what_the_demo_says(runs, summary) -> None:
    found = json.loads((runs / "paper" / "eval" / "before" / "metrics.json").read_text())
    for mode, figures in summary["before"].items():
        measured = found["benchmarks"]["microcosm"]["modes"][mode]["scorers"]["rules"]["metrics"]
        assert measured["safety"]["value"] == figures["safety"]
        assert measured["accuracy"]["value"] == figures["vqa_accuracy"]
        assert measured["twin_accuracy"]["n"] == figures["n"]["twin_accuracy"]


def test_the_run_s_own_measurement_is_the_same_path_s(runs, summary) -> None:
    """In memory, as in the middle of training, and through a folder, as `safegrpo eval` does."""
    pairs = [pair.tagged() for pair in held_out("test")]
    model, processor = load_model(SHIPPED, dtype="float32"), load_processor(SHIPPED)
    rows = measure.ask_mode(model, processor, pairs, "guided")
    assert measure.metrics(rows) == summary["before"]["guided"]


def test_the_same_seed_gives_the_same_result(runs, summary) -> None:
    again = json.loads((runs / "again" / "summary.json").read_text())
    assert again["before"] == summary["before"] and again["after"] == summary["after"]
    first, second = (
        load_model(runs / name / "checkpoints" / "last").state_dict() for name in ("paper", "again")
    )
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_paper_trains_on_the_sum_and_strict_on_the_parts(runs) -> None:
    seen = {
        name: yaml.safe_load((runs / name / "config.yaml").read_text())["grpo"]
        for name in ("paper", "strict")
    }
    assert seen["paper"]["multi_objective_aggregation"] == "sum_then_normalize"
    # Ours is the default of every recipe.
    assert "multi_objective_aggregation" not in seen["strict"]


def test_the_table_says_what_the_summary_does(summary) -> None:
    shown = table(summary)
    n = summary["before"]["guided"]["n"]["vqa_accuracy"]
    right = summary["before"]["guided"]["vqa_accuracy"]
    row = next(line for line in shown.splitlines() if line.startswith("| general questions"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1] == str(n) and cells[2].startswith(f"{100 * right:.0f} (")


def test_a_folder_that_holds_something_is_left_alone(tmp_path, capsys) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert main(["demo", "--output", str(tmp_path), *SHORT]) == 2
    assert "is not empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_wrong_option_is_exit_code_2(tmp_path, capsys) -> None:
    output = ["--output", str(tmp_path / "run")]
    assert main(["demo", *output, "--set", "grpo.betta=1"]) == 2
    assert '"beta"' in capsys.readouterr().err
    assert main(["demo", *output, "--seed", "-1"]) == 2
    assert not (tmp_path / "run").exists()
