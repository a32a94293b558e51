"""A sample for people to label, and their labels read back.

The same sample goes out in two forms, for Label Studio and for a spreadsheet. Neither carries what
the judge said: people who see a verdict follow it, and would then measure nothing.

Left out: several files at once (their lists of labels can be added), and drawing the sample.
"""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safegrpo.data.images import image_suffix, keep_image, quoted
from safegrpo.data.jsonl import read_text, write_text_atomic
from safegrpo.errors import DataError
from safegrpo.thinking import TAG_NAMES

VERDICTS = ("safe", "unsafe", "unclear")
COLUMNS = ("id", "images", "prompt", *TAG_NAMES, "person")
SIZE_LIMIT = 256 * 2**20
"""The largest file of labels taken, in bytes: Label Studio's export carries the images along."""

Item = tuple[str, str, Sequence[tuple[str, bytes]]]
"""(id, prompt, images as (suffix, encoded bytes))"""

_MEDIA = {"png": "png", "jpg": "jpeg", "webp": "webp", "gif": "gif", "bmp": "bmp", "tif": "tiff"}
_FORMULA_STARTS = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"  # the last four are the wide forms of =+-@
# A spreadsheet makes 12 of "0012" and a date of "1-2"; and an id's own apostrophe must survive.
_GUARDED_ID_STARTS = _FORMULA_STARTS + "'.0123456789"
_CELL_LIMIT = 16_000  # characters: a spreadsheet's cell holds 32,767 UTF-16 units, and cuts
_NO_IMAGE = (
    b'<svg xmlns="http://www.w3.org/2000/svg" width="300" height="24">'
    b'<text x="4" y="17" font-family="sans-serif" font-size="14">(no further image)</text></svg>'
)
_README = """\
Each pair of images and prompt gets three labels, each safe, unsafe or unclear: visual (the images
alone), text (the prompt alone), combined (both together), by the policy in policy.md. Label without
seeing what a model said. `safegrpo annotate PAIRS -o DIR --labels FILE` takes the labels back.

Spreadsheet: open labels.csv and the files it names under "images"; fill in visual, text, combined
and, under "person", who you are; save as CSV in UTF-8. Rows with no tag at all are skipped. Copy
rows for a second person. Leave apostrophes before a cell's text: they keep it from being computed.

Label Studio: make a project, paste label_config.xml under Settings > Labeling Interface > Code,
import tasks.json, label, export as JSON (JSON-MIN can be read too).
"""


@dataclass(frozen=True)
class Label:
    """What one person said of one pair: safe, unsafe or unclear for each modality in `tags`."""

    id: str
    person: str
    tags: dict[str, str]

    def __post_init__(self) -> None:
        if set(self.tags) != set(TAG_NAMES) or not set(self.tags.values()) <= set(VERDICTS):
            raise DataError(f"id {quoted(self.id)}: {self.tags} are not the three tags of a label")


def export_sample(items: Sequence[Item], folder: str | Path) -> None:
    """Write a sample into `folder`, for Label Studio and for a spreadsheet; README.txt says how.

    Raises `DataError` for no items, an id that is empty, repeated or cannot be stored as UTF-8, an
    image of no known format, and a folder that has a labels.csv, which may have been filled in.
    """
    folder = Path(folder)
    if (folder / "labels.csv").exists():
        raise DataError(f"{folder}/labels.csv is already there; name a new folder for this sample")
    if not items:
        raise DataError(f"no pairs to write to {folder}")
    most = max(len(images) for _, _, images in items)
    tasks: list[dict[str, Any]] = []
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(COLUMNS)
    seen: set[str] = set()
    for number, (pair_id, prompt, images) in enumerate(items, start=1):
        where = f"item {number} (id {quoted(pair_id)})"
        if not pair_id or pair_id != _storable(pair_id) or pair_id in seen:
            raise DataError(f"{where}: an id must be there, differ from all others and be UTF-8")
        seen.add(pair_id)
        named = [(_kind(suffix, encoded, where), encoded) for suffix, encoded in images]
        kept = [keep_image(encoded, folder / "images", f".{kind}") for kind, encoded in named]
        files = "; ".join(f"images/{name}" for name in kept)
        urls = [_data_url(_MEDIA[kind], encoded) for kind, encoded in named]
        # Label Studio refuses a task that lacks any key of its interface.
        urls += [_data_url("svg+xml", _NO_IMAGE)] * (most - len(urls))
        shown = _storable(prompt)
        # JSON-MIN writes Label Studio's own task number over "id"; "pair_id" outlives that.
        data = {"id": pair_id, "pair_id": pair_id, "prompt": shown}
        tasks.append({"data": data | {f"image_{i}": url for i, url in enumerate(urls, start=1)}})
        cell = shown if len(shown) <= _CELL_LIMIT else f"{shown[:_CELL_LIMIT]}… (shortened)"
        guarded = _guarded(pair_id, _GUARDED_ID_STARTS), files, _guarded(cell, _FORMULA_STARTS)
        writer.writerow([*guarded, "", "", "", ""])
    write_text_atomic(folder / "tasks.json", json.dumps(tasks))
    write_text_atomic(folder / "label_config.xml", _interface(most))
    write_text_atomic(folder / "README.txt", _README)
    # With a byte order mark, without which Excel does not take a file for UTF-8. Last of all: what
    # was cut short before has no labels yet and may be written again.
    write_text_atomic(folder / "labels.csv", "\ufeff" + table.getvalue())


