"""What a model must be to take packed rows, and what stays as it was."""

import copy
import functools
import json
import math

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from safegrpo.errors import ModelError
from safegrpo.shared_prefix.check import sampling_error, scoring_error, tolerance
from safegrpo.shared_prefix.decode import PrefixCache
from safegrpo.shared_prefix.layout import Group, Layout, pack
from safegrpo.shared_prefix.model import UnsupportedModelError, accept_packed
from safegrpo.shared_prefix.sampling import sample
from safegrpo.shared_prefix.scoring import score_tokens
from tests.shared_prefix.test_sampling import config, prompts
from tests.shared_prefix.tiny import MAKES, build


def text(tiny):
    return tiny.model.config.get_text_config()


def test_what_it_cannot_serve_is_refused_with_the_reason() -> None:
    small = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 2}
    llama = LlamaForCausalLM(LlamaConfig(vocab_size=20, num_hidden_layers=1, **small))
    with pytest.raises(UnsupportedModelError, match="not a decoder with a vision tower"):
        accept_packed(llama)
    tiny = build("qwen3_vl")
    tiny.model.set_attn_implementation("eager")
    with pytest.raises(UnsupportedModelError, match='its attention is "eager"'):
        accept_packed(tiny.model)
    for name, value, reason in [
        ("layer_types", ["full_attention", "linear_attention"], "linear_attention"),
        ("attn_logit_softcapping", 30.0, "caps its attention logits"),
        ("num_experts", 8, "experts"),
        ("use_bidirectional_attention", True, "looks ahead"),
        ("logits_scaling", 8.0, "scales its logits"),
    ]:
        tiny = build("gemma3")
        setattr(text(tiny), name, value)
        with pytest.raises(UnsupportedModelError, match=reason):
            accept_packed(tiny.model)


@pytest.mark.parametrize("make", MAKES)
def test_a_model_that_accepts_packed_rows_is_otherwise_the_same(make, tmp_path) -> None:
    tiny = build(make)
    group = tiny.group([(4, 4)], [6])
    ids = torch.cat([group.prompt, *group.completions])[None]
    inputs = {
        name: torch.nn.functional.pad(value, (0, 6))[None] if name == tiny.kinds else value
        for name, value in group.inputs.items()
    }
    with torch.no_grad():
        before = tiny.model(input_ids=ids, **inputs).logits
        accept_packed(tiny.model)
        forward = tiny.model.forward
        accept_packed(tiny.model)
        assert tiny.model.forward == forward  # a second time changes nothing
        assert torch.equal(tiny.model(input_ids=ids, **inputs).logits, before)
    tiny.model.save_pretrained(tmp_path)
    assert "shared_prefix" not in (tmp_path / "config.json").read_text()
    loaded = type(tiny.model).from_pretrained(tmp_path)
    with torch.no_grad():
        assert torch.equal(loaded.eval()(input_ids=ids, **inputs).logits, before)


@pytest.mark.parametrize("make", MAKES)
def test_the_prompt_is_computed_once_a_group(make) -> None:
    tiny = build(make)
    accept_packed(tiny.model)
    lengths, head = [], []
    tower = tiny.model.model.language_model
    tower.layers[0].register_forward_pre_hook(lambda _, args: lengths.append(args[0].shape[:2]))
    tiny.model.get_output_embeddings().register_forward_pre_hook(
        lambda _, args: head.append(len(args[0]))
    )
    groups = [tiny.group([(4, 4)], [7] * 8), tiny.group([(4, 4)], [2, 5], words=30)]
    tiny.model(groups=groups)
    assert lengths == [(1, sum(len(g.prompt) + sum(map(len, g.completions)) for g in groups))]
    assert head == [8 * 7 + 2 + 5]


def test_a_completion_that_does_not_see_all_of_its_prompt_is_found_out(monkeypatch) -> None:
    tiny = build("qwen3_vl")
    accept_packed(tiny.model)
    groups = [tiny.group([(4, 4)], [6, 9])]
    assert scoring_error(tiny.model, groups, 1.0) < tolerance(tiny.model)
    right = Layout.mask

    def mask(self, number, part, window, heads):
        seen = right(self, number, part, window, heads)
        if part == "completion":
            seen = seen.clone()
            seen[:, 0] = False
        return seen

    monkeypatch.setattr(Layout, "mask", mask)
    assert scoring_error(tiny.model, groups, 1.0) > tolerance(tiny.model)


def test_a_sample_that_does_not_see_all_of_its_own_is_found_out(monkeypatch) -> None:
    tiny = build("qwen3_vl")
    accept_packed(tiny.model)
    groups = [tiny.group([(4, 4)], [n]) for n in (0, 3)]  # uneven, so that biases are made

    def error() -> float:
        found = sample(tiny.model, groups, config(), log_probs=True)
        return sampling_error(tiny.model, list(zip(groups, found, strict=True)), 1.0)

    assert error() < tolerance(tiny.model)
    right = PrefixCache._seen

    def seen(self, window):
        prompt, own = right(self, window)
        own = own.clone()
        own[..., -2] = False
        return prompt, own

    monkeypatch.setattr(PrefixCache, "_seen", seen)
    assert error() > tolerance(tiny.model)


