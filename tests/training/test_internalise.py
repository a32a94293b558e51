"""What comes after GRPO: the model's own best responses, learned without the guide."""

import hashlib
import json
import shutil
import weakref
from dataclasses import replace
from io import StringIO
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import yaml
from rich.console import Console
from safetensors.torch import load_file

from safegrpo.data.schema import save_tagged
from safegrpo.evaluation.generate import generate_responses
from safegrpo.microcosm import SHIPPED
from safegrpo.models import load_model, load_processor
from safegrpo.report.card import CARD_FILE
from safegrpo.thinking import GUIDE_FILE, Tags, guided_prompt
from safegrpo.training.cold_start import example_response
from safegrpo.training.config import InternaliseConfig, Recipe
from safegrpo.training.internalise import _trained, lessons
from safegrpo.training.model_parts import vision_modules
from safegrpo.training.rejection import Rollout, earning_all, sides
from safegrpo.training.run import train
from safegrpo.training.run_folder import _hash
from safegrpo.training.supervised import Collator, Example
from safegrpo.training.trainer import SafeGRPOTrainer

from .conftest import GUIDE_PATH, SHORT_GUIDE, pair
from .test_two_processes import launch

PHASE = {"steps": 12, "learning_rate": 1e-3, "batch_size": 4, "rollouts": 4, "replay": 0.25}


def weights(folder):
    return load_file(folder / "model.safetensors")


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


# What is learned


def test_only_rollouts_that_earn_all_are_kept(recipe) -> None:
    unsafe = pair(1, tags=Tags("safe", "safe", "unsafe"))
    question = pair(2, tags=None, answer="blue")
    rows = [unsafe, question]
    right = example_response(unsafe, None, False)
    one_tag_wrong = right.replace("<visual_safe>safe", "<visual_safe>unsafe")
    helped = example_response(pair(1), "A thing.", False).replace(
        "<combined_safe>safe", "<combined_safe>unsafe"
    )
    said = [
        (0, right),
        (0, one_tag_wrong),
        (0, helped),
        (0, right.replace("</answer>", "")),
        (1, example_response(question, "blue", False)),
        (1, example_response(replace(question, answer="red"), "red", False)),
    ]
    kept = earning_all(said, rows, recipe())
    assert [(one.row, one.response) for one in kept] == [said[0], said[4]]
    assert kept[0].answer.startswith("I'm sorry") and kept[1].answer == "blue"


def test_a_refusal_without_its_reason_is_not_kept_where_that_pays(recipe) -> None:
    unsafe = pair(1, tags=Tags("safe", "safe", "unsafe"))
    full = example_response(unsafe, None, False)
    bare = full.replace(full.partition("<answer>")[2], "I can't help with this.</answer>")
    assert len(earning_all([(0, bare)], [unsafe], recipe())) == 1
    assert earning_all([(0, bare)], [unsafe], recipe(credit={"reason_share": 0.5})) == []


KEPT = [
    Rollout(row, f"<think>t{row}</think>\n<answer>a{row}</answer>", f"a{row}") for row in (1, 3)
]


def made(opened=False, batch=2, **changes):
    rows = [pair(i) for i in range(4)]
    config = InternaliseConfig(**{"steps": 8, "replay": 0.0, **changes})
    found = lessons(KEPT, rows, SHORT_GUIDE, config, batch=batch, opened=opened, seed=0)
    return rows, found


def test_plain_prompts_get_the_whole_response_or_the_answer_alone() -> None:
    wanted = {one.row: one for one in KEPT}
    for target in ("response", "answer"):
        rows, found = made(target=target)
        assert len(found) == 8 * 2
        for one in found:
            assert one.prompt == rows[one.row].prompt
            assert one.response == getattr(wanted[one.row], target)


def test_a_thinking_that_the_template_opens_is_closed_before_an_answer() -> None:
    assert made(opened=True, target="answer")[1][0].response.startswith("\n</think>\n\na")
    assert made(opened=True)[1][0].response.startswith("<think>")  # as it was sampled


