"""JSON lines: clear errors going in, nothing lost coming out."""

import io
import os
import stat
import sys

import pytest

from safegrpo.data.jsonl import append_jsonl, read_jsonl, write_text_atomic
from safegrpo.errors import DataError, InputFileError


def test_rows_keep_their_line_numbers(tmp_path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\n\n  \n{"a": "\xc3\xa9"}\r\n{"a": 3}')
    assert list(read_jsonl(path)) == [(1, {"a": 1}), (4, {"a": "é"}), (5, {"a": 3})]


def test_a_line_separator_inside_a_text_does_not_split_it(tmp_path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": "x\u2028y\x85z"}\n', encoding="utf-8")
    assert [row["a"] for _, row in read_jsonl(path)] == ["x\u2028y\x85z"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"{oops}", "line 2: not JSON"),
        (b"[1]", "line 2: a JSON object is wanted, this is a list"),
        (b'{"a": "\xff"}', "line 2: not UTF-8"),
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', 'line 2: .*"c" is there twice'),
        (b'{"a": ' + b"[" * 200_000, "line 2: JSON that cannot be read"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line: bytes, words: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\n' + line + b"\n")
    rows = read_jsonl(path)
    assert next(rows) == (1, {"a": 1})
    with pytest.raises(DataError, match=words):
        next(rows)


def test_missing_files_and_folders_are_named(tmp_path) -> None:
    with pytest.raises(InputFileError, match="not found"):
        list(read_jsonl(tmp_path / "none.jsonl"))
    with pytest.raises(InputFileError, match="folder"):
        list(read_jsonl(tmp_path))


def test_a_dash_is_standard_input(monkeypatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"a": 1}\n')))
    assert list(read_jsonl("-")) == [(1, {"a": 1})]


def test_only_a_torn_last_line_is_forgiven(tmp_path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a": ')
    assert list(read_jsonl(path, torn_tail=True)) == [(1, {"a": 1})]
    with pytest.raises(DataError):
        list(read_jsonl(path))
    path.write_bytes(b'{"a": \n{"a": 2}\n')
    with pytest.raises(DataError, match="line 1"):
        list(read_jsonl(path, torn_tail=True))


@pytest.mark.parametrize(
    ("before", "kept"),
    [(b"", []), (b'{"a": 1}\n', [1]), (b'{"a": 1}\n{"a":', [1]), (b'{"a": 1}', [1]), (b"{", [])],
)
def test_appending_mends_what_a_crash_left(tmp_path, before: bytes, kept: list[int]) -> None:
    path = tmp_path / "new" / "rows.jsonl"
    path.parent.mkdir()
    path.write_bytes(before)
    append_jsonl(path, {"a": 2})
    append_jsonl(path, {"a": "é"})
    assert [row["a"] for _, row in read_jsonl(path)] == [*kept, 2, "é"]


def test_a_whole_file_is_replaced_or_left(tmp_path, monkeypatch) -> None:
    path = tmp_path / "new" / "page.html"
    write_text_atomic(path, "old é")
    write_text_atomic(path, "new é")
    assert path.read_text(encoding="utf-8") == "new é"
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        write_text_atomic(path, "half")
    assert path.read_text(encoding="utf-8") == "new é"
    assert [entry.name for entry in path.parent.iterdir()] == ["page.html"]


def test_written_files_are_as_readable_as_any(tmp_path) -> None:
    write_text_atomic(tmp_path / "ours", "x")
    (tmp_path / "plain").write_text("x")
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("ours", "plain")}
    assert len(modes) == 1
