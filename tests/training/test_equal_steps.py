"""Training with packed rows against TRL's stock trainer, on the same completions."""

import logging

import pytest
import torch
from trl import GRPOTrainer

from safegrpo.models import load_model
from safegrpo.training.config import LoraConfig
from safegrpo.training.data import build_dataset
from safegrpo.training.grpo_options import grpo_config
from safegrpo.training.model_parts import peft_config
from safegrpo.training.trainer import SafeGRPOTrainer
from tests.training.conftest import SHORT_GUIDE, pair


def length_reward(completion_ids, **_):
    return [sum(ids) % 17 / 17 for ids in completion_ids]


def scripted(trainer, end: int):
    """The trainer with completions that depend on nothing but how often it was asked.

    All of one length where a batch is parted: TRL parts it otherwise, and logs the parts' means.
    """
    calls = []
    parted = trainer.args.gradient_accumulation_steps > 1

    def generate(prompt_ids, *_, **__):
        made = torch.Generator().manual_seed(len(calls))
        calls.append(len(prompt_ids))
        lengths = torch.randint(7 if parted else 2, 8, (len(prompt_ids),), generator=made)
        words = [torch.randint(60, 400, (n,), generator=made).tolist() for n in lengths.tolist()]
        return [[*ids, end] for ids in words], None

    trainer._generate_single_turn = generate
    return trainer


@pytest.fixture
def train(recipe, processor, tmp_path):
    """A function that trains with one class of trainer and returns its log, a row a step."""

    def run(kind, rows, lora=False, options=None, **grpo):
        made = recipe({"beta": 0.04, "max_steps": 20, "learning_rate": 1e-4, **grpo})
        model = load_model(made.model, dtype="float32")
        trainer = kind(
            model=model,
            reward_funcs=length_reward,
            args=grpo_config(
                made.model_copy(
                    update={
                        "grpo": {
                            **made.grpo,
                            "multi_objective_aggregation": "sum_then_normalize",
                            "reward_weights": None,
                            "shuffle_dataset": False,
                        }
                    }
                ),
                str(tmp_path / kind.__name__),
            ),
            train_dataset=build_dataset(
                rows, processor, guide=SHORT_GUIDE, max_prompt_length=2048
            ).dataset,
            processing_class=processor,
            peft_config=peft_config(model, LoraConfig(r=4)) if lora else None,
            **(options or {}),
        )
        scripted(trainer, processor.tokenizer.eos_token_id).train()
        return trainer, [row for row in trainer.state.log_history if "loss" in row]

    return run


@pytest.mark.parametrize(
    "options",
    [
        {"gradient_checkpointing": False},
        {"gradient_checkpointing": True},
        {"gradient_accumulation_steps": 2, "per_device_train_batch_size": 4},
        {"num_iterations": 2},
        {"loss_type": "grpo", "temperature": 0.7},
        {"entropy_coef": 0.05},
        {"top_entropy_quantile": 0.5},
        {"pad_to_multiple_of": 8},
        {"lora": True},
        {"lora": True, "gradient_checkpointing": True},
    ],
    ids=lambda options: "-".join(options),
)
def test_twenty_steps_are_those_of_trl(train, options) -> None:
    rows = [pair(i, images=1 + i % 2) for i in range(6)]
    _, stock = train(GRPOTrainer, rows, **options)
    trainer, ours = train(SafeGRPOTrainer, rows, **options)
    assert trainer.shared.scoring.kept and len(ours) == len(stock) == 20
    assert any(abs(row["loss"]) > 1e-3 for row in stock)
    assert any(row["kl"] > 1e-4 for row in stock)
    for one, two in zip(ours, stock, strict=True):
        for name in ("loss", "kl", "grad_norm", "entropy"):
            assert one[name] == pytest.approx(two[name], rel=1e-4, abs=1e-4), name


def test_the_switch_turns_it_off(train) -> None:
    rows = [pair(i, images=i % 3) for i in range(6)]
    off, dense = train(SafeGRPOTrainer, rows, options={"shared_prefix": False}, max_steps=3)
    on, ours = train(SafeGRPOTrainer, rows, max_steps=3)
    assert off.shared is None and on.shared.scoring.kept
    for one, two in zip(ours, dense, strict=True):
        for name in ("loss", "kl", "grad_norm"):
            assert one[name] == pytest.approx(two[name], rel=1e-4, abs=1e-4)


def test_a_model_that_cannot_is_trained_the_dense_way_and_says_so(train, monkeypatch, caplog):
    monkeypatch.setattr("safegrpo.shared_prefix.model._why_not", lambda _: "it is a test")
    with caplog.at_level(logging.WARNING):
        trainer, log = train(SafeGRPOTrainer, [pair(1), pair(2)], max_steps=2)
    assert not trainer.shared.scoring.kept and len(log) == 2
    said = [r.message for r in caplog.records if "shared prefix" in r.message]
    assert said == ["shared prefix is off, each completion computes its prompt anew: it is a test"]


def test_a_first_batch_that_differs_is_computed_the_dense_way(train, monkeypatch, caplog) -> None:
    rows = [pair(i) for i in range(4)]
    _, expected = train(SafeGRPOTrainer, rows, options={"shared_prefix": False}, max_steps=2)
    monkeypatch.setattr("safegrpo.training.shared.scoring_error", lambda *_, **__: 0.4)
    with caplog.at_level(logging.WARNING):
        trainer, log = train(SafeGRPOTrainer, rows, max_steps=2)
    assert not trainer.shared.scoring.kept and not trainer.shared.sampling.kept
    assert [r.message for r in caplog.records if "wrong by 0.4" in r.message]
    for one, two in zip(log, expected, strict=True):
        assert one["loss"] == pytest.approx(two["loss"], abs=1e-6)


def test_the_first_step_trains_all_weights_in_mixed_precision(train) -> None:
    """What the check casts to half precision, without gradients, the forward pass must not use."""
    rows = [pair(i) for i in range(4)]
    changed = {}
    for shared in (True, False):
        trainer, _ = train(
            SafeGRPOTrainer, rows, options={"shared_prefix": shared}, bf16=True, max_steps=1
        )
        start = load_model(trainer.model.config._name_or_path, dtype="float32").state_dict()
        now = trainer.model.state_dict()
        changed[shared] = {name for name in now if not torch.equal(now[name], start[name])}
        assert trainer.shared is None or trainer.shared.scoring.kept
    assert changed[True] == changed[False] and len(changed[True]) > 40


def test_what_is_not_a_single_turn_is_refused(train) -> None:
    with pytest.raises(ValueError, match="rollout_func: safegrpo trains on single turns"):
        train(SafeGRPOTrainer, [pair(0)], options={"rollout_func": print})