def test_replayed_batches_have_the_guide_and_the_whole_response() -> None:
    rows, found = made(target="answer", replay=0.25, batch=3)
    batches = [found[start : start + 3] for start in range(0, len(found), 3)]
    guided = [one for one in batches if SHORT_GUIDE in one[0].prompt]
    assert len(batches) == 8 and len(guided) == 2
    for one in (example for batch in guided for example in batch):
        assert one.prompt == guided_prompt(rows[one.row].prompt, SHORT_GUIDE)
        assert one.response.endswith("</answer>")
    plain = [one for batch in batches if batch not in guided for one in batch]
    assert not any(SHORT_GUIDE in one.prompt for one in plain)


def test_all_that_was_kept_is_drawn_before_anything_comes_again() -> None:
    found = [one.row for one in made()[1]]
    assert all(set(two) == {1, 3} for two in zip(found[::2], found[1::2], strict=True))


# The run


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    """A recipe of two steps of GRPO and the phase, for the microcosm's base model."""

    def make(name="whole", **changes) -> Recipe:
        grpo = {
            "per_device_train_batch_size": 16,
            "num_generations": 4,
            "max_completion_length": 72,
            "max_steps": 2,
            "learning_rate": 1e-4,
            "use_cpu": True,
            "beta": 0.0,
        }
        return Recipe.model_validate(
            {
                "model": str(SHIPPED),
                "guide": GUIDE_PATH,
                "output": str(folder / name),
                "evaluate": {"max_new_tokens": 72},
                "internalise": PHASE,
                "grpo": grpo,
                **changes,
            }
        )

    folder = tmp_path_factory.mktemp("internalise")
    return make


@pytest.fixture(scope="module")
def whole(options, speaking_pairs):
    """A run straight through, and what it told."""
    told = StringIO()
    result = train(
        options(),
        train_pairs=speaking_pairs,
        eval_pairs=speaking_pairs[:4],
        console=Console(file=told, width=1000),
    )
    return result, told.getvalue()


def test_the_run_has_come_to_the_model_after_it(whole) -> None:
    result, told = whole
    last = result.output / "checkpoints" / "last"
    assert result.model == result.output / "checkpoints" / "internalised"
    before, after = weights(last), weights(result.model)
    assert before.keys() == after.keys() and not same(before, after)
    frozen = [name for name in before if ".visual." in name]
    assert frozen and all(torch.equal(before[name], after[name]) for name in frozen)
    load_processor(result.model)
    assert (result.model / GUIDE_FILE).is_file()
    assert "of 48 rollouts earn the full reward; 12 supervised steps" in told
    assert {path.name for path in last.parent.iterdir()} == {"best", "last", "internalised"}


def test_its_held_out_numbers_are_the_rows_after_the_last_step(whole) -> None:
    result, _ = whole
    lines = (result.output / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["step"] for row in rows][-1] == result.steps + 1 == 3
    assert all(rows[-1][name] == value for name, value in result.metrics.items())
    assert 0 < rows[-1]["internalise/kept"] < 1 and rows[-1]["internalise/loss"] > 0
    assert all(one["seconds"] <= other["seconds"] for one, other in pairwise(rows))


def test_the_manifest_tells_seconds_of_each_part_and_what_was_kept(whole) -> None:
    result, _ = whole
    manifest = json.loads((result.output / "manifest.json").read_text())
    assert manifest["finished"]["parts"].keys() == {"grpo", "internalise"}
    assert sum(result.parts.values()) == pytest.approx(result.seconds)
    assert manifest["finished"]["internalised"]["sampled"] == 48 and "grpo" not in manifest


def test_a_finished_run_says_the_same_again(whole, options, speaking_pairs) -> None:
    again = train(options(), train_pairs=speaking_pairs, eval_pairs=speaking_pairs[:4], resume=True)
    assert again == whole[0]


