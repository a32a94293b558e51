import pytest

from safegrpo.errors import ConfigError
from safegrpo.export.settings import Cluster, settings_of
from safegrpo.training.config import Recipe

ONE = Cluster(1, 1)


def recipe(grpo: dict | None = None, **changes) -> Recipe:
    return Recipe.model_validate(
        {
            "model": "some/model",
            "grpo": {"lr_scheduler_type": "constant", **(grpo or {})},
            **changes,
        }
    )


def settings(grpo: dict | None = None, cluster: Cluster = ONE, **changes):
    return settings_of(recipe(grpo, **changes), cluster)


SIZES = {
    "num_generations": 8,
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 16,
    "steps_per_generation": 64,
}


@pytest.mark.parametrize(
    ("grpo", "gpus", "batch", "mini"),
    [
        (SIZES, 4, 256, 64),
        (SIZES, 1, 64, 16),
        ({**SIZES, "steps_per_generation": None}, 4, 64, 64),
        ({**SIZES, "steps_per_generation": 4}, 1, 16, 16),  # four prompts at a time, one update
        ({**SIZES, "steps_per_generation": None, "generation_batch_size": 1024}, 4, 128, 64),
        ({"num_generations": 8}, 4, 4, 4),
    ],
)
def test_batches_are_what_trl_makes_on_as_many_processes(grpo, gpus, batch, mini) -> None:
    found = settings(grpo, Cluster(1, gpus))
    assert (found.batch, found.mini_batch) == (batch, mini)


def test_trl_agrees_about_them() -> None:
    trl = pytest.importorskip("trl", reason="TRL is not in this environment")
    config = trl.GRPOConfig(output_dir="x", use_cpu=True, bf16=False, **SIZES)
    assert config.generation_batch_size // config.num_generations == settings(SIZES).batch


@pytest.mark.parametrize(
    "grpo",
    [
        {"num_generations": 3},
        {**SIZES, "steps_per_generation": 24},
    ],
)
def test_batches_that_do_not_fit_are_an_error(grpo) -> None:
    with pytest.raises(ConfigError, match="whole"):
        settings(grpo)


def test_two_machines_count_together() -> None:
    assert settings(SIZES, Cluster(2, 4)).batch == 512
    with pytest.raises(ConfigError):
        Cluster(0, 4)


def test_updates_become_batches() -> None:
    changes = {
        "checkpoint": {"every": 20},
        "evaluate": {"every": 41},
        "data": {"train": "x", "eval": "y"},
    }
    grpo = {**SIZES, "lr_scheduler_type": "constant_with_warmup", "warmup_steps": 10}
    found = settings({**grpo, "max_steps": 40}, **changes)
    assert found.updates_per_batch == 4
    assert (found.save_every, found.test_every, found.warmup) == (5, 11, 3)
    assert found.max_batches == 10
    twice = settings({**grpo, "num_iterations": 2}, **changes)
    assert (twice.updates_per_batch, twice.save_every, twice.max_batches) == (8, 3, None)


def test_a_warmup_may_be_a_share_of_the_run() -> None:
    found = settings({"lr_scheduler_type": "cosine", "warmup_steps": 0.1})
    assert (found.schedule, found.warmup) == ("cosine", 0.1)


def test_numbers_that_yaml_reads_as_texts_are_numbers() -> None:
    # So they are where TRL, which knows its options' types, is not installed.
    assert settings({"learning_rate": "1e-6", "beta": "0.04"}).learning_rate == 1e-6
    with pytest.raises(ConfigError, match=r'"grpo\.beta": a number is wanted'):
        settings({"beta": "some"})


def test_options_that_are_not_set_have_trls_values() -> None:
    found = settings()
    assert (found.weight_decay, found.max_grad_norm, found.clip_dual) == (0.0, 1.0, None)
    assert (found.top_k, found.clip_low, found.clip_high) == (-1, 0.2, 0.2)
    assert found.each_by_itself and found.scale_by_std


def test_those_values_are_trls() -> None:
    trl = pytest.importorskip("trl", reason="TRL is not in this environment")
    from safegrpo.export.options import TRL

    config = trl.GRPOConfig(output_dir="x", use_cpu=True, bf16=False)
    known = {name: value for name, value in TRL.items() if name != "gradient_checkpointing"}
    # What it computes from others is not a value of its own.
    computed = {"steps_per_generation": None, "generation_batch_size": None}
    assert {name: getattr(config, name) for name in known} | computed == known


