import inspect
import re
import subprocess
import sys

import pytest
from trl import GRPOTrainer

from safegrpo.errors import ConfigError, InputFileError
from safegrpo.training.config import load_recipe
from safegrpo.training.grpo_options import _CHOICES

GOOD = "model: m\ndata:\n  train: d.jsonl\n"


def write(tmp_path, text):
    path = tmp_path / "r.yaml"
    path.write_text(text)
    return path


def fails(tmp_path, text, overrides=(), kind=ConfigError):
    with pytest.raises(kind) as caught:
        load_recipe(write(tmp_path, text), overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_recipe_is_read_with_our_defaults(tmp_path):
    recipe = load_recipe(write(tmp_path, GOOD))
    assert (recipe.rules, recipe.mode, recipe.freeze_vision) == ("strict", "guided", True)
    assert recipe.output == "runs/r"


def test_the_config_imports_without_torch():
    code = "import sys, safegrpo.training.config; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_key_names_the_nearest(tmp_path):
    assert 'unknown key "rulse"; did you mean "rules"?' in fails(tmp_path, GOOD + "rulse: x\n")


def test_an_unknown_key_in_a_section_names_the_nearest(tmp_path):
    said = fails(tmp_path, "model: m\ndata: {trian: d}\n")
    assert 'unknown key "data.trian"; did you mean "train"?' in said


def test_an_unknown_key_in_an_optional_section_names_the_nearest(tmp_path):
    said = fails(tmp_path, GOOD + "lora: {alhpa: 4}\n")
    assert 'unknown key "lora.alhpa"; did you mean "alpha"?' in said


def test_an_unknown_grpo_option_names_the_nearest(tmp_path):
    said = fails(tmp_path, GOOD + "grpo: {num_generation: 4}\n")
    assert 'unknown key "grpo.num_generation"; did you mean "num_generations"?' in said


def test_an_option_that_the_recipe_sets_elsewhere_says_where(tmp_path):
    assert 'use "output"' in fails(tmp_path, GOOD + "grpo: {output_dir: x}\n")
    assert 'use "data.max_prompt_length"' in fails(
        tmp_path, GOOD + "grpo: {max_prompt_length: 9}\n"
    )


def test_secrets_are_refused(tmp_path):
    assert "no secrets" in fails(tmp_path, GOOD + "grpo: {hub_token: abc}\n")
    said = fails(tmp_path, GOOD + "grpo: {model_init_kwargs: {token: abc}}\n")
    assert "no secrets" in said and "abc" not in said


def test_a_wrong_type_names_key_and_value(tmp_path):
    said = fails(tmp_path, GOOD + "seed: many\n")
    assert '"seed"' in said and "'many'" in said


@pytest.mark.parametrize(
    "option, said",
    [
        ("num_generations: 0", "2 or more is wanted"),
        ("temperature: 0", "0.001 or more is wanted"),
        ("learning_rate: .nan", "0 or more is wanted"),
        ("epsilon: -1", "0 or more is wanted"),
        ("max_steps: 0", "0 steps train nothing"),
        ("loss_type: foo", "one of grpo, bnpo"),
        ("multi_objective_aggregation: foo", "one of sum_then_normalize, normalize_then_sum"),
        ("generation_kwargs: 5", "a mapping is wanted"),
        ("reward_weights: 5", "two numbers are wanted"),
        ("reward_weights: [1, a]", "two numbers are wanted"),
    ],
)
def test_a_value_that_no_run_can_use_is_said_at_once(tmp_path, option, said):
    assert said in fails(tmp_path, GOOD + f"grpo: {{{option}}}\n")


def test_every_loss_of_trl_may_be_chosen(tmp_path):
    """The list is ours: this fails when an upgrade of TRL knows others."""
    source = inspect.getsource(GRPOTrainer)
    known = set(re.findall(r'loss_type == "(\w+)"', source))
    for group in re.findall(r"loss_type in \[([^\]]+)\]", source):
        known |= set(re.findall(r'"(\w+)"', group))
    assert known <= set(_CHOICES["loss_type"]) and len(known) >= 6


def test_a_recipe_that_holds_itself_or_is_nested_too_deep_is_refused(tmp_path):
    assert "an alias" in fails(tmp_path, GOOD + "grpo: &a {generation_kwargs: *a}\n")
    assert "nested too deep" in fails(tmp_path, GOOD + "x: " + "[" * 50_000)


def test_a_wrong_number_in_grpo_is_found(tmp_path):
    assert "a number is wanted" in fails(tmp_path, GOOD + "grpo: {beta: lots}\n")
    assert "a number is wanted" in fails(tmp_path, GOOD + "grpo: {temperature: [1]}\n")
    assert "a whole number is wanted" in fails(tmp_path, GOOD + "grpo: {num_generations: 2.5}\n")
    assert "true or false is wanted" in fails(tmp_path, GOOD + "grpo: {use_vllm: sure}\n")


def test_a_number_without_a_point_is_a_number(tmp_path):
    recipe = load_recipe(write(tmp_path, GOOD + "grpo: {learning_rate: 1e-6}\n"))
    assert recipe.grpo["learning_rate"] == 1e-6


def test_a_missing_model_is_said(tmp_path):
    assert '"model" is missing' in fails(tmp_path, "data: {train: d}\n")


def test_missing_files_are_input_file_errors(tmp_path):
    with pytest.raises(InputFileError, match="not found"):
        load_recipe(tmp_path / "none.yaml")
    assert "guide file" in fails(tmp_path, GOOD + "guide: no.txt\n", kind=InputFileError)
    assert "image folder" in fails(tmp_path, GOOD, ["data.images=nowhere"], InputFileError)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model: [\n", "not YAML"),
        ("- a\n", "a recipe is a mapping"),
        ("", "a recipe is a mapping"),
        ("model: !!python/object/apply:os.system ['true']\n", "not YAML"),
    ],
)
def test_what_is_no_recipe_is_said(tmp_path, text, said):
    assert said in fails(tmp_path, text)


