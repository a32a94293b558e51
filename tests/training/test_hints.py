"""Groups that are all wrong get a rollout that was shown the right verdict; settled ones may go."""

import pytest
import torch

from safegrpo.training.config import CreditConfig
from safegrpo.training.hints import hinted_prefixes
from safegrpo.training.trainer import SafeGRPOTrainer

THOUGHT = "<think>a red thing <combined_safe>{}</combined_safe> so</think><answer>x</answer>"


@pytest.fixture
def ids(tokenizer):
    return lambda text: tokenizer(text, add_special_tokens=False)["input_ids"]


def row(number: int, tag: str | None):
    return {"row": number, "combine_tag": tag}


def test_only_groups_that_are_all_wrong_are_hinted(tokenizer, ids) -> None:
    wrong, right = ids(THOUGHT.format("safe")), ids(THOUGHT.format("unsafe"))
    none = ids("no tag at all")
    completions = [wrong, wrong, wrong, right, none, none, wrong, none, wrong, wrong]
    rows = [row(i // 2, tag) for i, tag in enumerate(["unsafe"] * 8 + [None] * 2)]
    found = hinted_prefixes(completions, rows, tokenizer, hints=1)
    assert set(found) == {0, 6}
    text = tokenizer.decode(found[0])
    assert text == "<think>a red thing <combined_safe>unsafe</combined_safe>"
    assert found[0][:3] == wrong[:3]
    assert set(hinted_prefixes(completions, rows, tokenizer, hints=3)) == {0, 1, 6}


def test_a_tag_said_twice_or_after_the_thinking_is_left_alone(tokenizer, ids) -> None:
    said = THOUGHT.format("safe")
    twice, late = ids(said + said), ids("</think>" + said)
    assert hinted_prefixes([twice, late], [row(0, "unsafe")] * 2, tokenizer, hints=2) == {}


class OddTokenizer:
    """Tokens that reach across the tag's borders, as real vocabularies have them."""

    words = ("<think>x ", "y<comb", "ined_safe>sa", "fe</combined_safe> so", "y", "!")

    def decode(self, ids, skip_special_tokens=False):
        return "".join(self.words[i] if isinstance(i, int) else i for i in ids)

    def __call__(self, text, add_special_tokens=False):
        return {"input_ids": list(text)}


def test_a_token_across_the_border_is_written_anew() -> None:
    tokenizer = OddTokenizer()
    found = hinted_prefixes([[0, 1, 2, 3]], [row(0, "unsafe")], tokenizer, hints=1)
    assert found[0][0] == 0
    assert tokenizer.decode(found[0]) == "<think>x y<combined_safe>unsafe</combined_safe>"


@pytest.fixture
def credited(trainer):
    """A function that builds a trainer in training mode, with options of `credit`."""

    def build(**credit):
        built = trainer(credit=CreditConfig(**credit), max_completion_length=24)
        built.model.train()
        return built

    return build


@pytest.mark.parametrize("shared", [True, False])
def test_hinted_rollouts_join_their_group(credited, tokenizer, ids, monkeypatch, shared) -> None:
    made = credited(hints=1)
    made.shared.sampling.kept = shared
    wrong = ids(THOUGHT.format("safe"))
    asked = []
    complete = SafeGRPOTrainer._complete

    def completed(self, prompts, begun=None):
        if begun is None:
            return [list(wrong) for _ in prompts]
        asked.append(prompts)  # the continuation, by the model itself
        return complete(self, prompts, begun)

    monkeypatch.setattr(SafeGRPOTrainer, "_complete", completed)
    # Row 1 is unsafe and has an image, row 3 is unsafe without one, row 0 is safe.
    rows = [made.train_dataset[i] for i in (1, 3, 0) for _ in range(4)]
    batch = made._generate_and_score_completions(rows[:8])
    texts = tokenizer.batch_decode(batch["completion_ids"])
    hinted = ["<combined_safe>unsafe" in text for text in texts]
    assert hinted == [True, False, False, False] * 2
    assert len(asked) == 1 and len(asked[0]) == 2
    assert batch["completion_ids"].shape[1] <= 24
    assert made._metrics["train"]["hinted"] == [0.25]
    made._generate_and_score_completions(rows[4:])
    assert made._metrics["train"]["hinted"] == [0.25, 0.125]


def test_settled_completions_leave_the_loss(credited) -> None:
    rows = None
    for skip in (False, True):
        made = credited(skip_settled=skip)
        rows = [made.train_dataset[i] for i in (1, 2) for _ in range(4)]
        batch = made._generate_and_score_completions(rows)
        # A model that knows nothing keeps no format: every completion earns nothing.
        assert torch.all(batch["advantages"] == 0)
        assert bool(batch["completion_mask"].sum() == 0) == skip
    made.current_gradient_accumulation_steps = 1  # what the training loop sets
    assert torch.isfinite(made._compute_loss(made.model, batch))
