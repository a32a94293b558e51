"""Anybody's own benchmark: a table with image paths, a parquet file, or a tagged set.

Columns: `id`, `image` or `images`, `prompt`, `category`, `subset`, `expected`, the tags (`visual`,
`text`, `combined`, or as the hub calls them), `answer` with `choices`, `twin`, and `intent`,
`warning` and `reference` as notes. A row without the column of images, or with an empty list of
them, asks by text alone; one whose image is null lacks it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from safegrpo.data.images import quoted
from safegrpo.data.pairs import prompt_text
from safegrpo.data.questions import LETTERS, question_lines
from safegrpo.data.sources.pair import SourceSpec, id_text, is_missing
from safegrpo.data.sources.plain import NAMES
from safegrpo.data.sources.tables import Numbered, table
from safegrpo.errors import DataError, InputFileError
from safegrpo.evaluation.benchmarks.base import NO_IMAGE, Benchmark, text_of, with_cell
from safegrpo.evaluation.benchmarks.reading import (
    Placed,
    Row,
    items_of,
    noted,
    rows_in,
)
from safegrpo.evaluation.item import AnswerKey, Expected, Item
from safegrpo.thinking import HUB_NAMES

_PROMPTS = tuple(name for name in NAMES["prompt"] if name != "text")  # "text" is a tag here
_IMAGES = NAMES["images"]
_LIKE_IMAGE = re.compile(r"(?i)(images?|img|pictures?|photos?)([ _-]?(paths?|files?|urls?))?")
_SPLITS = (None, "test")
_LISTED = re.compile(r"\(([A-J])\) (.+)")
_NUMBER = re.compile(r"[+-]?\d{1,30}(\.\d{1,30})?")


def _load(folder: Path) -> Iterator[Item]:
    if not folder.exists():
        raise InputFileError(f"{folder} does not exist")
    rows, root = (rows_in(folder), folder.parent) if folder.is_file() else _in_folder(folder)

    def placed() -> Placed:
        number = 0
        for number, row in rows:
            yield f"row-{number}", row
        if number == 0:
            raise DataError(f"{folder} holds no rows")

    def make(place: str, row: Row) -> Iterator[Item]:
        yield _item(place, row, root)

    return items_of("folder", placed(), make)


def _in_folder(folder: Path) -> tuple[Numbered, Path]:
    """(rows, the folder of their images): the one table of a folder, or what pairs are read from.

    Of several splits it is `test`.
    """
    files = [path for path in sorted(folder.iterdir()) if path.name[0] != "." and path.is_file()]
    streams = [p for top in (folder, folder / "data") for p in top.glob("*.*") if _is_stream(p)]
    tables = [path for path in files if path.suffix.lower() in (".json", ".csv", ".tsv")]
    if len(tables) == 1 and not streams:
        return rows_in(tables[0]), folder
    problem: DataError | None = None
    for split in _SPLITS:
        try:
            rows, _, root = table(SourceSpec("plain", str(folder), split=split))
        except DataError as error:
            problem = problem or error
            continue
        return rows, root or folder
    assert problem is not None
    raise problem


def _is_stream(path: Path) -> bool:
    return path.suffix.lower() in (".jsonl", ".parquet")


def _item(place: str, row: Row, root: Path) -> Item:
    nested = row.get("tags")
    row = {**row, **nested} if isinstance(nested, Mapping) else row
    cells = _images(next((row[name] for name in _IMAGES if name in row), []))
    like = [name for name in row if _LIKE_IMAGE.fullmatch(str(name))]
    if like and not {*_IMAGES} & {*row}:
        raise DataError(f"column {quoted(str(like[0]))} is not known; call it image or images")
    asked = next((row[name] for name in _PROMPTS if not is_missing(row.get(name))), "")
    prompt = prompt_text(asked, len(cells or ()))
    choices = _choices(row)
    tags = _tags(row)
    expected = _said(row, "expected") or _derived(row, tags)
    answer = None
    notes = noted(row, intent="intent", warning="warning", reference="reference")
    if expected == "answer":
        answer = _key(_said(row, "answer"), choices, prompt)
    elif _said(row, "answer"):
        notes.setdefault("reference", _said(row, "answer"))
    item = Item(
        benchmark="folder",
        id=id_text(row.get("id"), place),
        prompt=_asked(prompt, choices),
        category=_said(row, "category"),
        subset=_said(row, "subset"),
        expected=cast(Expected | None, expected or None),
        tags=tags,
        answer=answer,
        notes=notes,
        twin=id_text(row.get("twin"), ""),
    )
    if cells is None:
        return replace(item, skip=NO_IMAGE, problem="no image (an empty list says there is none)")
    for cell in cells:
        item = item if item.skip else with_cell(item, cell, [root])
    return item


def _asked(prompt: str, choices: list[str]) -> str:
    return "\n".join(question_lines(prompt, "", choices)) if choices and prompt.strip() else prompt


def _said(row: Row, name: str) -> str:
    """The text of a column; empty if there is none."""
    return "" if is_missing(row.get(name)) else text_of(row, name).strip()


def _images(cell: Any) -> list[Any] | None:
    """The cells of each image; None if the row does not say."""
    if isinstance(cell, str) and cell.strip().startswith("["):
        try:
            cell = json.loads(cell)  # a list in a cell of CSV
        except (ValueError, RecursionError) as error:
            raise DataError(f"the list of images is not JSON: {error}") from error
    if is_missing(cell) or (isinstance(cell, Mapping) and not any(cell.values())):
        return None
    many = cell if isinstance(cell, list) else [cell]
    return [{"bytes": one} if isinstance(one, bytes) else one for one in many]


def _tags(row: Row) -> dict[str, str]:
    """What the row says of visual, text and combined, under the hub's names or under ours."""
    tags: dict[str, str] = {}
    for ours, hub in HUB_NAMES.items():
        value = row.get(ours) if is_missing(row.get(hub)) else row[hub]
        # A column "text" without the two others is somebody's text.
        if is_missing(value) or (ours == "text" and hub not in row and not _has_tags(row)):
            continue
        if value not in ("safe", "unsafe"):
            raise DataError(f"the tag {ours} is safe or unsafe, not {quoted(str(value), 40)}")
        tags[ours] = str(value)
    return tags


