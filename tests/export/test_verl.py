"""The overrides that verl is started with; docs/verl.md compares them with the published script."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from safegrpo.errors import ConfigError
from safegrpo.export.settings import Cluster, Exported, settings_of
from safegrpo.export.verl import (
    VISION_LAYERS,
    Beside,
    check,
    hydra_value,
    overrides,
    run_script,
)
from safegrpo.training.config import Recipe, load_recipe

from .conftest import words_of

REPOSITORY = Path(__file__).resolve().parents[2]
FOUR = Cluster(1, 4)
DATA = Exported(train_rows=3000, test_rows=0, measured=True)

# The published script of Qwen3-VL-4B (XuankunRong/SafeGRPO, script/): what it sets, as facts.
PUBLISHED = {
    "algorithm.adv_estimator": "grpo",
    "data.train_files": "./train_data/safetygrpo_train.parquet",
    "data.val_files": "./train_data/safetygrpo_test.parquet",
    "data.train_batch_size": "256",
    "data.max_prompt_length": "2048",
    "data.max_response_length": "4096",
    "data.filter_overlong_prompts": "True",
    "data.truncation": "error",
    "data.image_key": "images",
    "actor_rollout_ref.model.path": "Qwen/Qwen3-VL-4B-Thinking",
    "actor_rollout_ref.actor.optim.lr": "1e-06",
    "actor_rollout_ref.model.use_remove_padding": "True",
    "actor_rollout_ref.model.use_fused_kernels": "True",
    "actor_rollout_ref.actor.ppo_mini_batch_size": "64",
    "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu": "16",
    "actor_rollout_ref.actor.use_kl_loss": "True",
    "actor_rollout_ref.actor.kl_loss_coef": "0.01",
    "actor_rollout_ref.actor.kl_loss_type": "low_var_kl",
    "actor_rollout_ref.actor.entropy_coeff": "0",
    "actor_rollout_ref.model.enable_gradient_checkpointing": "True",
    "actor_rollout_ref.actor.fsdp_config.param_offload": "False",
    "actor_rollout_ref.actor.fsdp_config.optimizer_offload": "False",
    "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu": "16",
    "actor_rollout_ref.rollout.tensor_model_parallel_size": "1",
    "actor_rollout_ref.rollout.name": "vllm",
    "+actor_rollout_ref.rollout.engine_kwargs.vllm.disable_mm_preprocessor_cache": "True",
    "actor_rollout_ref.rollout.gpu_memory_utilization": "0.6",
    "actor_rollout_ref.rollout.enable_chunked_prefill": "True",
    "actor_rollout_ref.rollout.enforce_eager": "False",
    "actor_rollout_ref.rollout.free_cache_engine": "True",
    "actor_rollout_ref.rollout.n": "8",
    "actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu": "16",
    "actor_rollout_ref.ref.fsdp_config.param_offload": "True",
    "algorithm.use_kl_in_reward": "False",
    "reward_model.reward_manager": "batch",
    "custom_reward_function.path": "./reward/safetygrpo_qwen3.py",
    "custom_reward_function.name": "compute_score_batch",
    "trainer.critic_warmup": "0",
    "trainer.logger": "wandb",
    "trainer.project_name": "verl_grpo",
    "trainer.experiment_name": "qwen3_vl_4b_thinking_safegrpo",
    "trainer.n_gpus_per_node": "4",
    "trainer.nnodes": "1",
    "trainer.save_freq": "3000",
    "trainer.test_freq": "10",
    "trainer.total_epochs": "15",
    "trainer.default_local_dir": "./checkpoints/verl_grpo/qwen3_vl_4b_thinking_safegrpo",
}
# Names that verl has given up since, and what they are called today.
RENAMED = {
    "+actor_rollout_ref.rollout.engine_kwargs.vllm.disable_mm_preprocessor_cache": (
        "+actor_rollout_ref.rollout.engine_kwargs.vllm.mm_processor_cache_gb"
    ),
    "reward_model.reward_manager": "reward.reward_manager.name",
    "custom_reward_function.path": "reward.custom_reward_function.path",
    "custom_reward_function.name": "reward.custom_reward_function.name",
}


def said(value: object) -> str:
    """A value as the documentation shows it."""
    return hydra_value(value, here="").strip("'").removeprefix("/")


def made(name: str, *changes: str, data: Exported = DATA, cluster: Cluster = FOUR) -> dict:
    recipe = load_recipe(REPOSITORY / "recipes" / name, changes)
    found = overrides(settings_of(recipe, cluster), cluster, data)
    assert len({key for key, _ in found}) == len(found)
    return dict(found)


def table() -> list[list[str]]:
    """The rows of the documentation's table of settings: cells without their code marks."""
    text = (REPOSITORY / "docs" / "verl.md").read_text("utf-8")
    part = text.partition("<!-- settings -->")[2].partition("<!-- end of settings -->")[0]
    rows = [line.strip("|").split("|") for line in part.strip().splitlines()[2:]]
    return [[cell.strip().replace("`", "") for cell in row] for row in rows]


