"""Packed rows and generate() give the same responses; the second stands in for the first."""

import logging

import pytest
from PIL import Image

from safegrpo.evaluation.generate import generate_responses
from safegrpo.microcosm import SHIPPED
from safegrpo.models import load_model, load_processor
from safegrpo.shared_prefix.model import UnsupportedModelError

MODULE = "safegrpo.evaluation.generate"


@pytest.fixture(scope="module")
def processor():
    return load_processor(SHIPPED)


@pytest.fixture
def asked(processor):
    """A function that asks the microcosm's model nine things, in batches of four."""
    images = [Image.new("RGB", (64, 64), (40 * i, 90, 7)) for i in range(6)]
    rows = [
        (images[: i % 3] if i % 4 else [], f"what is in the picture {'now ' * i}?")
        for i in range(9)
    ]

    def ask(**options) -> list[str]:
        model = load_model(SHIPPED, dtype="float32")
        model.train()
        done = []
        options = {"max_new_tokens": 20, "batch_size": 4, **options}
        responses = generate_responses(
            model, processor, rows, progress=lambda n, of: done.append((n, of)), **options
        )
        assert model.training and done[-1] == (9, 9)
        return responses

    return ask


def refuse(_) -> None:
    raise UnsupportedModelError("it is a test")


def test_packed_rows_and_generate_give_the_same_responses(asked, monkeypatch) -> None:
    packed = asked()
    assert len(set(packed)) > 1 and all(packed)
    monkeypatch.setattr(f"{MODULE}.accept_packed", refuse)
    assert asked() == packed


def test_a_first_batch_that_differs_is_asked_for_again(asked, monkeypatch, caplog) -> None:
    expected = asked()
    monkeypatch.setattr(f"{MODULE}.sampling_error", lambda *_: 0.7)
    with caplog.at_level(logging.WARNING):
        assert asked() == expected
    assert caplog.text.count("wrong by 0.7") == 1


def test_samples_are_the_same_for_the_same_seed(asked) -> None:
    one, two, other = (asked(temperature=1.5, seed=seed) for seed in (3, 3, 4))
    assert one == two != other


def test_no_rows_are_no_responses(processor) -> None:
    model = load_model(SHIPPED, dtype="float32")
    assert generate_responses(model, processor, [], max_new_tokens=4, batch_size=4) == []
