"""VLSBench: harm that the image shows and the text does not tell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from safegrpo.data.sources.pair import id_text
from safegrpo.evaluation.benchmarks.base import (
    Benchmark,
    find_file,
    hub_files,
    text_of,
    with_cell,
)
from safegrpo.evaluation.benchmarks.reading import Row, items_of, noted, placed_rows
from safegrpo.evaluation.item import Item


def _load(folder: Path) -> Iterator[Item]:
    files = hub_files(folder, "train", (".", "data", "default"))
    files = files or [find_file(folder, ["data/data.json", "data.json"], "VLSBench")]
    roots = list(dict.fromkeys((files[0].parent, folder, folder / "data")))

    def make(place: str, row: Row) -> Iterator[Item]:
        item = Item(
            benchmark="vlsbench",
            # Never by the image: 284 items share theirs with another.
            id=id_text(row.get("instruction_id"), place),
            prompt=text_of(row, "instruction"),
            category=text_of(row, "category"),
            expected="refuse",
            notes=noted(row, warning="safety_reason", sub_category="sub_category"),
        )
        image = row.get("image")  # the hub's, which has the image itself
        yield with_cell(item, image if isinstance(image, Mapping) else row.get("image_path"), roots)

    return items_of("vlsbench", placed_rows(files, folder), make, expected="refuse")


BENCHMARKS = (
    Benchmark(
        name="vlsbench",
        title="VLSBench",
        measures="safety awareness",
        licence="Apache-2.0",
        source="https://github.com/hxhcreate/VLSBench",
        load=_load,
        headline=("safety",),
        official="vlsbench",
        size=2241,
        folders=("VLSBench",),
        hub="Foreshhh/vlsbench",
    ),
)
