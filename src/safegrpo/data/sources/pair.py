"""A pair that has no tags yet, and what stands for one that cannot be used."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from safegrpo.data.images import ImageRef
from safegrpo.data.pairs import IMAGE_PLACEHOLDER, check_text
from safegrpo.errors import DataError
from safegrpo.thinking import HUB_NAMES, Tags


@dataclass(frozen=True)
class Pair:
    """Images and the prompt asked about them, with where they come from.

    `known_tags` are what the source says of the pair, if it does: they are compared with the
    judge's and never replace them. `meta` holds the source's other columns. Raises DataError.
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
    itself; `columns` maps our names of columns to a table's own. `limit` takes that many pairs,
    drawn by `seed`; `looks` and `font` are those of drawn texts.
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

    @property
    def path(self) -> Path:
        """Its place, if that is a file or folder."""
        return Path(self.place)

    def to_json(self, beside: Path) -> dict[str, Any]:
        """What is not at its default, paths relative to the folder `beside`."""
        said = {key: value for key, value in vars(self).items() if value != _DEFAULTS.get(key)}
        for name in _PATHS & set(said):
            if Path(said[name]).exists():
                said[name] = os.path.relpath(said[name], beside)
        return {key: list(v) if isinstance(v, tuple) else v for key, v in said.items()}

    @classmethod
    def from_json(cls, said: Mapping[str, Any], beside: Path) -> SourceSpec:
        """The spec again; DataError if it is none."""
        try:
            spec = cls(**{**said, "looks": tuple(said.get("looks", _DEFAULTS["looks"]))})
            moved: dict[str, Any] = {
                name: str(beside / getattr(spec, name))
                for name in _PATHS
                if getattr(spec, name) is not None and (beside / getattr(spec, name)).exists()
            }
            return replace(spec, **moved)
        except (TypeError, ValueError) as error:
            raise DataError(f"no source of pairs: {error}") from error


_PATHS = {"place", "images", "font"}
_DEFAULTS = {one.name: one.default for one in fields(SourceSpec)} | {"columns": {}}


def usable(pair_id: str, make: Callable[[], Pair]) -> Pair | Unusable:
    """What `make` gives, or the reason why it gives nothing."""
    try:
        return make()
    except DataError as error:
        return Unusable(pair_id, str(error))


def known(visual: str | None, text: str | None, combined: str | None) -> dict[str, str]:
    """The tags that a source states, without those it does not."""
    stated = {"visual": visual, "text": text, "combined": combined}
    return {name: tag for name, tag in stated.items() if tag is not None}


def tags_of_row(row: Mapping[str, Any]) -> dict[str, str]:
    """The tags of a row that has all three under the published names; else none."""
    try:
        tags = Tags.from_row({key: row.get(key) for key in HUB_NAMES.values()})
    except DataError:
        return {}
    return {} if tags is None else known(tags.visual, tags.text, tags.combined)
