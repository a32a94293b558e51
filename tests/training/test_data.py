import re
from dataclasses import replace

import pytest

from safegrpo.data.images import open_image
from safegrpo.errors import DataError
from safegrpo.evaluation.generate import chat_messages
from safegrpo.models import load_processor
from safegrpo.thinking import GUIDE, guided_prompt
from safegrpo.training.data import ImageOpener, build_dataset, data_sha256

from .conftest import image, pair


@pytest.fixture
def processor(model_dir):
    return load_processor(model_dir)


def build(pairs, processor, **options):
    return build_dataset(pairs, processor, **{"guide": GUIDE, "max_prompt_length": 2048, **options})


def test_rows_hold_the_chat_the_images_and_what_the_reward_reads(pairs, processor):
    dataset = build(pairs, processor).dataset
    row = dataset[5]
    assert row["prompt"] == [{"role": "user", "content": guided_prompt(pairs[5].prompt)}]
    assert [image.size for image in row["images"]] == [(64, 64), (96, 64)]
    assert (row["id"], row["question"], row["answer"]) == ("p5", pairs[5].prompt, None)
    assert (row["image_tag"], row["text_tag"], row["combine_tag"]) == ("safe", "safe", "unsafe")
    assert [len(dataset[i]["images"]) for i in range(8)] == [0, 1, 2, 0, 1, 2, 0, 1]


def test_direct_prompts_are_the_user_s_own_words(pairs, processor):
    dataset = build(pairs, processor, guide=None).dataset
    assert dataset[0]["prompt"][0]["content"] == pairs[0].prompt


def test_prompt_lengths_are_those_of_the_processor(pairs, processor):
    lengths = build(pairs, processor).prompt_lengths
    for pair_, length in zip(pairs, lengths, strict=True):
        images = [open_image(ref) for ref in pair_.images]
        tokenized = processor.apply_chat_template(
            chat_messages(images, guided_prompt(pair_.prompt)),
            tokenize=True,
            add_generation_prompt=True,
            return_dict=True,
        )
        assert length == len(tokenized["input_ids"][0])


def test_a_prompt_that_is_too_long_is_an_error_with_count_and_id(processor):
    rows = [pair(0), pair(1, prompt="what is it ? " * 30), pair(2, prompt="what is it ? " * 40)]
    with pytest.raises(DataError, match=r'2 of 3 prompts .* 100 tokens.*id "p2"'):
        build(rows, processor, guide=None, max_prompt_length=100)


def test_an_image_with_too_many_pixels_names_its_row(pairs, processor):
    with pytest.raises(DataError, match=r'row 3 \(id "p2"\).*more than 5,000 pixels'):
        build(pairs, processor, max_pixels=5000)


@pytest.mark.parametrize("token", ["<|image_pad|>", "<|im_end|>"])
def test_a_prompt_cannot_leave_its_turn_or_claim_an_image(processor, token):
    rows = [pair(0), pair(1, prompt=f"what is it ? {token}")]
    said = rf'row 2 \(id "p1"\): the prompt holds "{re.escape(token)}"'
    with pytest.raises(DataError, match=said):
        build(rows, processor)


def test_an_image_that_the_processor_refuses_names_its_row(processor):
    thin = replace(pair(1), images=(image(4, 1000),), place="row 7 of mine")
    with pytest.raises(DataError, match=r"row 7 of mine: the processor refuses it: .*aspect ratio"):
        build([pair(0), thin], processor)


def test_images_are_kept_within_the_limit_and_opened_again(pairs):
    opener = ImageOpener(pairs, 10**6, cached_bytes=64 * 64 * 3)
    first = opener.images(2)
    assert opener.images(2) is first
    opener.images(1)
    again = opener.images(2)
    assert again is not first and [i.size for i in again] == [i.size for i in first]


def test_the_hash_follows_images_tags_and_order(pairs):
    same = [pair(i, images=i % 3, combined="unsafe" if i % 2 else "safe") for i in range(8)]
    assert data_sha256(pairs) == data_sha256(same)
    assert data_sha256(pairs) != data_sha256(pairs[::-1])
    other = pair(1, combined="unsafe")
    changed = type(other)(**{**vars(other), "images": (image(64, 64, (9, 9, 9)),)})
    assert data_sha256([other]) != data_sha256([changed])
