"""Recipes load, launchers read their files, and no launch line has a misspelt flag."""

import inspect
import re
import shlex
from pathlib import Path

import pytest
import torch
import yaml
from accelerate.commands import launch
from accelerate.utils import DeepSpeedPlugin, FullyShardedDataParallelPlugin
from accelerate.utils.fsdp_utils import fsdp2_prepare_auto_wrap_policy
from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env
from trl import GRPOTrainer, TrlParser
from trl.scripts.vllm_serve import ScriptArguments, build_command

from safegrpo.cli import parser as safegrpo_parser
from safegrpo.errors import ConfigError
from safegrpo.training.config import load_recipe
from safegrpo.training.grpo_options import _CHOICES, grpo_config, notices
from safegrpo.training.sharding import name_own_layers
from tests.shared_prefix.tiny import MAKES, build

ROOT = Path(__file__).resolve().parents[2]
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
LAUNCHERS = sorted((ROOT / "recipes" / "accelerate").glob("*.yaml"))
GOOD = "model: m\ndata:\n  train: d.jsonl\n"


def name(path):
    return path.stem


# Launch lines


def commands(path):
    """The commands in a recipe's header or in the ```bash blocks of a page, each as its words."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        found = "\n".join(re.findall(r"```bash\n(.*?)```", text, re.DOTALL))
        lines = found.replace("\\\n", " ").splitlines()
    else:
        found = "\n".join(re.findall(r"^#   (.*)$", text, re.MULTILINE))
        lines = re.findall(
            r"^(?:accelerate|safegrpo) .*$", found.replace("\\\n", " "), re.MULTILINE
        )
    words = [shlex.split(line, comments=True) for line in lines]
    return [[w for w in line if not re.match(r"[A-Z_]+=", w)] for line in words if line]


PAGES = [*RECIPES, *LAUNCHERS, ROOT / "docs" / "scale.md"]
LINES = [(page, line) for page in PAGES for line in commands(page)]


def read_safegrpo(words):
    """What our own command line makes of the words after `safegrpo`."""
    args = safegrpo_parser().parse_args(words)
    if "recipe" in args and args.recipe.startswith("recipes/"):
        return load_recipe(ROOT / args.recipe, [o for o in args.overrides if "PATH" not in o])
    return None


def read_accelerate(words, monkeypatch):
    """The arguments that `accelerate launch` would start processes with."""
    found = []
    for launcher in ("multi_gpu_launcher", "deepspeed_launcher", "simple_launcher"):
        monkeypatch.setattr(launch, launcher, found.append)
    monkeypatch.chdir(ROOT)
    launch.launch_command(launch.launch_command_parser().parse_args(words))
    [args] = found
    return args


@pytest.mark.parametrize("page, words", LINES, ids=lambda x: x.name if isinstance(x, Path) else "")
def test_a_launch_line_is_understood(page, words, monkeypatch):
    if words[:2] == ["accelerate", "launch"]:
        args = read_accelerate(words[2:], monkeypatch)
        assert args.module and args.training_script == "safegrpo"
        grpo = read_safegrpo(args.training_script_args).grpo
        # However many GPUs, an update has 64 prompts in the published recipe and 16 in ours.
        steps = grpo["gradient_accumulation_steps"]
        update = grpo["per_device_train_batch_size"] * steps * args.num_processes
        assert update == 8 * (64 if "steps_per_generation" in grpo else 16)
        assert grpo.get("steps_per_generation", 4 * steps) == 4 * steps
    elif words[:2] == ["trl", "vllm-serve"]:
        args, rest = TrlParser(ScriptArguments).parse_args_and_config(
            args=words[2:], return_remaining_strings=True
        )
        assert not rest and "--weight-transfer-config" in build_command(args)
    elif words[0] == "safegrpo":
        read_safegrpo(words[1:])
    else:
        assert words[:2] == ["pip", "install"], words


def test_there_are_lines_to_read():
    assert {page for page, _ in LINES} >= {*LAUNCHERS, ROOT / "docs" / "scale.md"}
    assert len(LINES) > 20


# Recipes


@pytest.mark.parametrize("path", RECIPES, ids=name)
def test_a_recipe_makes_a_configuration_for_trl(path, tmp_path):
    """As far as a machine without a GPU goes: what only a GPU can do is left out."""
    recipe = load_recipe(path)
    config = grpo_config(recipe, str(tmp_path))
    assert config.use_vllm == bool(recipe.grpo.get("use_vllm"))
    assert config.generation_batch_size % config.num_generations == 0


@pytest.mark.parametrize("path", RECIPES, ids=name)
def test_a_recipe_parts_no_group(path):
    grpo = load_recipe(path).grpo
    assert grpo["per_device_train_batch_size"] % grpo["num_generations"] == 0


@pytest.mark.parametrize("path", [p for p in RECIPES if "paper" in p.stem], ids=name)
def test_the_paper_recipes_correct_for_the_engine(path):
    recipe = load_recipe(path)
    assert recipe.grpo["vllm_importance_sampling_correction"] is True
    assert notices(recipe) == []


# Checks of combinations


def recipe(tmp_path, text, *overrides):
    path = tmp_path / "r.yaml"
    path.write_text(GOOD + text)
    return load_recipe(path, overrides)


@pytest.mark.parametrize(
    "options",
    [
        *("top_p: 0.9", "top_k: 20", "min_p: 0.1", "repetition_penalty: 1.1"),
        "generation_kwargs: {top_p: 0.9}",
    ],
)
def test_sampling_that_the_trainer_does_not_know_of_is_refused_with_vllm(tmp_path, options):
    text = "grpo: {%s, use_vllm: %s}\n"
    recipe(tmp_path, text % (options, "false"))
    with pytest.raises(ConfigError, match="changes probabilities in vLLM"):
        recipe(tmp_path, text % (options, "true"))


def test_sampling_that_cuts_nothing_is_no_cut(tmp_path):
    recipe(tmp_path, "grpo: {top_p: 1.0, top_k: 0, min_p: 0.0, use_vllm: true}\n")


def test_an_engine_too_short_for_prompt_and_completion_is_refused(tmp_path):
    text = "grpo: {use_vllm: true, max_completion_length: 100, vllm_max_model_length: %d}\n"
    recipe(tmp_path, text % 2148)
    with pytest.raises(ConfigError, match="need 2148"):
        recipe(tmp_path, text % 2147)


@pytest.mark.parametrize("key", ["vllm_mode", "vllm_importance_sampling_mode"])
def test_a_choice_that_trl_would_refuse_mid_run_is_refused_at_once(tmp_path, key):
    with pytest.raises(ConfigError, match="one of"):
        recipe(tmp_path, f"grpo: {{{key}: foo}}\n")


def test_every_correction_of_trl_may_be_chosen():
    """The list is ours: this fails when an upgrade of TRL knows others."""
    said = re.findall(r"Possible values are ([^.]+)\.", inspect.getsource(GRPOTrainer))[0]
    assert set(re.findall(r"'(\w+)'", said)) == set(_CHOICES["vllm_importance_sampling_mode"])


def test_turning_the_correction_off_is_told(tmp_path):
    off = "vllm_importance_sampling_correction: false"
    assert notices(recipe(tmp_path, f"grpo: {{use_vllm: true, {off}}}\n"))
    assert not notices(recipe(tmp_path, f"grpo: {{{off}}}\n"))


def test_full_training_in_bfloat16_is_refused(tmp_path):
    recipe(tmp_path, "dtype: bfloat16\nlora: {}\n")
    with pytest.raises(ConfigError, match="rounds the steps"):
        recipe(tmp_path, "dtype: bfloat16\n")


def test_bfloat16_does_round_the_steps_away():
    """Why: a step of the published size leaves no weight of a usual size changed."""
    torch.manual_seed(0)
    for dtype, changed in ((torch.bfloat16, False), (torch.float32, True)):
        weight = torch.nn.Parameter((torch.randn(1000) * 0.02).clamp(min=5e-4).to(dtype))
        before = weight.detach().clone()
        optimizer = torch.optim.AdamW([weight], lr=1e-6, weight_decay=0)
        weight.grad = torch.ones_like(weight)
        optimizer.step()
        assert bool((weight != before).any()) == changed


# What accelerate makes of its files


def started(path, monkeypatch, processes=2):
    """The environment that a process gets from a launcher's file."""
    words = ["--config_file", str(path), "--num_processes", str(processes)]
    args = read_accelerate([*words, "-m", "safegrpo", "train", "r.yaml"], monkeypatch)
    assert args.num_processes == processes
    if args.use_deepspeed:
        return prepare_deepspeed_cmd_env(args)[1]
    return prepare_multi_gpu_env(args)


