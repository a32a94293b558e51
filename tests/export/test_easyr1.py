"""EasyR1's config.yaml, against the keys that its main branch reads (seen in July 2026)."""

import importlib.util
import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from safegrpo.errors import ConfigError
from safegrpo.export.easyr1 import check, config, run_script
from safegrpo.export.rewards import compute_scores
from safegrpo.export.rows import ground_truth
from safegrpo.export.settings import Cluster, Exported, settings_of
from safegrpo.training.config import flatten, load_recipe

from .conftest import RESPONSES, SAFE, pair, words_of

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
FOUR = Cluster(1, 4)
DATA = Exported(train_rows=3000, test_rows=0, measured=True)

# Facts: the fields of EasyR1's configuration classes that we set.
KNOWN = {
    "data": """prompt_key answer_key image_key max_prompt_length max_response_length
        rollout_batch_size val_batch_size format_prompt shuffle seed min_pixels max_pixels
        filter_overlong_prompts""",
    "algorithm": "adv_estimator disable_kl use_kl_loss kl_penalty kl_coef",
    "worker.actor": """global_batch_size micro_batch_size_per_device_for_update
        micro_batch_size_per_device_for_experience max_grad_norm clip_ratio_low clip_ratio_high
        clip_ratio_dual loss_avg_mode ppo_epochs padding_free""",
    "worker.actor.model": """model_path enable_gradient_checkpointing trust_remote_code
        freeze_vision_tower""",
    "worker.actor.model.lora": "rank alpha target_modules",
    "worker.actor.optim": """lr betas weight_decay strategy lr_scheduler_type lr_warmup_steps
        lr_warmup_ratio""",
    "worker.actor.fsdp": "enable_full_shard torch_dtype",
    "worker.actor.offload": "offload_params offload_optimizer",
    "worker.rollout": """n temperature top_p top_k seed gpu_memory_utilization
        tensor_parallel_size enforce_eager max_num_batched_tokens""",
    "worker.rollout.val_override_config": "temperature top_p n",
    "worker.ref.fsdp": "enable_full_shard enable_cpu_offload",
    "worker.ref.offload": "offload_params",
    "worker.reward.reward_function_kwargs": "rules mode reason_share weights",
    "trainer": """total_epochs max_steps project_name experiment_name logger nnodes
        n_gpus_per_node val_freq val_before_train save_freq save_limit""",
}
KEYS = {f"{section}.{name}" for section, names in KNOWN.items() for name in names.split()}


def made(name: str, *changes: str, data: Exported = DATA) -> dict:
    settings = settings_of(load_recipe(RECIPES / name, changes), FOUR)
    check(settings)
    return flatten(config(settings, FOUR, data))


PLAIN = "grpo.multi_objective_aggregation=sum_then_normalize"


@pytest.mark.parametrize(
    ("recipe", "changes"),
    [
        ("qwen3_vl_4b_paper.yaml", ()),
        ("qwen3_vl_8b_paper.yaml", ()),
        ("qwen3_vl_4b_lora.yaml", ("credit.hints=0", PLAIN)),
    ],
)
def test_every_key_is_one_that_easyr1_has(recipe, changes) -> None:
    assert set(made(recipe, *changes)) <= KEYS


def test_the_papers_settings_are_asked_for() -> None:
    found = made("qwen3_vl_4b_paper.yaml")
    expected = {
        "data.rollout_batch_size": 256,
        "data.max_prompt_length": 2048,
        "data.max_response_length": 4096,
        "worker.actor.global_batch_size": 64,
        "worker.actor.optim.lr": 1e-6,
        "worker.actor.clip_ratio_low": 0.2,
        "worker.actor.clip_ratio_high": 0.2,  # EasyR1's own is 0.3
        "worker.actor.clip_ratio_dual": 3.0,
        "worker.actor.model.freeze_vision_tower": False,
        "worker.actor.model.trust_remote_code": False,  # EasyR1's own is true
        "worker.rollout.n": 8,
        "algorithm.kl_penalty": "low_var_kl",
        "algorithm.kl_coef": 0.01,
        "trainer.total_epochs": 15,
        "worker.reward.reward_function_kwargs.rules": "paper",
    }
    assert {key: found[key] for key in expected} == expected


def test_images_are_scaled_by_the_models_processor_alone() -> None:
    found = made("qwen3_vl_4b_paper.yaml")
    assert (found["data.min_pixels"], found["data.max_pixels"]) == (None, None)


def test_the_prompt_needs_no_format_of_easyr1s() -> None:
    found = made("qwen3_vl_4b_paper.yaml")
    assert (found["data.prompt_key"], found["data.answer_key"]) == ("problem", "ground_truth")
    assert found["data.format_prompt"] is None


