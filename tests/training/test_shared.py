"""Our trainer against TRL's, on the same completions; and what becomes of a batch on the way."""

import logging

import pytest
import torch
from trl import GRPOTrainer

from safegrpo.errors import ModelError
from safegrpo.models import load_model
from safegrpo.shared_prefix.layout import joined
from safegrpo.shared_prefix.model import ScoredTokens
from safegrpo.training.config import LoraConfig
from safegrpo.training.data import build_dataset
from safegrpo.training.grpo_options import grpo_config
from safegrpo.training.model_parts import peft_config
from safegrpo.training.prompts import PreparedPrompt, joined_inputs, prepare_prompts
from safegrpo.training.shared import (
    Row,
    SharedPrefix,
    chunks,
    grouped,
    rows_of,
    whole_group_batches,
)
from safegrpo.training.trainer import SafeGRPOTrainer
from tests.training.conftest import SHORT_GUIDE, pair

GROUP = 4


def length_reward(completion_ids, **_):
    return [sum(ids) % 17 / 17 for ids in completion_ids]


def scripted(trainer, end: int):
    """The trainer with completions that depend on nothing but how often it was asked.

    All of one length where a batch is parted: TRL parts it otherwise, and logs the parts' means.
    """
    calls = []
    parted = trainer.args.gradient_accumulation_steps > 1

    def generate(prompt_ids, *_, **__):
        made = torch.Generator().manual_seed(len(calls))
        calls.append(len(prompt_ids))
        lengths = torch.randint(7 if parted else 2, 8, (len(prompt_ids),), generator=made)
        words = [torch.randint(60, 400, (n,), generator=made).tolist() for n in lengths.tolist()]
        return [[*ids, end] for ids in words], None

    trainer._generate_single_turn = generate
    return trainer


@pytest.fixture
def train(recipe, processor, tmp_path):
    """A function that trains with one class of trainer and returns its log, a row a step."""

    def run(kind, rows, lora=False, options=None, **grpo):
        made = recipe({"beta": 0.04, "max_steps": 20, "learning_rate": 1e-4, **grpo})
        model = load_model(made.model, dtype="float32")
        trainer = kind(
            model=model,
            reward_funcs=length_reward,
            args=grpo_config(
                made.model_copy(
                    update={
                        "grpo": {
                            **made.grpo,
                            "multi_objective_aggregation": "sum_then_normalize",
                            "reward_weights": None,
                            "shuffle_dataset": False,
                        }
                    }
                ),
                str(tmp_path / kind.__name__),
            ),
            train_dataset=build_dataset(
                rows, processor, guide=SHORT_GUIDE, max_prompt_length=2048
            ).dataset,
            processing_class=processor,
            peft_config=peft_config(model, LoraConfig(r=4)) if lora else None,
            **(options or {}),
        )
        scripted(trainer, processor.tokenizer.eos_token_id).train()
        return trainer, [row for row in trainer.state.log_history if "loss" in row]

    return run


@pytest.mark.parametrize(
    "options",
    [
        {"gradient_checkpointing": False},
        {"gradient_checkpointing": True},
        {"gradient_accumulation_steps": 2, "per_device_train_batch_size": 4},
        {"num_iterations": 2},
        {"loss_type": "grpo", "temperature": 0.7},
        {"entropy_coef": 0.05},
        {"top_entropy_quantile": 0.5},
        {"pad_to_multiple_of": 8},
        {"lora": True},
        {"lora": True, "gradient_checkpointing": True},
    ],
    ids=lambda options: "-".join(options),
)
def test_twenty_steps_are_those_of_trl(train, options) -> None:
    rows = [pair(i, images=1 + i % 2) for i in range(6)]
    _, stock = train(GRPOTrainer, rows, **options)
    trainer, ours = train(SafeGRPOTrainer, rows, **options)
    assert trainer.shared.scores and len(ours) == len(stock) == 20
    assert any(abs(row["loss"]) > 1e-3 for row in stock)
    assert any(row["kl"] > 1e-4 for row in stock)
    for one, two in zip(ours, stock, strict=True):
        for name in ("loss", "kl", "grad_norm", "entropy"):
            assert one[name] == pytest.approx(two[name], rel=1e-4, abs=1e-4), name


def test_the_switch_turns_it_off(train) -> None:
    rows = [pair(i, images=i % 3) for i in range(6)]
    off, dense = train(SafeGRPOTrainer, rows, options={"shared_prefix": False}, max_steps=3)
    on, ours = train(SafeGRPOTrainer, rows, max_steps=3)
    assert off.shared is None and on.shared.scores
    for one, two in zip(ours, dense, strict=True):
        for name in ("loss", "kl", "grad_norm"):
            assert one[name] == pytest.approx(two[name], rel=1e-4, abs=1e-4)


def test_a_model_that_cannot_is_trained_the_dense_way_and_says_so(train, monkeypatch, caplog):
    monkeypatch.setattr("safegrpo.shared_prefix.model._why_not", lambda _: "it is a test")
    with caplog.at_level(logging.WARNING):
        trainer, log = train(SafeGRPOTrainer, [pair(1), pair(2)], max_steps=2)
    assert not trainer.shared.scores and len(log) == 2
    said = [r.message for r in caplog.records if "shared prefix" in r.message]
    assert said == ["shared prefix is off, each completion computes prompts anew: it is a test"]


