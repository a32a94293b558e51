"""The prompts of a batch: each prepared once, and what the model gets is the processor's own."""

import pytest
import torch
from trl import GRPOTrainer

from safegrpo.errors import ModelError
from safegrpo.shared_prefix.layout import joined
from safegrpo.training.prompts import PreparedPrompt, joined_inputs, prepare_prompts

GROUP = 4


def chat(image, text: str):
    """A user's turn in the form that TRL tokenises."""
    return [
        {
            "role": "user",
            "content": [{"type": "image", "image": image}, {"type": "text", "text": text}],
        }
    ]


def test_equal_prompts_are_prepared_once(trainer) -> None:
    made = trainer()
    asked = []

    def tokenize(prompts):
        asked.append(prompts)
        return GRPOTrainer._tokenize_prompts(made, prompts)

    red, other = made.train_dataset[1]["images"][0], made.train_dataset[4]["images"][0]
    prompts = [chat(red, "what ?"), chat(red.copy(), "what ?"), chat(other, "what ?")]
    rows = prepare_prompts([*prompts, chat(red, "who ?")], tokenize, torch.device("cpu"))
    assert len(asked) == 3 and rows[0] is rows[1]
    assert len({id(row) for row in rows}) == 3


def test_a_batch_goes_through_the_image_processor_once_a_prompt(trainer, monkeypatch) -> None:
    made = trainer()
    made.model.train()
    images = made.processing_class.image_processor
    preprocess, seen = images.preprocess, []
    monkeypatch.setattr(
        images, "preprocess", lambda *a, **k: (seen.append(a), preprocess(*a, **k))[1]
    )
    rows = [made.train_dataset[i] for i in (1, 4) for _ in range(GROUP)]
    batch = made._generate_and_score_completions(rows)
    assert len(seen) == 2 and batch["num_images"] == [1] * 2 * GROUP
    plain = made.processing_class
    assert type(plain).__name__ != "PreparedProcessor"  # it is given back
    text = plain.apply_chat_template(
        [chat(row["images"][0], row["prompt"][0]["content"]) for row in rows],
        add_generation_prompt=True,
    )
    expected = plain(
        images=[row["images"] for row in rows], text=text, return_tensors="pt", padding=True
    )
    assert torch.equal(batch["pixel_values"], expected["pixel_values"])
    assert torch.equal(batch["image_grid_thw"], expected["image_grid_thw"])
    length = expected["input_ids"].shape[1]
    assert torch.equal(batch["prompt_ids"], expected["input_ids"])
    assert torch.equal(batch["mm_token_type_ids"][:, :length], expected["mm_token_type_ids"])


def test_images_of_many_patches_stand_beside_ones_of_few() -> None:
    """As LLaVA-NeXT's processor pads them, which sees all prompts at once."""
    few, many = torch.ones(1, 3, 2, 4, 4), torch.ones(1, 5, 2, 4, 4)
    rows = [
        PreparedPrompt(torch.tensor([1, 2]), [], {"pixel_values": few}),
        PreparedPrompt(torch.tensor([1]), [], {"pixel_values": many}),
    ]
    found = joined_inputs(rows)["pixel_values"]
    assert found.shape == (2, 5, 2, 4, 4)
    assert torch.equal(found[0, :3], few[0]) and not found[0, 3:].any()
    with pytest.raises(ModelError, match="different kinds"):
        joined([few, torch.ones(1, 3)])
