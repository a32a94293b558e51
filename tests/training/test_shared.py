"""Between TRL's batches and packed rows: regrouping, the check of first batches, the way back."""

import logging

import pytest
import torch
from trl import GRPOTrainer

from safegrpo.shared_prefix.model import ScoredTokens
from safegrpo.shared_prefix.trust import in_turn
from safegrpo.training.shared import (
    Row,
    SharedPrefix,
    UnsupportedBatchError,
    chunks,
    grouped,
    rows_of,
    whole_group_batches,
)

GROUP = 4


def fails(*_, **__):
    raise AttributeError("no attribute 'layers'")


@pytest.mark.parametrize(
    "change",
    [
        lambda patch, made: patch.setattr("safegrpo.shared_prefix.trust.sample", fails),
        lambda patch, made: patch.setattr(
            "safegrpo.shared_prefix.trust.sampling_error", lambda *_: 1
        ),
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
    assert not made.shared.sampling.kept and made.shared.scoring.kept
    assert "generation computes each prompt anew" in caplog.text


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
    assert made.shared.scoring.kept


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

    def __call__(self, rows, name="policy", batch_size=8, reason=None):
        return self.shared.log_probs(name, Uniform(), rows, 3, batch_size, reason)


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
    assert score.checked == [[0], [1, 0]]  # rows of the new kind come first
    score([picture], name="reference")
    assert len(score.checked) == 3 and not score.said


def test_a_batch_without_tokens_vouches_for_nothing(monkeypatch) -> None:
    score = Score(monkeypatch, errors=[0.3])
    empty = Row(torch.tensor([1, 2]), torch.tensor([], dtype=torch.long), {})
    assert score([empty, empty]) is not None and not score.checked
    assert score([empty, row([1, 2])]) is None
    assert score.said and not score.shared.scoring.kept


def test_a_later_kind_of_row_that_differs_is_found_out(monkeypatch) -> None:
    score = Score(monkeypatch, errors=[0.0, 0.3])
    assert score([row([1, 2])]) is not None
    assert score([row([1, 2], [0.5])]) is None and not score.shared.scoring.kept


def test_a_kind_that_was_not_among_the_rows_compared_is_not_vouched_for(monkeypatch) -> None:
    score = Score(monkeypatch)
    words, picture = row([1, 2]), row([3, 4], [0.5])
    score([picture, picture, words], batch_size=1)
    score([picture, picture, words], batch_size=1)
    assert score.checked == [[0], [1]]  # one row at a time, a new kind each time
    score([picture, words], batch_size=1)
    assert len(score.checked) == 2


def test_rows_to_compare_are_of_the_new_kinds_in_turn() -> None:
    kinds = ["images", "images", "text", "", "images", "text"]
    assert in_turn(kinds, ["text", "images"], 4) == [2, 0, 5, 1]
    assert in_turn(kinds, ["text"], 4) == [2, 5, 0, 1]


@pytest.mark.parametrize(
    "values, said",
    [([[1.0, 1.0, 0.0]], "another process"), ([[0.0, 1.0, 0.0], [0.5, 1.0, 0.0]], "wrong by 0.5")],
    ids=["cannot", "differs"],
)
def test_what_another_process_cannot_this_one_leaves_too(monkeypatch, values, said) -> None:
    """Otherwise they would call a wrapped model a different number of times, and wait for ever."""
    largest = iter(values)
    score = Score(monkeypatch, agree=lambda _: next(largest))
    assert score([row([1, 2])]) is None and said in score.said[0]


def test_a_batch_without_rows_says_why(monkeypatch) -> None:
    score = Score(monkeypatch)
    assert score([], reason="it is a test") is None
    assert score.said[0].endswith("it is a test") and not score.shared.sampling.kept


def test_image_data_that_cannot_be_parted_goes_the_dense_way() -> None:
    ids, mask = torch.ones(2, 5, dtype=torch.long), torch.ones(2, 5, dtype=torch.long)
    with pytest.raises(UnsupportedBatchError, match="the model's input spatial_shapes"):
        rows_of(ids, mask, 2, {"spatial_shapes": torch.ones(2, 2)})
    padded = {"pixel_values": torch.ones(2, 3, 1, 2, 2), "num_images": [3, 1]}
    with pytest.raises(UnsupportedBatchError, match="not laid out one by one"):
        rows_of(ids, mask, 2, padded)


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
