"""The supervised steps before GRPO, for models that never write the format by themselves."""

import hashlib
import json
import re
from io import StringIO
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from safegrpo.errors import ConfigError
from safegrpo.evaluation.generate import generate_responses
from safegrpo.microcosm import SHIPPED
from safegrpo.models import load_model, load_processor
from safegrpo.reward import Target, score
from safegrpo.thinking import GUIDE_FILE, Tags, guided_prompt
from safegrpo.training import cold_start as module
from safegrpo.training import rejection
from safegrpo.training.cold_start import cold_started, example_response, own_examples
from safegrpo.training.config import ColdStartConfig
from safegrpo.training.link import Link
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


def drawn(recipe, said, rows, **changes):
    """The examples of a cold start whose rollouts are `said`, the counts, and what it told."""
    told = StringIO()
    sampler = SimpleNamespace(
        recipe=recipe(cold_start={**OWN, **changes}),
        pairs=rows,
        guide=SHORT_GUIDE,
        args=SimpleNamespace(world_size=1),
        console=Console(file=told, width=1000),
        rows=lambda: [row for row, _ in said],
        sample=lambda asked: said,
    )
    return own_examples(sampler), told.getvalue()


ROWS = [pair(i, combined="unsafe" if i < 8 else "safe") for i in range(24)]
SAID = [(row, example_response(one, "A thing.", False)) for row, one in enumerate(ROWS)]
WRONG = (0, example_response(pair(0, combined="safe"), "A thing.", False))


def test_harmful_and_harmless_take_turns_however_few_there_are(recipe):
    said = [*SAID, *[WRONG] * 80]
    (examples, sampled, kept), told = drawn(recipe, said, ROWS, steps=12)
    assert (sampled, kept) == (104, 24)
    assert "8 of 88 rollouts on harmful pairs" in told and "16 of 16 rollouts on harmless" in told
    assert "warning: cold start: only 8 of 88" in told and told.count("warning") == 1
    assert [one.row < 8 for one in examples] == [True, False] * 24
    assert {one.row for one in examples[:32]} == set(range(24))  # all before any comes again
    for one in examples:
        assert one.prompt == guided_prompt(ROWS[one.row].prompt, SHORT_GUIDE)
        assert one.response == SAID[one.row][1]


def test_a_side_with_too_few_is_refused_with_the_way_out(recipe):
    with pytest.raises(ConfigError, match=r"7 of 7 rollouts on harmful .* fewer than 8; raise"):
        drawn(recipe, SAID[1:], ROWS)


def test_a_side_that_the_draw_has_missed_is_too_few(recipe):
    with pytest.raises(ConfigError, match="0 of 0 rollouts on harmful pairs"):
        drawn(recipe, SAID[8:], ROWS)


def test_where_there_are_no_pairs_of_one_side_the_other_is_all(recipe):
    rows = [pair(i) for i in range(12)]
    said = [(i, example_response(one, "A thing.", False)) for i, one in enumerate(rows)]
    (examples, *_), _ = drawn(recipe, said, rows)
    assert len(examples) == 24


def test_a_question_answered_behind_an_unsafe_tag_is_not_learned(recipe):
    rows = [*ROWS, pair(30, tags=None, answer="blue")]
    right = example_response(rows[-1], "blue", False)
    unsafe = right.replace("<combined_safe>safe", "<combined_safe>unsafe")
    assert unsafe != right and score(unsafe, Target(None, "x", "blue"), "strict").reward == 1.0
    (_, sampled, kept), _ = drawn(recipe, [*SAID, (24, right), (24, unsafe)], rows)
    assert (sampled, kept) == (26, 25)


def test_a_model_without_right_responses_is_told_to_have_it_written(recipe, pairs):
    made = recipe({"max_steps": 1}, cold_start={**OWN, "examples": 2})
    with pytest.raises(ConfigError, match="set cold_start"):
        train(made, train_pairs=pairs)
    assert not (Path(made.output) / "cold_start").exists()


def test_what_does_nothing_with_a_target_is_refused():
    assert ColdStartConfig().target == "written"
    with pytest.raises(ValueError, match='"rollouts" does nothing with target: written'):
        ColdStartConfig(rollouts=4)
    with pytest.raises(ValueError, match='"answer_tokens" does nothing with target: own'):
        ColdStartConfig(target="own", answer_tokens=4)
    made = ColdStartConfig(target="own", rollouts=4)
    assert ColdStartConfig.model_validate(made.model_dump()) == made  # as a run's config.yaml is