def test_a_first_batch_that_differs_is_computed_the_dense_way(train, monkeypatch, caplog) -> None:
    rows = [pair(i) for i in range(4)]
    _, expected = train(SafeGRPOTrainer, rows, options={"shared_prefix": False}, max_steps=2)
    monkeypatch.setattr("safegrpo.training.shared.scoring_error", lambda *_, **__: 0.4)
    with caplog.at_level(logging.WARNING):
        trainer, log = train(SafeGRPOTrainer, rows, max_steps=2)
    assert not trainer.shared.scores and not trainer.shared.samples
    assert [r.message for r in caplog.records if "wrong by 0.4" in r.message]
    for one, two in zip(log, expected, strict=True):
        assert one["loss"] == pytest.approx(two["loss"], abs=1e-6)


def fails(*_, **__):
    raise AttributeError("no attribute 'layers'")


@pytest.mark.parametrize(
    "change",
    [
        lambda patch, made: patch.setattr("safegrpo.training.shared.sample", fails),
        lambda patch, made: patch.setattr("safegrpo.training.shared.sampling_error", lambda *_: 1),
        lambda patch, made: setattr(made.generation_config, "num_beams", 2),
    ],
    ids=["fails", "differs", "beams"],
)
def test_sampling_that_cannot_be_ours_is_left_to_trl(trainer, monkeypatch, caplog, change) -> None:
    made = trainer()
    change(monkeypatch, made)
    rows = [made.train_dataset[i] for i in (1, 2) for _ in range(GROUP)]
    made.model.train()
    with caplog.at_level(logging.WARNING):
        batch = made._generate_and_score_completions(rows)
    assert len(batch["completion_ids"]) == 2 * GROUP
    assert not made.shared.samples and made.shared.scores
    assert "generation computes prompts anew" in caplog.text


def test_log_probabilities_are_trls_for_rows_of_every_kind(trainer) -> None:
    """Rows with 0, 1 and 2 images in any order, cut completions, and groups that are parted."""
    made = trainer(mask_truncated_completions=True, beta=0.1)
    made.model.train()
    # Longer chunks first: what the batch is cut into must not matter.
    rows = [made.train_dataset[i] for i in (2, 0, 1, 5) for _ in range(GROUP)]
    batch = made._generate_and_score_completions(rows)
    order = torch.randperm(len(rows))
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
    mask[3, -2:] = 0
    kinds = batch["mm_token_type_ids"]
    counts = batch["num_images"]
    pixels = batch["pixel_values"].split(_patches(batch["image_grid_thw"], counts))
    grids = batch["image_grid_thw"].split(counts)
    moved = {
        "pixel_values": torch.cat([pixels[i] for i in order]),
        "image_grid_thw": torch.cat([grids[i] for i in order]),
        "num_images": [counts[i] for i in order],
        "mm_token_type_ids": kinds[order],
    }
    length = batch["completion_ids"].shape[1]
    with torch.no_grad():
        dense = GRPOTrainer._get_per_token_logps_and_entropies(
            made, made.model, ids[order], mask[order], length, compute_entropy=True, **moved
        )
        for size in (None, 3, 8):
            found = made._get_per_token_logps_and_entropies(
                made.model, ids[order], mask[order], length, size, compute_entropy=True, **moved
            )
            for ours, theirs in zip(found[:2], dense[:2], strict=True):
                assert (ours - theirs).abs().max() < 1e-5
    assert made.shared.scores


class Score:
    """A `SharedPrefix` over a model that is not there, and what was checked of it."""

    def __init__(self, monkeypatch, errors=(), agree=list) -> None:
        self.checked, self.said = [], []
        errors = iter(errors)

        def error(_, groups, *__, **___):
            self.checked.append([len(g.inputs) for g in groups])
            return next(errors, 0.0)

        monkeypatch.setattr("safegrpo.training.shared.scoring_error", error)
        self.shared = SharedPrefix([], temperature=1.0, agree=agree, say=self.said.append)

    def __call__(self, rows, name="policy", batch_size=8):
        return self.shared.log_probs(name, Uniform(), rows, 3, batch_size)


