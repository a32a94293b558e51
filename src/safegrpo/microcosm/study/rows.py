"""The rows of the study: one YAML for each way of making or asking a model, and its sweeps.

A row may start `like` another and say only what differs. `recipe` is what differs from the demo's
recipe, in the words of `safegrpo train`: the demo's is our default.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from safegrpo.errors import ConfigError, InputFileError
from safegrpo.microcosm.sizes import SHIPPED_SIZE, SIZES, rate_scale
from safegrpo.microcosm.study.bases import Base
from safegrpo.microcosm.study.worlds import Unseen, World
from safegrpo.training.config import Recipe
from safegrpo.training.config_errors import explain, nearest
from safegrpo.training.grpo_options import OUR_GRPO

Say = Callable[[str], None]
Mode = Literal["guided", "direct", "ecso"]
SWEEPS = "sweeps.yaml"
DEMO_RECIPE = Path(__file__).parent.parent / "demo.yaml"
FIRST_SEED = 1000
"""Seeds of the study's tables; smaller ones were used while recipes were made."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Supervised(_Section):
    """Supervised steps on `lessons` in place of GRPO."""

    lessons: Literal["vlguard", "think_in_safety", "labels", "chains"]
    steps: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    batch_size: int = Field(default=64, ge=1)
    freeze_vision: bool = False


class Row(_Section):
    """A row: what is trained on what, how it is asked, and for how many seeds.

    `method`: `none` asks the base model, which takes no seed; `sft` takes `supervised` steps;
    `grpo` runs `recipe`. `home` is the mode that the method was made for. `apart` names what other
    rows are kept from in training, to be asked about it as they are. `base` is the base model: its
    size, or the name of one whose answer does not always heed its tags.
    """

    title: str
    about: str = ""
    method: Literal["none", "sft", "grpo"] = "grpo"
    base: Base = SHIPPED_SIZE
    modes: tuple[Mode, ...] = ("guided", "direct")
    home: Mode = "guided"
    seeds: int = Field(default=5, ge=1, le=100)
    first_seed: int = Field(default=FIRST_SEED, ge=0)
    split: Literal["dev", "test"] = "test"
    world: World = World()
    supervised: Supervised | None = None
    recipe: dict[str, Any] = Field(default_factory=dict)
    apart: tuple[Unseen, ...] = ()

    @field_validator("recipe")
    @classmethod
    def _ours_to_set(cls, recipe: dict[str, Any]) -> dict[str, Any]:
        taken = {"model", "guide", "seed", "output", "data"} & recipe.keys()
        if taken:
            raise ValueError(f'the study sets "{min(taken)}" itself')
        return recipe

    @model_validator(mode="after")
    def _fits(self) -> Row:
        if (self.method == "sft") != (self.supervised is not None):
            raise ValueError('"supervised" goes with method: sft, and only with it')
        if self.method != "grpo" and self.recipe:
            raise ValueError('"recipe" goes with method: grpo')
        if self.home not in self.modes:
            raise ValueError(f'"home" is {self.home}, which is not among the modes')
        return self

    def rate_scale(self) -> float:
        """What its learning rates, tuned at the shipped size, are multiplied by."""
        return rate_scale(self.base) if self.base in SIZES else 1.0

    def seed_numbers(self) -> range:
        """The seeds that it is run for."""
        return range(
            self.first_seed, self.first_seed + (1 if self.method == "none" else self.seeds)
        )


class Sweep(_Section):
    """Rows run again with one key at several values: `ROW@NAME=VALUE`.

    `values` are those of all `rows`, or by row. `axis` is what the plot has across.
    """

    title: str
    set: str
    values: tuple[Any, ...] | dict[str, tuple[Any, ...]]
    rows: tuple[str, ...] = ()
    axis: Literal["value", "rollouts"] = "value"
    seeds: int = Field(default=3, ge=1)
    first_seed: int = FIRST_SEED
    split: Literal["dev", "test"] = "test"

    @model_validator(mode="after")
    def _has_rows(self) -> Sweep:
        if isinstance(self.values, dict) == bool(self.rows):
            raise ValueError('"rows" goes with one list of values for all of them, and only so')
        return self

    def by_row(self) -> Mapping[str, tuple[Any, ...]]:
        """The values of each row."""
        if isinstance(self.values, dict):
            return self.values
        return dict.fromkeys(self.rows, self.values)


def recipes_folder() -> Path:
    """Where the study's YAML files are: beside this module in a wheel, else in the repository."""
    inside = Path(__file__).parent / "recipes"
    return inside if inside.is_dir() else Path(__file__).parents[4] / "recipes" / "study"


