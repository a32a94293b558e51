"""Every launch recipe, composed by Hydra with the configuration that verl ships.

Needs verl; `make verl-test` sets up an environment with it, on the CPU and without vLLM.
"""

from pathlib import Path

import pytest

verl = pytest.importorskip("verl", reason="verl is not in this environment: make verl-test")

from hydra import compose, initialize_config_module  # noqa: E402
from hydra.errors import HydraException  # noqa: E402
from omegaconf import OmegaConf  # noqa: E402
from verl.trainer.ppo.utils import need_critic, need_reference_policy  # noqa: E402
from verl.utils.config import omega_conf_to_dataclass, validate_config  # noqa: E402

from safegrpo.export.settings import Cluster, Exported, settings_of  # noqa: E402
from safegrpo.export.verl import hydra_value, overrides, run_script  # noqa: E402
from safegrpo.microcosm import SHIPPED  # noqa: E402
from safegrpo.training.config import load_recipe  # noqa: E402

from .conftest import words_of  # noqa: E402

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
GDPO = "grpo.multi_objective_aggregation=normalize_then_sum"
SUMMED = "grpo.multi_objective_aggregation=sum_then_normalize"
# What only our trainer does is turned off; the smoke recipe sets no schedule.
CHANGES = ("credit.hints=0", "grpo.lr_scheduler_type=constant")
LAUNCHED = [
    *((path.name, CHANGES) for path in sorted(RECIPES.glob("*.yaml")) if path.name != "tiny.yaml"),
    ("qwen3_vl_4b_paper.yaml", (GDPO,)),
    ("qwen3_vl_4b_lora.yaml", ("credit.hints=0", SUMMED)),
    ("qwen3_vl_4b_paper.yaml", ("grpo.loss_type=dr_grpo", "grpo.beta=0", "grpo.delta=null")),
    ("qwen3_vl_4b_paper.yaml", ("grpo.chat_template_kwargs={enable_thinking: true}",)),
    ("qwen3_vl_4b_paper.yaml", ("credit.reason_share=0.5", "credit.format_weight=0.25", GDPO)),
    ("qwen3_vl_4b_paper.yaml", ("grpo.lr_scheduler_type=cosine", "grpo.warmup_steps=0.1")),
    ("qwen3_vl_4b_paper.yaml", ("grpo.max_steps=40", "data.eval=x/y", "grpo.report_to=wandb")),
]


def lines(name: str, changes: tuple[str, ...], model: str | None = None) -> list[str]:
    """The overrides of a recipe as words; `model` replaces its own."""
    more = [f"model={model}"] if model else []
    recipe = load_recipe(RECIPES / name, [*changes, *more])
    cluster = Cluster(1, 4)
    data = Exported(3000, 300 if recipe.data.eval else 0, measured=True)
    found = overrides(settings_of(recipe, cluster), cluster, data)
    return [f"{key}={hydra_value(value, here='/out')}" for key, value in found]


def composed(words: list[str]) -> OmegaConf:
    with initialize_config_module("verl.trainer.config", version_base=None):
        return compose("ppo_trainer", words)


@pytest.mark.parametrize(("name", "changes"), LAUNCHED)
def test_a_recipe_composes_and_passes_verls_own_check(name, changes, capsys) -> None:
    # Composing refuses an override whose key is not there, and one with a + whose key is.
    config = composed(lines(name, changes))
    lora = config.actor_rollout_ref.model.lora_rank > 0
    if lora:
        # verl then asks vLLM, which is not here, for the ranks it takes.
        config.actor_rollout_ref.rollout.name = "sglang"
    validate_config(config, need_reference_policy(config), need_critic(config))
    assert "passed successfully" in capsys.readouterr().out
    for section in ("actor_rollout_ref.actor", "actor_rollout_ref.rollout", "algorithm"):
        omega_conf_to_dataclass(OmegaConf.select(config, section))