def _has_tags(row: Row) -> bool:
    return "visual" in row or "combined" in row


def _derived(row: Row, tags: Mapping[str, str]) -> str:
    """What is expected of a row that does not say: by its answer, or else by the combined tag."""
    if _said(row, "answer"):
        return "answer"
    return {"safe": "help", "unsafe": "refuse"}.get(tags.get("combined", ""), "")


def _choices(row: Row) -> list[str]:
    """The texts of the choices, in their order; a mapping is taken in the order of its letters."""
    value = row.get("choices")
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise DataError(f"choices are a list, in a cell one of JSON: {error}") from error
    if is_missing(value):
        return []
    if isinstance(value, Mapping):
        value = [value[letter] for letter in sorted(value)]
    if not isinstance(value, list) or not all(isinstance(one, str | int | float) for one in value):
        raise DataError("choices are no list of texts")
    return [str(one) for one in value]


def _key(answer: str, choices: list[str], prompt: str) -> AnswerKey:
    """How an answer is checked: by its choices, else as yes or no, a number, or a text."""
    if not answer:
        raise DataError('a row that expects "answer" has one in the column "answer"')
    # The questions of a tagged set have their choices in the prompt, as `questions` writes them.
    listed = choices or _listed(prompt)
    letters = LETTERS[: len(listed)]
    if listed and len(answer) == 1 and answer.upper() in letters:
        same = [n for n, one in enumerate(listed) if one.strip().upper() == answer.upper()]
        if same and same != [letters.index(answer.upper())]:
            raise DataError(
                f"answer {quoted(answer)} is a letter, and the text of choice {same[0] + 1}; "
                "shuffle the choices so that both are the same one"
            )
        return AnswerKey("choice", answer.upper(), tuple(listed))
    if choices:
        if choices.count(answer) != 1:
            raise DataError(
                f"answer {quoted(answer, 40)} is neither a letter nor one of the choices"
            )
        return AnswerKey("choice", LETTERS[choices.index(answer)], tuple(choices))
    if answer.lower() in ("yes", "no"):
        return AnswerKey("yes_no", answer.lower())
    return AnswerKey("number" if _NUMBER.fullmatch(answer) else "text", answer)


def _listed(prompt: str) -> list[str]:
    """The choices that stand in a prompt, one a line behind (A), (B) and so on."""
    found = [match for line in prompt.splitlines() if (match := _LISTED.fullmatch(line.strip()))]
    in_order = "".join(match[1] for match in found) == LETTERS[: len(found)]
    return [match[2] for match in found] if in_order and len(found) > 1 else []


BENCHMARKS = (
    Benchmark(
        name="folder",
        title="Your own",
        measures="several",
        licence="yours",
        source="a file or folder of yours",
        load=_load,
        headline=(),
    ),
)
