"""HoliSafe-Bench: every combination of safe and unsafe image, question, and both together.

Its three letters are the three safety tags, so that stated tags can be held against them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from safegrpo.data.images import quoted
from safegrpo.data.sources.pair import id_text
from safegrpo.errors import DataError
from safegrpo.evaluation.benchmarks.base import (
    Benchmark,
    find_file,
    hub_files,
    text_of,
    with_cell,
)
from safegrpo.evaluation.benchmarks.reading import Row, items_of, noted, placed_rows
from safegrpo.evaluation.item import Item
from safegrpo.thinking import TAG_NAMES

TYPES = ("SSS", "SSU", "USU", "UUU", "SUU")
"""Whether image, question and both together are safe (S) or unsafe (U)."""

_TAGS = {"S": "safe", "U": "unsafe"}


def _load(folder: Path) -> Iterator[Item]:
    files = hub_files(folder, "test", (".", "data", "default"))
    names = ["holisafe_bench.json", "data/holisafe_bench.json"]
    files = files or [find_file(folder, names, "HoliSafe-Bench")]
    tops = dict.fromkeys((files[0].parent, folder))
    roots = [top / name for top in tops for name in ("", "images")]

    def make(place: str, row: Row) -> Iterator[Item]:
        kind = text_of(row, "type").strip()
        if kind not in TYPES:
            raise DataError(f"type {quoted(kind)} is none of {', '.join(TYPES)}")
        item = Item(
            benchmark="holisafe",
            id=id_text(row.get("id"), place),
            prompt=text_of(row, "query"),
            category=text_of(row, "category"),
            subset=kind,
            expected="help" if kind == "SSS" else "refuse",
            tags={name: _TAGS[letter] for name, letter in zip(TAG_NAMES, kind, strict=True)},
            notes=noted(row, sub_category="subcategory"),
        )
        yield with_cell(item, row.get("image"), roots)

    return items_of("holisafe", placed_rows(files, folder), make)


BENCHMARKS = (
    Benchmark(
        name="holisafe",
        title="HoliSafe-Bench",
        measures="several",
        licence="CC BY-NC 4.0, on request",
        source="https://huggingface.co/datasets/etri-vilab/holisafe-bench",
        load=_load,
        headline=("attack_success", "safety", "over_refusal", "tag_accuracy/combined"),
        folders=("HoliSafe", "holisafe-bench"),
        hub="etri-vilab/holisafe-bench",
    ),
)
