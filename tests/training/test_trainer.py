"""The trainer by itself: what may be sampled, rows without images, the order of the data."""

from types import SimpleNamespace

import pytest
import torch

from safegrpo.models import vision_token_ids
from safegrpo.training.trainer import EpochSampler
from safegrpo.training.vision import ban_tokens

from .conftest import pair


def generated(trainer, rows):
    """One generation batch over `rows`, each as often as the trainer wants it."""
    inputs = [trainer.train_dataset[i] for i in rows for _ in range(trainer.num_generations)]
    return trainer._generate_and_score_completions(inputs)


def test_placeholders_of_the_vision_tower_are_never_sampled(trainer, processor):
    made = trainer()
    banned = vision_token_ids(processor)
    # As likely as can be, if nothing forbade them.
    bias = torch.zeros(len(processor.tokenizer))
    bias[banned] = 1e4
    made.model.lm_head.register_forward_hook(lambda module, args, out: out + bias)
    batch = generated(made, [0, 1])
    assert not set(banned) & set(batch["completion_ids"].flatten().tolist())


def test_a_backend_that_samples_one_anyway_is_an_error(trainer, processor):
    made = trainer()
    image_id = processor.tokenizer.convert_tokens_to_ids("<|image_pad|>")
    made.check_completions([[300, 301], []])
    with pytest.raises(RuntimeError, match=rf"completion 1 .*\[{image_id}\]"):
        made.check_completions([[300], [301, image_id]])


@pytest.mark.parametrize("use_vllm", [False, True])
def test_the_ban_joins_what_the_user_has_set(use_vllm):
    given = {"logit_bias": {7: 1.0}} if use_vllm else {"suppress_tokens": [7]}
    args = SimpleNamespace(generation_kwargs=given, use_vllm=use_vllm)
    ban_tokens(args, [3, 5])
    wanted = (
        {"logit_bias": {7: 1.0, 3: -100.0, 5: -100.0}}
        if use_vllm
        else {"suppress_tokens": [3, 5, 7]}
    )
    assert args.generation_kwargs == wanted


def test_log_probabilities_do_not_depend_on_the_rows_beside(trainer):
    """Rows with 0, 1 and 2 images of two sizes in one batch, against each row by itself."""
    made = trainer()
    batch = generated(made, [0, 1, 2])
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
    keep = batch["completion_ids"].shape[1]
    names = ("pixel_values", "image_grid_thw", "num_images", "mm_token_type_ids")
    together, *_ = made._get_per_token_logps_and_entropies(
        made.model, ids, mask, keep, **{name: batch[name] for name in names}
    )
    for row in (0, 1, 2):
        i = row * made.num_generations
        start = int(mask[i].argmax())  # the padding on the left is taken off
        one = ids[i : i + 1, start:]
        images = made.train_dataset[row]["images"]
        alone, *_ = made._get_per_token_logps_and_entropies(
            made.model, one, mask[i : i + 1, start:], keep, **vision_inputs(made, images, one)
        )
        used = batch["completion_mask"][i].bool()
        assert torch.allclose(together[i][used], alone[0][used], atol=1e-5)


def vision_inputs(trainer, images, ids):
    """What the forward pass of one sequence needs for its images."""
    if not images:
        return {}
    processor = trainer.processing_class
    placeholder = processor.tokenizer.convert_tokens_to_ids("<|image_pad|>")
    return {
        **processor.image_processor(images=images, return_tensors="pt"),
        "num_images": [len(images)],
        "mm_token_type_ids": (ids == placeholder).int(),
    }


def test_a_batch_without_any_image_trains(trainer):
    made = trainer(rows=[pair(i, images=0) for i in range(4)])
    made.train()
    assert made.state.global_step == 2


def test_the_order_of_an_epoch_depends_on_seed_and_epoch_alone():
    def order(epoch: int, seed: int = 3, shuffle: bool = True) -> list[int]:
        sampler = EpochSampler(
            range(12), mini_repeat_count=2, batch_size=4, shuffle=shuffle, seed=seed,
            epoch=lambda: epoch,
        )  # fmt: skip
        return list(sampler)

    assert order(1) == order(1) != order(0)
    assert order(1, seed=4) != order(1)
    assert sorted(order(2)) == sorted(2 * list(range(12)))
    assert order(5, shuffle=False) == [i for i in range(12) for _ in range(2)]
