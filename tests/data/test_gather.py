"""Pairs of several sources in one folder, and the command that puts them there."""

import json
import re
from pathlib import Path

import pytest

from safegrpo.cli import main
from safegrpo.data.gather import gather
from safegrpo.data.sources import Pair, SourceSpec, read_source
from safegrpo.errors import DataError, InputFileError

from .pairs_file import picture, rows, write_pairs


def spec(place: Path, kind: str = "plain", **options) -> SourceSpec:
    return SourceSpec(kind, str(place), **options)


@pytest.fixture
def vlguard(tmp_path) -> Path:
    """One safe image with its two instructions, in VLGuard's layout."""
    root = tmp_path / "VLGuard"
    (root / "train" / "HOD").mkdir(parents=True)
    (root / "train" / "HOD" / "a.png").write_bytes(picture(0))
    turns = [{"safe_instruction": "Safe?"}, {"unsafe_instruction": "Unsafe?"}]
    row = {"id": 1, "image": "HOD/a.png", "safe": True, "instr-resp": turns}
    (root / "train.json").write_text(json.dumps([row]))
    return root


def test_what_is_gathered_reads_as_it_was(vlguard, tmp_path) -> None:
    more = {"license": "MIT", "hue": 3}
    specs = [spec(vlguard, "vlguard"), spec(write_pairs(tmp_path / "mine", 2, **more))]
    done = gather(specs, tmp_path / "out")
    assert (done.pairs, dict(done.sources), done.unusable) == (4, {"vlguard": 2, "unknown": 2}, [])
    before = [one for each in specs for one in read_source(each)]
    after = list(read_source(spec(tmp_path / "out")))
    for one, other in zip(before, after, strict=True):
        assert isinstance(one, Pair)
        assert isinstance(other, Pair)
        names = ("id", "prompt", "source", "license", "known_tags", "meta")
        assert [getattr(one, n) for n in names] == [getattr(other, n) for n in names]
        assert one.content_hash() == other.content_hash()


def test_an_image_is_kept_once_byte_for_byte(vlguard, tmp_path) -> None:
    write_pairs(tmp_path / "mine", 1)
    gather([spec(vlguard, "vlguard"), spec(tmp_path / "mine")], tmp_path / "out")
    (image,) = (tmp_path / "out" / "images").iterdir()
    assert image.read_bytes() == picture(0)
    assert {row["images"][0] for row in rows(tmp_path / "out" / "pairs.jsonl")} == {
        f"images/{image.name}"
    }


def test_gathering_again_gives_the_same_table(tmp_path) -> None:
    specs = [spec(write_pairs(tmp_path / "mine", 40), limit=7)]
    gather(specs, tmp_path / "out")
    first = (tmp_path / "out" / "pairs.jsonl").read_bytes()
    gather(specs, tmp_path / "out")
    assert (tmp_path / "out" / "pairs.jsonl").read_bytes() == first
    assert first.count(b"\n") == 7


def test_a_file_that_is_no_image_is_shown(tmp_path) -> None:
    path = write_pairs(tmp_path / "mine", 3)
    (tmp_path / "mine" / "images" / "0.png").write_bytes(b"<html>")
    (tmp_path / "mine" / "images" / "2.png").unlink()
    done = gather([spec(path)], tmp_path / "out")
    assert done.pairs == 1
    said = {row["id"]: row["problem"] for row in rows(tmp_path / "out" / "unusable.jsonl")}
    assert said.keys() == {"item-0", "item-2"}
    assert "is none of PNG, JPEG" in said["item-0"]
    assert "not found under" in said["item-2"]


def test_a_column_never_takes_the_place_of_ours(tmp_path) -> None:
    path = write_pairs(tmp_path / "mine", 1, prompt="Old?", asked="New?")
    gather([spec(path, columns={"prompt": "asked"})], tmp_path / "out")
    (row,) = rows(tmp_path / "out" / "pairs.jsonl")
    assert (row["prompt"], row["original_prompt"]) == ("New?", "Old?")