def test_adapters_are_frozen_in_the_vision_tower() -> None:
    found = made("qwen3_vl_4b_lora.yaml", "credit.hints=0", PLAIN)
    assert found["worker.actor.model.freeze_vision_tower"] is True
    assert found["worker.actor.model.lora.target_modules"].startswith("q_proj,k_proj")


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ("grpo.multi_objective_aggregation=normalize_then_sum", "grpo.multi_objective_aggregation"),
        ("grpo.scale_rewards=none", "grpo.scale_rewards"),
        ("grpo.loss_type=dr_grpo", "grpo.loss_type"),
        ("grpo.loss_type=grpo", "grpo.loss_type"),
        ("grpo.entropy_coef=0.1", "grpo.entropy_coef"),
        ("grpo.report_to=trackio", "grpo.report_to"),
    ],
)
def test_what_easyr1_is_without_is_an_error(change, key) -> None:
    with pytest.raises(ConfigError, match=f'"{key}"'):
        made("qwen3_vl_4b_paper.yaml", change)


def test_a_recipe_cannot_ask_easyr1_for_a_secret() -> None:
    found = made("qwen3_vl_4b_paper.yaml", "output='runs/${oc.env:HF_TOKEN}'")
    assert found["trainer.experiment_name"] == r"\${oc.env:HF_TOKEN}"


def test_the_folder_holds_what_easyr1_is_started_with(exported, tmp_path) -> None:
    folder = exported(engine="easyr1")
    assert sorted(path.name for path in folder.iterdir()) == [
        *("config.yaml", "export.json", "one_row.parquet", "reward.py", "run.sh", "train.parquet"),
    ]
    assert yaml.safe_load((folder / "config.yaml").read_text())["trainer"]["n_gpus_per_node"] == 2
    words = words_of(folder / "run.sh", "trainer.nnodes=2", folder=tmp_path)
    assert words[:3] == ["-m", "verl.trainer.main", f"config={folder}/config.yaml"]
    assert f"data.train_files={folder}/train.parquet" in words
    assert f"data.val_files={folder}/one_row.parquet" in words
    assert words[-1] == "trainer.nnodes=2"


def test_at_the_end_easyr1_measures_one_row_where_none_are_held_out(exported, tagged) -> None:
    folder = exported(engine="easyr1")
    (row,) = pq.read_table(folder / "one_row.parquet").to_pylist()
    assert row["images"] == []  # the shortest: EasyR1 may leave out long ones
    exported("--eval", tagged, "--eval-split", "test", engine="easyr1")
    assert not (folder / "one_row.parquet").exists()


def test_vllm_has_room_for_the_longest_row() -> None:
    key = "worker.rollout.max_num_batched_tokens"
    assert made("qwen3_vl_4b_paper.yaml")[key] == 8192  # EasyR1's own
    longer = ("grpo.max_completion_length=8192", "grpo.vllm_max_model_length=10240")
    assert made("qwen3_vl_4b_paper.yaml", *longer)[key] == 10240


@pytest.mark.parametrize("name", ["a@b", "a${oc.env:HOME}b", "a #b", "a: b", "a\nb"])
def test_a_path_that_easyr1_would_misread_is_refused(tmp_path, name) -> None:
    (tmp_path / name).mkdir()
    path = tmp_path / name / "run.sh"
    path.write_text(run_script(DATA))
    done = subprocess.run(["bash", path], capture_output=True, text=True)
    assert done.returncode == 2
    assert "move this folder" in done.stderr


def test_its_reward_file_loads_as_easyr1_loads_it(exported) -> None:
    path = exported(engine="easyr1") / "reward.py"
    spec = importlib.util.spec_from_file_location("custom_reward_fn", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (module.REWARD_NAME, module.REWARD_TYPE) == ("safegrpo", "batch")
    truth = ground_truth(pair(0, 0, SAFE))
    inputs = [{"response": RESPONSES[2], "response_length": 9, "ground_truth": truth}]
    (found,) = module.compute_score(inputs, rules="paper", mode="guided")
    assert found["overall"] == 1.0


def test_tags_that_a_row_has_not_reach_no_mean() -> None:
    # EasyR1 takes the mean of each number over a batch, and NaN would be all of it.
    rows = [pair(0, 0, SAFE), pair(1, 0, None)]
    inputs = [{"response": RESPONSES[2], "ground_truth": ground_truth(row)} for row in rows]
    tagged, question = compute_scores(inputs, rules="paper")
    assert tagged["tag"] == 1.0
    assert tagged.keys() - question.keys() == {"tag"}
