"""A run goes on with the model it began with, and not by a manifest that is damaged."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import safegrpo.training.base_model
from safegrpo.errors import ConfigError
from safegrpo.training.base_model import model_sha256
from safegrpo.training.config import Recipe
from safegrpo.training.run_folder import Split, open_run, read_manifest

SPLIT = Split(1, 8, 4, 8)
DATA = {"train": {"rows": 4, "cells": {}, "sha256": "ab" * 32}}
FINISHED = {"steps": 6, "seconds": 1, "metrics": {"x": 0.5}, "best": [2, 0.5]}


@pytest.fixture
def base(tmp_path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    save_file({"a": torch.zeros(2**20)}, folder / "model.safetensors")
    return folder


@pytest.fixture
def run(tmp_path, base):
    """A function that goes on with a run that was begun from `base`."""

    def go(resume: bool = True):
        recipe = Recipe.model_validate({"model": str(base), "grpo": {}})
        return open_run(tmp_path / "run", recipe, DATA, SPLIT, resume)

    go(resume=False)
    go.manifest = tmp_path / "run" / "manifest.json"
    (tmp_path / "run" / "metrics.jsonl").touch()
    return go


def change(run, **entries) -> None:
    manifest = {**json.loads(run.manifest.read_text()), **entries}
    kept = {key: value for key, value in manifest.items() if value != "gone"}
    run.manifest.write_text(json.dumps(kept))


def weight(base: Path, at: int, value: float) -> None:
    tensor = torch.zeros(2**20)
    tensor[at] = value
    save_file({"a": tensor}, base / "model.safetensors")


@pytest.mark.parametrize("at", [0, 2**19, -1])
def test_other_weights_of_the_same_size_are_noticed(run, base, at) -> None:
    weight(base, at, 1.0)
    with pytest.raises(ConfigError, match=r"the weights or config\.json in .*base changed"):
        run()
    weight(base, at, 0.0)
    run()


def test_another_config_is_noticed_and_a_readme_is_not(run, base) -> None:
    (base / "README.md").write_text("read me")
    run()
    (base / "config.json").write_text('{"tie_word_embeddings": true}')
    with pytest.raises(ConfigError, match=r"the weights or config\.json"):
        run()


def test_a_run_of_an_earlier_version_goes_on_with_any(run, base) -> None:
    change(run, base_model_sha256="gone")
    weight(base, 0, 1.0)
    run()


def test_of_a_large_model_the_ends_of_its_files_are_read(base, monkeypatch) -> None:
    monkeypatch.setattr(safegrpo.training.base_model, "_READ_WHOLE", 0)
    said = []
    for at in (0, 2**19, -1):
        weight(base, at, 1.0)
        said.append(model_sha256(str(base)))
    weight(base, 0, 0.0)
    assert said[1] == model_sha256(str(base)) and len(set(said)) == 3


def test_a_model_of_the_hub_has_no_files_here() -> None:
    assert model_sha256("org/base") is None


@pytest.mark.parametrize(
    "entry",
    [
        *({"data": one} for one in (None, [1], {"train": None}, {"other": DATA["train"]})),
        *({"splits": one} for one in (None, [], "text", [{"processes": 1}])),
        *({"splits": [{**SPLIT.__dict__, "processes": n}]} for n in ("1", 0, None)),
        *({"finished": one} for one in (None, {}, {**FINISHED, "best": [1]})),
        {"finished": {**FINISHED, "metrics": {"x": "much"}}},
        {"recipe_sha256": None},
    ],
)
def test_a_damaged_manifest_is_told_with_its_place(run, entry) -> None:
    change(run, **entry)
    with pytest.raises(ConfigError, match=rf'"{next(iter(entry))}.*" is damaged; start in another'):
        run()


def test_a_whole_manifest_is_read(run) -> None:
    change(run, finished=FINISHED)
    assert read_manifest(run.manifest.parent)["finished"] == FINISHED
    change(run, finished={**FINISHED, "best": None})
    run()


def test_a_manifest_nested_without_end_is_told(run) -> None:
    run.manifest.write_text("[" * 100_000)
    with pytest.raises(ConfigError, match="is damaged"):
        run()