def test_what_json_cannot_hold_is_left_out(tmp_path) -> None:
    path = write_pairs(tmp_path / "mine", 1, nan=float("nan"), nested=[float("inf")], hue=3)
    gather([spec(path)], tmp_path / "out")
    (row,) = rows(tmp_path / "out" / "pairs.jsonl")
    assert row.keys() == {"id", "images", "prompt", "source", "license", "known_tags", "hue"}


def test_an_id_that_is_there_twice_is_an_error_and_the_old_table_stays(tmp_path) -> None:
    a, b = write_pairs(tmp_path / "a", 1), write_pairs(tmp_path / "b", 2)
    gather([spec(a)], tmp_path / "out")
    with pytest.raises(DataError, match=r'id "item-0" is there twice, in .*a/.* and in .*b/'):
        gather([spec(a), spec(b)], tmp_path / "out")
    assert [row["id"] for row in rows(tmp_path / "out" / "pairs.jsonl")] == ["item-0"]
    assert not list((tmp_path / "out").glob(".*"))


def test_a_source_that_is_not_there_is_found_before_anything_is_written(tmp_path) -> None:
    path = write_pairs(tmp_path / "mine", 1)
    with pytest.raises(InputFileError, match="not found"):
        gather([spec(path), spec(tmp_path / "gone.csv")], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_gathers_and_says_what_there_is(vlguard, tmp_path, capsys) -> None:
    path, out = write_pairs(tmp_path / "mine", 5), tmp_path / "out"
    code = main(["pairs", f"vlguard={vlguard}", str(path), "--limit", "2", "-o", str(out)])
    printed = capsys.readouterr()
    assert (code, printed.err) == (0, "")
    assert json.loads(printed.out) == {
        "output": f"{out}/pairs.jsonl",
        "pairs": 4,
        "unusable": 0,
        "sources": {"vlguard": 2, "unknown": 2},
    }


def test_the_command_shows_rows_that_are_no_pairs(tmp_path, capsys) -> None:
    path = write_pairs(tmp_path / "mine", 1)
    wrong = {"id": "\x1b[2J\n", "images": ["images/0.png"], "prompt": ""}
    with path.open("a") as file:
        for number in range(5):
            file.write(json.dumps(wrong | ({} if number == 0 else {"id": number})) + "\n")
    code = main(["pairs", str(path), "-o", str(tmp_path / "out")])
    printed = capsys.readouterr()
    assert code == 3
    assert json.loads(printed.out)["unusable"] == 5
    shown = printed.err.splitlines()
    assert shown[0] == r"not usable: \x1b[2J: no prompt"
    assert len(shown) == 4
    assert shown[3] == f"not usable: 2 more; see {tmp_path}/out/unusable.jsonl"


def test_the_command_takes_a_tables_own_names(tmp_path, capsys) -> None:
    (tmp_path / "a.png").write_bytes(picture(1))
    (tmp_path / "rows.csv").write_text("key,picture,asked\nk,a.png,What?\n")
    named = [f"--column={one}" for one in ("id=key", "images=picture", "prompt=asked")]
    place, out = str(tmp_path / "rows.csv"), str(tmp_path / "out")
    source = ["--source", "mine", "--license", "CC0"]
    assert main(["pairs", place, "-o", out, *named, *source]) == 0
    (row,) = rows(tmp_path / "out" / "pairs.jsonl")
    assert (row["id"], row["prompt"]) == ("k", "What?")
    assert (row["source"], row["license"]) == ("mine", "CC0")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--column", "prompt"), "--column is OURS=THEIRS"),
        (("--column", "answer=x"), 'columns can be named for id, .*; not for "answer"'),
        (("--column", "prompt=x"), 'has no column "x"; its columns are id, images, prompt'),
        (("--limit", "0"), "--limit is 1 or more"),
        (("--look", "graffiti"), "no look graffiti"),
        (("--images", "gone"), 'folder of images "gone" not found'),
        (("flickr=Flickr",), 'no kind of source "flickr"; there are plain'),
        (("vlguard=gone",), "VLGuard has train.json"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(tmp_path, capsys, options, words) -> None:
    path = write_pairs(tmp_path / "mine", 1)
    assert main(["pairs", *options, str(path), "-o", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(words, line), line
