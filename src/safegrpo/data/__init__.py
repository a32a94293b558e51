"""Data: the tagged set and its images, and the way from somebody's pairs to them.

The public names below are loaded on first use, so that importing one module of this package
does not import the others.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safegrpo.data.images import ImageRef, open_image, resolve_image, verify_image
    from safegrpo.data.jsonl import read_jsonl, write_text_atomic
    from safegrpo.data.schema import TaggedPair, load_tagged, save_tagged, tag_cells

_MODULES = {
    "ImageRef": "images",
    "open_image": "images",
    "resolve_image": "images",
    "verify_image": "images",
    "read_jsonl": "jsonl",
    "write_text_atomic": "jsonl",
    "TaggedPair": "schema",
    "load_tagged": "schema",
    "save_tagged": "schema",
    "tag_cells": "schema",
}

__all__ = [
    "ImageRef",
    "TaggedPair",
    "load_tagged",
    "open_image",
    "read_jsonl",
    "resolve_image",
    "save_tagged",
    "tag_cells",
    "verify_image",
    "write_text_atomic",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