@pytest.mark.parametrize("path", LAUNCHERS, ids=name)
def test_accelerate_knows_every_key(path, monkeypatch):
    """Of the nested sections it checks none: an unknown key would be ignored."""
    options = yaml.safe_load(path.read_text())
    known = vars(launch.launch_command_parser().parse_args(["x.py"]))
    for section in ("fsdp_config", "deepspeed_config"):
        assert set(options.get(section, {})) <= set(known)
    assert started(path, monkeypatch)["ACCELERATE_MIXED_PRECISION"] == "bf16"


def fsdp_plugin(monkeypatch):
    found = started(ROOT / "recipes/accelerate/fsdp2.yaml", monkeypatch)
    for key, value in found.items():
        if key.startswith("FSDP_"):
            monkeypatch.setenv(key, value)
    # What FSDP2 does not know is dropped by the plugin with a warning, or refused.
    return FullyShardedDataParallelPlugin()


@pytest.mark.parametrize("make", MAKES)
def test_fsdp2_divides_both_towers_layer_by_layer(make, monkeypatch):
    plugin, model = fsdp_plugin(monkeypatch), build(make).model
    name_own_layers(model)
    assert (plugin.fsdp_version, plugin.reshard_after_forward) == (2, True)
    assert plugin.cpu_ram_efficient_loading is False
    plugin.set_auto_wrap_policy(model)
    policy = fsdp2_prepare_auto_wrap_policy(plugin, model)
    wrapped = [m for m in model.modules() if policy(m)]
    kinds = {type(m).__name__ for m in wrapped}
    layers = {kind for kind in kinds if kind.endswith(("Layer", "Block"))}
    assert len(layers) == 2 and sum("Decoder" in kind for kind in layers) == 1


