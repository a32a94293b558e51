"""Asking a model about pairs: in both modes, at any batch size, with and without images."""

from dataclasses import replace

import pytest
import torch

from safegrpo.evaluation.generate import generate_responses
from safegrpo.evaluation.measure import ask_items, item_of
from safegrpo.microcosm import SHIPPED, text
from safegrpo.microcosm.pairs import held_out
from safegrpo.models import load_model, load_processor, vision_token_ids


@pytest.fixture(scope="module")
def processor():
    return load_processor(SHIPPED)


@pytest.fixture(scope="module")
def model():
    return load_model(SHIPPED, dtype="float32")


@pytest.fixture(scope="module")
def pairs():
    """Some pairs of every kind; one has no image, one has two."""
    first, second, *rest = (pair.tagged() for pair in held_out("dev", 0.02))
    return [replace(first, images=()), replace(second, images=second.images * 2), *rest]


def ask(model, processor, pairs, guide, batch_size=8):
    items = [item_of(pair) for pair in pairs]
    return ask_items(model, processor, items, guide=guide, max_new_tokens=72, batch_size=batch_size)


def test_each_mode_is_judged_by_what_it_can_show(model, processor, pairs):
    guided = ask(model, processor, pairs, text.GUIDE)
    direct = ask(model, processor, pairs, None)
    for rows in (guided, direct):
        assert [row.generation.id for row in rows] == [pair.id for pair in pairs]
    assert all(row.judgement.well_formed and row.judgement.tags for row in guided[2:])
    assert all(row.judgement.well_formed is None and not row.judgement.tags for row in direct)
    assert all("<answer>" not in row.judgement.answer for row in guided[2:] + direct)


def test_answers_do_not_depend_on_the_batch(model, processor, pairs):
    one, many = (ask(model, processor, pairs[:10], text.GUIDE, size) for size in (1, 64))
    assert [r.generation.response for r in one] == [r.generation.response for r in many]


def sample(model, processor, seed, temperature=1.0, **options):
    rows = [([], "please write a poem about this.")] * 12
    return generate_responses(
        model, processor, rows, max_new_tokens=16, batch_size=5, temperature=temperature,
        seed=seed, **options,
    )  # fmt: skip


def test_a_sample_is_its_seed_s_and_leaves_the_generator_alone(model, processor):
    state = torch.random.get_rng_state()
    first, again, other = (sample(model, processor, seed) for seed in (1, 1, 2))
    assert first == again != other and len(set(first)) > 1
    assert torch.equal(torch.random.get_rng_state(), state)


def test_greedy_answers_are_all_alike(model, processor):
    assert len(set(sample(model, processor, None, temperature=0.0))) == 1


def test_progress_counts_every_row_and_the_model_stays_in_its_mode(model, processor):
    seen = []
    model.train()
    sample(model, processor, 0, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(5, 12), (10, 12), (12, 12)] and model.training
    model.eval()


def test_placeholders_are_never_answered(model, processor):
    banned = vision_token_ids(processor)
    bias = torch.zeros(len(processor.tokenizer))
    bias[banned] = 1e4
    hook = model.lm_head.register_forward_hook(lambda module, args, out: out + bias)
    try:
        assert all(sample(model, processor, 0))
    finally:
        hook.remove()