def test_each_model_has_a_card_that_tells_which_it_is(whole) -> None:
    result, _ = whole
    card = (result.model / CARD_FILE).read_text()
    assert "without the guide, after that: 12, on its responses" in card
    assert "of 48 earned the full reward" in card and "after all steps" in card
    for name in ("last", "best"):
        other = (result.output / "checkpoints" / name / CARD_FILE).read_text()
        assert "none yet, this is the model before them" in other


def test_what_it_says_with_the_guide_is_likelier_without(whole, options, speaking_pairs) -> None:
    """GRPO's model against what was made of it, on what GRPO's says, after the plain prompts."""
    result, _ = whole
    folders = (result.output / "checkpoints" / "last", result.model)
    last, internalised = (load_model(folder, dtype="float32") for folder in folders)
    processor = load_processor(result.model)
    collator = Collator(processor, speaking_pairs, options())
    guide = (result.model / GUIDE_FILE).read_text().strip()
    turns = [
        (collator.images(row), guided_prompt(one.prompt, guide))
        for row, one in enumerate(speaking_pairs)
    ]
    said = generate_responses(last, processor, turns, max_new_tokens=72, batch_size=12)
    plain = collator([Example(i, one.prompt, said[i]) for i, one in enumerate(speaking_pairs)])
    with torch.no_grad():
        before, after = (float(model(**plain).loss) for model in (last, internalised))
    assert after < 0.8 * before


def test_a_run_killed_before_it_was_whole_does_no_more_than_that(
    whole, options, speaking_pairs, monkeypatch
) -> None:
    """Killed after it had logged and before it had saved; GRPO is not begun again."""
    result, _ = whole
    broken = result.output.parent / "broken"
    shutil.copytree(result.output, broken)
    shutil.rmtree(broken / "checkpoints" / "internalised")
    (broken / "checkpoints" / "internalised.part").mkdir()
    manifest = json.loads((broken / "manifest.json").read_text())
    finished = manifest.pop("finished")
    manifest["grpo"] = {**finished, "parts": {}, "internalised": None, "seconds": 1.0}
    (broken / "manifest.json").write_text(json.dumps(manifest))
    monkeypatch.setattr("safegrpo.training.grpo.SafeGRPOTrainer", None)
    torch.rand(7)  # whatever the process did before
    again = train(
        options("broken"), train_pairs=speaking_pairs, eval_pairs=speaking_pairs[:4], resume=True
    )
    assert same(weights(again.model), weights(result.model))
    assert again.metrics == result.metrics and again.parts["grpo"] == 1.0
    assert not (broken / "checkpoints" / "internalised.part").exists()

    def told(folder):
        rows = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
        return [{k: v for k, v in row.items() if "seconds" not in k} for row in rows]

    assert told(broken) == told(result.output)


def test_adapters_train_on_and_are_saved_by_themselves(options, speaking_pairs) -> None:
    result = train(
        options("lora", lora={"r": 4, "alpha": 8}, internalise={**PHASE, "steps": 2}),
        train_pairs=speaking_pairs,
    )
    before, after = (
        load_file(result.output / "checkpoints" / name / "adapter" / "adapter_model.safetensors")
        for name in ("last", "internalised")
    )
    assert before.keys() == after.keys() and not same(before, after)
    names = [name for name in before if "lora_B" in name]
    assert all((before[name] - after[name]).abs().max() < 0.1 for name in names)
    moved = weights(result.output / "checkpoints" / "last")
    assert not same(weights(result.model), moved)


@pytest.mark.slow
def test_gradient_checkpointing_changes_nothing(whole, options, speaking_pairs) -> None:
    made = options()
    other = options("checkpointing", grpo={**made.grpo, "gradient_checkpointing": True})
    result = train(other, train_pairs=speaking_pairs, eval_pairs=speaking_pairs[:4])
    assert result.internalised == whole[0].internalised and result.metrics == whole[0].metrics


