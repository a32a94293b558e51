"""What a recipe computes, by the estimate and by TRL: steps, passes, images, operations."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from safegrpo.data.schema import save_tagged
from safegrpo.errors import ConfigError, DataError
from safegrpo.models import load_config
from safegrpo.training.estimate.compute import Rates, hours, work
from safegrpo.training.estimate.estimate import estimate
from safegrpo.training.estimate.memory import memory
from safegrpo.training.estimate.plan import make_plan
from safegrpo.training.estimate.prompts import assumed_prompts, measured_prompts, read_prompts
from safegrpo.training.estimate.shape import model_shape
from tests.training.conftest import pair
from tests.training.test_estimate_activations import Case
from tests.training.test_estimate_passes import plan_of


def prompts(rows: int):
    return measured_prompts([10] * rows, [0] * rows)


@pytest.mark.parametrize(
    "grpo",
    [
        {"num_train_epochs": 2},
        {"num_train_epochs": 1.5, "gradient_accumulation_steps": 2},
        {"num_train_epochs": 3, "steps_per_generation": 2, "num_iterations": 2},
        {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 3},
        {"max_steps": 5},
    ],
)
def test_as_many_steps_as_the_trainer_counts(trainer, recipe, grpo) -> None:
    grpo = {"max_steps": -1, "num_train_epochs": 1, **grpo}
    real = trainer([pair(i) for i in range(11)], **grpo)
    loader = real.get_train_dataloader()
    steps = real.set_initial_training_values(real.args, loader)[-1]
    assert make_plan(recipe(grpo), prompts(11)).steps(11) == steps


def test_the_same_update_on_more_gpus_is_as_many_steps(recipe) -> None:
    grpo = {"max_steps": -1, "gradient_accumulation_steps": 4}
    one = make_plan(recipe(grpo), prompts(64))
    two = make_plan(recipe({**grpo, "gradient_accumulation_steps": 2}), prompts(64), gpus=2)
    assert one.completions == two.completions and one.steps(64) == two.steps(64)


def test_too_few_rows_for_so_many_gpus_are_refused(recipe) -> None:
    with pytest.raises(ConfigError, match=r"on 8 GPU\(s\) needs 16 prompts"):
        make_plan(recipe({"max_steps": -1}), prompts(11), gpus=8)


@pytest.mark.parametrize(
    ("grpo", "old", "waiting"),
    [
        ({}, False, False),
        ({"gradient_accumulation_steps": 4}, False, False),
        ({"gradient_accumulation_steps": 4, "steps_per_generation": 2}, False, True),
        ({"gradient_accumulation_steps": 2, "steps_per_generation": 4}, True, False),
        ({"num_iterations": 2}, True, False),
        ({"use_vllm": True}, True, False),
    ],
)
def test_when_old_probabilities_are_scored_and_gradients_wait(recipe, grpo, old, waiting) -> None:
    plan = make_plan(recipe(grpo), prompts(99))
    assert (plan.scores_old, plan.kept_gradients) == (old, waiting)


def test_images_lie_there_once_a_completion(trainer, recipe, model_dir) -> None:
    grpo = {"gradient_accumulation_steps": 2, "per_device_train_batch_size": 4}
    real = trainer([pair(i) for i in range(4)], **grpo)
    real.model.train()
    real._prepare_inputs(next(iter(real.get_train_dataloader())))
    held = [batch["pixel_values"].nbytes for batch in real._buffered_inputs]
    plan = make_plan(recipe(grpo), assumed_prompts(100, ""))
    plan = replace(plan, prompts=replace(plan.prompts, most_images=4))
    items = memory(model_shape(load_config(str(model_dir))), plan).items
    said = {item.name: item.bytes for item in items}
    assert said["images of all completions"] == sum(held) == 2 * said["images of a part"]
    assert said["images of the prompts"] * real.num_generations == sum(held)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"checkpointing": True},
        {"trains_vision": True},
        {"prompt": 300, "completion": 100},
        {"prompt": 100, "side": 16},
    ],
)
def test_operations_are_those_that_torch_counts(tokenizer, options) -> None:
    case = Case(tokenizer, **options)
    shape = case.shape
    images = case.side**2 // 4
    lengths = measured_prompts([case.prompt], [images])
    done = work(shape, replace(plan_of(case), prompts=lengths, beta=0.04))
    with FlopCounterMode(display=False) as forward, torch.no_grad():
        case.packed()
    with FlopCounterMode(display=False) as training:
        case.packed().backward()
    # On a CPU the counter does not know the attention's kernel: here are its products.
    seen = case.prompt**2 / 2 + case.size * case.completion * (case.prompt + case.completion / 2)
    text = sum(4 * layer.queries * seen for layer in shape.layers)
    vision = sum(4 * block.queries * case.side**4 for block in shape.vision)
    assert done.scoring == pytest.approx(forward.get_total_flops() + text + vision)
    text *= 4 if case.checkpointing else 3
    vision *= 3 if case.trains_vision else 1
    total = training.get_total_flops() + text + vision
    assert done.training == pytest.approx(total, rel=0.006)


def test_a_shared_prefix_computes_a_prompt_once(recipe, model_dir) -> None:
    shape = model_shape(load_config(str(model_dir)))
    shared = work(shape, make_plan(recipe(), prompts(8)))
    alone = work(shape, make_plan(recipe(shared_prefix=False), prompts(8)))
    assert (shared.prompt_tokens, alone.prompt_tokens) == (2 * 10, 8 * 10)
    assert shared.dense_prompt_tokens == alone.prompt_tokens
    assert shared.training < alone.training and shared.generating < alone.generating


def test_hours_follow_from_rates_of_one_gpu(recipe, model_dir) -> None:
    shape = model_shape(load_config(str(model_dir)))
    plan = make_plan(recipe(), prompts(8), gpus=2)
    done = work(shape, plan)
    found = hours(plan, done, 100, 7200, Rates(generates=2.0, trains=4.0))
    assert found.generating == pytest.approx(100 * 2 * 8 * 12 / 2 / 2 / 3600)
    assert found.training == pytest.approx(100 * done.trained / 4 / 2 / 3600)
    assert found.evaluating == 1.0  # every process answers all held-out prompts
    assert found.total == found.generating + found.training + found.evaluating
    by_operations = hours(plan, done, 100, 0, Rates(operations=1e9))
    assert by_operations.generating is None and by_operations.total is None
    assert by_operations.training == pytest.approx(100 * (done.scoring + done.training) / 7.2e12)


def test_prompts_are_measured_where_the_data_is(recipe, tmp_path) -> None:
    rows = [pair(i, images=i % 3) for i in range(6)]
    save_tagged(rows, tmp_path / "rows.parquet")
    made = recipe(data={"train": str(tmp_path / "rows.parquet")})
    found = read_prompts(made)
    assert found.rows == 6 and found.median <= found.p95 <= found.longest
    # 64 pixels square and 96 x 64: 4 and 6 tokens of image, and two tokens around each.
    assert found.most_images == 14 and found.images == pytest.approx(20 / 3)
    assert "measured on the 6 rows" in found.source


def test_prompts_are_assumed_where_it_is_not(recipe) -> None:
    found = read_prompts(recipe(data={"train": "owner/set", "max_prompt_length": 77}))
    assert (found.rows, found.longest, found.mean, found.most_images) == (None, 77, 77, 77)
    assert '"owner/set" is not on this machine' in found.source


def test_prompts_that_a_run_would_refuse_are_refused(recipe, tmp_path) -> None:
    save_tagged([pair(0)], tmp_path / "rows.parquet")
    made = recipe(data={"train": str(tmp_path / "rows.parquet"), "max_prompt_length": 5})
    with pytest.raises(DataError, match="longer than 5 tokens"):
        read_prompts(made)


def test_a_cpu_is_not_many_gpus(recipe) -> None:
    with pytest.raises(ConfigError, match="use_cpu"):
        estimate(recipe(), gpus=2)