@pytest.mark.parametrize("make", ["gemma3", "llava"])
def test_accelerate_would_look_for_layers_that_are_not_there(make, monkeypatch):
    with pytest.raises(ValueError, match="Could not find the transformer layer class"):
        fsdp_plugin(monkeypatch).set_auto_wrap_policy(build(make).model)


@pytest.mark.parametrize("stage", [2, 3])
def test_deepspeed_is_given_its_stage_and_leaves_the_batch_to_the_recipe(stage, monkeypatch):
    found = started(ROOT / f"recipes/accelerate/zero{stage}.yaml", monkeypatch)
    for key, value in found.items():
        if key.startswith("ACCELERATE_"):
            monkeypatch.setenv(key, value)
    config = DeepSpeedPlugin().deepspeed_config
    assert config["zero_optimization"]["stage"] == stage
    assert config["gradient_accumulation_steps"] == config["gradient_clipping"] == "auto"
    gathers = config["zero_optimization"]["stage3_gather_16bit_weights_on_model_save"]
    assert gathers == (stage == 3)


# What docs/scale.md says of images


def test_images_take_the_tokens_that_the_page_says():
    from transformers.models.gemma3.processing_gemma3 import Gemma3Processor
    from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
    from transformers.models.internvl.processing_internvl import InternVLProcessor

    tiles = GotOcr2ImageProcessorPil.max_patches + 1  # and the thumbnail
    text = (ROOT / "docs" / "scale.md").read_text()
    assert InternVLProcessor.images_kwargs["crop_to_patches"]
    assert f"at most {tiles * 256:,}" in text
    assert not Gemma3Processor.images_kwargs["do_pan_and_scan"]
