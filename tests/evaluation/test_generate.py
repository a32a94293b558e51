"""Packed rows and generate() give the same responses; the second stands in for the first."""

import logging

import pytest
from peft import LoraConfig, get_peft_model
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


def fail(*_, **__) -> None:
    raise AttributeError("no attribute 'layers'")


def test_packed_rows_and_generate_give_the_same_responses(asked, monkeypatch, caplog) -> None:
    packed = asked()
    assert len(set(packed)) > 1 and all(packed)
    assert asked(shared_prefix=False) == packed
    assert not caplog.records
    for name, change, said in [
        ("accept_packed", refuse, "it is a test"),
        ("sampling_error", lambda *_: 0.7, "wrong by 0.7"),
        ("sample", fail, "AttributeError: no attribute 'layers'"),
    ]:
        with caplog.at_level(logging.WARNING), monkeypatch.context() as patch:
            patch.setattr(f"{MODULE}.{name}", change)
            assert asked() == packed
        assert caplog.text.count(said) == 1


def test_a_model_with_adapters_is_asked_the_same_way(processor, caplog) -> None:
    model = load_model(SHIPPED, dtype="float32")
    rows = [([Image.new("RGB", (64, 64), (40, 90, 7))], "what is in the picture ?")]
    options = {"max_new_tokens": 12, "batch_size": 4}
    expected = generate_responses(model, processor, rows, **options)
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"]))
    assert generate_responses(adapted, processor, rows, **options) == expected
    assert not caplog.records


def test_samples_are_the_same_for_the_same_seed(asked) -> None:
    one, two, other = (asked(temperature=1.5, seed=seed) for seed in (3, 3, 4))
    assert one == two != other


def test_no_rows_are_no_responses(processor) -> None:
    model = load_model(SHIPPED, dtype="float32")
    assert generate_responses(model, processor, [], max_new_tokens=4, batch_size=4) == []
