"""MM-Vet: open questions that take several abilities at once; a judge grades each answer.

Layouts: the authors' `mm-vet/mm-vet.json` with `images/` beside it, and the parquet files of
whyu/mm-vet or lmms-lab/MMVet.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from safegrpo.errors import DataError
from safegrpo.evaluation.benchmarks.base import Benchmark, find_file, hub_files, text_of, with_cell
from safegrpo.evaluation.benchmarks.reading import Row, items_of, placed_rows
from safegrpo.evaluation.item import AnswerKey, Item

ABILITIES = ("rec", "ocr", "know", "gen", "spat", "math")
"""What a question may take: recognition, reading, knowledge, writing, space, mathematics."""


def _load(folder: Path) -> Iterator[Item]:
    names = [f"{place}mm-vet.json" for place in ("", "mm-vet/", "data/", "data/mm-vet/")]
    files = [] if any((folder / name).is_file() for name in names) else hub_files(folder, "test")
    if not files:
        files = [find_file(folder, names, "MM-Vet")]
    roots = (files[0].parent / "images", folder / "images", files[0].parent)
    return items_of("mmvet", placed_rows(files, folder), partial(_items, roots), "answer")


def _items(roots: Sequence[Path], place: str, row: Row) -> Iterator[Item]:
    reference = text_of(row, "answer").strip()
    if not reference:
        raise DataError("no reference answer")
    item = Item(
        benchmark="mmvet",
        id=next((text_of(row, name) for name in ("question_id", "id") if name in row), place),
        prompt=text_of(row, "question").strip(),
        category=_abilities(row.get("capability")),
        expected="answer",
        answer=AnswerKey("graded", reference),
    )
    yield with_cell(item, row.get("image") or row.get("imagename"), roots)


def _abilities(cell: object) -> str:
    """The abilities in one order with "+" between: a comma would split the cells of a table."""
    parts = cell.split(",") if isinstance(cell, str) else cell
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        raise DataError("capability is no list of texts")
    found = {part.strip() for part in parts if part.strip()}
    return "+".join([one for one in ABILITIES if one in found] + sorted(found - {*ABILITIES}))


BENCHMARKS: tuple[Benchmark, ...] = (
    Benchmark(
        name="mmvet",
        title="MM-Vet",
        measures="general ability",
        licence="CC BY-NC 4.0",
        source="https://github.com/yuweihao/MM-Vet",
        load=_load,
        headline=("score",),
        official="mmvet",
        size=218,
        folders=("mm-vet", "MM-Vet", "MMVet"),
        hub="whyu/mm-vet",
    ),
)