def test_the_model_section_makes_verls_model_config() -> None:
    config = composed(lines("qwen3_vl_4b_lora.yaml", ("credit.hints=0",), model=str(SHIPPED)))
    found = omega_conf_to_dataclass(config.actor_rollout_ref.model)
    assert (found.lora_rank, found.lora_alpha) == (32, 64)
    assert found.hf_config.model_type == "qwen3_vl"


def test_keys_with_a_plus_are_read_by_verl() -> None:
    words = lines("qwen3_vl_4b_paper.yaml", (GDPO,))
    added = {word.partition("=")[0] for word in words if word.startswith("+")}
    assert added == {
        "+algorithm.gdpo_reward_keys",
        "+algorithm.gdpo_reward_weights",
        "+actor_rollout_ref.rollout.engine_kwargs.vllm.mm_processor_cache_gb",
        "+reward.custom_reward_function.reward_kwargs.rules",
        "+reward.custom_reward_function.reward_kwargs.mode",
    }
    algorithm = omega_conf_to_dataclass(composed(words).algorithm)
    assert algorithm.gdpo_reward_keys == ["gated_tag", "gated_behavior"]
    source = (Path(verl.__file__).parent / "trainer" / "ppo" / "reward.py").read_text()
    assert 'get("reward_kwargs"' in source


@pytest.mark.parametrize("word", ["trainer.no_such_key=1", "+trainer.save_freq=1"])
def test_composing_does_tell_a_wrong_key(word) -> None:
    with pytest.raises(HydraException):
        composed([*lines("qwen3_vl_4b_paper.yaml", ()), word])


def test_what_we_set_and_the_published_script_does_not() -> None:
    """Only these of verl's own values are changed beside the script's (docs/verl.md says why)."""
    from .test_verl import PUBLISHED, RENAMED

    shipped, ours = composed([]), composed(lines("qwen3_vl_4b_paper.yaml", ()))
    published = {RENAMED.get(key, key).lstrip("+") for key in PUBLISHED}
    changed = {
        word.partition("=")[0]
        for word in lines("qwen3_vl_4b_paper.yaml", ())
        if not word.startswith("+")
    }
    changed = {
        key
        for key in changed - published
        if OmegaConf.select(shipped, key) != OmegaConf.select(ours, key)
    }
    assert changed == {
        "data.image_patch_size",
        "data.seed",
        "data.val_max_samples",
        "actor_rollout_ref.actor.data_loader_seed",
        "actor_rollout_ref.actor.optim.lr_warmup_steps",  # 0, which is what verl's -1 comes to
        "actor_rollout_ref.rollout.max_model_len",
        "trainer.max_actor_ckpt_to_keep",
        "trainer.val_before_train",
    }


def test_the_published_script_no_longer_starts() -> None:
    from verl.experimental.reward_loop.reward_manager import get_reward_manager_cls

    with pytest.raises(ValueError, match="Unknown reward manager"):
        get_reward_manager_cls("batch")


def test_run_sh_composes_wherever_it_lies(tmp_path) -> None:
    recipe = load_recipe(RECIPES / "qwen3_vl_4b_paper.yaml")
    cluster = Cluster(1, 4)
    found = overrides(settings_of(recipe, cluster), cluster, Exported(3000, 0, True))
    folder = tmp_path / "it's here, $HOME"
    folder.mkdir()
    (folder / "run.sh").write_text(run_script(found))
    (folder / "run.sh").chmod(0o755)
    words = words_of(folder / "run.sh", "trainer.n_gpus_per_node=8", folder=tmp_path)
    config = composed(words[2:])
    assert config.data.train_files == f"{folder}/train.parquet"
    assert config.reward.custom_reward_function.path == f"{folder}/reward.py"
    assert config.trainer.n_gpus_per_node == 8
    assert config.data.train_batch_size == 256


def test_odd_words_of_a_recipe_arrive_as_they_are() -> None:
    odd = 'it\'s {a: b}, [c] = ${d} "e" null'
    config = composed([f"trainer.experiment_name={hydra_value(odd)}"])
    # Read without resolving: verl resolves its configuration once, and "${" was escaped for that.
    assert OmegaConf.to_container(config.trainer, resolve=True)["experiment_name"] == odd
