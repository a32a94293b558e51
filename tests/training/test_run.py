"""Whole runs: what they leave behind, what they refuse, and the kinds of training there are."""

import json
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from safegrpo.data.images import ImageRef
from safegrpo.errors import ConfigError, DataError
from safegrpo.microcosm import SHIPPED
from safegrpo.microcosm.pairs import held_out
from safegrpo.models import load_model, load_processor
from safegrpo.thinking import GUIDE_FILE
from safegrpo.training.config import Recipe
from safegrpo.training.run import train

from .conftest import GUIDE_PATH, pair


def rows_of(run_dir):
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def weights(folder):
    return load_file(folder / "model.safetensors")


def changed(before, after):
    """Names of the tensors that differ."""
    return {name for name in before if not torch.equal(before[name].float(), after[name].float())}


HELD_OUT = [p.tagged() for p in held_out("dev", 0.02)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, speaking_pairs):
    """One run of four steps with everything on: its result, its pairs, its recipe."""
    recipe = Recipe.model_validate(
        {
            "model": str(SHIPPED),
            "guide": GUIDE_PATH,
            "output": str(tmp_path_factory.mktemp("run") / "out"),
            "evaluate": {"every": 2, "max_new_tokens": 72, "batch_size": 64},
            "checkpoint": {"every": 2},
            "samples_every": 2,
            "grpo": {
                "per_device_train_batch_size": 16,
                "num_generations": 4,
                "max_completion_length": 72,
                "max_steps": 4,
                "learning_rate": 1e-3,
                "use_cpu": True,
                "beta": 0.04,
            },
        }
    )
    result = train(recipe, train_pairs=speaking_pairs, eval_pairs=HELD_OUT)
    return result, speaking_pairs, recipe


def test_the_run_folder_holds_what_the_contract_says(finished) -> None:
    result, rows, recipe = finished
    manifest = json.loads((result.output / "manifest.json").read_text())
    assert manifest["seed"] == recipe.seed and len(manifest["data"]["train"]["sha256"]) == 64
    assert manifest["versions"]["trl"] and manifest["data"]["train"]["rows"] == len(rows)
    assert manifest["finished"]["steps"] == 4
    assert (result.output / "config.yaml").is_file()
    folders = {path.name for path in (result.output / "checkpoints").iterdir()}
    assert folders >= {"last", "best", "checkpoint-2"}


def test_every_step_has_its_row_with_reward_parts_and_rates(finished) -> None:
    result, *_ = finished
    steps = [row for row in rows_of(result.output) if "reward" in row]
    assert [row["step"] for row in steps] == [1, 2, 3, 4]
    for row in steps:
        parts = ("rewards/tag/mean", "rewards/behavior/mean", "format_rate", "refusal_rate", "kl")
        assert all(name in row for name in parts)
    seconds = [row["seconds"] for row in rows_of(result.output)]
    assert seconds == sorted(seconds)


def test_held_out_pairs_are_measured_before_between_and_after(finished) -> None:
    result, *_ = finished
    measured = [row for row in rows_of(result.output) if "eval/guided/safety" in row]
    assert [row["step"] for row in measured] == [0, 2, 4]
    assert all("eval/direct/over_refusal" in row for row in measured)
    assert result.metrics == {k: v for k, v in measured[-1].items() if k in result.metrics}
    best = max(measured, key=lambda row: row["eval/guided/balance"])
    assert result.best is not None
    assert (result.best.step, result.best.value) == (best["step"], best["eval/guided/balance"])


def test_every_completion_is_recorded_with_what_it_earned(finished) -> None:
    result, rows, _ = finished
    files = sorted((result.output / "rollouts").iterdir())
    assert [file.name for file in files] == [f"step-{i:06d}.parquet" for i in range(1, 5)]
    recorded = pq.read_table(files[0]).to_pylist()
    assert len(recorded) == 16 and len({row["id"] for row in recorded}) == 4
    for row in recorded:
        tag = row["behavior_score"] if row["tag_score"] is None else row["tag_score"]
        paid = 0.5 * row["format"] * (tag + row["behavior_score"])
        assert row["reward"] == pytest.approx(paid)
    assert {row["id"] for row in recorded} <= {pair.id for pair in rows}


def test_all_generations_of_a_step_are_recorded(recipe, pairs) -> None:
    parted = {"gradient_accumulation_steps": 2, "steps_per_generation": 1, "max_steps": 2}
    result = train(recipe(parted), train_pairs=pairs)
    for step in (1, 2):
        file = result.output / "rollouts" / f"step-{step:06d}.parquet"
        recorded = pq.read_table(file).to_pylist()
        assert len(recorded) == 16 and len({row["id"] for row in recorded}) == 4
        assert {row["step"] for row in recorded} == {step}


def test_the_saved_model_loads_whole_with_its_guide(finished) -> None:
    result, *_ = finished
    assert (result.model / GUIDE_FILE).read_text() == Path(GUIDE_PATH).read_text()
    load_processor(result.model)
    assert changed(weights(SHIPPED), weights(result.model))


