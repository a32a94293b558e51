"""The supervised steps before GRPO, for models that never write the format by themselves."""

import hashlib
import json
from io import StringIO
from itertools import product
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from safegrpo.evaluation.generate import generate_responses
from safegrpo.microcosm import SHIPPED
from safegrpo.models import load_model, load_processor
from safegrpo.reward import Target, score
from safegrpo.thinking import GUIDE_FILE, Tags, guided_prompt
from safegrpo.training import cold_start as module
from safegrpo.training.cold_start import cold_started, example_response, own_examples
from safegrpo.training.config import ColdStartConfig
from safegrpo.training.run import train
from safegrpo.training.run_folder import _hash
from safegrpo.training.supervised import Collator, Example

from .conftest import GUIDE_PATH, SHORT_GUIDE, pair

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


# From the model's own responses

OWN = {"target": "own", "steps": 6, "batch_size": 4}


def drawn(recipe, said, rows, monkeypatch, **changes):
    """The examples of a cold start whose rollouts are `said`, the counts, and what it told."""
    told = StringIO()
    made = recipe(cold_start={**OWN, **changes})
    monkeypatch.setattr(module, "sample_rollouts", lambda *_: said)
    found = own_examples(
        *(None, SimpleNamespace(processor=None), rows, made, SHORT_GUIDE),
        *(SimpleNamespace(world_size=1), Console(file=told, width=1000)),
    )
    return found, told.getvalue()


ROWS = [pair(i, combined="unsafe" if i == 0 else "safe") for i in range(5)]
SAID = [(row, example_response(one, "A thing.", False)) for row, one in enumerate(ROWS)]
WRONG = (0, example_response(pair(0, combined="safe"), "A thing.", False))


def test_harmful_and_harmless_take_turns_however_few_there_are(recipe, monkeypatch):
    said = [*SAID, SAID[0], *[WRONG] * 20]
    (examples, sampled, kept), told = drawn(recipe, said, ROWS, monkeypatch)
    assert (sampled, kept) == (26, 6)
    assert "2 of 22 rollouts on harmful pairs" in told and "4 of 4 rollouts on harmless" in told
    assert [one.row == 0 for one in examples] == [True, False] * 12
    assert {one.row for one in examples[:8]} == set(range(5))  # all come before any comes again
    for one in examples:
        assert one.prompt == guided_prompt(ROWS[one.row].prompt, SHORT_GUIDE)
        assert one.response == SAID[one.row][1]


def test_a_side_with_too_few_teaches_nothing(recipe, monkeypatch):
    (examples, sampled, kept), told = drawn(recipe, [*SAID, WRONG], ROWS, monkeypatch)
    assert (examples, sampled, kept) == ([], 6, 5)
    assert "too few on harmful pairs for their share of a batch of 4" in told
    assert "cold_start.rollouts" in told


def test_where_one_side_was_never_asked_the_other_is_all(recipe, monkeypatch):
    (examples, *_), _ = drawn(recipe, SAID[1:], ROWS, monkeypatch)
    assert len(examples) == 24 and all(one.row for one in examples)


def test_a_model_without_right_responses_stays_as_it_is(recipe, pairs, model_dir):
    told = StringIO()
    made = recipe({"max_steps": 1}, cold_start={**OWN, "examples": 2})
    result = train(made, train_pairs=pairs, console=Console(file=told, width=1000))
    before, after = (
        load_file(folder / "model.safetensors")
        for folder in (model_dir, result.output / "cold_start")
    )
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name].float(), after[name].float()) for name in before)
    assert "GRPO begins with the model as it is" in told.getvalue()
    assert result.cold_started.sampled == 2 and result.cold_started.kept == 0


@pytest.fixture(scope="module")
def started(tmp_path_factory, speaking_pairs):
    """A run from the microcosm's base model with a cold start of its own responses."""
    from safegrpo.training.config import Recipe

    made = Recipe.model_validate(
        {
            "model": str(SHIPPED),
            "guide": GUIDE_PATH,
            "output": str(tmp_path_factory.mktemp("started") / "run"),
            "cold_start": {**OWN, "steps": 12, "rollouts": 8, "learning_rate": 1e-3},
            "grpo": {
                "per_device_train_batch_size": 4,
                "num_generations": 4,
                "max_completion_length": 72,
                "max_steps": 1,
                "use_cpu": True,
                "beta": 0.0,
            },
        }
    )
    return made, train(made, train_pairs=speaking_pairs)


def test_its_rewarded_responses_come_to_be_likelier(started, speaking_pairs):
    """A base model's right responses, learned with the guide: the loss on other samples of them."""
    made, result = started
    folder = result.output / "cold_start"
    processor = load_processor(folder)
    collator = Collator(processor, speaking_pairs, made)
    guide = (folder / GUIDE_FILE).read_text().strip()
    prompts = [guided_prompt(one.prompt, guide) for one in speaking_pairs]
    turns = [(collator.images(row), prompt) for row, prompt in enumerate(prompts)]
    models = [load_model(path, dtype="float32") for path in (SHIPPED, folder)]
    rewards = []
    for model in models:
        said = generate_responses(
            *(model, processor, turns * 8),
            max_new_tokens=72, batch_size=48, temperature=1.0, seed=5,
        )  # fmt: skip
        targets = [Target(one.tags, one.prompt, one.answer) for one in speaking_pairs] * 8
        found = [
            score(one, target, "strict").reward for one, target in zip(said, targets, strict=True)
        ]
        rewards.append(sum(found) / len(found))
    assert rewards[1] > rewards[0] + 0.1


def test_what_it_took_is_in_the_manifest_and_survives_a_restart(started, speaking_pairs):
    made, result = started
    kept = result.cold_started
    assert kept.sampled == 8 * len(speaking_pairs) and 0 < kept.kept < kept.sampled
    assert 0 < kept.seconds < result.seconds
    assert cold_started(result.output / "cold_start") == kept
    manifest = json.loads((result.output / "manifest.json").read_text())
    assert manifest["finished"]["cold_started"]["kept"] == kept.kept
    assert train(made, train_pairs=speaking_pairs, resume=True) == result


def test_a_written_one_is_hashed_as_before_there_was_another(recipe):
    made = recipe(cold_start=COLD_START)
    assert cold_started(made.output) is None
    known = made.model_dump(mode="json", exclude={"output", "internalise"})
    known["guide"] = SHORT_GUIDE
    del known["credit"]["format_gate"]
    known["cold_start"] = {
        key: known["cold_start"][key]
        for key in ("steps", "learning_rate", "batch_size", "examples", "answer_tokens")
    }
    digest = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()
    assert _hash(made) == digest != _hash(recipe(cold_start=OWN))


def test_by_default_examples_are_written():
    assert ColdStartConfig().target == "written"