def test_too_few_to_learn_from_leave_grpos_model_and_a_warning(recipe, pairs) -> None:
    """The untrained model never writes the format."""
    told = StringIO()
    result = train(
        recipe(internalise=PHASE), train_pairs=pairs, console=Console(file=told, width=1000)
    )
    assert "warning: internalise: 0 of 32 rollouts" in told.getvalue()
    assert result.model.name == "last" and not result.internalised.trained
    assert not (result.output / "checkpoints" / "internalised").exists()
    finished = json.loads((result.output / "manifest.json").read_text())["finished"]
    assert finished["internalised"] == {"sampled": 32, "kept": 0, "loss": None}


def test_the_vision_tower_is_left_as_it_is_even_where_grpo_trained_it(recipe) -> None:
    model = _trained(recipe(freeze_vision=False), SHIPPED, str(SHIPPED))
    trained = {name for name, one in model.named_parameters() if one.requires_grad}
    vision = {f"{at}." for at in vision_modules(model)}
    assert vision and trained
    assert not any(name.startswith(tuple(vision)) for name in trained)


def test_grpos_trainer_makes_room_for_it(recipe, pairs, monkeypatch) -> None:
    trainers, left = [], []

    class Kept(SafeGRPOTrainer):
        def __init__(self, *args, **kwargs) -> None:
            super().__init__(*args, **kwargs)
            trainers.append(weakref.ref(self))

    def load(*args, **kwargs):
        left.extend(trainer() for trainer in trainers)
        return load_model(*args, **kwargs)

    monkeypatch.setattr("safegrpo.training.grpo.SafeGRPOTrainer", Kept)
    monkeypatch.setattr("safegrpo.training.internalise.load_model", load)
    train(recipe(internalise=PHASE), train_pairs=pairs, eval_pairs=pairs[:2])
    assert left == [None]


@pytest.mark.slow
def test_two_processes_learn_from_what_one_would(
    options, speaking_pairs, repository, tmp_path
) -> None:
    save_tagged(speaking_pairs, tmp_path / "train.jsonl")
    found = []
    for processes in (1, 2):
        made = options(
            data={"train": str(tmp_path / "train.jsonl")},
            output=str(tmp_path / str(processes)),
            cold_start={"target": "own", "when": "unlinked", "rollouts": 8},
            # So little that both begin with the same model.
            grpo={
                **options().grpo,
                "learning_rate": 1e-9,
                "per_device_train_batch_size": 16 // processes,
            },
        )
        path = tmp_path / f"{processes}.yaml"
        path.write_text(yaml.safe_dump(made.model_dump(mode="json")))
        said = json.loads(launch(repository, processes, "safegrpo", "train", str(path)))
        manifest = json.loads((tmp_path / str(processes) / "manifest.json").read_text())
        finished = manifest["finished"]
        before = {k: v for k, v in finished["cold_started"].items() if k != "seconds"}
        found.append((Path(said["model"]), before, finished["internalised"]["kept"]))
    (_, *alone), (folder, *together) = found
    assert alone == together and alone[0]["trained"] is False
    assert not same(weights(folder), weights(folder.with_name("last")))


def test_a_run_without_it_is_hashed_as_before_there_was_such_a_thing(recipe) -> None:
    made = recipe()
    known = made.model_dump(mode="json", exclude={"output", "internalise"})
    known["guide"] = SHORT_GUIDE
    del known["credit"]["format_gate"]  # younger still
    digest = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()
    assert _hash(made) == digest != _hash(recipe(internalise={}))


def test_a_side_of_which_hardly_any_is_kept_is_told():
    pairs = [pair(0, combined="safe"), pair(1, combined="unsafe")]
    asked = [0] * 50 + [1] * 50
    said = [(row, "") for row in asked]

    def kept(*rows):
        return [Rollout(row, "", "") for row in rows]

    assert not any(side.hardly_kept for side in sides(said, kept(*[0] * 40, *[1] * 5), pairs))
    harmful, harmless = sides(said, kept(*[0] * 40, *[1] * 4), pairs)
    assert harmful.hardly_kept and not harmless.hardly_kept
    assert "4 of 50 rollouts on harmful pairs" in str(harmful)
