"""Packed rows and generate() give the same responses; the second stands in for the first."""

import logging

import pytest
from peft import LoraConfig, get_peft_model
from PIL import Image

from safegrpo.evaluation.generate import generate_responses
from safegrpo.microcosm import SHIPPED
from safegrpo.models import load_model, load_processor
from safegrpo.shared_prefix.model import UnsupportedModelError


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

    def ask(num_beams: int | None = None, **options) -> list[str]:
        model = load_model(SHIPPED, dtype="float32")
        model.generation_config.num_beams = num_beams
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


def test_packed_rows_and_generate_give_the_same_responses(asked, caplog) -> None:
    packed = asked()
    assert len(set(packed)) > 1 and all(packed)
    assert asked(shared_prefix=False) == packed
    assert not caplog.records


@pytest.mark.parametrize(
    "name, change, said",
    [
        ("evaluation.generate.accept_packed", refuse, "it is a test"),
        ("shared_prefix.trust.sampling_error", lambda *_: 0.7, "wrong by 0.7"),
        ("shared_prefix.trust.sample", fail, "AttributeError: no attribute 'layers'"),
    ],
    ids=["refused", "differs", "fails"],
)
def test_generate_stands_in_and_a_line_says_why(
    asked, monkeypatch, caplog, name, change, said
) -> None:
    expected = asked()
    monkeypatch.setattr(f"safegrpo.{name}", change)
    with caplog.at_level(logging.WARNING):
        assert asked() == expected
    assert [said in record.message for record in caplog.records] == [True]


def test_options_of_the_model_that_need_another_loop_are_left_to_generate(asked, caplog) -> None:
    with caplog.at_level(logging.WARNING):
        assert len(asked(num_beams=2)) == 9
    assert 'the generation option "num_beams"' in caplog.text


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
