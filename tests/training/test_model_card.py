"""The card beside every saved model: true, of no place on this machine, and no markup of others."""

import argparse
import ast
import re
import shlex
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard

from safegrpo.cli import parser as commands
from safegrpo.commands.ask import run_ask
from safegrpo.commands.card import add_card
from safegrpo.errors import ConfigError
from safegrpo.microcosm import SHIPPED
from safegrpo.report.card import CARD_FILE, MADE_BY, model_card, read_evaluated, training_part
from safegrpo.thinking import GUIDE_FILE
from safegrpo.training.config import Recipe
from safegrpo.training.grpo_options import check_grpo_options
from safegrpo.training.model_card import Training, training_card
from safegrpo.training.run import train
from tests.report.test_card import HOSTILE, evaluation

MANIFEST = {
    "data": {
        "train": {"rows": 5, "cells": {"safe/safe/unsafe": 5}, "sha256": "ab" * 32},
        "eval": {"rows": 8, "cells": {"safe/safe/safe": 8}, "sha256": "cd" * 32},
    },
    "versions": {"safegrpo": "0.1.0", "trl": "1.16.0"},
    "splits": [
        {"processes": n, "per_device_train_batch_size": 8, "gradient_accumulation_steps": 4 // n}
        | {"steps_per_generation": 8 // n}
        for n in (1, 2)
    ],
}
HUB = {"model": "org/base", "data": {"train": "org/pairs"}, "output": "/secret/place/my-run"}


def card_of(recipe: dict | None = None, **changes) -> str:
    options = {"step": 10, "steps": 20, **changes}
    manifest = options.pop("manifest", MANIFEST)
    return training_card(Training(Recipe.model_validate(recipe or HUB), manifest, **options))


def front_matter(card: str) -> dict:
    return yaml.safe_load(card.split("---\n", 2)[1])


def blocks(card: str) -> dict[str, str]:
    """The code of each language in the card."""
    return dict(re.findall(r"^```(\w+)\n(.*?)\n```$", card, re.MULTILINE | re.DOTALL))


def test_the_hub_reads_base_model_data_and_tags() -> None:
    data = ModelCard(card_of()).data
    assert (data.base_model, data.datasets) == ("org/base", ["org/pairs"])
    assert (data.library_name, data.pipeline_tag) == ("transformers", "image-text-to-text")
    assert {"safegrpo", "grpo"} <= set(data.tags)


def test_it_tells_steps_completions_and_processes() -> None:
    card = card_of()
    assert "- Steps: 10 of 20\n" in card
    # Four parts of eight completions an update, whether one process works on them or two.
    assert "- Completions: 320 learned from; 32 an update, 64 generated at a time" in card
    assert "- Processes: 1, then 2\n" in card


def test_a_batch_learned_from_twice_is_counted_once() -> None:
    assert "160 learned from" in card_of({**HUB, "grpo": {"num_iterations": 2}})


def test_it_tells_rows_cells_hashes_seed_and_versions() -> None:
    card = card_of()
    for said in ("`org/pairs`, 5 rows", "safe/safe/unsafe 5", "ab" * 32, "cd" * 32, "Seed: 0"):
        assert said in card
    assert "trl 1.16.0" in card


def test_held_out_numbers_stand_with_interval_and_n() -> None:
    card = card_of(
        values={"eval/guided/safety": 0.75, "eval/guided/balance": 0.8, "eval/direct/x": 0.5},
        counts={"eval/guided/safety": 8},
    )
    assert "| guided | safety | 75.0 % (95 % interval 40.9-92.9, n = 8) |" in card
    assert "| guided | balance | 80.0 % (mean of" in card
    assert "| direct | x | 0.5 (n not recorded) |" in card


def test_training_numbers_are_those_of_the_row_and_its_step() -> None:
    card = card_of(row={"step": 9, "reward": 0.5, "unheard_of": 3.0})
    assert "at step 9" in card and "| mean reward | 0.5 |" in card and "unheard" not in card


def test_a_model_chosen_on_the_held_out_pairs_says_so() -> None:
    values = {"eval/guided/balance": 0.5}
    assert "these very pairs" in card_of(values=values, chosen_by="guided/balance")
    assert "these very pairs" not in card_of(values=values)


def test_untrained_weights_are_called_so() -> None:
    assert "Steps: 0 of 20, so this is the model as it was before" in card_of(step=0)


def test_the_recipe_can_be_read_back() -> None:
    told = yaml.safe_load(blocks(card_of())["yaml"])
    assert Recipe.model_validate(told) == Recipe.model_validate(
        {**HUB, "output": Recipe(model="x").output}
    )


def test_paths_and_addresses_stay_out(tmp_path: Path) -> None:
    place = tmp_path / "secret"
    (place / "sets").mkdir(parents=True)
    recipe = {
        "model": str(place / "base"),
        "guide": str(place / "guide.txt"),
        "output": str(place / "out"),
        "data": {"train": str(place / "sets" / "train.jsonl"), "images": str(place / "sets")},
        "grpo": {"vllm_server_base_url": "http://10.1.2.3:8000", "run_name": str(place / "x")},
    }
    card = card_of(recipe)
    assert "secret" not in card and "10.1.2.3" not in card
    assert "Base model: a local model" in card and "base_model" not in front_matter(card)
    assert "train: train.jsonl" in card


def test_a_folder_named_like_a_hub_name_is_local(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("org/base").mkdir(parents=True)
    assert "org/base" not in card_of()


def test_the_title_is_the_last_part_of_the_output() -> None:
    for output in ("runs/mine", "mine", "/home/me/runs/mine"):
        assert "\n# `mine`\n" in card_of({**HUB, "output": output})


def test_the_code_to_use_it_has_no_places_either() -> None:
    template = {"thinking": True, "documents": ["/home/me/private/a.txt"], "url": "http://h.test"}
    code = blocks(card_of({**HUB, "grpo": {"chat_template_kwargs": template}}))["python"]
    ast.parse(code)
    assert "    thinking=True,\n    documents=['a.txt'],\n    add_generation" in code


@pytest.mark.parametrize(
    "options",
    [
        {"hub_token": "x"},
        {"generation_kwargs": {"hf_token": "x"}},
        {"chat_template_kwargs": {"tools": [{"Authorization": "x"}]}},
        {"chat_template_kwargs": {"nested": {"API_KEY": "x"}}},
    ],
)
def test_a_recipe_with_a_secret_is_refused(options) -> None:
    with pytest.raises(ConfigError, match="a recipe holds no secrets"):
        check_grpo_options(options)
    allowed = {"generation_kwargs": {"stop_token_ids": [1], "max_tokens": 5}}
    assert check_grpo_options(allowed) == allowed


def test_nothing_foreign_is_markup() -> None:
    recipe = {
        "model": HOSTILE,
        "data": {"train": HOSTILE},
        "output": f"runs/{HOSTILE}",
        "grpo": {"run_name": "```\n# Title", "chat_template_kwargs": {"x": HOSTILE}},
    }
    said = {**MANIFEST["data"]["train"], "cells": {HOSTILE: 5}, "sha256": HOSTILE}
    manifest = {**MANIFEST, "data": {"train": said}, "versions": {HOSTILE: HOSTILE}}
    values = {f"{HOSTILE}/{HOSTILE}": 0.5}
    card = card_of(recipe, manifest=manifest, values=values, chosen_by=HOSTILE)
    outside = re.sub(r"^(`{3,})\w+\n.*?\n\1$", "", card, flags=re.MULTILINE | re.DOTALL)
    assert "run_name" not in outside  # the block of the recipe ends where it should
    outside = re.sub(r"`[^`]*`", "", outside)
    for markup in ("<script>", "# Title", "http://", "![i]", "\u202e"):
        assert markup not in outside
    assert set(front_matter(card)) == {"library_name", "pipeline_tag", "tags"}


@pytest.mark.parametrize("mode", ["guided", "direct"])
def test_both_ways_to_use_it_parse(mode: str) -> None:
    template = {"enable_thinking": True}
    code = blocks(card_of({**HUB, "mode": mode, "grpo": {"chat_template_kwargs": template}}))
    ast.parse(code["python"])
    assert (GUIDE_FILE in code["python"]) == (mode == "guided")
    assert "enable_thinking=True" in code["python"]
    program, *words = shlex.split(code["bash"])
    args = commands().parse_args(words)
    assert program == "safegrpo" and (args.run, args.mode) == (run_ask, mode)


def write_card(*words: str) -> None:
    parser = argparse.ArgumentParser()
    add_card(parser.add_subparsers())
    args = parser.parse_args(["card", *words])
    args.run(args)


def test_the_card_command_replaces_it_but_not_a_persons_own(tmp_path: Path) -> None:
    run = evaluation(tmp_path / "eval")
    model = tmp_path / "model"
    model.mkdir()
    (model / CARD_FILE).write_text(card_of())
    write_card(str(run), "--model-dir", str(model))
    assert "## Results" in (model / CARD_FILE).read_text()
    (model / CARD_FILE).write_text("# Mine")
    with pytest.raises(ConfigError, match="somebody's own"):
        write_card(str(run), "--model-dir", str(model))


def test_an_evaluations_card_can_keep_the_part_on_training(tmp_path: Path) -> None:
    part = training_part(card_of())
    assert part is not None and "## How it was trained" in part and "## Licence" in part
    card = model_card([read_evaluated(evaluation(tmp_path / "eval"))], training=part)
    assert card.index("## Results") < card.index(part) < card.index("## Known limits")
    assert training_part(card) == part  # and so can the card after that
    assert MADE_BY in card and training_part(card.replace(MADE_BY, "")) is None


def test_every_saved_model_has_a_card_and_no_other_is_left(recipe, pairs, tmp_path) -> None:
    made = recipe(
        cold_start={"steps": 1, "batch_size": 2, "examples": 2, "answer_tokens": 2},
        lora={"r": 2, "alpha": 4},
        checkpoint={"every": 1},
        evaluate={"max_new_tokens": 2, "modes": ["guided"]},
    )
    train(made, train_pairs=pairs, eval_pairs=pairs[:2])
    run = tmp_path / "run"
    found = {str(path.parent.relative_to(run)) for path in run.rglob(CARD_FILE)}
    assert found == {"cold_start", "checkpoints/last", "checkpoints/best"}
    last = (run / "checkpoints" / "last" / CARD_FILE).read_text()
    assert "- Steps: 2 of 2\n" in last and "Supervised steps" in last and "n = 2" in last
    assert "Steps:" not in (run / "cold_start" / CARD_FILE).read_text()
    assert (run / "cold_start" / GUIDE_FILE).is_file()
    assert str(tmp_path) not in last and str(SHIPPED.parent) not in last
