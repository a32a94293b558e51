"""What docs/verl.md does with adapters after verl's merger, which merges none."""

import re
import runpy
from pathlib import Path

import pytest

pytest.importorskip("peft", reason="PEFT is not in this environment")

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText, Qwen2_5_VLConfig

from safegrpo.errors import ModelError
from safegrpo.export.verl import VISION_LAYERS
from safegrpo.microcosm import SHIPPED
from safegrpo.models import load_model, load_processor, save_processor

DOCS = Path(__file__).resolve().parents[2] / "docs" / "verl.md"
NAMES = ["q_proj", "up_proj"]


def merge_as_documented(folder: Path, base: Path, monkeypatch) -> Path:
    """Run the documented step where `merged` is; the folder of the trained model."""
    (step,) = re.findall(r"```python\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
    assert step.count('"Qwen/Qwen3-VL-4B-Thinking"') == 1
    script = folder / "step.py"
    script.write_text(step.replace('"Qwen/Qwen3-VL-4B-Thinking"', repr(str(base))))
    monkeypatch.chdir(folder)
    runpy.run_path(str(script))
    return folder / "trained"


def adapted(model: torch.nn.Module) -> torch.nn.Module:
    """The model with adapters as verl makes them, that have learned something."""
    torch.manual_seed(0)
    options = {"r": 4, "lora_alpha": 8, "target_modules": NAMES, "exclude_modules": VISION_LAYERS}
    model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **options))
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05)
    return model


def save_as_verl(model: torch.nn.Module, folder: Path, alpha: int = 8) -> None:
    """What verl's merger leaves of adapters: bare names, nothing left out, no base."""
    folder.mkdir(parents=True)
    LoraConfig(r=4, lora_alpha=alpha, target_modules=NAMES).save_pretrained(folder)
    weights = {
        name.replace(".default.weight", ".weight"): value.contiguous()
        for name, value in model.state_dict().items()
        if "lora_" in name
    }
    save_file(weights, folder / "adapter_model.safetensors")


@pytest.fixture
def base(tmp_path) -> Path:
    """A Qwen2.5-VL, whose vision tower has layers called as those of its language model."""
    size = {"hidden_size": 16, "intermediate_size": 16}
    text = {"num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1}
    config = Qwen2_5_VLConfig(
        text_config={**size, **text, "vocab_size": 32, "bos_token_id": 1, "eos_token_id": 2},
        vision_config={**size, "depth": 1, "num_heads": 2},
    )
    AutoModelForImageTextToText.from_config(config).save_pretrained(tmp_path / "base")
    save_processor(load_processor(SHIPPED), tmp_path / "base", SHIPPED)
    return tmp_path / "base"


def test_the_documented_step_merges_and_leaves_the_vision_tower_alone(
    base, tmp_path, monkeypatch
) -> None:
    model = adapted(load_model(base))
    save_as_verl(model, tmp_path / "merged" / "lora_adapter")
    trained = merge_as_documented(tmp_path, base, monkeypatch)
    before, after = (load_file(folder / "model.safetensors") for folder in (base, trained))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert before.keys() == after.keys()
    assert {name.split(".")[-2] for name in changed} == set(NAMES)
    assert not any("visual" in name for name in changed)
    parts = model.state_dict()
    for name in changed:
        layer = re.sub(r"^(model\.)(?=layers)", r"\1language_model.", name).removesuffix(".weight")
        down, up = (value for key, value in parts.items() if layer in key and "lora_" in key)
        torch.testing.assert_close(after[name], before[name] + 2 * up @ down)
    load_processor(trained)


@pytest.mark.parametrize("broken", ["no alpha", "names that fit nowhere"])
def test_it_stops_where_nothing_would_be_merged(base, tmp_path, monkeypatch, broken) -> None:
    adapter = tmp_path / "merged" / "lora_adapter"
    save_as_verl(adapted(load_model(base)), adapter, alpha=0 if broken == "no alpha" else 8)
    if broken != "no alpha":
        file = adapter / "adapter_model.safetensors"
        save_file({f"x.{name}": value for name, value in load_file(file).items()}, file)
    with pytest.raises(AssertionError):
        merge_as_documented(tmp_path, base, monkeypatch)
    assert not (tmp_path / "trained").exists()


@pytest.mark.parametrize("load", [load_model, load_processor])
def test_a_model_with_its_adapters_unmerged_beside_it_is_refused(base, load) -> None:
    save_as_verl(adapted(load_model(base)), base / "lora_adapter")
    with pytest.raises(ModelError, match=r"the model before training.*docs/verl\.md"):
        load(base)


def test_adapters_beside_a_model_that_we_merged_are_no_reason(base) -> None:
    save_as_verl(adapted(load_model(base)), base / "adapter")
    load_model(base)