def test_rounding_is_tolerated_as_far_as_the_precision_goes() -> None:
    tiny = build("qwen3_vl")
    assert tolerance(tiny.model) == 1e-4
    with torch.autocast("cpu", torch.bfloat16):
        assert tolerance(tiny.model) == 3e-2
    tiny.model.to(torch.bfloat16)
    accept_packed(tiny.model)
    groups = [
        Group(g.prompt, g.completions, {n: _half(v) for n, v in g.inputs.items()})
        for g in prompts(tiny, (4, 8, 3, 9))
    ]
    assert scoring_error(tiny.model, groups, 1.0) < tolerance(tiny.model) == 3e-2


def _half(value: torch.Tensor) -> torch.Tensor:
    return value.to(torch.bfloat16) if value.is_floating_point() else value


def test_tiles_give_what_one_piece_gives() -> None:
    torch.manual_seed(0)
    head = torch.nn.Linear(8, 50, bias=False)
    hidden = torch.randn(23, 8, requires_grad=True)
    targets = torch.randint(0, 50, (23,))
    results = []
    for tile in (50 * 23, 50 * 5, 1):
        hidden.grad = head.weight.grad = None
        log_probs, entropies = score_tokens(
            hidden, targets, head, 50, temperature=0.8, entropy_gradient=True, tile=tile
        )
        (log_probs.sum() + 2 * entropies.sum()).backward()
        results.append((log_probs.detach(), entropies.detach(), hidden.grad, head.weight.grad))
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            assert torch.allclose(one, two, atol=1e-5)
    capped, _ = score_tokens(hidden, targets, head, 50, softcap=0.5)
    logits = 0.5 * torch.tanh(head(hidden) / 0.5)
    assert torch.allclose(capped, torch.log_softmax(logits, -1)[range(23), targets], atol=1e-6)


def test_the_head_is_called_once_however_many_tiles_there_are(monkeypatch) -> None:
    small = functools.partial(score_tokens, tile=200 * 3)
    monkeypatch.setattr("safegrpo.shared_prefix.model.score_tokens", small)
    tiny = build("qwen3_vl")
    accept_packed(tiny.model)
    head, calls = tiny.model.get_output_embeddings(), []
    head.register_forward_pre_hook(lambda *_: calls.append(1))
    tiny.model(groups=[tiny.group([(4, 4)], [7, 5])]).log_probs.sum().backward()
    assert calls == [1]
    assert "forward" not in vars(head)


def test_a_packed_row_holds_each_prompt_once_and_says_what_predicts_what() -> None:
    tiny = build("llava")
    one, two = tiny.group([], [2, 0, 3], words=4), tiny.group([], [1], words=2)
    packed = pack([one, two])
    row = [*one.prompt, *one.completions[0], *one.completions[2], *two.prompt, *two.completions[0]]
    assert packed.input_ids.tolist() == [[int(token) for token in row]]
    # Prompts of 5 and 3 tokens: the first token is predicted by a prompt's last.
    assert packed.sources.tolist() == [4, 5, 4, 7, 8, 12]
    assert packed.input_ids[0, [5, 6, 7, 8, 9, 13]].tolist() == packed.targets.tolist()


def test_a_copy_computes_with_its_own_weights() -> None:
    tiny = build("qwen3_vl")
    accept_packed(tiny.model)
    group = tiny.group([(4, 4)], [6])
    other = copy.deepcopy(tiny.model)
    with torch.no_grad():
        for weight in other.parameters():
            weight.zero_()
        even = other(groups=[group]).log_probs
        plain = other(input_ids=group.prompt[None, -3:]).logits
        assert tiny.model(groups=[group]).log_probs.std() > 0.1
    assert torch.allclose(even, torch.full_like(even, -math.log(200)))
    assert not plain.any()


def test_two_models_of_one_configuration_object_are_both_made_ready() -> None:
    one = build("llava")
    two = type(one.model)(one.model.config).eval()
    for model in (one.model, two):
        accept_packed(model)
        assert scoring_error(model, [one.group([(4, 4)], [6])], 1.0) < 1e-5


def test_an_attention_that_was_changed_afterwards_is_an_error() -> None:
    tiny = build("llava")
    accept_packed(tiny.model)
    tiny.model.set_attn_implementation("eager")
    with pytest.raises(ModelError, match='attention was set to "eager" afterwards'):
        tiny.model(groups=[tiny.group([], [3])])


def test_a_head_in_float32_stays_so_under_autocast() -> None:
    tiny = build("qwen3_vl")
    accept_packed(tiny.model)
    head, dtypes = tiny.model.get_output_embeddings(), []
    plain = head.forward

    def recorded(states):
        logits = plain(states)
        dtypes.append(logits.dtype)
        return logits

    head.forward = recorded
    with torch.autocast("cpu", torch.bfloat16):
        tiny.model(groups=[tiny.group([], [3])], float32_head=True)
        tiny.model(groups=[tiny.group([], [3])])
    assert dtypes == [torch.float32, torch.bfloat16]
    assert head.forward is recorded


def test_saved_generation_options_are_untouched(tmp_path) -> None:
    tiny = build("qwen3_vl")
    accept_packed(tiny.model)
    before = tiny.model.generation_config.to_json_string()
    sample(tiny.model, prompts(tiny), config(do_sample=True))
    assert json.loads(tiny.model.generation_config.to_json_string()) == json.loads(before)