class Uniform(torch.nn.Module):
    """Gives every token a log-probability of 0."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, groups, **_):
        zeros = torch.zeros(sum(len(c) for g in groups for c in g.completions))
        return ScoredTokens(log_probs=zeros, entropies=zeros)


def test_each_kind_of_row_is_checked_once_for_each_model(monkeypatch) -> None:
    score = Score(monkeypatch)
    words, picture = row([1, 2]), row([3, 4], [0.5])
    for rows in ([words], [words, words], [words, picture], [picture], [words]):
        assert score(rows) is not None
    assert score.checked == [[0], [1, 0]]  # rows with images come first
    score([picture], name="reference")
    assert len(score.checked) == 3 and not score.said


def test_a_batch_without_tokens_vouches_for_nothing(monkeypatch) -> None:
    score = Score(monkeypatch, errors=[0.3])
    empty = Row(torch.tensor([1, 2]), torch.tensor([], dtype=torch.long), {})
    assert score([empty, empty]) is not None and not score.checked
    assert score([empty, row([1, 2])]) is None
    assert score.said and not score.shared.scores


def test_a_later_kind_of_row_that_differs_is_found_out(monkeypatch) -> None:
    score = Score(monkeypatch, errors=[0.0, 0.3])
    assert score([row([1, 2])]) is not None
    assert score([row([1, 2], [0.5])]) is None and not score.shared.scores


def test_what_one_process_cannot_all_leave(monkeypatch) -> None:
    """Otherwise they would call a sharded model a different number of times, and wait for ever."""
    score = Score(monkeypatch, agree=lambda flags: [1.0, *flags[1:]])
    assert score([row([1, 2])]) is None and "another process" in score.said[0]
    score = Score(monkeypatch, agree=lambda values: [0.5] if len(values) == 1 else values)
    assert score([row([1, 2])]) is None and "wrong by 0.5" in score.said[0]


def test_image_data_that_cannot_be_parted_goes_the_dense_way() -> None:
    ids, mask = torch.ones(2, 5, dtype=torch.long), torch.ones(2, 5, dtype=torch.long)
    unknown = rows_of(ids, mask, 2, {"spatial_shapes": torch.ones(2, 2)})
    assert unknown == "it does not know the model's input spatial_shapes"
    padded = {"pixel_values": torch.ones(2, 3, 1, 2, 2), "num_images": [3, 1]}
    assert rows_of(ids, mask, 2, padded) == "the images are not laid out one by one"


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


def _patches(grid, counts) -> list[int]:
    return [int(part.prod(-1).sum()) for part in grid.split(counts)]


def row(prompt, pixels=None) -> Row:
    inputs = {} if pixels is None else {"pixel_values": torch.tensor(pixels)}
    return Row(torch.tensor(prompt), torch.tensor([9]), inputs)


def test_rows_are_one_group_if_words_and_pictures_are_the_same() -> None:
    rows = [row([1, 2], [0.5]), row([1, 2], [0.6]), row([1, 2]), row([1, 2], [0.5]), row([1, 3])]
    assert grouped(rows) == [[0, 3], [1], [2], [4]]


def test_portions_are_as_many_whatever_the_groups() -> None:
    assert list(chunks([[0, 1, 2], [3, 5], [4], [6, 7, 8, 9, 10]], 3)) == [
        [[0, 1, 2]],
        [[3, 5], [4]],
        [[6, 7, 8]],
        [[9, 10]],
    ]
    for groups in ([[0, 1, 2, 3], [4, 5, 6, 7]], [[0], [1, 2, 3], [4, 5, 6, 7]]):
        assert len(list(chunks(groups, 3))) == 3  # on every process, whatever the groups


def test_parts_of_a_generation_batch_hold_whole_groups() -> None:
    size, group = 24, 4
    batch = {
        "prompt_ids": torch.arange(size)[:, None],
        "advantages": torch.arange(size).float(),
        "num_items_in_batch": torch.tensor(7),
        "old_per_token_logps": None,
    }
    torch.manual_seed(1)
    parts = whole_group_batches(batch, 3, group)
    seen = torch.cat([part["prompt_ids"][:, 0] for part in parts])
    assert sorted(seen.tolist()) == list(range(size)) and seen.tolist() != list(range(size))
    for part in parts:
        numbers = part["prompt_ids"][:, 0]
        assert torch.equal(part["advantages"], numbers.float())
        assert part["num_items_in_batch"] == 7 and part["old_per_token_logps"] is None
        assert all(len(set((g // group).tolist())) == 1 for g in numbers.split(group))
    small = whole_group_batches(batch, 12, group)  # two rows a part: neighbours stay
    assert [part["prompt_ids"][:, 0].tolist() for part in small][:2] == [[0, 1], [2, 3]]


def test_each_prompt_is_prepared_once(trainer) -> None:
    made = trainer()
    made.model.train()
    asked, images = [], []
    process = type(made.processing_class).__call__
    image_process = made.processing_class.image_processor.preprocess
    made.processing_class.image_processor.preprocess = lambda found, *a, **k: (
        images.append(found),
        image_process(found, *a, **k),
    )[1]
    inner = GRPOTrainer._tokenize_prompts
    prompts = [
        [{"role": "user", "content": [{"type": "image", "image": i}, {"type": "text", "text": t}]}]
        for i, t in [(made.train_dataset[1]["images"][0], "what ?")] * 3
        + [(made.train_dataset[4]["images"][0], "what ?")]
    ]

    def tokenize(given):
        asked.append(given)
        return inner(made, given)

    rows = prepare_prompts(prompts, tokenize, torch.device("cpu"))
    assert len(asked) == 2 and rows[0] is rows[2] and rows[0] is not rows[3]
    images.clear()
    made._generate_and_score_completions(
        [made.train_dataset[i] for i in (1, 4) for _ in range(GROUP)]
    )
    assert len(images) == 2
    assert type(made.processing_class).__call__ is process
