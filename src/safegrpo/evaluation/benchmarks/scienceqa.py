"""ScienceQA's test part: school questions with lettered choices, about half of them with an image.

Layouts: the authors' `problems.json` and `pid_splits.json` with images in `images/test/<id>/`, and
the parquet files of derek-thomas/ScienceQA or lmms-lab/ScienceQA, whose rows have no ids.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from safegrpo.data.questions import (
    LICENSE,
    choice_texts,
    letter_of,
    problems_file,
    question_lines,
    split_rows,
)
from safegrpo.data.sources.pair import Unusable
from safegrpo.errors import DataError
from safegrpo.evaluation.benchmarks.base import (
    NO_PROMPT,
    Benchmark,
    find_file,
    hub_files,
    text_of,
    with_cell,
)
from safegrpo.evaluation.benchmarks.reading import Placed, Row, items_of, placed_rows
from safegrpo.evaluation.item import AnswerKey, Item
from safegrpo.terminal import printable

_TEST = "test"


def _load(folder: Path) -> Iterator[Item]:
    problems = problems_file(folder)
    if problems is not None:
        roots = tuple(problems.parent / below for below in ("images/test", _TEST, "images", "."))
        return items_of("scienceqa", problem_rows(problems), partial(_items, roots), "answer")
    files = hub_files(folder, _TEST, (".", "data", "ScienceQA-FULL"))
    if not files:
        find_file(folder, ("problems.json",), "ScienceQA")
    rows = (
        (place, row if isinstance(row, Unusable) else {**row, "pid": f"test-{number}"})
        for number, (place, row) in enumerate(placed_rows(files, folder), start=1)
    )
    return items_of("scienceqa", rows, partial(_items, ()), "answer")


def problem_rows(problems: Path) -> Placed:
    """The rows of the test part of a `problems.json`, with their `pid` and (IconQA's) `task`."""
    for task, pid, row in split_rows(problems, _TEST):
        place = printable(f"{problems.name} question {pid[:80]}")
        if isinstance(row, Mapping):
            yield place, {**row, "pid": pid, "task": task or row.get("task")}
        else:
            yield place, Unusable(pid, "it is named in pid_splits.json, and missing here")


def _items(roots: Sequence[Path], place: str, row: Row) -> Iterator[Item]:
    question, choices, image = text_of(row, "question"), choice_texts(row), row.get("image")
    if not choices:
        raise DataError("no choices")
    item = Item(
        benchmark="scienceqa",
        id=row["pid"],
        prompt="\n".join(question_lines(question, str(row.get("hint") or ""), choices)),
        category=str(row.get("subject") or ""),
        subset="image" if image else "text",
        expected="answer",
        answer=AnswerKey("choice", letter_of(row.get("answer"), choices), choices),
        skip="" if question.strip() else NO_PROMPT,
    )
    if not image or item.skip:
        yield item
    else:
        yield with_cell(item, f"{item.id}/{image}" if isinstance(image, str) else image, roots)


BENCHMARKS: tuple[Benchmark, ...] = (
    Benchmark(
        name="scienceqa",
        title="ScienceQA (test)",
        measures="general ability",
        licence=LICENSE,
        source="https://github.com/lupantech/ScienceQA",
        load=_load,
        headline=("accuracy",),
        size=4241,
        folders=("ScienceQA",),
        hub="derek-thomas/ScienceQA",
    ),
)