def test_weights_and_format_reach_the_reward() -> None:
    assert settings().reward_options == {"rules": "strict", "mode": "guided"}
    found = settings(
        {"reward_weights": [0.25, 0.75]},
        rules="paper",
        credit={"format_weight": 0.5, "reason_share": 0.2},
    )
    assert found.reward_options == {
        "rules": "paper",
        "mode": "guided",
        "reason_share": 0.2,
        "weights": [0.25, 0.75, 0.5],
    }


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"cold_start": {}}, "cold_start"),
        ({"internalise": {}}, "internalise"),
        ({"credit": {"hints": 4}}, "credit.hints"),
        ({"credit": {"skip_settled": True}}, "credit.skip_settled"),
        ({"sampling": {"balance": True}}, "sampling.balance"),
        ({"lora": {"dropout": 0.1}}, "lora.dropout"),
        ({"grpo": {"lr_scheduler_type": "linear"}}, "grpo.lr_scheduler_type"),
        ({"grpo": {"loss_type": "sapo"}}, "grpo.loss_type"),
        ({"grpo": {"scale_rewards": "batch"}}, "grpo.scale_rewards"),
        ({"grpo": {"importance_sampling_level": "sequence"}}, "grpo.importance_sampling_level"),
        ({"grpo": {"min_p": 0.1}}, "grpo.min_p"),
        ({"grpo": {"generation_kwargs": {"typical_p": 1}}}, "grpo.generation_kwargs"),
        ({"grpo": {"num_train_epochs": 1.5}}, "grpo.num_train_epochs"),
        ({"lora": {"target_modules": []}}, "lora.target_modules"),
        ({"grpo": {**SIZES, "generation_batch_size": 1024}}, "grpo.generation_batch_size"),
        ({"grpo": {"weight_decay": -0.1}}, "grpo.weight_decay"),
        ({"grpo": {"adam_beta1": -0.1}}, "grpo.adam_beta1"),
        ({"grpo": {"adam_beta2": 1.0}}, "grpo.adam_beta2"),
        ({"grpo": {"delta": 1.2, "epsilon_high": 0.28}}, "grpo.delta"),
        ({"grpo": {"delta": 1.2}}, "grpo.delta"),  # epsilon is 0.2 above as well
        ({"grpo": {"entropy_coef": 0.1, "loss_type": "grpo"}}, "grpo.entropy_coef"),
        ({"grpo": {"entropy_coef": 0.1, "loss_type": "dr_grpo"}}, "grpo.entropy_coef"),
        ({"grpo": {"chat_template_kwargs": {"größe": 1}}}, "grpo.chat_template_kwargs"),
        ({"grpo": {**SIZES, "max_steps": 5}}, "grpo.max_steps"),
        ({"grpo": {"report_to": "carrier-pigeon"}}, "grpo.report_to"),
        ({"grpo": {"label_smoothing_factor": 0.1}}, "grpo.label_smoothing_factor"),
    ],
)
def test_what_cannot_be_had_is_an_error_that_names_the_key(changes, key) -> None:
    grpo = {"lr_scheduler_type": "constant", **changes.pop("grpo", {})}
    with pytest.raises(ConfigError, match=f'"{key}"'):
        settings(grpo, **changes)


@pytest.mark.parametrize("norm", [0, -1.0])
def test_no_clipping_in_transformers_is_none_there(norm) -> None:
    # To the engines 0 is a bound, and every gradient would become 0.
    assert settings({"max_grad_norm": norm}).max_grad_norm > 1e8


def test_an_entropy_bonus_goes_with_a_mean_over_tokens() -> None:
    assert settings({"entropy_coef": 0.1, "loss_type": "dapo"}).entropy == 0.1


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"grpo": {"bf16": False}}, "grpo.bf16"), ({"dtype": "bfloat16", "lora": {}}, "dtype")],
)
def test_another_precision_than_theirs_is_said(changes, named) -> None:
    (line,) = (line for line in settings(**changes).notices if "arithmetic in bfloat16" in line)
    assert line.startswith(f"{named} left out")
    assert not any("grpo.bf16" in line for line in settings({"bf16": True}).notices[1:])


def test_what_changes_nothing_is_said_and_no_error() -> None:
    found = settings(
        {"logging_steps": 5, "use_vllm": True, "use_bias_correction_kl": True}, samples_every=3
    )
    machinery, correction, refinement = found.notices
    assert machinery.endswith("shared_prefix, samples_every, grpo.logging_steps, warnings")
    assert "vLLM's probabilities" in correction
    assert "grpo.use_bias_correction_kl" in refinement