def test_a_finished_run_that_is_resumed_returns_at_once(finished) -> None:
    result, rows, recipe = finished
    before = rows_of(result.output)
    again = train(recipe, train_pairs=rows, eval_pairs=HELD_OUT, resume=True)
    assert (again.steps, again.metrics, again.best) == (4, result.metrics, result.best)
    assert rows_of(result.output) == before


def test_a_folder_in_use_and_a_changed_run_are_refused(finished) -> None:
    _, rows, recipe = finished
    with pytest.raises(ConfigError, match="pass --resume to go on with it"):
        train(recipe, train_pairs=rows)
    other = recipe.model_copy(update={"rules": "paper"})
    with pytest.raises(ConfigError, match=r"cannot go on: rules \(strict -> paper\)"):
        train(other, train_pairs=rows, resume=True)
    with pytest.raises(ConfigError, match=r"rows or images of data\.train"):
        train(recipe, train_pairs=rows[::-1], resume=True)


@pytest.fixture
def trained(speaking_recipe, speaking_pairs, tmp_path):
    """A function that trains for two steps and gives the folder of the model."""

    def go(grpo=None, **changes) -> Path:
        changes.setdefault("output", str(tmp_path / "run"))
        return train(speaking_recipe(grpo, **changes), train_pairs=speaking_pairs).model

    return go


def test_the_vision_tower_stays_frozen_unless_told_otherwise(trained, tmp_path):
    before = weights(SHIPPED)
    moved = changed(before, weights(trained()))
    assert moved and not any("visual" in name for name in moved)
    whole = trained(freeze_vision=False, output=str(tmp_path / "whole"))
    assert any("visual" in name for name in changed(before, weights(whole)))


def test_lora_trains_the_language_tower_alone(trained):
    folder = trained({"beta": 0.04}, lora={"r": 4, "alpha": 8})
    moved = changed(weights(SHIPPED), weights(folder))
    assert moved and all("language_model" in name and "proj" in name for name in moved)
    load_processor(folder)


def test_the_adapter_beside_the_model_is_what_was_merged(trained):
    from peft import PeftModel

    folder = trained(lora={"r": 4, "alpha": 8})
    base = load_model(SHIPPED, dtype="float32")
    merged = PeftModel.from_pretrained(base, folder / "adapter").merge_and_unload()
    found = load_model(folder, dtype="float32").state_dict()
    for name, tensor in merged.state_dict().items():
        assert torch.allclose(tensor, found[name], atol=1e-6), name


def test_direct_training_pays_for_the_answer_alone(recipe, pairs):
    result = train(recipe(mode="direct"), train_pairs=pairs)
    recorded = pq.read_table(result.output / "rollouts" / "step-000001.parquet").to_pylist()
    assert all(row["format"] == 1 and row["reward"] == row["behavior_score"] for row in recorded)
    assert not (result.model / GUIDE_FILE).exists()


def test_a_prompt_that_is_too_long_stops_the_run_before_it_begins(recipe, pairs, tmp_path):
    with pytest.raises(DataError, match=r"8 of 8 prompts are longer than 5 tokens"):
        train(recipe(data={"max_prompt_length": 5}), train_pairs=pairs)
    assert not (tmp_path / "run").exists()


def test_a_set_smaller_than_a_batch_says_what_to_lower(recipe, pairs):
    with pytest.raises(ConfigError, match="has 1 rows, but a generation batch needs 2 prompts"):
        train(recipe(), train_pairs=pairs[:1])


def test_held_out_rows_are_checked_before_anything_is_trained(recipe, pairs, tmp_path):
    broken = replace(pair(9), images=(ImageRef(data=b"no image", name="x.png"),))
    with pytest.raises(DataError, match=r'data\.eval: row 2 \(id "p9"\): image "x\.png"'):
        train(recipe(), train_pairs=pairs, eval_pairs=[pair(8), broken])
    with pytest.raises(DataError, match=r"data\.eval: .* more than 100 pixels"):
        no_images = [pair(i, images=0) for i in range(4)]
        train(recipe(data={"max_pixels": 100}), train_pairs=no_images, eval_pairs=[pair(8)])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("resume", [False, True])
def test_a_run_that_stopped_over_a_setting_is_begun_anew_in_its_folder(recipe, pairs, resume):
    wrong = recipe(lora={"target_modules": ["nothing"]})
    with pytest.raises(ConfigError, match=r"lora\.target_modules"):
        train(wrong, train_pairs=pairs)
    assert train(recipe(), train_pairs=pairs, resume=resume).steps == 2


def test_a_metric_nobody_measures_is_named_with_the_nearest(recipe, pairs):
    wrong = recipe(evaluate={"metric": "guided/balanse", "max_new_tokens": 4})
    with pytest.raises(ConfigError, match='did you mean "guided/balance"'):
        train(wrong, train_pairs=pairs, eval_pairs=[pair(9), pair(11, combined="unsafe")])


def test_the_same_seed_gives_the_same_weights_and_another_does_not(trained, tmp_path):
    first, again, other = (
        weights(trained(seed=seed, output=str(tmp_path / name)))
        for name, seed in (("first", 1), ("again", 1), ("other", 2))
    )
    assert not changed(first, again) and changed(first, other)
