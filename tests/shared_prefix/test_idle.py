"""An image beside rows that have none: nothing changes but that the vision tower is run."""

import pytest
import torch

from safegrpo.shared_prefix.check import dense_log_probs, scoring_error
from safegrpo.shared_prefix.idle import IdleImage
from safegrpo.shared_prefix.model import accept_packed
from tests.shared_prefix.test_scoring import gradients, relative
from tests.shared_prefix.tiny import MAKES, build


def idle_of(tiny) -> IdleImage:
    shown = tiny.group([(4, 4)], [], words=0)
    return IdleImage(shown.prompt, shown.inputs)


def in_vision(name: str) -> bool:
    return "visual" in name or "vision" in name or "projector" in name


@pytest.mark.parametrize("checkpointing", [False, True], ids=["stored", "checkpointed"])
@pytest.mark.parametrize("words", [3, 40], ids=["shorter", "longer"])
@pytest.mark.parametrize("make", MAKES)
def test_rows_of_text_are_as_without_it_and_the_tower_gets_zeros(make, words, checkpointing):
    tiny = build(make)
    accept_packed(tiny.model)
    groups = [tiny.group([], [4, 6], words=words, seed=1), tiny.group([], [5], words=8, seed=2)]
    alone = tiny.model(groups=groups).log_probs
    alone.sum().backward()
    expected = gradients(tiny.model)
    assert not any(in_vision(name) for name in expected)
    tiny.model.zero_grad()
    if checkpointing:
        tiny.model.gradient_checkpointing_enable({"use_reentrant": False})
    tiny.model.train()
    beside = tiny.model(groups=idle_of(tiny).beside(groups)).log_probs
    beside.sum().backward()
    found = gradients(tiny.model)
    assert (beside - alone).abs().max() < 1e-5
    tower = {name for name in found if in_vision(name)}
    assert tower and not any(bool(found[name].any()) for name in tower)
    assert found.keys() - tower == expected.keys()
    assert max(relative(found[name], expected[name]) for name in expected) < 1e-4


@pytest.mark.parametrize("words", [3, 40], ids=["shorter", "longer"])
@pytest.mark.parametrize("make", MAKES)
def test_a_padded_batch_is_as_without_it(make, words) -> None:
    tiny = build(make)
    group = tiny.group([], [4, 6], words=words, seed=1)
    alone = dense_log_probs(tiny.model, group)
    assert (dense_log_probs(tiny.model, group, idle=idle_of(tiny)) - alone).abs().max() < 1e-5
    ids = torch.stack([group.prompt, group.prompt.roll(1)])
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids}
    longer = idle_of(tiny).below(batch)
    kept = longer["labels"][:, -ids.shape[1] :]
    assert torch.equal(kept[:2], ids) and bool((longer["labels"][2] == -100).all())
    assert longer["attention_mask"].sum(1).tolist()[:2] == [len(group.prompt)] * 2


def test_beside_images_there_is_no_other() -> None:
    tiny = build("qwen3_vl")
    groups = [tiny.group([], [3]), tiny.group([(4, 4)], [3])]
    assert idle_of(tiny).beside(groups) == groups


def test_the_check_of_first_batches_runs_the_tower_in_every_pass() -> None:
    tiny = build("qwen3_vl")
    accept_packed(tiny.model)
    calls = []
    tiny.model.model.visual.register_forward_pre_hook(lambda *_: calls.append(1))
    groups = [tiny.group([], [3, 4, 2])]
    assert scoring_error(tiny.model, groups, 1.0, idle_of(tiny)) < 1e-4
    assert len(calls) == 1 + 3
