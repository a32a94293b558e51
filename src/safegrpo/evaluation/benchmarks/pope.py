"""POPE: is this thing in the picture? Half of the things are not, and are likely, common or random.

Layouts: the authors' `output/coco/coco_pope_<subset>.json` (JSON lines, for all that) with COCO's
val2014 images below the folder or beside it, and the parquet files of lmms-lab/POPE.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from safegrpo.data.images import quoted
from safegrpo.data.sources.pair import Unusable
from safegrpo.errors import DataError
from safegrpo.evaluation.benchmarks.base import (
    Benchmark,
    find_file,
    hub_files,
    text_of,
    with_cell,
)
from safegrpo.evaluation.benchmarks.reading import Placed, Row, items_of, placed_rows
from safegrpo.evaluation.item import AnswerKey, Item

SUBSETS = ("adversarial", "popular", "random")

_PLACES = ("output/coco", "coco", ".")
_IMAGES = ("val2014", "images", "images/val2014", "coco/val2014", "data/val2014", ".")
# Never the folder above itself: it holds what is nobody's business.
_BESIDE = ("val2014", "images/val2014", "coco/val2014")


def _load(folder: Path) -> Iterator[Item]:
    named = {one: f"coco_pope_{one}.json" for one in SUBSETS}
    found = {
        one: path
        for one, name in named.items()
        if (
            path := next(
                (folder / p / name for p in _PLACES if (folder / p / name).is_file()), None
            )
        )
    }
    hub = [] if found else hub_files(folder, "test")
    parts = {} if found or hub else {one: hub_files(folder, one, (".", "Full")) for one in SUBSETS}
    if not (found or hub or any(parts.values())):
        find_file(folder, [f"{place}/{named[SUBSETS[0]]}" for place in _PLACES], "POPE")
    beside = folder.resolve().parent
    places = [*(folder / name for name in _IMAGES), *(beside / name for name in _BESIDE)]
    make = partial(_items, [place for place in places if place.is_dir()])

    def items() -> Iterator[Item]:
        for subset in () if hub else SUBSETS:
            files = [found[subset]] if subset in found else parts.get(subset, [])
            rows = _of_subset(subset, placed_rows(files, folder))
            yield from items_of("pope", rows, make, "answer", subset=subset)
        yield from items_of("pope", placed_rows(hub, folder), make, "answer")

    return items()


def _of_subset(subset: str, rows: Placed) -> Placed:
    for place, row in rows:
        yield place, row if isinstance(row, Unusable) else {**row, "category": subset}


def _items(roots: Sequence[Path], place: str, row: Row) -> Iterator[Item]:
    authors = "text" in row
    label = text_of(row, "label" if authors else "answer").strip().lower()
    subset = text_of(row, "category")
    if label not in ("yes", "no"):
        raise DataError(f"{quoted(label, 40)} is neither yes nor no")
    if subset not in SUBSETS:
        raise DataError(f"category {quoted(subset, 40)} is none of {', '.join(SUBSETS)}")
    item = Item(
        benchmark="pope",
        id=f"{subset}-{text_of(row, 'question_id')}",
        prompt=text_of(row, "text" if authors else "question").strip(),
        subset=subset,
        expected="answer",
        answer=AnswerKey("yes_no", label),
    )
    yield with_cell(item, row.get("image"), roots)


BENCHMARKS: tuple[Benchmark, ...] = (
    Benchmark(
        name="pope",
        title="POPE (COCO)",
        measures="general ability",
        licence="MIT; the images are COCO's",
        source="https://github.com/RUCAIBox/POPE",
        load=_load,
        headline=("accuracy", "f1", "yes_rate"),
        size=9000,
        folders=("POPE",),
        hub="lmms-lab/POPE",
    ),
)