def test_the_documentation_compares_every_published_setting_with_ours() -> None:
    ours = {key: said(value) for key, value in made("qwen3_vl_4b_paper.yaml").items()}
    expected = []
    for key, published in PUBLISHED.items():
        name = RENAMED.get(key, key)
        exported = ours[name] if name == key else f"{name.removeprefix('+')}={ours[name]}"
        expected.append([key.removeprefix("+"), published, exported])
    assert [row[:3] for row in table()] == expected


def test_every_difference_has_a_reason_there_and_nothing_else_has() -> None:
    same = {("0", "0.0")}
    for key, published, exported, reason in table():
        differs = published != exported and (published, exported) not in same
        assert bool(reason) == differs, key


def test_the_8b_recipe_differs_by_its_model_alone() -> None:
    four, eight = made("qwen3_vl_4b_paper.yaml"), made("qwen3_vl_8b_paper.yaml")
    assert {key for key in four if four[key] != eight[key]} == {
        "actor_rollout_ref.model.path",
        "trainer.experiment_name",
    }


def test_the_papers_reward_and_guide_are_asked_for() -> None:
    found = made("qwen3_vl_4b_paper.yaml")
    options = "+reward.custom_reward_function.reward_kwargs"
    assert {key: value for key, value in found.items() if key.startswith(options)} == {
        f"{options}.rules": "paper",
        f"{options}.mode": "guided",
    }


def test_held_out_rows_are_measured_as_published() -> None:
    found = made(
        "qwen3_vl_4b_paper.yaml",
        "data.eval=x/y",
        "evaluate.every=40",
        data=Exported(3000, 300, True),
    )
    assert found["data.val_files"] == Beside("test.parquet")
    assert found["data.val_max_samples"] == -1
    assert (found["trainer.val_before_train"], found["trainer.test_freq"]) == (True, 10)


def test_normalised_each_by_itself_is_gdpo_over_the_gated_parts() -> None:
    plain = made("qwen3_vl_4b_paper.yaml")
    found = made("qwen3_vl_4b_paper.yaml", "grpo.multi_objective_aggregation=normalize_then_sum")
    assert {key: value for key, value in found.items() if plain.get(key) != value} == {
        "algorithm.adv_estimator": "gdpo",
        "+algorithm.gdpo_reward_keys": ["gated_tag", "gated_behavior"],
        "+algorithm.gdpo_reward_weights": [0.5, 0.5],
        "trainer.use_v1": False,
    }


def test_adapters_leave_the_vision_tower_alone() -> None:
    found = made("qwen3_vl_4b_lora.yaml", "credit.hints=0")
    model = "actor_rollout_ref.model"
    assert (found[f"{model}.lora_rank"], found[f"{model}.lora_alpha"]) == (32, 64)
    assert found[f"{model}.exclude_modules"] == VISION_LAYERS
    assert found["actor_rollout_ref.rollout.load_format"] == "safetensors"
    assert not any("mm_processor_cache" in key for key in found)
    assert found["actor_rollout_ref.actor.clip_ratio_c"] > 1e8  # no bound, as the recipe has none


def test_the_vision_towers_names_are_all_of_those_we_freeze() -> None:
    parts = pytest.importorskip("safegrpo.training.model_parts").VISION_PARTS
    layers = [f"base_model.model.model.{part}.blocks.0.q_proj" for part in parts]
    assert all(re.fullmatch(VISION_LAYERS, layer) for layer in layers)
    assert not re.fullmatch(VISION_LAYERS, "model.language_model.layers.0.self_attn.q_proj")


def test_freezing_the_vision_tower_alone_is_refused() -> None:
    recipe = load_recipe(REPOSITORY / "recipes" / "qwen3_vl_4b_paper.yaml", ["freeze_vision=true"])
    with pytest.raises(ConfigError, match='"freeze_vision"'):
        check(settings_of(recipe, FOUR))


@pytest.mark.parametrize("recipe", ["qwen3_vl_4b_paper.yaml", "qwen3_vl_4b_lora.yaml"])
def test_only_strict_rules_lose_the_look_at_a_whole_batch(recipe) -> None:
    found = check(
        settings_of(load_recipe(REPOSITORY / "recipes" / recipe, ["credit.hints=0"]), FOUR)
    )
    assert any("many requests" in line for line in found) == ("lora" in recipe)


@pytest.mark.parametrize(
    ("loss", "mode", "more"),
    [
        ("dapo", "token-mean", {}),
        ("grpo", "seq-mean-token-mean", {}),
        ("dr_grpo", "seq-mean-token-sum-norm", {"loss_scale_factor": 4096}),
    ],
)
def test_losses_are_verls_ways_to_average(loss, mode, more) -> None:
    found = made("qwen3_vl_4b_paper.yaml", f"grpo.loss_type={loss}")
    actor = "actor_rollout_ref.actor"
    assert found[f"{actor}.loss_agg_mode"] == mode
    scale = {k.rpartition(".")[2]: v for k, v in found.items() if k.endswith("loss_scale_factor")}
    assert scale == more


