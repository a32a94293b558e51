"""Sampling of our own against transformers' generate()."""

import math

import pytest
import torch
from transformers import GenerationConfig

from safegrpo.shared_prefix.check import dense_log_probs
from safegrpo.shared_prefix.layout import Group
from safegrpo.shared_prefix.model import accept_packed
from safegrpo.shared_prefix.sampling import UnsupportedOptionError, _draw, sample
from tests.shared_prefix.tiny import IMAGE, MAKES, VIDEO, WORDS, build

ENDS = list(WORDS)[:50]


def config(**more) -> GenerationConfig:
    options = {"max_new_tokens": 24, "do_sample": False, "eos_token_id": ENDS, "pad_token_id": 0}
    return GenerationConfig(**{**options, "suppress_tokens": [IMAGE, VIDEO], **more})


def prompts(tiny, begun=(0, 0, 0, 0)):
    return [
        tiny.group([(4, 4)], begun, seed=1),
        tiny.group([], begun[:2], words=21, seed=2),
        tiny.group([(4, 8), (8, 4)], begun, seed=3),
    ]


def generated(tiny, groups, options) -> list[list[int]]:
    """generate(), each row by itself."""
    rows = []
    for group in groups:
        for given in group.completions:
            ids = torch.cat([group.prompt, given])[None]
            inputs = {
                name: torch.nn.functional.pad(value, (0, len(given)))[None]
                if name == tiny.kinds
                else value
                for name, value in group.inputs.items()
            }
            output = tiny.model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                generation_config=options,
                **inputs,
            )
            rows.append(output[0, ids.shape[1] :].tolist())
    return rows


@pytest.mark.parametrize("begun", [(0, 0, 0, 0), (3, 0, 7, 3)], ids=["new", "begun"])
@pytest.mark.parametrize("make", MAKES)
def test_greedy_tokens_are_those_of_generate(make, begun) -> None:
    tiny = build(make)
    groups = prompts(tiny, begun)
    tiny.model.generation_config.eos_token_id = None
    varied = {"repetition_penalty": 3.0}  # such models repeat themselves
    endless = generated(tiny, groups, config(eos_token_id=None, **varied))
    # A token of the first prompt's rows ends a row, and one of the second's: at different times.
    options = config(eos_token_id=[endless[0][3], endless[4][9]], **varied)
    expected = generated(tiny, groups, options)
    assert len({len(ids) for ids in expected}) > 1
    accept_packed(tiny.model)
    assert [row.ids for row in sample(tiny.model, groups, options)] == expected


@pytest.mark.parametrize(
    "options",
    [
        {"min_new_tokens": 9},
        {"repetition_penalty": 1.4},
        {"no_repeat_ngram_size": 2},
        {"suppress_tokens": [IMAGE, VIDEO, *WORDS[::2]]},
        {"max_new_tokens": 1},
        {"eos_token_id": None},
        {"eos_token_id": None, "pad_token_id": None},
        {"forced_eos_token_id": 77},
    ],
    ids=lambda options: next(iter(options)),
)
def test_generation_options_mean_what_they_mean_to_generate(options) -> None:
    tiny = build("qwen3_vl")
    groups = prompts(tiny)
    tiny.model.generation_config.eos_token_id = None
    expected = generated(tiny, groups, config(**options))
    accept_packed(tiny.model)
    assert [row.ids for row in sample(tiny.model, groups, config(**options))] == expected


@pytest.mark.parametrize("make", MAKES)
def test_tokens_are_sampled_from_what_the_model_says_of_them(make) -> None:
    tiny = build(make)
    accept_packed(tiny.model)
    groups = prompts(tiny, (0, 2, 5, 0))
    torch.manual_seed(0)
    found = sample(
        tiny.model, groups, config(do_sample=True, temperature=1.4, top_k=0), log_probs=True
    )
    rows = iter(found)
    for group in groups:
        for given in group.completions:
            row = next(rows)
            whole = torch.cat([given, torch.tensor(row.ids)])
            dense = dense_log_probs(tiny.model, Group(group.prompt, (whole,), group.inputs), 1.4)
            ours = torch.tensor(row.log_probs)
            assert (dense[len(given) :] - ours).abs().max() < 1e-5
    assert next(rows, None) is None


