"""Parameters, weights, gradients, optimizer and caches: the estimate's bytes and the real ones."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from peft import get_peft_model
from transformers import GenerationConfig

from safegrpo.models import load_model
from safegrpo.shared_prefix import sampling
from safegrpo.shared_prefix.decode import PrefixCache
from safegrpo.shared_prefix.model import accept_packed
from safegrpo.training.config import LoraConfig
from safegrpo.training.estimate.generation import cache_bytes, moved_bytes, token_bytes
from safegrpo.training.estimate.plan import Plan, Precision, make_plan
from safegrpo.training.estimate.prompts import assumed_prompts
from safegrpo.training.estimate.shape import model_shape
from safegrpo.training.estimate.states import states, trained_parts
from safegrpo.training.model_parts import freeze_vision, peft_config, training_dtype
from tests.shared_prefix.tiny import MAKES, build
from tests.training.test_estimate_activations import Case
from tests.training.test_estimate_passes import Alive

FLOAT32 = Precision(weights=4, compute=4, stream=4, copies=False)


@pytest.mark.parametrize("make", MAKES)
def test_every_parameter_is_counted_once_and_where_it_belongs(make) -> None:
    model = build(make).model
    shape = model_shape(model.config)
    assert shape.parameters == sum(p.numel() for p in model.parameters())
    assert sum(part.tensors for part in shape.parts.values()) == len(list(model.parameters()))
    assert shape.parts["embeddings"].parameters == model.get_input_embeddings().weight.numel()
    assert shape.parts["vision"].parameters + shape.parts["merger"].parameters == (
        freeze_vision(model)
    )
    assert shape.packs is None


@pytest.mark.parametrize("make", MAKES)
def test_adapters_are_counted_as_peft_makes_them(make, plan) -> None:
    model, lora = build(make).model, LoraConfig(r=8)
    shape = model_shape(model.config, lora)
    adapted = get_peft_model(model, peft_config(model, lora))
    real = [p for p in adapted.parameters() if p.requires_grad]
    part = trained_parts(shape, plan(lora={"r": 8}))["adapters"]
    assert (part.parameters, part.tensors) == (sum(p.numel() for p in real), len(real))


@pytest.fixture
def plan(recipe):
    """A function that makes the plan of a recipe."""

    def make(grpo=None, gpus=1, sharding="ddp", prompt=100, **changes) -> Plan:
        made = recipe(grpo, **changes)
        return make_plan(made, assumed_prompts(prompt, ""), gpus, sharding)

    return make


def bytes_of(tensors) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


@pytest.mark.parametrize("way", ["all", "frozen vision", "lora", "lora on bfloat16"])
def test_weights_gradients_and_moments_after_a_real_update(plan, model_dir, way) -> None:
    dtype = "bfloat16" if "bfloat16" in way else "float32"
    lora = LoraConfig(r=8) if "lora" in way else None
    model = load_model(model_dir, dtype=dtype)
    shape = model_shape(model.config, lora)
    if lora is not None:
        model = get_peft_model(model, peft_config(model, lora))
    elif way == "frozen vision":
        freeze_vision(model)
    trained = [p for p in model.parameters() if p.requires_grad]
    for parameter in trained:
        parameter.grad = torch.zeros_like(parameter)
    optimizer = torch.optim.AdamW(trained, lr=1e-3)
    optimizer.step()
    moments = [t for state in optimizer.state.values() for t in state.values()]
    said = states(
        shape,
        plan(
            lora={"r": 8} if lora else None,
            freeze_vision=way == "frozen vision",
            dtype=dtype,
        ),
    )
    assert said.weights == bytes_of(model.parameters())
    assert said.gradients == bytes_of(p.grad for p in trained)
    assert said.optimizer == bytes_of(moments)
    assert said.reference == said.moving == said.gathered == 0


def test_the_reference_model_is_there_with_beta_and_without_adapters(plan, model_dir) -> None:
    shape = model_shape(load_model(model_dir).config, LoraConfig())
    assert states(shape, plan({"beta": 0.04})).reference == 4 * shape.parameters
    assert states(shape, plan({"beta": 0.0})).reference == 0
    assert states(shape, plan({"beta": 0.04}, lora={})).reference == 0


def test_sharding_divides_what_it_divides(plan, model_dir) -> None:
    shape = model_shape(load_model(model_dir).config)
    gpu = {"use_cpu": False, "beta": 0.04}

    def held(sharding, gpus):
        return states(shape, plan(gpu, gpus, sharding, freeze_vision=False))

    one = held("ddp", 1)
    ddp, fsdp, zero2, zero3 = (held(way, 4) for way in ("ddp", "fsdp", "zero2", "zero3"))
    assert replace(ddp, moving=0) == one and ddp.moving == one.gradients
    for name in ("weights", "gradients", "reference"):
        assert getattr(fsdp, name) == getattr(one, name) // 4
    # ZeRO's own arithmetic: 2 + (2 + 4 + 8) / N bytes a parameter, then (2 + 2 + 4 + 8) / N.
    size = shape.parameters
    assert zero2.weights + zero2.gradients + zero2.optimizer == 2 * size + 14 * size // 4
    assert zero3.weights + zero3.gradients + zero3.optimizer == pytest.approx(16 * size / 4, abs=3)
    assert fsdp.gathered_reference == 2 * size


@pytest.mark.parametrize("lora", [None, {}])
@pytest.mark.parametrize("dtype", ["auto", "float32", "bfloat16"])
@pytest.mark.parametrize("on_gpu", [False, True])
def test_weights_are_kept_as_a_run_would_keep_them(
    recipe, monkeypatch, lora, dtype, on_gpu
) -> None:
    if lora is None and dtype == "bfloat16":
        pytest.skip("refused: it would round the steps away")
    made = recipe({"use_cpu": not on_gpu}, lora=lora, dtype=dtype)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: on_gpu)
    kept = getattr(torch, training_dtype(made)).itemsize
    assert make_plan(made, assumed_prompts(9, "")).precision.weights == kept


@pytest.mark.parametrize(("make", "length"), [*((make, 9) for make in MAKES), ("gemma3", 140)])
def test_the_packed_cache_at_full_length(make, length, plan, monkeypatch) -> None:
    tiny = build(make)
    accept_packed(tiny.model)
    caches = []

    class Recorded(PrefixCache):
        def __init__(self, *args) -> None:
            super().__init__(*args)
            caches.append(self)

    monkeypatch.setattr(sampling, "PrefixCache", Recorded)
    group = tiny.group([(4, 4)], [0] * 4)
    config = GenerationConfig(max_new_tokens=length, min_new_tokens=length, do_sample=True)
    sampling.sample(tiny.model, [group, group], config)
    found = bytes_of(t for pair in (*caches[0]._prefix, *caches[0]._own) for t in pair)
    shape = model_shape(tiny.model.config)
    made = plan({"max_completion_length": length}, prompt=len(group.prompt))
    assert cache_bytes(shape, made, True, length) == found


def test_what_is_moved_when_rows_have_ended(plan) -> None:
    tiny = build("qwen3_vl")
    accept_packed(tiny.model)
    group = tiny.group([(4, 4)], [0] * 8)
    packed = sampling.pack([group])
    cache = PrefixCache(packed)
    held = model_shape(tiny.model.config).layers
    tokens = torch.zeros(1, held[0].keys // 16, packed.input_ids.shape[1], 16)
    with Alive([]) as alive:
        for layer in range(len(held)):
            cache.update(tokens, tokens, layer)
        before = alive.peak = alive.now
        cache.select(torch.tensor([0]), torch.arange(6)[None])
    made = plan({"max_completion_length": 12, "num_generations": 8})
    said = moved_bytes(model_shape(tiny.model.config), made, packed=True)
    assert 0.5 * said < alive.peak - before <= 1.01 * said


@pytest.mark.parametrize("make", MAKES)
def test_transformers_cache_at_full_length(make, plan) -> None:
    tiny = build(make)
    group = tiny.group([], [20] * 8)
    ids = torch.stack([torch.cat([group.prompt, c]) for c in group.completions])
    with torch.no_grad():
        kinds = {name: torch.zeros_like(ids) for name in group.inputs}
        cache = tiny.model(input_ids=ids, use_cache=True, **kinds).past_key_values
    found = bytes_of(t for layer in cache.layers for t in (layer.keys, layer.values))
    shape = model_shape(tiny.model.config)
    made = plan({"max_completion_length": 20}, prompt=len(group.prompt))
    windows = [block for block in shape.layers if block.window]
    # A layer with a window keeps one token less than it sees.
    less = sum(len(ids) * token_bytes(block, FLOAT32, False) for block in windows)
    assert cache_bytes(shape, made, False, 20) == found + less


def test_a_token_is_wider_under_autocast_over_32_bits(tokenizer) -> None:
    case = Case(tokenizer, autocast=True)
    layers, precision = case.shape.layers, case.precision
    packed = sampling.pack(case.packed_groups)
    ours = PrefixCache(packed)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        sampling._first_logits(
            case.model,
            packed,
            [sampling.prompt_positions(case.model.base_model, g) for g in case.packed_groups],
            ours,
        )
        ids = torch.tensor([[60, 61, 62]])
        plain = case.model(input_ids=ids, use_cache=True).past_key_values
    found = bytes_of(t for pair in ours._prefix for t in pair)
    assert found == case.prompt * sum(token_bytes(block, precision, True) for block in layers)
    found = bytes_of(t for layer in plain.layers for t in (layer.keys, layer.values))
    assert found == 3 * sum(token_bytes(block, precision, False) for block in layers)
