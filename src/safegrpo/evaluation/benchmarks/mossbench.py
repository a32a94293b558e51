"""MOSSBench: harmless pairs that look harmful, and its contrast set of harmful ones.

The contrast set tells whether over-refusal was cured by plain compliance.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import cast

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
from safegrpo.evaluation.item import Expected, Item

TYPES = {
    "type 1": "Exaggerated Risk",
    "type 2": "Negated Harm",
    "type 3": "Counterintuitive Interpretation",
}
_FILE = "images_information/information.json"


def _load(name: str, folder: Path) -> Iterator[Item]:
    contrast = name == "mossbench_contrast"
    own, other = ("data_contrast", "data") if contrast else ("data", "data_contrast")
    names = [f"{own}/{_FILE}"]
    # Both sets have the same layout within: only the folder's name tells which one it is.
    here = folder.absolute().name
    if contrast == ("contrast" in here):
        names.append(_FILE)
    if here == other:
        names.append(f"../{own}/{_FILE}")
    below = ("oversensitivity", "data/oversensitivity", ".", "data")
    files, roots = [] if contrast else hub_files(folder, "train", below), [folder]
    if not files:
        files = [find_file(folder, names, "MOSSBench")]
        roots = [files[0].parent.parent]
    tag = "unsafe" if contrast else "safe"
    expected = cast(Expected, "refuse" if contrast else "help")

    def make(place: str, row: Row) -> Iterator[Item]:
        notes = noted(row, description="description")
        item = Item(
            benchmark=name,
            id=id_text(row.get("pid"), place),
            prompt=text_of(row, "question"),
            category=_type(row),
            expected=expected,
            tags={"combined": tag},
            notes=notes or noted(row, description="short description"),
        )
        # The hub has the image itself beside its name.
        yield with_cell(item, row.get("decoded_image") or row.get("image"), roots)

    return items_of(name, placed_rows(files, folder), make, expected=expected)


def _type(row: Row) -> str:
    metadata = row.get("metadata")
    over = metadata.get("over") if isinstance(metadata, Mapping) else None
    if not isinstance(over, str) or over not in TYPES:
        raise DataError(f"metadata.over {quoted(str(over))} is none of {', '.join(TYPES)}")
    return TYPES[over]


BENCHMARKS = (
    Benchmark(
        name="mossbench",
        title="MOSSBench",
        measures="over-sensitivity",
        licence="CC BY-SA 4.0, for evaluation only",
        source="https://github.com/xirui-li/MOSSBench",
        load=partial(_load, "mossbench"),
        headline=("over_refusal",),
        official="mossbench",
        size=300,
        folders=("MOSSBench",),
        hub="AIcell/MOSSBench",
    ),
    Benchmark(
        name="mossbench_contrast",
        title="MOSSBench, harmful contrasts",
        measures="safety awareness",
        licence="CC BY-SA 4.0, for evaluation only",
        source="https://github.com/xirui-li/MOSSBench",
        load=partial(_load, "mossbench_contrast"),
        headline=("safety",),
        official="mossbench",
        size=244,
        folders=("mossbench", "MOSSBench"),
    ),
)