def load_rows(folder: Path) -> dict[str, Row]:
    """All rows of a folder by name, in the order of their file names' numbers.

    Files are named `NN-name.yaml`. Raises InputFileError or ConfigError naming file and key.
    """
    files = sorted(f for f in folder.glob("*.yaml") if f.name != SWEEPS)
    if not files:
        raise InputFileError(f'no rows of a study in "{folder}"')
    raw = {file.stem.partition("-")[2] or file.stem: (file, _read(file)) for file in files}
    return {name: _row(name, raw) for name in raw}


def load_sweeps(folder: Path) -> dict[str, Sweep]:
    """The sweeps of a folder by name; none if it has no file of them."""
    file = folder / SWEEPS
    if not file.is_file():
        return {}
    return {str(k): _checked(Sweep, v, f"{file}: {k}") for k, v in _read(file).items()}


def swept(rows: Mapping[str, Row], sweeps: Mapping[str, Sweep]) -> dict[str, Row]:
    """The rows that the sweeps add, by name."""
    found: dict[str, Row] = {}
    for key, sweep in sweeps.items():
        for name, values in sweep.by_row().items():
            if name not in rows:
                raise ConfigError(f'{SWEEPS}: {key}: no row "{name}"{nearest(name, rows)}')
            for value in values:
                options = copy.deepcopy(rows[name].model_dump(exclude_unset=True))
                options["apart"] = ()
                for same in ("seeds", "first_seed", "split"):
                    options[same] = getattr(sweep, same)
                _put(options, sweep.set, value)
                place = f"{SWEEPS}: {key}: {name}"
                said = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
                found[f"{name}@{key}={said}"] = _checked(Row, options, place)
    return found


def own(rows: Mapping[str, Row], sweeps: Mapping[str, Sweep]) -> dict[str, str]:
    """The value that a swept row has by itself, by "ROW@NAME"; left out where none is set."""
    found = {}
    for key, sweep in sweeps.items():
        for name in sweep.by_row():
            value: Any = rows[name].model_dump()
            if rows[name].method == "grpo":
                options = grpo_recipe(rows[name], {}, name)
                made = Recipe.model_validate({"model": "microcosm", **options}).model_dump()
                value["recipe"] = {**made, "grpo": {**OUR_GRPO, **made["grpo"]}}
            for part in sweep.set.split("."):
                value = value.get(part) if isinstance(value, dict) else None
            if value is not None and value != ():
                found[f"{name}@{key}"] = str(value)
    return found


def all_rows(folder: Path) -> dict[str, Row]:
    """The rows of a folder and those that its sweeps add, by name."""
    rows = load_rows(folder)
    return rows | swept(rows, load_sweeps(folder))


def grpo_recipe(row: Row, changes: Mapping[str, Any], place: str) -> dict[str, Any]:
    """The options of a row's training run: the demo's and the row's, at the learning rates for its
    base model's width, and `changes` on top."""
    options = _merged(_read(DEMO_RECIPE), row.recipe)
    _checked(Recipe, {"model": "microcosm", **options}, place)
    options = _merged(_scaled(options, row.rate_scale()), changes)
    _checked(Recipe, {"model": "microcosm", **options}, place)
    return options


def _scaled(options: Mapping[str, Any], scale: float) -> dict[str, Any]:
    """The options of a recipe that is right, all their learning rates times `scale`."""
    if scale == 1:
        return dict(options)
    rates = {
        name: {"learning_rate": float(section["learning_rate"]) * scale}
        for name, section in options.items()
        if isinstance(section, Mapping) and "learning_rate" in section
    }
    return _merged(options, rates)


def _row(name: str, raw: Mapping[str, tuple[Path, dict[str, Any]]]) -> Row:
    file, options = raw[name]
    seen = [name]
    while "like" in options:
        other = str(options["like"])
        if other not in raw or other in seen:
            known = sorted(raw.keys() - set(seen))
            raise ConfigError(f'{file}: "like": no such row to start from{nearest(other, known)}')
        seen.append(other)
        options = _merged(raw[other][1], {k: v for k, v in options.items() if k != "like"})
    return _checked(Row, options, str(file))


def _read(file: Path) -> dict[str, Any]:
    try:
        options = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not YAML: {' '.join(str(error).split())[:300]}") from error
    if not isinstance(options, dict):
        raise ConfigError(f"{file}: holds no keys")
    return options


def _checked(model: type[Any], options: Any, place: str) -> Any:
    try:
        return model.model_validate(options)
    except ValidationError as error:
        raise ConfigError(f"{place}: {explain(error, model)}") from error


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`under` with the keys of `over` in it, section by section."""
    result = dict(under)
    for key, value in over.items():
        below = result.get(key)
        both = isinstance(below, Mapping) and isinstance(value, Mapping)
        result[key] = _merged(below, value) if both else value  # type: ignore[arg-type]
    return result


def _put(options: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    for section in sections:
        options = options.setdefault(section, {})
    options[last] = value