def read_labels(path: str | Path) -> list[Label]:
    """The labels in a filled labels.csv or in Label Studio's JSON or JSON-MIN export, in its order.

    Rows without any of the three tags, and cancelled annotations, are left out. Raises
    `InputFileError` if there is no such file and `DataError`, naming the row or task, for
    anything else that is no label, and for a person who labels one pair twice.
    """
    path = Path(path)
    text = read_text(path, SIZE_LIMIT, "file of labels")
    is_json = path.suffix.lower() == ".json" or text.lstrip()[:1] in ("[", "{")
    found: dict[tuple[str, str], Label] = {}
    try:
        for where, pair_id, person, cells in _json_rows(text) if is_json else _csv_rows(text):
            tags = _tags(cells, where)
            if tags and not pair_id:
                raise DataError(f"{where}: labelled, but its id is empty")
            if tags and (pair_id, person) in found:
                raise DataError(
                    f"{where}: labelled twice by {person_name(person)}; keep one of the two"
                )
            if tags:
                found[pair_id, person] = Label(pair_id, person, tags)
    except DataError as error:
        raise DataError(f'file of labels "{path}": {error}') from error
    return list(found.values())


def person_name(person: str) -> str:
    """How messages call somebody who labels."""
    return quoted(person) if person else "a person without a name (fill in who it was)"


def _storable(text: str) -> str:
    """`text` without what UTF-8 (lone surrogates) or a database's text (NUL) cannot hold."""
    joined = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return joined.replace("\0", "\ufffd")


def _guarded(cell: str, starts: str) -> str:
    """The cell with an apostrophe before what a spreadsheet would compute or convert."""
    first = cell.lstrip(" ")[:1]
    return f"'{cell}" if first and first in starts else cell


def _kind(suffix: str, encoded: bytes, where: str) -> str:
    """The image's format, a key of `_MEDIA`: what its bytes show, or else what the caller said."""
    said = suffix.lower().lstrip(".")
    for kind in (image_suffix(encoded).lstrip("."), {"jpeg": "jpg", "tiff": "tif"}.get(said, said)):
        if kind in _MEDIA:
            return kind
    raise DataError(f"{where}: an image is none of {', '.join(_MEDIA)}; convert it")


def _data_url(media: str, encoded: bytes) -> str:
    return f"data:image/{media};base64,{base64.b64encode(encoded).decode('ascii')}"


def _interface(images: int) -> str:
    """Label Studio's labelling interface; nothing in it comes from the data."""
    tags = [f'<Image name="image_{i}" value="$image_{i}"/>' for i in range(1, images + 1)]
    # Said outright: else a prompt that is an address might be fetched instead of shown.
    tags.append('<Text name="prompt" value="$prompt" valueType="text"/>')
    choices = "".join(f'<Choice value="{verdict}"/>' for verdict in VERDICTS)
    for name in TAG_NAMES:
        options = 'toName="prompt" choice="single" required="true" showInline="true"'
        tags.append(f'<Header value="{name}"/>')
        tags.append(f'<Choices name="{name}" {options}>{choices}</Choices>')
    return "".join(f"{line}\n" for line in ["<View>", *(f"  {tag}" for tag in tags), "</View>"])


_Row = tuple[str, str, str, Mapping[str, Any]]
"""(where it stands, the pair's id, the person, the three tags as they were given)"""


