"""IconQA's test part: abstract diagrams; choose a text, choose an image, or fill in a blank.

Layouts: the authors' `iconqa_data/` (`problems.json`, `pid_splits.json`, images in
`iconqa/test/<task>/<id>/`, where the choices of choose_img are files too), and the parquet files of
lmms-lab/ICON-QA. That copy has two columns of choice images: of what has more, some are missing.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from safegrpo.data.images import quoted
from safegrpo.data.questions import (
    LETTERS,
    LICENSE,
    choice_texts,
    letter_of,
    pictured,
    problems_file,
    question_lines,
)
from safegrpo.errors import DataError
from safegrpo.evaluation.answer_numbers import as_number
from safegrpo.evaluation.benchmarks.base import (
    MISSING,
    NO_PROMPT,
    Benchmark,
    find_file,
    hub_files,
    text_of,
    with_cell,
)
from safegrpo.evaluation.benchmarks.reading import Row, items_of, placed_rows
from safegrpo.evaluation.benchmarks.scienceqa import problem_rows
from safegrpo.evaluation.item import AnswerKey, Item

TASKS = ("choose_txt", "choose_img", "fill_in_blank")
ASK_BLANK = "Answer with the number or the words that belong in the blank."

_CHOICES_LIMIT = 10_000


def _load(folder: Path) -> Iterator[Item]:
    problems = problems_file(folder)
    if problems is not None:
        roots = _image_roots(problems.parent)
        return items_of("iconqa", problem_rows(problems), partial(_authors_items, roots), "answer")
    files = hub_files(folder, "test")
    if not files:
        find_file(folder, ("iconqa_data/problems.json",), "IconQA")
    return items_of("iconqa", placed_rows(files, folder), _hub_items, "answer")


def _image_roots(base: Path) -> dict[str, list[Path]]:
    """task -> the folders that may hold its questions' own: copies differ in those above."""
    above = ("iconqa", ".", "images", "iconqa_data/iconqa")
    return {
        task: [
            place
            for high in above
            for place in (base / high / "test" / task, base / high / "test", base / high / task)
            if place.is_dir()
        ]
        for task in TASKS
    }


def _authors_items(roots: dict[str, list[Path]], place: str, row: Row) -> Iterator[Item]:
    task = str(row.get("ques_type") or row["task"])
    item = _item(row["pid"], row, task, choice_texts(row), letter_of)
    names = ["image.png"]
    if task == "choose_img":
        choices = [str(one) for one in row["choices"]]
        names += [
            name if name.endswith((".png", ".jpg")) else f"choice_{number}.png"
            for number, name in enumerate(choices)
        ]
    for name in names:
        if not item.skip:
            item = with_cell(item, f"{item.id}/{name}", roots[task])
    yield item


def _hub_items(place: str, row: Row) -> Iterator[Item]:
    task, choices = text_of(row, "ques_type"), _listed(row.get("choices"))
    item = _item(text_of(row, "question_id"), row, task, choices, _letter)
    cells = [row.get("query_image")]
    if task == "choose_img":
        cells += [row.get(f"choice_image_{number}") for number in range(len(choices))]
    for number, cell in enumerate(cells):
        if item.skip:
            break
        if number and cell is None:
            problem = f"no choice_image_{number - 1} in this copy"
            item = replace(item, skip=MISSING, problem=problem)
        else:
            item = with_cell(item, cell)
    yield item


def _listed(cell: object) -> tuple[str, ...]:
    """The choices in a cell: a list, or one written out, or texts with commas between."""
    if isinstance(cell, str):
        parts: object = cell.split(",")
        if cell.lstrip().startswith("[") and len(cell) <= _CHOICES_LIMIT:
            try:
                parts = ast.literal_eval(cell.strip())
            except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
                raise DataError(f"choices are no list: {quoted(cell, 80)}") from error
        cell = [part for part in parts if str(part).strip()] if isinstance(parts, list) else parts
    return choice_texts({"choices": cell})


def _item(
    item_id: str,
    row: Row,
    task: str,
    choices: Sequence[str],
    letter: Callable[[object, Sequence[str]], str],
) -> Item:
    if task not in TASKS:
        raise DataError(f"task {quoted(task, 40)} is none of {', '.join(TASKS)}")
    question, answer = text_of(row, "question"), row.get("answer")
    shown = tuple(pictured(choices)) if task == "choose_img" else tuple(choices)
    if task == "fill_in_blank":
        right = text_of(row, "answer").strip()
        if not right:
            raise DataError("no answer")
        key = AnswerKey("number" if as_number(right) is not None else "text", right)
        lines = [question.strip(), ASK_BLANK]
    else:
        if not choices:
            raise DataError("no choices")
        key = AnswerKey("choice", letter(answer, choices), shown)
        lines = question_lines(question, "", shown)
    return Item(
        benchmark="iconqa",
        id=item_id,
        prompt="\n".join(lines),
        category=task,
        expected="answer",
        answer=key,
        skip="" if question.strip() else NO_PROMPT,
    )


def _letter(answer: object, choices: Sequence[str]) -> str:
    """The letter of the right choice in the hub's copy, which gives its text, or its place."""
    if isinstance(answer, str) and answer.strip() in choices[: len(LETTERS)]:
        return LETTERS[list(choices).index(answer.strip())]
    return letter_of(answer, choices)


BENCHMARKS: tuple[Benchmark, ...] = (
    Benchmark(
        name="iconqa",
        title="IconQA (test)",
        measures="general ability",
        licence=LICENSE,
        source="https://github.com/lupantech/IconQA",
        load=_load,
        headline=("accuracy",),
        size=21_489,
        folders=("IconQA", "ICON-QA"),
        hub="lmms-lab/ICON-QA",
    ),
)
