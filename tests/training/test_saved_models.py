"""What was trained is what is loaded: in plain transformers and PEFT, merged, sharded, gone on
with."""

import json
import subprocess
import sys

import pytest
import torch
import torch.distributed as dist
from peft import get_peft_model
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from safegrpo.errors import ConfigError
from safegrpo.microcosm import SHIPPED
from safegrpo.models import load_model, load_processor
from safegrpo.training.config import LoraConfig
from safegrpo.training.model_parts import (
    ADAPTER,
    merged_state,
    peft_config,
    save_trained,
    whole_state,
)
from safegrpo.training.run import train

DTYPES = {"float32": 1e-5, "bfloat16": 0.03}
"""How far logits may be off, of their norm: bfloat16 rounds the sum of weights and adapter."""

# For an interpreter of its own, which never sees safegrpo.
PLAIN = """
import sys
from pathlib import Path
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText

folder, base = map(Path, sys.argv[1:3])
logits = {}
for dtype in ("float32", "bfloat16"):
    saved = folder / dtype
    load = AutoModelForImageTextToText.from_pretrained
    merged, plain = load(saved, dtype=dtype), load(base, dtype=dtype)
    for way in ("merged", "untrained", "adapter"):
        model = merged if way == "merged" else plain
        if way == "adapter":
            model = PeftModel.from_pretrained(model, saved / "adapter")
        output = model.eval()(**load_file(folder / "inputs.safetensors"))
        logits[f"{dtype}-{way}"] = output.logits.detach().float().contiguous()
save_file(logits, folder / "logits.safetensors")
assert not any(name.split(".")[0] == "safegrpo" for name in sys.modules)
"""


def adapted(dtype="float32"):
    """The microcosm's model with an adapter that has learned something (at random)."""
    torch.manual_seed(0)
    model = load_model(SHIPPED, dtype=dtype)
    model = get_peft_model(model, peft_config(model, LoraConfig(r=4, alpha=8)))
    for name, weight in model.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(weight, std=0.05)
    return model.eval()


def inputs_of(processor):
    content = [{"type": "image"}, {"type": "text", "text": "what is in the picture ?"}]
    text = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )
    image = Image.new("RGB", (64, 64), (200, 10, 10))
    return dict(processor(images=[image], text=[text], return_tensors="pt"))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with a model of each dtype, and logits by f"{dtype}-{way}"."""
    folder = tmp_path_factory.mktemp("saved")
    processor = load_processor(SHIPPED)
    inputs = inputs_of(processor)
    save_file(inputs, folder / "inputs.safetensors")
    logits = {}
    for dtype in DTYPES:
        model = adapted(dtype)
        save_trained(model, processor, folder / dtype, "org/base")
        with torch.no_grad():
            logits[f"{dtype}-trained"] = model(**inputs).logits.float()
    (folder / "plain.py").write_text(PLAIN)
    command = [sys.executable, "plain.py", str(folder), str(SHIPPED)]
    subprocess.run(command, check=True, cwd=folder)
    return folder, logits | load_file(folder / "logits.safetensors")


@pytest.mark.parametrize("way", ["merged", "adapter"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_plain_transformers_computes_what_was_trained(saved, dtype, way) -> None:
    _, logits = saved
    trained = logits[f"{dtype}-trained"]

    def error(name):
        return ((logits[f"{dtype}-{name}"] - trained).norm() / trained.norm()).item()

    assert error(way) < DTYPES[dtype] < 0.3 * error("untrained")


def test_an_adapter_names_its_base_as_the_recipe_does(saved) -> None:
    folder, _ = saved
    for dtype in DTYPES:
        config = json.loads((folder / dtype / ADAPTER / "adapter_config.json").read_text())
        assert config["base_model_name_or_path"] == "org/base"


def test_no_place_of_this_machine_is_in_what_is_saved(saved) -> None:
    folder, _ = saved
    files = [path for path in (folder / "float32").rglob("*") if path.is_file()]
    places = [str(SHIPPED).encode(), str(folder).encode()]
    assert files and not any(place in file.read_bytes() for file in files for place in places)


def test_merging_leaves_the_model_that_trains_as_it_was() -> None:
    model = adapted()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    merged_state(model, model.state_dict())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_head_that_is_tied_is_not_adapted_alone() -> None:
    lora = LoraConfig(target_modules=("q_proj", "lm_head"))
    model = load_model(SHIPPED, dtype="float32")
    with pytest.raises(ConfigError, match="lm_head has the weights of the embeddings"):
        peft_config(model, lora)
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    assert "lm_head" in peft_config(model, lora).target_modules


def test_training_goes_on_from_a_merged_model(recipe, pairs, tmp_path) -> None:
    first = train(recipe(lora={"r": 2, "alpha": 4}), train_pairs=pairs).model
    again = recipe(model=str(first), output=str(tmp_path / "again"), lora={"r": 2, "alpha": 4})
    second = train(again, train_pairs=pairs).model
    config = json.loads((second / ADAPTER / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(first)
    assert (
        load_file(second / "model.safetensors").keys()
        == load_file(first / "model.safetensors").keys()
    )


@pytest.fixture
def mesh(tmp_path):
    """A mesh of one process: enough for parameters to become DTensors."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_a_sharded_model_is_saved_whole(mesh, tmp_path, kind) -> None:
    model = adapted() if kind == "lora" else load_model(SHIPPED, dtype="float32")
    processor = load_processor(SHIPPED)
    save_trained(model, processor, tmp_path / "plain", "org/base")
    for layer in (*model.get_decoder().layers, model):
        fully_shard(layer, mesh=mesh)
    assert all(isinstance(parameter, DTensor) for parameter in model.parameters())
    state = whole_state(model, None)
    assert not any(isinstance(value, DTensor) for value in state.values())
    save_trained(model, processor, tmp_path / "sharded", "org/base", state)
    names = sorted(str(p.relative_to(tmp_path / "plain")) for p in (tmp_path / "plain").rglob("*"))
    assert names == sorted(
        str(p.relative_to(tmp_path / "sharded")) for p in (tmp_path / "sharded").rglob("*")
    )
    for name in names:
        plain, sharded = tmp_path / "plain" / name, tmp_path / "sharded" / name
        if plain.suffix == ".safetensors":
            wanted, found = load_file(plain), load_file(sharded)
            assert found.keys() == wanted.keys()
            assert all(torch.equal(found[key], wanted[key]) for key in wanted)
        elif plain.is_file():
            assert sharded.read_bytes() == plain.read_bytes()
