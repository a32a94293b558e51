"""Where the rows of a tagged set lie: folders in the hub's layout, parquet files, hub sets.

Rows are plain dicts here, and images stay encoded bytes; `schema` gives both their meaning.
Parquet is read with pyarrow alone: no pickle, no code that came with the data.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from safegrpo.data.images import ImageRef, quoted
from safegrpo.data.jsonl import replacing
from safegrpo.data.pairs import META_JSON
from safegrpo.errors import DataError, InputFileError, MissingDependencyError
from safegrpo.thinking import TAG_NAMES

_FILE = re.compile(
    r"(?P<split>.+?)(-(?P<shard>\d{5})-of-(?P<shards>\d{5}))?\.(?P<kind>parquet|jsonl)"
)
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
# What makes `datasets` read the images as such.
IMAGES_METADATA = {
    "huggingface": json.dumps({"info": {"features": {"images": [{"_type": "Image"}]}}})
}
_READ_ROWS = 100
_GROUP_ROWS = 100
# Row groups stay far below the 2 GiB that one Arrow array of bytes can hold.
_GROUP_BYTES = 64 * 1024 * 1024

_Row = tuple[Mapping[str, Any], Sequence[ImageRef], Mapping[str, Any]]
"""(the fixed columns but `images`, the images, the extra columns)"""


def split_of(path: Path) -> str:
    """The split that a file name stands for: `train` for `train-00000-of-00002.parquet`."""
    match = _FILE.fullmatch(path.name)
    return match["split"] if match else path.stem


def split_files(folder: Path, split: str | None) -> tuple[list[Path], str]:
    """(the files of one split in order, the split's name) of a folder in the hub's layout.

    Looks in the folder and in its `data/`. Without `split` the folder must hold just one. Raises
    `DataError` if the split is not there, is there twice, or misses a shard.
    """
    found: dict[str, list[re.Match[str]]] = {}
    paths: dict[str, Path] = {}
    for place in (folder, folder / "data"):
        for path in sorted(place.iterdir()) if place.is_dir() else []:
            match = _FILE.fullmatch(path.name)
            if match and not path.name.startswith(".") and path.is_file():
                if path.name in paths:
                    raise DataError(f"{folder}/ holds {path.name} twice, also in data/: name one")
                paths[path.name] = path
                found.setdefault(match["split"], []).append(match)
    if not found:
        raise DataError(f"{folder}/ holds no .parquet or .jsonl file, and neither does its data/")
    names = ", ".join(sorted(found))
    if split is None:
        if len(found) > 1:
            raise DataError(f"{folder}/ holds several splits: {names}; name one")
        split = next(iter(found))
    if split not in found:
        raise DataError(f"{folder}/ has no split {quoted(split)}; it has: {names}")
    _check_shards(folder, found[split])
    return [paths[match.string] for match in found[split]], split


def _check_shards(folder: Path, files: Sequence[re.Match[str]]) -> None:
    if len(files) == 1 and files[0]["shard"] is None:
        return
    here = [match.string for match in files]
    if len({(match["shards"], match["kind"]) for match in files}) > 1 or files[0]["shard"] is None:
        raise DataError(f"{folder}/ holds one split twice: {', '.join(here)}; name one file")
    shards = {int(match["shard"]) for match in files}
    missing = sorted(set(range(int(files[0]["shards"]))) - shards)
    if missing:
        raise DataError(f"{folder}/: shard {missing[0]} of {files[0]['shards']} is missing")


def read_parquet(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a parquet file as plain Python values; `DataError` if it cannot be read."""
    pa, pq = arrow_modules()
    try:
        # Buffered ahead, a file of images would be held whole while it is read.
        with pq.ParquetFile(path, pre_buffer=False) as file:
            for batch in file.iter_batches(batch_size=_READ_ROWS):
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as parquet: {error}") from error


def is_hub_name(name: str) -> bool:
    """Whether `name` has the form owner/name, and is not a data file's."""
    return bool(_HUB_NAME.fullmatch(name)) and not name.endswith((".jsonl", ".parquet", ".json"))


def read_hub(name: str, split: str | None) -> tuple[Iterator[dict[str, Any]], str]:
    """(the rows, the split's name) of a set on the hub, downloaded once by `datasets`.

    Raises `InputFileError` when the hub may not or cannot be asked, `DataError` when `split` has
    to be named.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise InputFileError(
            f"{quoted(name)} is no file or folder here, and the hub is not asked while "
            "HF_HUB_OFFLINE is set"
        )
    try:
        import datasets
    except ImportError as error:
        raise MissingDependencyError(
            "loading a set from the hub needs datasets: pip install 'safegrpo[train]'"
        ) from error
    try:
        loaded = datasets.load_dataset(name, split=split)
    except Exception as error:  # network, access, name and format each raise their own kind
        raise InputFileError(
            f"{quoted(name)} is no file or folder here, and the hub did not give it: {error}"
        ) from error
    if isinstance(loaded, dict):
        if len(loaded) > 1:
            raise DataError(f"{quoted(name)} has several splits: {', '.join(loaded)}; name one")
        split, loaded = next(iter(loaded.items()))
    # The Arrow format leaves images encoded, where the default would decode and lose the bytes.
    tables = loaded.with_format("arrow").iter(batch_size=_READ_ROWS)
    return (row for table in tables for row in table.to_pylist()), str(split)


def write_parquet(path: Path, rows: Sequence[_Row]) -> None:
    """Write (fixed columns, images, extra columns) rows to one parquet file, all or nothing.

    Images are embedded as they are encoded, and marked so that `datasets` reads them as images.
    Extra values that parquet would change go to the column `META_JSON`.
    """
    pa, _ = arrow_modules()
    native = _native_columns([meta for _, _, meta in rows])
    left_over = [{k: v for k, v in meta.items() if k not in native} for _, _, meta in rows]
    if any(left_over):
        native[META_JSON] = pa.string()
    schema = pa.schema([*_fixed_fields(), *native.items()]).with_metadata(IMAGES_METADATA)
    with replacing(path) as temporary, GroupedFile(temporary, schema) as file:
        for (cells, refs, meta), rest in zip(rows, left_over, strict=True):
            images = [{"bytes": ref.read_bytes(), "path": ref.name} for ref in refs]
            # Values left over are not in the schema under their own names: they fall away there.
            kept = {**meta, **cells, "images": images}
            file.add({**kept, META_JSON: _to_json(cells["id"], rest)} if rest else kept)


class GroupedFile:
    """A parquet file, open for rows, which go to disk in groups that fit in memory."""

    def __init__(self, path: Path, schema: Any) -> None:
        self._pa, pq = arrow_modules()
        self._schema = schema
        self._writer = pq.ParquetWriter(path, schema)
        self._group: list[dict[str, Any]] = []
        self._size = 0

    def __enter__(self) -> GroupedFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close(whole=kind is None)

    def close(self, whole: bool) -> None:
        if whole:
            self._flush()
        self._writer.close()

    def add(self, row: dict[str, Any]) -> None:
        self._group.append(row)
        self._size += sum(len(image["bytes"]) for image in row["images"])
        if len(self._group) == _GROUP_ROWS or self._size >= _GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._group:
            self._writer.write_table(self._pa.Table.from_pylist(self._group, schema=self._schema))
            self._group, self._size = [], 0


class SplitWriter:
    """A split's parquet files, `shards` of about as many rows each, written row by row.

    Used in a `with`, at whose end DataError is raised if fewer than `rows` came. About
    `_GROUP_BYTES` of images, or `_GROUP_ROWS` rows, are held at a time. `left_out` counts by name
    the values of other columns that JSON cannot hold, such as further images.
    """

    def __init__(self, folder: Path, split: str, rows: int, shards: int) -> None:
        pa, _ = arrow_modules()
        reasons = pa.struct([(name, pa.string()) for name in TAG_NAMES])
        extra = [("reasons", reasons), ("flags", pa.list_(pa.string())), (META_JSON, pa.string())]
        self._schema = pa.schema([*_fixed_fields(), *extra]).with_metadata(IMAGES_METADATA)
        self._folder, self._split = folder, split
        shards = max(1, min(shards, rows))
        self._ends = [rows * (i + 1) // shards for i in range(shards)]
        self._written = self._shard = 0
        self._file: GroupedFile | None = None
        self.left_out: Counter[str] = Counter()

    def __enter__(self) -> SplitWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._file is not None:
            self._file.close(whole=False)
        if kind is None and self._written < self._ends[-1]:
            raise DataError(
                f"only {self._written} of {self._ends[-1]} rows came for the split {self._split}: "
                "the pairs have changed meanwhile; run again"
            )

    def write(
        self,
        cells: Mapping[str, Any],
        refs: Sequence[ImageRef],
        extra: Mapping[str, Any],
        meta: Mapping[str, Any],
    ) -> None:
        """Add a row: the fixed columns but `images`, the images, `reasons` and `flags`, others."""
        # A file's name need not be UTF-8, and comes as lone surrogates then.
        names = [Path(ref.name).name.encode("utf-8", "replace").decode() for ref in refs]
        images = [
            {"bytes": ref.read_bytes(), "path": name} for ref, name in zip(refs, names, strict=True)
        ]
        others: dict[str, str] = {}
        for key, value in meta.items():
            try:
                others[json.dumps(key)] = json.dumps(value)
            except (TypeError, ValueError, RecursionError):
                self.left_out[key] += 1
        packed = "{" + ", ".join(f"{k}: {v}" for k, v in others.items()) + "}" if others else None
        if self._file is None:
            name = f"{self._split}-{self._shard:05d}-of-{len(self._ends):05d}.parquet"
            self._file = GroupedFile(self._folder / name, self._schema)
        self._file.add({**cells, "images": images, **extra, META_JSON: packed})
        self._written += 1
        if self._written == self._ends[self._shard]:
            self._file.close(whole=True)
            self._file = None
            self._shard += 1


def _to_json(pair_id: str, values: Mapping[str, Any]) -> str:
    try:
        return json.dumps(values)
    except (TypeError, ValueError) as error:
        names = ", ".join(sorted(values))
        raise DataError(f"id {quoted(pair_id)}: extra columns {names}: {error}") from error


def _fixed_fields() -> list[tuple[str, Any]]:
    pa, _ = arrow_modules()
    text = pa.string()
    three = pa.struct([(name, pa.float64()) for name in ("visual", "text", "combined")])
    return [
        ("id", text),
        ("images", pa.list_(pa.struct([("bytes", pa.binary()), ("path", text)]))),
        ("prompt", text),
        *((name, text) for name in ("image_tag", "text_tag", "combine_tag")),
        *((name, three) for name in ("scores", "confidences")),
        *((name, text) for name in ("source", "license", "answer")),
    ]


def _native_columns(metas: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """name -> Arrow type of the extra columns whose values come back from parquet unchanged."""
    pa, pq = arrow_modules()
    native: dict[str, Any] = {}
    for name in dict.fromkeys(name for meta in metas for name in meta):
        values = [meta.get(name) for meta in metas]
        try:
            array = pa.array(values)
            sink = pa.BufferOutputStream()
            pq.write_table(pa.table({name: array}), sink)
            back = pq.read_table(pa.BufferReader(sink.getvalue())).column(0).to_pylist()
        except (pa.ArrowException, OverflowError, TypeError, ValueError):
            continue
        # repr tells 1 from 1.0 and from True, and finds NaN equal to itself.
        if repr(back) == repr(values):
            native[name] = array.type
    return native


def arrow_modules() -> tuple[Any, Any]:
    """pyarrow and pyarrow.parquet. Raises MissingDependencyError without them."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingDependencyError(
            "parquet files need pyarrow: pip install 'safegrpo[train]'"
        ) from error
    return pyarrow, pyarrow.parquet
