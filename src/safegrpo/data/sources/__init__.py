"""Where pairs come from: published sets in their own layouts, and anybody's tables and folders.

A source is read as a stream, as often as it is needed: rating a pair and writing the selected ones
are two passes, and no image is kept between them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from safegrpo.data.images import quoted
from safegrpo.data.sources.pair import Pair, SourceSpec, Unusable, limited
from safegrpo.data.sources.plain import read_plain
from safegrpo.data.sources.published import (
    read_beavertails,
    read_figstep,
    read_safetag,
    read_spa_vl,
    read_vlguard,
)
from safegrpo.errors import ConfigError, InputFileError

__all__ = ["KINDS", "Pair", "SourceSpec", "Unusable", "read_source", "spec_from_argument"]

KINDS: Mapping[str, Callable[[SourceSpec], Iterator[Pair | Unusable]]] = {
    "plain": read_plain,
    "safetag": read_safetag,
    "vlguard": read_vlguard,
    "spa_vl": read_spa_vl,
    "beavertails": read_beavertails,
    "figstep": read_figstep,
}


def read_source(spec: SourceSpec) -> Iterator[Pair | Unusable]:
    """The pairs of a source in order, each read when it is asked for; unusable rows among them.

    Raises ConfigError for an unknown kind; InputFileError and DataError as its reader does.
    """
    reader = KINDS.get(spec.kind)
    if reader is None:
        raise _unknown(spec.kind)
    if spec.images is not None and not Path(spec.images).is_dir():
        raise InputFileError(f"folder of images {quoted(spec.images)} not found")
    # BeaverTails draws its sample itself, before it draws images.
    limit = None if spec.kind == "beavertails" else spec.limit
    return limited(lambda: reader(spec), limit, spec.seed)


def spec_from_argument(argument: str, **options: Any) -> SourceSpec:
    """The spec in `PLACE` or `KIND=PLACE`, as the command line takes them; ConfigError if none."""
    kind, equals, place = argument.partition("=")
    if equals and kind in KINDS:
        # No shell opens a "~" that comes after "=".
        return SourceSpec(kind, os.path.expanduser(place), **options)
    if equals and kind.replace("-", "_").isidentifier() and not Path(argument).exists():
        raise _unknown(kind)
    return SourceSpec("plain", argument, **options)


def _unknown(kind: str) -> ConfigError:
    return ConfigError(f"no kind of source {quoted(kind)}; there are {', '.join(KINDS)}")
