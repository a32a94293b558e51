"""Base models that are not shipped."""

import json
from pathlib import Path

import pytest

from safegrpo.errors import ConfigError
from safegrpo.microcosm import SHIPPED
from safegrpo.microcosm.study import bases
from safegrpo.microcosm.study.bases import base_folder, made_by, prepare
from safegrpo.microcosm.study.hashing import row_hash
from safegrpo.microcosm.study.rows import load_rows, recipes_folder
from safegrpo.training.base_model import model_sha256


def pretend(folder: Path, base: bases.Base) -> None:
    folder.mkdir(parents=True)
    facts = {"recipe": made_by(base), "taught_on": model_sha256(str(SHIPPED))}
    (folder / "base.json").write_text(json.dumps(facts))


def test_the_shipped_one_is_in_the_package(tmp_path: Path) -> None:
    assert base_folder("2m", tmp_path) == SHIPPED
    assert made_by("2m") == {}


def test_another_is_by_its_name(tmp_path: Path) -> None:
    for base in ("8m", "unlinked", "half-linked"):
        pretend(tmp_path / base, base)
        assert base_folder(base, tmp_path) == tmp_path / base


@pytest.mark.parametrize(
    ("base", "command"),
    [("8m", "safegrpo.microcosm.base --size 8m"),
     ("unlinked", "safegrpo.microcosm.unlinked --name unlinked")],
)  # fmt: skip
def test_a_missing_one_is_told_with_the_command_that_makes_it(
    tmp_path: Path, base: bases.Base, command: str
) -> None:
    with pytest.raises(ConfigError, match=f"no base model in .*{base}; .*{command} --output"):
        base_folder(base, tmp_path)


@pytest.mark.parametrize("said", ["{}", "[]", "not json", '{"recipe": {"heeds": 0.5}}'])
def test_one_by_another_recipe_is_refused(tmp_path: Path, said: str) -> None:
    (tmp_path / "unlinked").mkdir()
    (tmp_path / "unlinked" / "base.json").write_text(said)
    with pytest.raises(ConfigError, match="another recipe"):
        base_folder("unlinked", tmp_path)


def test_one_made_of_another_shipped_model_is_refused(tmp_path: Path) -> None:
    pretend(tmp_path / "unlinked", "unlinked")
    facts = {"recipe": made_by("unlinked"), "taught_on": "0" * 64}
    (tmp_path / "unlinked" / "base.json").write_text(json.dumps(facts))
    with pytest.raises(ConfigError, match="another recipe"):
        base_folder("unlinked", tmp_path)


def test_those_that_take_minutes_are_made_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def make(folder: Path, recipe: object) -> None:
        made.append((folder.name, recipe))
        pretend(folder, folder.name)  # type: ignore[arg-type]

    monkeypatch.setattr(bases, "make_unlinked", make)
    prepare(["2m", "unlinked", "unlinked", "half-linked"], tmp_path, lambda line: None)
    prepare(["unlinked"], tmp_path, lambda line: None)
    assert [(name, recipe.heeds) for name, recipe in made] == [
        ("unlinked", 0.0),
        ("half-linked", 0.5),
    ]


def test_those_that_take_hours_are_left_to_their_rows(tmp_path: Path) -> None:
    prepare(["25m"], tmp_path, print)
    assert not list(tmp_path.iterdir())


def test_a_rows_hash_is_of_the_base_models_recipe() -> None:
    row = load_rows(recipes_folder())["published"]
    hashes = {
        base: row_hash(row.model_copy(update={"base": base}))
        for base in ("2m", "8m", "unlinked", "half-linked")
    }
    assert len(set(hashes.values())) == len(hashes)