@pytest.fixture(scope="module")
def started(tmp_path_factory, speaking_pairs):
    """A run from the microcosm's base model with a cold start of its own responses."""
    from safegrpo.training.config import Recipe

    made = Recipe.model_validate(
        {
            "model": str(SHIPPED),
            "freeze_vision": False,
            "guide": GUIDE_PATH,
            "output": str(tmp_path_factory.mktemp("started") / "run"),
            "cold_start": {**OWN, "steps": 12, "rollouts": 24, "learning_rate": 1e-3},
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


def test_rewarded_responses_come_to_be_more(started, speaking_pairs):
    """The mean reward of other samples to the same prompts, before it and after."""
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
    assert kept.sampled == 24 * len(speaking_pairs) and 0 < kept.kept < kept.sampled
    assert 0 < kept.seconds < result.seconds
    assert cold_started(result.output / "cold_start") == kept
    manifest = json.loads((result.output / "manifest.json").read_text())
    assert manifest["finished"]["cold_started"]["kept"] == kept.kept
    assert train(made, train_pairs=speaking_pairs, resume=True) == result


def test_the_vision_tower_is_left_alone(started):
    made, result = started
    assert not made.freeze_vision
    before, after = (
        load_model(folder, dtype="float32").state_dict()
        for folder in (SHIPPED, result.output / "cold_start")
    )
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved and not any(".visual." in name for name in moved)


def test_adapters_learn_it_too(started, speaking_pairs, tmp_path):
    made, _ = started
    options = made.model_dump(mode="json") | {"lora": {"r": 4, "alpha": 8}}
    result = train(
        type(made).model_validate({**options, "output": str(tmp_path / "lora")}),
        train_pairs=speaking_pairs,
    )
    assert result.cold_started.kept > 0
    assert (result.output / "cold_start" / "adapter" / "adapter_model.safetensors").is_file()


# Only where it is needed

LOOKS = {**OWN, "when": "unlinked"}


def say(combined, refuses):
    """A well-formed response with this combined tag, which refuses or does not."""
    said = example_response(pair(0, combined="unsafe" if refuses else "safe"), "A thing.", False)
    return re.sub(r"(<combined_safe>)\w+", rf"\g<1>{combined}", said)


def looked(recipe, monkeypatch, answer, count=600, **changes):
    """What is seen of a model whose n-th answer is `answer(n)`: the link, how many rollouts it
    took, their seeds, and what was told."""
    seeds, told, asked = [], StringIO(), iter(range(10_000))

    def generate(model, processor, prompts, *, seed, **_):
        seeds.append(seed)
        return [answer(next(asked)) for _ in prompts]

    monkeypatch.setattr(rejection, "generate_responses", generate)
    made = recipe(cold_start={**LOOKS, "examples": None, **changes}, shared_prefix=False)
    args = SimpleNamespace(
        world_size=1, process_index=0, max_completion_length=8, chat_template_kwargs=None,
        device=torch.device("cpu"), fp16=False, bf16=False,
    )  # fmt: skip
    link, n = module.look(
        rejection.RolloutSampler(
            None,
            SimpleNamespace(processor=None, images=lambda row: []),
            [pair(i, combined="unsafe" if i % 2 else "safe") for i in range(count)],
            *(SHORT_GUIDE, made, made.cold_start, args, Console(file=told), "cold start"),
        )
    )
    assert n == next(asked)
    return link, n, seeds, " ".join(told.getvalue().split())


def one_in_four(refuses):
    """Answers behind an unsafe tag, one in four, as `refuses(n)`; behind a safe one they help."""
    return lambda n: say("unsafe", refuses(n)) if n % 4 == 0 else say("safe", False)


def test_a_model_that_heeds_its_tags_is_known_at_once(recipe, monkeypatch):
    link, n, _, told = looked(recipe, monkeypatch, one_in_four(lambda n: True))
    assert (link.strength, n) == (1.0, module.LOOK) and not link.missing
    assert "100% of 16 answers refuse behind an unsafe tag and 0% of 48 behind a safe one" in told
    assert "none is needed" in told


@pytest.mark.parametrize("count", [64, 600])  # of pairs: few are asked again and again
def test_one_that_does_not_takes_longer(recipe, monkeypatch, count):
    seldom = one_in_four(lambda n: n % 32 == 0)
    link, n, seeds, told = looked(recipe, monkeypatch, seldom, count, rollouts=8)
    assert link.strength == pytest.approx(1 / 8) and link.missing and "one is needed" in told
    assert module.LOOK < n <= module.LOOKED_AT
    assert len(set(seeds)) == len(seeds) > 1  # or they would be the same answers again


def test_a_model_that_never_says_unsafe_tells_nothing(recipe, monkeypatch):
    link, n, _, told = looked(recipe, monkeypatch, lambda n: say("safe", n % 5 == 0), 100)
    assert (link.strength, link.decided, link.missing, n) == (None, False, False, 100)
    assert "too few answers" in told and "none is needed" in told


def test_one_that_never_refuses_goes_on_without(recipe):
    said = [(row, say("safe", False)) for row in range(24)]
    (examples, sampled, kept), told = drawn(recipe, said, ROWS, when="unlinked")
    assert (examples, sampled, kept) == ([], 24, 16)
    assert "warning: no cold start: 0 of 8 rollouts on harmful pairs" in told


def test_it_needs_the_models_own_responses():
    with pytest.raises(ValueError, match="when: unlinked needs target: own"):
        ColdStartConfig(when="unlinked")


@pytest.fixture(scope="module")
def not_needed(started, speaking_pairs, tmp_path_factory):
    """A run from the same base model, whose answers heed its tags, and the same run without."""
    folder = tmp_path_factory.mktemp("not_needed")
    options = started[0].model_dump(mode="json")
    runs = []
    for name, config in (("looks", {**LOOKS, "rollouts": 8}), ("none", None)):
        made = type(started[0]).model_validate(
            {**options, "cold_start": config, "output": str(folder / name)}
        )
        runs.append((made, train(made, train_pairs=speaking_pairs)))
    return runs


def test_where_it_is_not_needed_grpo_starts_from_the_model_itself(not_needed):
    (_, result), (_, without) = not_needed
    facts = result.cold_started
    assert not facts.trained and facts.kept == 0 and facts.link > 0.9
    assert module.LOOK <= facts.sampled <= module.LOOKED_AT and without.cold_started is None
    left = {path.name for path in (result.output / "cold_start").iterdir()}
    assert left == {module.FACTS_FILE}
    weights = [load_model(run.model, dtype="float32").state_dict() for run in (result, without)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_the_model_card_says_that_none_was_made(not_needed):
    (_, result), _ = not_needed
    card = (result.model / "README.md").read_text()
    assert "Supervised steps" not in card and "on top of those steps" not in card
    assert f"Cold start: none, by what {result.cold_started.sampled} rollouts showed" in card


def test_what_was_seen_survives_a_restart(not_needed, speaking_pairs):
    (made, result), _ = not_needed
    manifest = json.loads((result.output / "manifest.json").read_text())
    assert manifest["finished"]["cold_started"]["trained"] is False
    assert train(made, train_pairs=speaking_pairs, resume=True) == result
    del manifest["finished"]  # as a run killed after it had looked would leave it
    (result.output / "manifest.json").write_text(json.dumps(manifest))
    stamp = (result.output / "cold_start" / module.FACTS_FILE).stat().st_mtime_ns
    again = train(made, train_pairs=speaking_pairs, resume=True)
    assert again.cold_started == result.cold_started
    assert (result.output / "cold_start" / module.FACTS_FILE).stat().st_mtime_ns == stamp


def test_where_it_is_needed_it_is_made(started, speaking_pairs, tmp_path, monkeypatch):
    unlinked = Link((0.0,) * 20 + (1.0,), (0.0,) * 40)
    monkeypatch.setattr(module, "look", lambda *_: (unlinked, 61))
    options = started[0].model_dump(mode="json")
    options["cold_start"] |= {"when": "unlinked", "steps": 1}
    made = type(started[0]).model_validate({**options, "output": str(tmp_path / "run")})
    facts = train(made, train_pairs=speaking_pairs).cold_started
    assert facts.trained and facts.link == pytest.approx(1 / 21) and facts.kept > 0
    assert facts.sampled == 61 + 24 * len(speaking_pairs)
    assert (tmp_path / "run" / "cold_start" / "model.safetensors").is_file()


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
