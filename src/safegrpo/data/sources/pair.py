"""A pair that has no tags yet, what stands for one that cannot be used, and where pairs are."""

from __future__ import annotations

import hashlib
import math
import os
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from safegrpo.data.images import ImageRef, quoted
from safegrpo.data.pairs import IMAGE_PLACEHOLDER, check_text
from safegrpo.errors import ConfigError, DataError

T = TypeVar("T")

COLUMN_NAMES = ("id", "images", "prompt", "source", "license")
"""The columns of a table that `SourceSpec.columns` can name."""


@dataclass(frozen=True)
class Pair:
    """Images and the prompt asked about them, with where they come from.

    `known_tags` are what the source says of the pair, if it does: they are compared with the
    judge's and never replace them. `meta` holds the source's other columns; one that is called as
    a field of ours becomes `original_…`. Raises DataError.
    """

    id: str
    images: tuple[ImageRef, ...]
    prompt: str
    source: str | None = None
    license: str | None = None
    known_tags: Mapping[str, str] = field(default_factory=dict)
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("id", "prompt", "source", "license"):
            check_text(name, getattr(self, name), optional=name in ("source", "license"))
        if IMAGE_PLACEHOLDER in self.prompt:
            raise DataError(f"prompt holds {IMAGE_PLACEHOLDER}; images go before the prompt")

    def content_hash(self) -> str:
        """32 hexadecimal digits made of the prompt and the bytes of the images."""
        digest = hashlib.sha256(self.prompt.encode("utf-8"))
        for ref in self.images:
            digest.update(hashlib.sha256(ref.read_bytes()).digest())
        return digest.hexdigest()[:32]


@dataclass(frozen=True)
class Unusable:
    """A row of a source that is no pair, and why: it is counted and shown, not lost."""

    id: str
    problem: str


@dataclass(frozen=True)
class SourceSpec:
    """Where pairs come from and how they are read.

    `kind` is a key of `KINDS`, `place` a file, a folder or a hub name. `images` replaces the
    folder that image paths are relative to; `source` and `license` replace what the set says of
    itself; `columns` maps our names of columns to those of a plain table. `limit` takes that many
    pairs, drawn by `seed`; `looks` and `font` are those of drawn texts. Raises ConfigError.
    """

    kind: str
    place: str
    split: str | None = None
    images: str | None = None
    source: str | None = None
    license: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    limit: int | None = None
    looks: tuple[str, ...] = ("list", "handwriting", "note", "poster")
    font: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("kind", "place", "split", "images", "source", "license", "font"):
            value = getattr(self, name)
            if value is None and name not in ("kind", "place"):
                continue
            if not isinstance(value, str) or not value.strip():
                raise ConfigError(f"{name} of a source is a text that is not empty, not {value!r}")
        if not isinstance(self.columns, Mapping):
            raise ConfigError("columns of a source map our names to a table's")
        for ours, theirs in self.columns.items():
            if ours not in COLUMN_NAMES:
                known = ", ".join(COLUMN_NAMES)
                raise ConfigError(f"columns can be named for {known}; not for {quoted(str(ours))}")
            if not isinstance(theirs, str):
                raise ConfigError(f"the column for {ours} is a name, not {theirs!r}")
        if self.limit is not None and not (_is_whole(self.limit) and self.limit >= 1):
            raise ConfigError(f"limit of a source is 1 or more, not {self.limit!r}")
        if not _is_whole(self.seed):
            raise ConfigError(f"seed of a source is a whole number, not {self.seed!r}")
        named = isinstance(self.looks, tuple) and all(isinstance(one, str) for one in self.looks)
        if not named or not self.looks:
            raise ConfigError("looks of a source are one name or more")

    @property
    def path(self) -> Path:
        """Its place, if that is a file or folder."""
        return Path(self.place)

    def to_json(self, beside: Path) -> dict[str, Any]:
        """What is not at its default; paths are relative to the folder `beside`.

        They begin with a dot, by which a folder's name is told from a hub's.
        """
        said = {key: value for key, value in vars(self).items() if value != _DEFAULTS.get(key)}
        for name in _PATHS & set(said):
            path = Path(os.path.abspath(said[name]))
            if path.exists():
                # Symbolic links on the way are followed: ".." does not lead back over them.
                near = os.path.relpath(path.parent.resolve() / path.name, beside.resolve())
                said[name] = near if near.startswith("..") else os.path.join(".", near)
        return {key: list(v) if isinstance(v, tuple) else v for key, v in said.items()}

    @classmethod
    def from_json(cls, said: Mapping[str, Any], beside: Path) -> SourceSpec:
        """The spec again; DataError if it is none."""
        try:
            looks = said.get("looks", _DEFAULTS["looks"])
            if isinstance(looks, list):
                looks = tuple(looks)
            spec = cls(**{**said, "looks": looks})
        except (AttributeError, TypeError, ValueError) as error:
            raise DataError(f"no source of pairs: {error}") from error
        moved: dict[str, Any] = {
            name: os.path.normpath(beside.resolve() / value)
            for name in _PATHS
            if (value := getattr(spec, name)) is not None and value.startswith(".")
        }
        return replace(spec, **moved)


_PATHS = {"place", "images", "font"}
_DEFAULTS = {one.name: one.default for one in fields(SourceSpec)} | {"columns": {}}


def usable(pair_id: str, make: Callable[[], Pair]) -> Pair | Unusable:
    """What `make` gives, or the reason why it gives nothing."""
    try:
        return make()
    except DataError as error:
        return Unusable(pair_id, str(error))


def limited(
    read: Callable[[], Iterator[T | Unusable]], limit: int | None, seed: int
) -> Iterator[T | Unusable]:
    """All that `read` gives, or `limit` of it at random, in its order; every Unusable is given.

    It is read twice for that, so that no more than positions are kept.
    """
    if limit is None:
        yield from read()
        return
    rng = random.Random(seed)
    chosen: list[int] = []
    count = 0
    for number, one in enumerate(read()):
        if isinstance(one, Unusable):
            continue
        count += 1
        if len(chosen) < limit:
            chosen.append(number)
        elif (place := rng.randrange(count)) < limit:
            chosen[place] = number
    wanted = set(chosen)
    for number, one in enumerate(read()):
        if number in wanted or isinstance(one, Unusable):
            yield one


def id_text(value: object, default: str) -> str:
    """An id as text, `default` if a row has none; DataError if it cannot be one."""
    if is_missing(value):
        return default
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise DataError("id is neither a text nor a number")
    return str(value).strip() or default


def is_missing(value: object) -> bool:
    """Whether a cell holds nothing: null, an empty text, or NaN, which tables have for null."""
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def known(visual: str | None, text: str | None, combined: str | None) -> dict[str, str]:
    """The tags that a source states, without those it does not."""
    stated = {"visual": visual, "text": text, "combined": combined}
    return {name: tag for name, tag in stated.items() if tag is not None}


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
