"""MathVista's testmini part: mathematics in pictures, with lettered choices or a free answer.

Layouts: the authors' `data/testmini.json` with `data/images/`, and the parquet files of
AI4Math/MathVista. What the authors call `query` is not used: the wording here is ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from safegrpo.data.images import quoted
from safegrpo.data.questions import LETTERS, choice_texts, question_lines
from safegrpo.errors import DataError
from safegrpo.evaluation.answer_numbers import as_number
from safegrpo.evaluation.benchmarks.base import (
    NO_PROMPT,
    Benchmark,
    find_file,
    hub_files,
    text_of,
    with_cell,
)
from safegrpo.evaluation.benchmarks.reading import Row, items_of, placed_rows
from safegrpo.evaluation.item import AnswerKey, Item

_FORMS = {
    "integer": "Answer with a whole number",
    "list": "Answer with a list in square brackets",
    "text": "Answer with a word or a short phrase",
}


def _load(folder: Path) -> Iterator[Item]:
    names = ("data/testmini.json", "testmini.json")
    files = (
        [] if any((folder / name).is_file() for name in names) else hub_files(folder, "testmini")
    )
    if not files:
        files = [find_file(folder, names, "MathVista")]
    roots = (files[0].parent, folder)
    return items_of("mathvista", placed_rows(files, folder), partial(_items, roots), "answer")


def _items(roots: Sequence[Path], place: str, row: Row) -> Iterator[Item]:
    question, known = text_of(row, "question"), row.get("metadata")
    key, lines = _asked(question, row)
    item = Item(
        benchmark="mathvista",
        id=text_of(row, "pid"),
        prompt="\n".join(lines),
        category=str(known.get("task") or "") if isinstance(known, Mapping) else "",
        subset=text_of(row, "question_type"),
        expected="answer",
        answer=key,
        skip="" if question.strip() else NO_PROMPT,
    )
    image = row.get("decoded_image") or row.get("image")
    yield item if item.skip else with_cell(item, image, roots)


def _asked(question: str, row: Row) -> tuple[AnswerKey, list[str]]:
    """(how its answer is checked, the lines of its prompt)."""
    choices, right = choice_texts(row), text_of(row, "answer").strip()
    if not right:
        raise DataError("no answer")
    if choices:
        if right not in choices[: len(LETTERS)]:
            raise DataError(f"answer {quoted(right, 40)} is none of {len(choices)} choices")
        key = AnswerKey("choice", LETTERS[choices.index(right)], choices)
        return key, question_lines(question, "", choices)
    kind, unit = text_of(row, "answer_type"), text_of(row, "unit").strip()
    digits = _digits(row.get("precision"))
    if kind == "float":
        places = f"{digits} digit{'s' if digits != 1 else ''} after the point"
        form = "Answer with a number" + ("" if digits is None else f" with {places}")
    elif kind in _FORMS:
        form = _FORMS[kind]
    else:
        raise DataError(f"answer_type {quoted(kind, 40)} is unknown")
    if kind in ("integer", "float"):
        if as_number(right) is None:
            raise DataError(f"answer {quoted(right, 40)} is no number")
        key = AnswerKey("number", right, precision=digits)
    else:
        key = AnswerKey("list" if kind == "list" else "text", right)
    return key, [question.strip(), form + (f", in {unit}." if unit else ".")]


def _digits(precision: object) -> int | None:
    """The digits after the point that count; the hub's copy has them as a float."""
    if precision is None or precision != precision:
        return None
    if isinstance(precision, bool) or not isinstance(precision, int | float):
        raise DataError(f"precision {precision!r:.40} is no number")
    if not 0 <= precision <= 20:
        raise DataError(f"precision {precision!r:.40} is no number of digits")
    return int(precision)


BENCHMARKS: tuple[Benchmark, ...] = (
    Benchmark(
        name="mathvista",
        title="MathVista (testmini)",
        measures="general ability",
        licence="CC BY-SA 4.0, training on it is prohibited",
        source="https://github.com/lupantech/MathVista",
        load=_load,
        headline=("accuracy",),
        size=1000,
        folders=("MathVista",),
        hub="AI4Math/MathVista",
    ),
)
