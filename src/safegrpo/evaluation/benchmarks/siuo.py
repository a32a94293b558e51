"""SIUO: image and question are each safe, and together they call for care; also as choices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from safegrpo.data.images import quoted
from safegrpo.data.questions import LETTERS, question_lines
from safegrpo.data.sources.pair import id_text, known
from safegrpo.errors import DataError
from safegrpo.evaluation.benchmarks.base import (
    Benchmark,
    find_file,
    hub_files,
    text_of,
    with_cell,
)
from safegrpo.evaluation.benchmarks.reading import Row, items_of, noted, placed_rows
from safegrpo.evaluation.item import AnswerKey, Expected, Item


def _load(name: str, folder: Path) -> Iterator[Item]:
    stem = "siuo_mcqa" if name == "siuo_choice" else "siuo_gen"
    names = [f"data/{stem}.json", f"{stem}.json"]
    files = _mirror(folder, stem) or [find_file(folder, names, "SIUO")]
    tops = dict.fromkeys((files[0].parent, folder, folder / "data"))
    roots = [top / below for top in tops for below in ("images", "SIUO-images", "")]

    def make(place: str, row: Row) -> Iterator[Item]:
        item_id = id_text(row.get("question_id"), place)
        make_item = _choice if name == "siuo_choice" else _open
        yield with_cell(make_item(item_id, row), row.get("image"), roots)

    expected: Expected = "answer" if name == "siuo_choice" else "care"
    return items_of(name, placed_rows(files, folder), make, expected=expected)


def _mirror(folder: Path, config: str) -> list[Path]:
    """The files of a copy on the hub that has the two parts as parquet."""
    below = (config, f"data/{config}")
    return hub_files(folder, "test", below) or hub_files(folder, "train", below)


def _open(item_id: str, row: Row) -> Item:
    return Item(
        benchmark="siuo",
        id=item_id,
        prompt=text_of(row, "question"),
        category=text_of(row, "category"),  # one of them holds a comma
        expected="care",
        tags=known("safe", "safe", "unsafe"),
        notes=noted(row, warning="safety_warning", reference="reference_answer"),
    )


def _choice(item_id: str, row: Row) -> Item:
    options = row.get("options")
    if isinstance(options, list) and len(options) <= len(LETTERS):
        options = dict(zip(LETTERS, options, strict=False))
    if not isinstance(options, Mapping) or not options:
        raise DataError("options are no mapping of letters")
    letters = sorted(options)
    right = text_of(row, "correct_option").strip()
    if letters != list(LETTERS[: len(letters)]) or right not in letters:
        raise DataError(f"{quoted(right, 20)} is no option, or they are not A, B, … in order")
    choices = tuple(text_of(options, letter) for letter in letters)
    question = text_of(row, "question")
    return Item(
        benchmark="siuo_choice",
        id=item_id,
        prompt="\n".join(question_lines(question, "", choices)) if question.strip() else "",
        category=text_of(row, "category"),
        expected="answer",
        answer=AnswerKey("choice", right, choices),
    )


BENCHMARKS = (
    Benchmark(
        name="siuo",
        title="SIUO",
        measures="safety awareness",
        licence="CC BY-NC 4.0",
        source="https://github.com/sinwang20/SIUO",
        load=partial(_load, "siuo"),
        headline=("safety", "usefulness", "safe_and_useful"),
        official="siuo",
        size=167,
        folders=("SIUO",),
        hub="sinwang/SIUO",
    ),
    Benchmark(
        name="siuo_choice",
        title="SIUO, multiple choice",
        measures="safety awareness",
        licence="CC BY-NC 4.0",
        source="https://github.com/sinwang20/SIUO",
        load=partial(_load, "siuo_choice"),
        headline=("accuracy",),
        size=167,
        folders=("siuo", "SIUO"),
        hub="sinwang/SIUO",
    ),
)
