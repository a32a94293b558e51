"""`safegrpo train --dry-run`: the table, the JSON, verdicts, advice, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import yaml

from safegrpo.cli import main
from safegrpo.models import load_config
from safegrpo.training.config import load_recipe
from safegrpo.training.estimate.advice import advice
from safegrpo.training.estimate.estimate import estimate
from safegrpo.training.estimate.memory import PHASES


@pytest.fixture
def recipe_file(model_dir, tmp_path):
    """The path of a small recipe for GPUs; its data is not on this machine."""
    options = {
        "model": str(model_dir),
        "data": {"train": "owner/set", "max_prompt_length": 500},
        "freeze_vision": False,
        "grpo": {
            "per_device_train_batch_size": 8,
            "gradient_accumulation_steps": 8,
            "max_completion_length": 400,
        },
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(options))
    return path


def said(capsys, *arguments) -> dict:
    assert main(["train", *map(str, arguments), "--dry-run", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_sum_is_that_of_the_parts(capsys, recipe_file) -> None:
    found = said(capsys, recipe_file, "--gpu-memory", 1)
    parts, phases = found["memory"]["parts"].values(), found["memory"]["phases"].values()
    assert found["memory"]["peak"] == max(phases) <= sum(parts)
    assert found["parameters"]["total"] == sum(found["parameters"]["trained"].values())
    assert found["steps"] is None and found["hours"] is None


def test_a_table_for_people(capsys, recipe_file) -> None:
    assert main(["train", str(recipe_file), "--dry-run", "--set", "grpo.max_steps=3"]) == 0
    out = capsys.readouterr().out
    assert all(word in out for word in (*PHASES, "optimizer", "keys and values", "rests on"))
    assert "the bound, not the expectation" in out and "give measured --generate-rate" in out
    assert all(len(line) < 400 for line in out.splitlines())


def test_what_comes_before_and_after_grpo_is_said_not_to_be_counted(capsys, recipe_file) -> None:
    sets = [word for key in ("cold_start", "internalise") for word in ("--set", f"{key}.steps=5")]
    rests_on = json.dumps(said(capsys, recipe_file, *sets))
    assert "the cold start is not counted" in rests_on
    assert "what comes after GRPO (internalise) is not counted" in rests_on


def test_hours_only_at_given_rates(capsys, recipe_file) -> None:
    steps = ("--set", "grpo.max_steps=10")
    assert said(capsys, recipe_file, *steps)["hours"] is None
    found = said(capsys, recipe_file, *steps, "--generate-rate", 100)["hours"]
    assert found["generating"] > 0 and found["training"] is None
    found = said(capsys, recipe_file, *steps, "--tflops", 100, "--utilisation", 0.3)["hours"]
    assert found["generating"] is None and found["training"] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dry-run", "--gpus", "0"], "--gpus: a number above 0"),
        (["--dry-run", "--gpu-memory", "nan"], "--gpu-memory: a number above 0"),
        (["--dry-run", "--resume"], "leave out --resume"),
        (["--dry-run", "--tflops", "9"], "go together"),
        (["--dry-run", "--tflops", "9", "--utilisation", "1.5"], "1 or less"),
        (["--gpus", "2"], "--gpus belongs to --dry-run"),
        (["--json"], "--json belongs to --dry-run"),
        (["--dry-run", "--set", "model=not/here/at/all"], "no directory here"),
    ],
)
def test_wrong_usage_is_one_line_and_code_2(capsys, recipe_file, arguments, message) -> None:
    assert main(["train", str(recipe_file), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_the_verdict_leaves_a_margin(capsys, recipe_file) -> None:
    peak = said(capsys, recipe_file)["memory"]["peak"] / 2**30
    for times, verdict in ((1.2, "fits"), (1.05, "tight"), (0.9, "does not fit")):
        found = said(capsys, recipe_file, "--gpu-memory", times * peak)
        assert found["memory"]["verdict"] == verdict
        assert bool(found["advice"]) == (verdict != "fits")


def test_advice_says_what_it_comes_to(recipe_file) -> None:
    recipe = load_recipe(recipe_file)
    size = estimate(recipe).memory.peak / 2**30
    found = estimate(recipe, gpu_memory=0.9 * size)
    turns = advice(recipe, found, load_config(recipe.model))
    assert turns == sorted(turns, key=lambda turn: turn.peak)
    for turn in turns:
        if turn.setting.startswith("--set"):
            overrides = turn.setting.replace("--set ", "").split()
            then = estimate(load_recipe(recipe_file, overrides))
            assert then.memory.peak == turn.peak < found.memory.peak


def test_vllm_takes_its_share_and_says_what_fits_into_it(capsys, recipe_file) -> None:
    vllm = ("--set", "grpo.use_vllm=true", "--set", "grpo.vllm_gpu_memory_utilization=0.5")
    found = said(capsys, recipe_file, *vllm, "--gpu-memory", 2)["memory"]
    assert found["parts"]["vLLM's share"] == 2**30 and "keys and values" not in found["parts"]
    token = 2 * 2 * 3 * 64  # two bytes; keys and values; three layers of two heads, 32 wide
    assert found["engine_tokens"] == pytest.approx(2**30 / token, rel=0.01)
    asleep = said(
        capsys, recipe_file, *vllm, "--set", "grpo.vllm_enable_sleep_mode=true", "--gpu-memory", 2
    )["memory"]
    assert asleep["phases"]["training"] == found["phases"]["training"] - 2**30
    assert asleep["phases"]["generating"] == found["phases"]["generating"]
    server = said(capsys, recipe_file, *vllm, "--set", "grpo.vllm_mode=server")["memory"]
    assert {"vLLM's share", "keys and values"}.isdisjoint(server["parts"])


def test_an_engine_without_room_for_the_weights_does_not_fit(capsys, recipe_file) -> None:
    tiny = ("--set", "grpo.use_vllm=true", "--set", "grpo.vllm_gpu_memory_utilization=0.0001")
    assert (
        said(capsys, recipe_file, *tiny, "--gpu-memory", 9)["memory"]["verdict"] == "does not fit"
    )


def test_sharded_weights_are_generated_with_in_transformers_way(capsys, recipe_file) -> None:
    found = said(capsys, recipe_file, "--gpus", 2, "--sharding", "fsdp")
    assert any("to generate, where weights are sharded" in line for line in found["assumptions"])
    plain = said(capsys, recipe_file, "--gpus", 2)
    assert found["memory"]["parts"]["weights"] == plain["memory"]["parts"]["weights"] // 2


def test_a_memory_bound_does_not_move_with_the_mean_prompt(recipe_file) -> None:
    recipe = load_recipe(recipe_file)
    one = estimate(recipe)
    shorter = replace(one.plan.prompts, mean=50.0)
    other = estimate(recipe, prompts=shorter)
    assert other.memory == one.memory and other.work.training < one.work.training
