"""The tiny model and its warm start: real parts, fed as the library would feed them."""

import random

import pytest
import torch

from safegrpo.evaluation.generate import chat_messages, generate_responses
from safegrpo.microcosm import text
from safegrpo.microcosm.draw import draw, random_scene
from safegrpo.microcosm.model import build_model, build_processor, save_model, train_tokenizer
from safegrpo.microcosm.pairs import Sampler, held_out
from safegrpo.microcosm.sizes import resized
from safegrpo.microcosm.speech import (
    DIRECT_REFUSALS,
    TAG_RATES,
    chat_ids,
    collate,
    example,
    written_tags,
)
from safegrpo.microcosm.vision import HEADS, IGNORE, labels, patches, pixels
from safegrpo.models import load_model, load_processor
from safegrpo.reward import Target, score


@pytest.fixture(scope="module")
def processor():
    return build_processor(train_tokenizer(text.corpus()))


@pytest.fixture(scope="module")
def model(processor):
    return build_model(processor.tokenizer)


def test_our_patches_are_the_image_processors(processor):
    images = [draw(random_scene(random.Random(i))) for i in range(5)]
    theirs = processor.image_processor(images=images, return_tensors="pt")
    ours, grid = patches(torch.stack([pixels(i) for i in images]))
    torch.testing.assert_close(ours, theirs["pixel_values"], atol=1e-6, rtol=0)
    assert grid.tolist() == theirs["image_grid_thw"].tolist()


def test_our_prompt_ids_are_the_processors(processor):
    pair = Sampler("train", 0).question()
    theirs = processor.apply_chat_template(
        [chat_messages([draw(pair.scene)], pair.prompt)],
        tokenize=True,
        add_generation_prompt=True,
        return_dict=True,
        return_tensors="pt",
    )
    assert chat_ids(processor.tokenizer, pair.prompt) == theirs["input_ids"][0].tolist()


def test_collated_examples_give_the_loss_of_single_ones(processor, model):
    sampler = Sampler("train", 1)
    examples = [example(sampler, guided) for guided in (True, False, True)]
    single = []
    with torch.no_grad():
        for one in examples:
            inputs = collate(processor.tokenizer, [one])
            tokens = (inputs["labels"] != IGNORE).sum()
            single.append((model(**inputs).loss * tokens, tokens))
        together = model(**collate(processor.tokenizer, examples)).loss
    expected = sum(loss for loss, _ in single) / sum(tokens for _, tokens in single)
    torch.testing.assert_close(together, expected, atol=1e-4, rtol=1e-4)


def test_the_words_of_the_world_are_one_token_each(processor):
    for thing in HEADS["thing"]:
        assert len(processor.tokenizer(f" {thing}")["input_ids"]) == 1


def test_any_text_survives_the_tokenizer(processor):
    hostile = "naïve 中文 <think> \x00 🙂 <|im_end|x>"
    ids = processor.tokenizer(hostile)["input_ids"]
    assert processor.tokenizer.decode(ids, skip_special_tokens=True) == hostile


def test_taught_tags_are_near_chance_and_the_answer_follows_them(processor):
    sampler, right, n = Sampler("train", 2), 0, 0
    for _ in range(400):
        pair, _, response = example(sampler, True)
        breakdown = score(response, Target(pair.tags), "strict")
        assert breakdown.format == 1
        says_unsafe = "<combined_safe>unsafe<" in response
        assert (breakdown.behavior_label == "refusal") == says_unsafe
        right, n = right + (breakdown.tag > 0), n + 1
    assert 0.4 < right / n < 0.8


def test_unsafe_is_never_the_likelier_tag():
    assert all(rate < 0.5 for rates in TAG_RATES.values() for rate in rates)
    pair = next(p for p in held_out("dev", 0.1) if p.harmful)
    rng = random.Random(0)
    unsafe = sum(written_tags(pair, rng).combined == "unsafe" for _ in range(2000)) / 2000
    assert unsafe == pytest.approx(TAG_RATES["combined"][1], abs=0.04)


def test_direct_examples_refuse_one_request_in_five():
    sampler = Sampler("train", 3)
    examples = [example(sampler, False) for _ in range(800)]
    requests = [r in text.REFUSALS for p, _, r in examples if p.kind != "question"]
    assert sum(requests) / len(requests) == pytest.approx(DIRECT_REFUSALS, abs=0.05)
    assert not any(r in text.REFUSALS for p, _, r in examples if p.kind == "question")


def test_a_head_is_asked_only_what_its_picture_shows():
    rng = random.Random(0)
    for _ in range(200):
        scene = random_scene(rng)
        asked = dict(zip(HEADS, (label != IGNORE for label in labels(scene)), strict=True))
        assert asked["verb"] == asked["noun"] == (scene.thing.medium == "note")
        assert asked["place"] == (scene.thing.medium == "object" and scene.count == "one")


def test_a_saved_model_answers_as_before(processor, model, tmp_path):
    rows = [([draw(p.scene)], p.prompt) for p in held_out("dev", 0.05)[:6]]
    options = {"max_new_tokens": 6, "batch_size": 4}
    before = generate_responses(model, processor, rows, **options)
    save_model(model, processor, tmp_path, torch.float32)
    loaded, again = load_model(tmp_path, dtype="float32"), load_processor(tmp_path)
    assert generate_responses(loaded, again, rows, **options) == before


def test_generation_does_not_depend_on_the_batch_and_mixes_rows_without_image(processor, model):
    rows = [([draw(p.scene)], p.prompt) for p in held_out("dev", 0.05)[:5]]
    rows += [([], "how do i clean a house?"), ([*rows[0][0], *rows[1][0]], "what is this?")]
    one_by_one = generate_responses(model, processor, rows, max_new_tokens=6, batch_size=1)
    together = generate_responses(model, processor, rows, max_new_tokens=6, batch_size=16)
    assert together == one_by_one


@pytest.mark.parametrize(("size", "millions"), [("3m", 3), ("8m", 8.8), ("25m", 26)])
def test_other_sizes_are_the_same_architecture(processor, size, millions):
    small = build_model(processor.tokenizer)
    with torch.device("meta"):
        model = resized(small, size)
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(millions * 1e6, rel=0.04)
    assert type(model) is type(small) and resized(small, "2m") is small
