"""Packed rows against each completion behind its own copy of the prompt."""

import pytest
import torch
from peft import LoraConfig, get_peft_model

from safegrpo.shared_prefix.check import dense_log_probs
from safegrpo.shared_prefix.model import accept_packed
from tests.shared_prefix.tiny import MAKES, build


def mixed(tiny):
    """Groups of 0, 1 and 2 images in two sizes; completions of many lengths, none among them."""
    return [
        tiny.group([(4, 4)], [5, 9, 0, 1], seed=1),
        tiny.group([], [3, 3], words=19, seed=2),
        tiny.group([(4, 8), (8, 4)], [7, 2, 12], seed=3),
        tiny.group([(8, 4)], [6, 6, 6, 6], words=11, seed=4),
    ]


def gradients(model) -> dict[str, torch.Tensor]:
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def relative(one: torch.Tensor, other: torch.Tensor) -> float:
    # A bias that softmax cancels has a gradient of nothing but rounding.
    return float((one - other).norm() / other.norm().clamp(min=1e-2))


def dense_with_gradient(model, groups, temperature):
    """`dense_log_probs` with gradients."""
    with torch.enable_grad():
        return torch.cat([dense_log_probs.__wrapped__(model, g, temperature) for g in groups])


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("checkpointing", [False, True], ids=["stored", "checkpointed"])
@pytest.mark.parametrize("make", MAKES)
def test_log_probabilities_and_gradients_are_the_dense_ones(make, checkpointing, lora) -> None:
    tiny = build(make)
    model = tiny.model
    groups = mixed(tiny)
    if lora:
        targets = r".*language_model.*\.(q_proj|v_proj|down_proj)"
        model = get_peft_model(model, LoraConfig(r=4, target_modules=targets))
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.1)
    dense = dense_with_gradient(model, groups, 1.3)
    weights = torch.randn_like(dense)
    (dense * weights).sum().backward()
    expected = gradients(model)
    model.zero_grad()
    accept_packed(tiny.model)
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        if lora:
            model.enable_input_require_grads()
    model.train()
    output = model(groups=groups, temperature=1.3)
    (output.log_probs * weights).sum().backward()
    found = gradients(model)
    assert (output.log_probs - dense).abs().max() < 1e-5
    assert found.keys() == expected.keys() and found
    assert max(relative(found[name], expected[name]) for name in found) < 1e-4
    if lora:
        with model.disable_adapter(), torch.no_grad():
            base = model(groups=groups, temperature=1.3).log_probs
            assert (base - dense_with_gradient(model, groups, 1.3)).abs().max() < 1e-5
            assert (base - dense).abs().max() > 1e-2


@pytest.mark.parametrize("make", MAKES)
def test_a_completion_sees_its_own_prompt_and_nothing_of_its_neighbours(make) -> None:
    tiny = build(make)
    accept_packed(tiny.model)
    groups = mixed(tiny)
    with torch.no_grad():
        together = tiny.model(groups=groups).log_probs
        apart = torch.cat([tiny.model(groups=[g]).log_probs for g in groups])
        backwards = tiny.model(groups=groups[::-1]).log_probs
    counts = [sum(map(len, g.completions)) for g in groups]
    reordered = torch.cat(backwards.split(counts[::-1])[::-1])
    assert (together - apart).abs().max() < 1e-5
    assert (together - reordered).abs().max() < 1e-5


def test_entropies_are_those_of_the_logits_and_have_a_gradient_if_asked() -> None:
    tiny = build("qwen3_vl")
    group = tiny.group([(4, 4)], [6], seed=1)
    ids = torch.cat([group.prompt, *group.completions])[None]
    kinds = torch.nn.functional.pad(group.inputs["mm_token_type_ids"], (0, 6))[None]
    logits = tiny.model(
        input_ids=ids, **{**group.inputs, "mm_token_type_ids": kinds}, logits_to_keep=7
    ).logits[0, :-1]
    expected = torch.distributions.Categorical(logits=logits / 0.7).entropy()
    accept_packed(tiny.model)
    plain = tiny.model(groups=[group], temperature=0.7)
    assert not plain.entropies.requires_grad
    asked = tiny.model(groups=[group], temperature=0.7, entropy_gradient=True)
    for found in (plain.entropies, asked.entropies):
        assert (found - expected).abs().max() < 1e-5
    expected.sum().backward()
    before = gradients(tiny.model)
    tiny.model.zero_grad()
    asked.entropies.sum().backward()
    after = gradients(tiny.model)
    assert max(relative(after[name], before[name]) for name in before) < 1e-4


def test_nothing_to_score_still_reaches_the_model() -> None:
    tiny = build("llava")
    accept_packed(tiny.model)
    output = tiny.model(groups=[tiny.group([(4, 4)], [0, 0])])
    assert output.log_probs.shape == (0,)
    output.log_probs.sum().backward()
    weight = tiny.model.get_output_embeddings().weight
    assert weight.grad is not None and not weight.grad.any()