def test_bytes_that_are_no_text_are_said(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_bytes(b"model: \xff\n")
    with pytest.raises(ConfigError, match="UTF-8"):
        load_recipe(path)


def test_overrides_are_read_as_yaml_and_make_sections(tmp_path):
    path = write(tmp_path, GOOD)
    recipe = load_recipe(path, ["grpo.beta=0.04", "lora.r=4", "samples_every=3", "guide=null"])
    assert recipe.grpo["beta"] == 0.04
    assert recipe.lora is not None and recipe.lora.r == 4
    assert recipe.samples_every == 3


@pytest.mark.parametrize("override", ["seed", "=3", "model.x=1", "grpo.=1", "seed=["])
def test_an_override_that_cannot_be_set_is_an_error(tmp_path, override):
    assert "--set" in fails(tmp_path, GOOD, [override])


def test_a_cold_start_has_nothing_to_teach_in_direct_mode(tmp_path):
    assert "cold_start" in fails(tmp_path, GOOD + "mode: direct\ncold_start: {}\n")


def test_nothing_is_carried_over_in_direct_mode(tmp_path):
    assert "internalise" in fails(tmp_path, GOOD + "mode: direct\ninternalise: {}\n")


@pytest.mark.parametrize("wrong", ["replay: 1", "temperature: 0", "rollouts: 0", "target: tags"])
def test_what_internalise_cannot_be(tmp_path, wrong):
    assert "internalise." + wrong.split(":")[0] in fails(
        tmp_path, GOOD + f"internalise: {{{wrong}}}\n"
    )


@pytest.mark.parametrize("size", ["4b", "8b"])
def test_the_paper_recipes_hold_the_published_settings(size, repository):
    recipe = load_recipe(repository / "recipes" / f"qwen3_vl_{size}_paper.yaml")
    assert recipe.model == f"Qwen/Qwen3-VL-{size.upper()}-Thinking"
    assert (recipe.rules, recipe.freeze_vision, recipe.lora) == ("paper", False, None)
    assert recipe.data.max_prompt_length == 2048
    grpo = recipe.grpo
    published = {"num_generations": 8, "epsilon": 0.2, "beta": 0.01, "learning_rate": 1e-6}
    published |= {"max_completion_length": 4096, "loss_type": "dapo", "num_train_epochs": 15}
    # verl's defaults, which the published script leaves: token mean, dual clip.
    published |= {"delta": 3.0}
    published |= {"scale_rewards": "group", "multi_objective_aggregation": "sum_then_normalize"}
    assert {key: grpo[key] for key in published} == published
    # On four GPUs: 256 prompts a generation batch and 64 an update.
    update = 4 * grpo["per_device_train_batch_size"] * grpo["gradient_accumulation_steps"]
    batch = 4 * grpo["per_device_train_batch_size"] * grpo["steps_per_generation"]
    assert (batch // 8, update // 8) == (256, 64)


def test_every_recipe_loads(repository):
    files = sorted((repository / "recipes").glob("*.yaml"))
    assert len(files) >= 4
    for file in files:
        load_recipe(file)