def test_a_run_of_so_many_updates_has_epochs_enough() -> None:
    found = made("qwen3_vl_4b_paper.yaml", "grpo.max_steps=400")  # 100 batches, 11 an epoch
    assert (found["trainer.total_training_steps"], found["trainer.total_epochs"]) == (100, 10)


def test_no_reference_model_without_a_penalty() -> None:
    found = made("qwen3_vl_4b_paper.yaml", "grpo.beta=0")
    assert found["actor_rollout_ref.actor.use_kl_loss"] is False


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "True"),
        (None, "null"),
        (1e-6, "1e-06"),
        ([0.5, "a"], "[0.5,a]"),
        ("Qwen/Qwen3-VL-4B-Thinking", "Qwen/Qwen3-VL-4B-Thinking"),
        ("null", "'null'"),
        ("modèle", "'modèle'"),  # Hydra knows a word without quotes by plain letters alone
        ("it's ${x}", "'it\\'s \\${x}'"),
        (Beside("a.parquet"), "'$here/a.parquet'"),
    ],
)
def test_values_are_written_as_hydra_reads_them(value, text) -> None:
    assert hydra_value(value) == text


@pytest.mark.parametrize("value", ["a\\b", "a\nb", {"a": 1}])
def test_what_a_command_line_cannot_hold_is_an_error(value) -> None:
    with pytest.raises(ConfigError, match="cannot hold"):
        hydra_value(value)


def script(folder: Path, **changes) -> Path:
    recipe = Recipe.model_validate(
        {
            "model": "some/model",
            "freeze_vision": False,
            "grpo": {"lr_scheduler_type": "constant"},
            **changes,
        }
    )
    folder.mkdir(parents=True)
    path = folder / "run.sh"
    path.write_text(run_script(overrides(settings_of(recipe, FOUR), FOUR, DATA)))
    path.chmod(0o755)
    return path


def test_run_sh_starts_verl_with_files_beside_itself_and_passes_more_on(tmp_path) -> None:
    path = script(tmp_path / "old")
    (tmp_path / "old").rename(tmp_path / "moved")
    words = words_of(tmp_path / "moved" / path.name, "trainer.nnodes=2", "a b", folder=tmp_path)
    assert words[:2] == ["-m", "verl.trainer.main_ppo"]
    assert words[-2:] == ["trainer.nnodes=2", "a b"]
    assert f"data.train_files='{tmp_path}/moved/train.parquet'" in words


def test_run_sh_may_lie_in_a_folder_with_odd_signs(tmp_path) -> None:
    path = script(tmp_path / "it's $HOME, here")
    words = words_of(path, folder=tmp_path)
    assert f"data.train_files='{tmp_path}/it\\'s $HOME, here/train.parquet'" in words


@pytest.mark.parametrize("name", ["a${oc.env:HOME}b", "a\\'b"])
def test_run_sh_says_that_hydra_would_misread_its_folder(tmp_path, name) -> None:
    done = subprocess.run([script(tmp_path / name)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1 and "move this folder" in done.stderr


def test_run_sh_finds_its_folder_where_cd_looks_elsewhere_and_speaks(tmp_path) -> None:
    path = script(tmp_path / "out")
    stub = tmp_path / "python-stub"
    stub.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    stub.chmod(0o755)
    (tmp_path / "else" / "out").mkdir(parents=True)
    done = subprocess.run(
        ["bash", f"out/{path.name}"],
        cwd=tmp_path,
        env={**os.environ, "PYTHON": str(stub), "CDPATH": str(tmp_path / "else")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"data.train_files='{tmp_path}/out/train.parquet'" in done.stdout.splitlines()


def test_no_word_of_a_recipe_is_run_by_the_shell(tmp_path) -> None:
    odd = "$(touch broken) `x` \"y\" 'z'"
    words = words_of(script(tmp_path / "out", output=odd), folder=tmp_path)
    escaped = odd.replace("'", "\\'")
    assert f"trainer.experiment_name='{escaped}'" in words
    assert not list(tmp_path.rglob("broken"))


def test_adapters_by_name_are_those_that_we_train_ourselves() -> None:
    pytest.importorskip("trl", reason="TRL's environment has the models that this builds")
    import peft
    import torch
    from transformers import AutoModelForImageTextToText, Qwen2_5_VLConfig

    from safegrpo.training.config import LoraConfig
    from safegrpo.training.model_parts import peft_config

    # Qwen2.5-VL's vision tower has layers called as those of its language model.
    layers = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
    config = Qwen2_5_VLConfig(
        text_config={**layers, "num_hidden_layers": 1, "num_key_value_heads": 1, "vocab_size": 32},
        vision_config={"hidden_size": 16, "intermediate_size": 16, "depth": 1, "num_heads": 2},
    )
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    assert any("visual" in name and name.endswith("up_proj") for name, _ in model.named_modules())
    lora = LoraConfig(r=2, alpha=2)
    wanted = set(peft_config(model, lora).target_modules)
    by_name = peft.LoraConfig(
        r=2, target_modules=list(lora.target_modules), exclude_modules=VISION_LAYERS
    )
    adapted = peft.get_peft_model(model, by_name).base_model.targeted_module_names
    assert set(adapted) == wanted
