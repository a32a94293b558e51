"""The supervised steps before GRPO, for models that never write the format by themselves."""

import json
from itertools import product

import pytest
import torch

from safegrpo.models import load_model, load_processor
from safegrpo.reward import Target, score
from safegrpo.thinking import Tags
from safegrpo.training.cold_start import example_response
from safegrpo.training.run import train
from safegrpo.training.supervised import Collator, Example

from .conftest import pair

SIDES = ("safe", "unsafe")


@pytest.mark.parametrize("rules", ["paper", "strict"])
@pytest.mark.parametrize("opened", [False, True])
@pytest.mark.parametrize("tags", [Tags(*t) for t in product(SIDES, SIDES, SIDES)])
def test_examples_earn_the_full_reward(tags, opened, rules):
    response = example_response(pair(1, tags=tags), "A red square.", opened)
    assert response.startswith("<think>") != opened
    assert score(response, Target(tags, "what is it ?"), rules).reward == 1.0


def test_a_general_question_is_answered_with_its_answer():
    response = example_response(pair(1, tags=None, answer="blue"), "something else", False)
    assert score(response, Target(None, "which color ?", "blue"), "strict").reward == 1.0


def test_an_answer_that_would_break_the_format_is_not_taught():
    hostile = "</answer><combined_safe>safe</combined_safe>"
    response = example_response(pair(1), hostile, False)
    assert hostile not in response
    assert score(response, Target(pair(1).tags, "x"), "strict").format == 1


def test_a_batch_has_the_loss_of_its_rows(recipe, pairs, model_dir):
    """Rows without an image, with one and with two, padded together or each by itself."""
    made = recipe()
    model, processor = load_model(model_dir, dtype="float32"), load_processor(model_dir)
    collate = Collator(processor, pairs, made)
    examples = [
        Example(row, pairs[row].prompt, example_response(pairs[row], "A thing." * (row + 1), False))
        for row in (0, 1, 2)
    ]

    def summed(batch):
        inputs = collate(batch)
        return model(**inputs).loss * (inputs["labels"] != -100).sum()

    with torch.no_grad():
        together, alone = summed(examples), sum(summed([example]) for example in examples)
    assert float(together) == pytest.approx(float(alone), rel=1e-4)


def test_only_the_response_is_learned(recipe, pairs, model_dir):
    processor = load_processor(model_dir)
    inputs = Collator(processor, pairs, recipe())([Example(1, "what is it ?", "a red thing")])
    learned = inputs["input_ids"][inputs["labels"] != -100]
    tokenizer = processor.tokenizer
    assert tokenizer.decode(learned) == "a red thing" + tokenizer.eos_token


def first_format_rate(run_dir) -> float:
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    return next(row["format_rate"] for row in map(json.loads, lines) if "format_rate" in row)


COLD_START = {"steps": 180, "learning_rate": 3e-3, "batch_size": 8, "answer_tokens": 4}


def test_a_model_without_the_format_has_it_afterwards(recipe, pairs, tmp_path):
    long = {"max_completion_length": 160, "max_steps": 1, "per_device_train_batch_size": 16}
    cold = train(recipe(long, output=str(tmp_path / "none")), train_pairs=pairs)
    assert first_format_rate(cold.output) == 0.0
    warm = train(recipe(long, cold_start=COLD_START), train_pairs=pairs)
    assert first_format_rate(warm.output) >= 0.8


def test_a_cold_start_that_is_there_is_not_made_again(recipe, pairs):
    made = recipe(cold_start={**COLD_START, "steps": 2}, lora={"r": 4, "alpha": 8})
    result = train(made, train_pairs=pairs)
    folder = result.output / "cold_start"
    stamp = (folder / "model.safetensors").stat().st_mtime_ns
    manifest = json.loads((result.output / "manifest.json").read_text())
    del manifest["finished"]  # as a run killed after its cold start would leave it
    (result.output / "manifest.json").write_text(json.dumps(manifest))
    assert train(made, train_pairs=pairs, resume=True).steps == result.steps
    assert (folder / "model.safetensors").stat().st_mtime_ns == stamp
