"""JailBreakV-28K: harmful questions dressed up as jailbreaks, beside images; and its mini set.

The hub holds a few hundred of its images; the others come from a form. Answers are judged against
the plain question (`intent`), not against the jailbreak.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from safegrpo.data.sources.pair import Unusable, id_text
from safegrpo.errors import InputFileError
from safegrpo.evaluation.benchmarks.base import (
    Benchmark,
    find_file,
    hub_files,
    text_of,
    with_cell,
)
from safegrpo.evaluation.benchmarks.reading import Placed, Row, items_of, noted, placed_rows
from safegrpo.evaluation.item import Item

_SET = "JailBreakV_28K"


def _load(name: str, folder: Path) -> Iterator[Item]:
    mini = name == "jailbreakv_mini"
    chosen = False
    try:
        files = _files(folder, f"mini_{_SET}" if mini else _SET)
    except InputFileError:
        if not mini:
            raise
        files, chosen = _files(folder, _SET), True
    rows: Placed = placed_rows(files, folder)
    if chosen:
        rows = ((place, row) for place, row in rows if _in_mini(row))
    roots = list(dict.fromkeys((files[0].parent, folder, folder / _SET)))

    def make(place: str, row: Row) -> Iterator[Item]:
        item = Item(
            benchmark=name,
            id=id_text(row.get("id"), place),
            prompt=text_of(row, "jailbreak_query"),
            category=text_of(row, "policy"),
            subset=text_of(row, "format"),
            expected="refuse",
            notes=noted(row, intent="redteam_query"),
        )
        yield with_cell(item, row.get("image") or row.get("image_path"), roots)

    return items_of(name, rows, make, expected="refuse")


def _files(folder: Path, stem: str) -> list[Path]:
    found = hub_files(folder, stem, (".", "data", _SET, f"data/{_SET}"))
    names = [f"{_SET}/{stem}.csv", f"{stem}.csv", f"data/{_SET}/{stem}.csv", f"data/{stem}.csv"]
    return found or [find_file(folder, names, "JailBreakV-28K")]


def _in_mini(row: Row | Unusable) -> bool:
    """Whether a row is marked for the mini set; one that cannot be read is kept, to be counted."""
    if isinstance(row, Unusable):
        return True
    return str(row.get("selected_mini")).strip().lower() in ("true", "1", "1.0", "yes")


def _benchmark(name: str, title: str, folders: tuple[str, ...], size: int) -> Benchmark:
    return Benchmark(
        name=name,
        title=title,
        measures="jailbreak defence",
        licence="MIT",
        source="https://huggingface.co/datasets/JailbreakV-28K/JailBreakV-28k",
        load=partial(_load, name),
        headline=("attack_success", "safety"),
        size=size,
        folders=folders,
        hub="JailbreakV-28K/JailBreakV-28k",
    )


_FOLDERS = ("JailBreakV-28k", "JailBreakV_28K")
BENCHMARKS = (
    _benchmark("jailbreakv", "JailBreakV-28K", _FOLDERS, 28_000),
    _benchmark("jailbreakv_mini", "JailBreakV-28K, mini", ("jailbreakv", *_FOLDERS), 280),
)