def _csv_rows(text: str) -> Iterator[_Row]:
    first_line = text.partition("\n")[0]
    # Where the comma is the decimal point, spreadsheets save with semicolons.
    delimiter = max((",", ";", "\t"), key=first_line.count)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    number = 0
    columns: list[str] = []
    try:
        for number, row in enumerate(rows, start=1):
            if number == 1:
                columns = _columns(row)
            elif any(cell.strip() for cell in row):
                if any(cell.strip() for cell in row[len(columns) :]):
                    raise DataError(f"row {number}: more cells than the {len(columns)} columns")
                cells = dict(zip(columns, row, strict=False))  # a short row's last cells are empty
                pair_id = cells.get("id", "").removeprefix("'")
                where = f"row {number} (id {quoted(pair_id)})"
                yield where, pair_id, cells.get("person", "").strip(), cells
    except csv.Error as error:
        raise DataError(f"row {number + 1}: not CSV ({error})") from error
    if not columns:
        raise DataError("no columns: the file is empty")


def _columns(header: Sequence[str]) -> list[str]:
    """The names of the columns, in order; `DataError` if they are not those of labels.csv."""
    names = [name.strip().lower() for name in header]
    while names and not names[-1]:  # a spreadsheet's empty columns at the right
        names.pop()
    unknown = [quoted(name) for name in names if name not in COLUMNS or names.count(name) > 1]
    # What people looked at need not travel with what they said.
    missing = [name for name in COLUMNS if name not in names and name not in ("images", "prompt")]
    if unknown or missing:
        wrong = f"unknown or repeated: {', '.join(unknown)[:200] or 'none'}"
        wanted = f"wanted are {', '.join(COLUMNS)}, or Label Studio's JSON export"
        raise DataError(f"columns {wrong}; missing: {', '.join(missing) or 'none'}; {wanted}")
    return names


def _json_rows(text: str) -> Iterator[_Row]:
    try:
        tasks = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"is not JSON that can be read ({error})") from error
    if not isinstance(tasks, list):
        raise DataError("is no list of tasks; export JSON or JSON-MIN from Label Studio")
    for number, task in enumerate(tasks, start=1):
        where = f"task {number}"
        if not isinstance(task, dict):
            raise DataError(f"{where}: an object is wanted, this is a {type(task).__name__}")
        data = task.get("data")
        source = data if isinstance(data, dict) else task
        pair_id = source.get("pair_id", source.get("id"))
        if not isinstance(pair_id, str | int) or isinstance(pair_id, bool):
            raise DataError(f"{where}: no id of a pair in it")
        where = f"{where} (id {quoted(str(pair_id))})"
        if source is task:  # JSON-MIN: one row for each annotation
            yield where, str(pair_id), _person(task.get("annotator")), task
            continue
        for annotation in _objects(task.get("annotations", []), where, "annotations"):
            if annotation.get("was_cancelled"):
                continue
            results = _objects(annotation.get("result", []), where, "result")
            cells = {str(result.get("from_name")): result.get("value") for result in results}
            yield where, str(pair_id), _person(annotation.get("completed_by")), cells


def _objects(value: object, where: str, name: str) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise DataError(f'{where}: "{name}" is no list of objects')
    return value


def _person(value: object) -> str:
    """Who annotated, as Label Studio says it: a number, an address, or an object with both."""
    if isinstance(value, dict):
        value = value.get("email") or value.get("id")
    return "" if value is None else str(value)


def _tags(cells: Mapping[str, Any], where: str) -> dict[str, str] | None:
    """The three tags of a row, None if it has none of them; `DataError` for some or others."""
    tags: dict[str, str] = {}
    for name in TAG_NAMES:
        value = cells.get(name)
        if isinstance(value, dict):  # {"choices": ["safe"]}
            value = value.get("choices")
        if isinstance(value, list) and len(value) <= 1:
            value = "".join(map(str, value))
        word = "" if value is None else str(value).strip().lower()
        if word and word not in VERDICTS:
            raise DataError(f'{where}: "{name}" is {quoted(word)}; write {", ".join(VERDICTS)}')
        if word:
            tags[name] = word
    if 0 < len(tags) < len(TAG_NAMES):
        empty = ", ".join(name for name in TAG_NAMES if name not in tags)
        raise DataError(f"{where}: {empty} not filled in; give all three tags or none")
    return tags or None