def test_the_first_token_comes_as_often_as_the_model_says() -> None:
    tiny = build("llava")
    accept_packed(tiny.model)
    group = tiny.group([(4, 4)], [0] * 4000)
    torch.manual_seed(0)
    found = sample(tiny.model, [group], config(do_sample=True, max_new_tokens=1, top_k=20))
    counts = torch.bincount(torch.tensor([row.ids[0] for row in found]), minlength=200)
    tokens = counts.nonzero()[:, 0]
    assert len(tokens) <= 20
    wanted = tiny.group([(4, 4)], [])
    one = Group(wanted.prompt, tuple(t[None] for t in tokens), wanted.inputs)
    shares = dense_log_probs(tiny.model, one).exp()
    shares = shares / shares.sum()
    # A chi-squared statistic of at most 19 degrees of freedom: 50 is passed once in 10,000 runs.
    assert float(((counts[tokens] - 4000 * shares) ** 2 / (4000 * shares)).sum()) < 50


def test_a_token_of_no_probability_is_never_drawn() -> None:
    torch.manual_seed(0)
    wide = torch.zeros(2000, 9)
    wide[:, 2], wide[:, 5] = 0.25, 0.75
    drawn = _draw(wide)
    assert set(drawn.tolist()) == {2, 5}
    assert abs((drawn == 5).float().mean() - 0.75) < 0.04


def test_logits_that_are_no_numbers_are_an_error() -> None:
    tiny = build("llava")
    accept_packed(tiny.model)
    with torch.no_grad():
        tiny.model.get_output_embeddings().weight.fill_(math.nan)
    with pytest.raises(RuntimeError, match="not finite"):
        sample(tiny.model, prompts(tiny), config(do_sample=True))


def test_nothing_to_sample_and_no_limit() -> None:
    tiny = build("llava")
    accept_packed(tiny.model)
    assert sample(tiny.model, [], config()) == []
    with pytest.raises(ValueError, match="max_new_tokens"):
        sample(tiny.model, prompts(tiny), config(max_new_tokens=None))


def test_rows_that_have_ended_are_no_longer_computed(monkeypatch) -> None:
    tiny = build("qwen3_vl")
    accept_packed(tiny.model)
    widths = []
    forward = tiny.model.model.language_model.forward

    def counted(*args, **options):
        widths.append(options["inputs_embeds"].shape[0])
        return forward(*args, **options)

    monkeypatch.setattr(tiny.model.model.language_model, "forward", counted)
    groups = [tiny.group([(4, 4)], [0] * 8, seed=s) for s in range(4)]
    found = sample(tiny.model, groups, config(do_sample=True, max_new_tokens=40, temperature=2.0))
    lengths = [len(row.ids) for row in found]
    assert widths[1] == 32 and widths[-1] < 32
    needed = [sum(length > step for length in lengths) for step in range(1, len(widths))]
    assert all(w >= n for w, n in zip(widths[1:], needed, strict=True))
    assert sum(widths[1:]) < 0.8 * 32 * (len(widths) - 1)


def test_a_model_in_training_samples_without_dropout_and_stays_in_training() -> None:
    tiny = build("llava")
    accept_packed(tiny.model)
    tiny.model.train()
    for module in tiny.model.modules():
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = 0.5
    groups = prompts(tiny)
    runs = [[r.ids for r in sample(tiny.model, groups, config())] for _ in range(2)]
    assert runs[0] == runs[1]
    assert tiny.model.training and tiny.model.model.language_model.layers[0].training


@pytest.mark.parametrize("option", [{"num_beams": 3}, {"stop_strings": ["x"]}])
@pytest.mark.parametrize("own", [True, False], ids=["the model's own", "given"])
def test_options_that_need_another_loop_are_refused(option, own) -> None:
    tiny = build("llava")
    accept_packed(tiny.model)
    if own:
        tiny.model.generation_config.update(**option)
    with pytest.raises(UnsupportedOptionError, match=next(iter(option))):
        sample(tiny.model, prompts(tiny), config(**({} if own else option)))
