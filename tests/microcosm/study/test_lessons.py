"""What the supervised rows are taught, and that teaching works."""

import pytest
import torch

from safegrpo.behavior import classify
from safegrpo.errors import DataError
from safegrpo.microcosm import text
from safegrpo.microcosm.model import build_model, build_processor, train_tokenizer
from safegrpo.microcosm.study.lessons import think_in_safety, train_lessons, vlguard
from safegrpo.microcosm.study.worlds import World, training_set

PAIRS = training_set(World(pairs=48), 0)


@pytest.fixture(scope="module")
def tokenizer():
    return build_processor(train_tokenizer(text.corpus())).tokenizer


def trained(tokenizer, lessons=None, **options):
    model, said = build_model(tokenizer), []
    lessons = vlguard(PAIRS) if lessons is None else lessons
    given = {"steps": 12, "batch": 8, "learning_rate": 2e-3, "seed": 0, "freeze_vision": True}
    loss = train_lessons(model, tokenizer, lessons, **given | options, say=said.append)
    return model, loss


def test_vlguard_refuses_what_is_harmful_and_helps_with_the_rest():
    lessons = vlguard(PAIRS)
    assert [pair for pair, _, _ in lessons] == PAIRS
    for pair, _, response in lessons:
        assert response in text.REFUSALS if pair.harmful else response == pair.help_answer


def test_think_in_safety_holds_the_harmful_pairs_alone():
    assert [p for p, _, _ in think_in_safety(PAIRS)] == [p for p in PAIRS if p.harmful]


def test_think_in_safety_thinks_without_tags_and_then_refuses():
    for pair, _, response in think_in_safety(PAIRS):
        thought, _, answer = response.removeprefix("<think>").partition("</think>")
        assert answer in text.REFUSALS
        assert thought.startswith(text.caption(pair.scene))
        assert pair.topic in thought and thought.endswith("so i decline.")
        assert "_safe>" not in response and "<answer>" not in response


def test_lessons_are_asked_without_the_guide():
    assert not any(guided for _, guided, _ in vlguard(PAIRS) + think_in_safety(PAIRS))


def test_both_refusals_are_taught_and_read_as_refusals():
    for lessons in (vlguard(PAIRS), think_in_safety(PAIRS)):
        refusals = {r.rpartition("</think>")[2] for p, _, r in lessons if p.harmful}
        assert refusals == set(text.REFUSALS)
        assert {classify(refusal).label for refusal in refusals} == {"refusal"}


def test_wrong_tags_are_wrong_lessons():
    noisy = training_set(World(pairs=48, label_noise=0.4), 0)
    told = {p.id: r in text.REFUSALS for p, _, r in vlguard(noisy)}
    assert told == {p.id: p.harmful for p in noisy}
    assert any(told[p.id] != p.harmful for p in PAIRS)


def test_training_lowers_the_loss(tokenizer):
    lessons = vlguard(PAIRS[:8])
    assert trained(tokenizer, lessons, steps=20)[1] < 0.8 * trained(tokenizer, lessons, steps=1)[1]


def test_training_depends_on_the_seed_alone(tokenizer):
    one, again, other = (trained(tokenizer, seed=s, steps=3) for s in (1, 1, 2))
    assert one[1] == again[1] != other[1]
    for a, b in zip(one[0].parameters(), again[0].parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("freeze", [True, False])
def test_the_vision_tower_moves_unless_it_is_frozen(tokenizer, freeze):
    before = build_model(tokenizer).model.visual.state_dict()
    after = trained(tokenizer, steps=2, freeze_vision=freeze)[0].model.visual.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before) is freeze


def test_a_trained_model_is_left_ready_for_more(tokenizer):
    model, _ = trained(tokenizer, steps=1)
    assert not model.training
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


def test_no_lessons_are_an_error(tokenizer):
    with pytest.raises(DataError, match="no lessons"):
        trained(tokenizer, [])
