"""Pairs from published sets in their own layouts and from anybody's tables and folders."""

import csv
import gzip
import json
import lzma
import re
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from safegrpo.data.images import open_image
from safegrpo.data.sources import Pair, SourceSpec, Unusable, read_source, spec_from_argument
from safegrpo.errors import ConfigError, DataError, InputFileError

from .pairs_file import picture

ROW = {"id": "a", "images": ["a.png"], "prompt": "What is this?"}


def read(place: Path, kind: str = "plain", **options) -> list[Pair | Unusable]:
    return list(read_source(SourceSpec(kind, str(place), **options)))


def put(place: Path, data: bytes | str) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(data if isinstance(data, bytes) else data.encode("utf-8"))
    return place


def lines(*rows: object) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def problems(found: list[Pair | Unusable]) -> dict[str, str]:
    return {one.id: one.problem for one in found if isinstance(one, Unusable)}


@pytest.fixture
def folder(tmp_path) -> Path:
    put(tmp_path / "a.png", picture(1))
    put(tmp_path / "b.png", picture(2))
    return tmp_path


def test_every_form_of_a_table_gives_the_same_pair(folder) -> None:
    text = lines(ROW)
    cells = {**ROW, "images": json.dumps(ROW["images"])}
    places = [
        put(folder / "rows.jsonl", "\ufeff" + text),
        put(folder / "rows.jsonl.gz", gzip.compress(("\ufeff" + text).encode())),
        put(folder / "rows.jsonl.xz", lzma.compress(text.encode())),
        put(folder / "list.json", json.dumps([ROW])),
        put(folder / "ids.json", json.dumps({"a": {k: ROW[k] for k in ("images", "prompt")}})),
        put(folder / "rows.csv", "\ufeffid,images,prompt\na,a.png,What is this?\n\n"),
        put(folder / "rows.tsv", "id\timages\tprompt\na\ta.png\tWhat is this?\n"),
        folder / "rows.parquet",
        folder / "listed.csv",
    ]
    pq.write_table(pa.Table.from_pylist([ROW]), folder / "rows.parquet")
    with (folder / "listed.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, cells)
        writer.writeheader()
        writer.writerow(cells)
    for place in places:
        (pair,) = read(place)
        assert (pair.id, pair.prompt) == ("a", "What is this?"), place
        assert pair.images[0].read_bytes() == picture(1), place


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl", "pairs.jsonl"])
def test_a_folder_of_images_has_its_table(folder, name) -> None:
    row = {"file_name": "a.png", "text": "What, then?"}
    put(folder / name, lines(row) if name.endswith("l") else 'file_name,text\na.png,"What, then?"')
    assert [pair.prompt for pair in read(folder)] == ["What, then?"]


def test_what_safegrpo_pairs_leaves_is_read_as_a_folder(folder) -> None:
    put(folder / "pairs.jsonl", lines(ROW))
    put(folder / "unusable.jsonl", "")
    assert [pair.id for pair in read(folder)] == ["a"]


def test_an_image_folder_with_splits_wants_one_named(tmp_path) -> None:
    for split in ("train", "test"):
        put(tmp_path / split / "metadata.csv", f"file_name,prompt\na.png,{split}?\n")
        put(tmp_path / split / "a.png", picture(1))
    with pytest.raises(DataError, match="holds several splits: test, train; name one"):
        read(tmp_path)
    assert [pair.prompt for pair in read(tmp_path, split="test")] == ["test?"]
    with pytest.raises(DataError, match='no split "dev"'):
        read(tmp_path / "train", split="dev")


def test_a_table_of_a_part_does_not_hide_the_folders_own(folder) -> None:
    put(folder / "train.jsonl", lines(ROW))
    put(folder / "raw" / "metadata.jsonl", lines(ROW | {"id": "raw"}))
    assert [pair.id for pair in read(folder)] == ["a"]
    assert [pair.id for pair in read(folder, split="raw") if isinstance(pair, Unusable)] == ["raw"]


def test_two_tables_in_a_folder_are_not_chosen_between(folder) -> None:
    put(folder / "metadata.jsonl", lines(ROW))
    put(folder / "metadata.csv", "file_name,prompt\nb.png,What?\n")
    with pytest.raises(DataError, match=r"several tables: metadata.jsonl, metadata.csv; name one"):
        read(folder)


def test_loose_images_have_their_prompts_beside_them(folder) -> None:
    put(folder / "a.txt", "\ufeffWhat is this?\n")
    put(folder / "below" / "c.JPG", picture(3, kind="JPEG"))
    put(folder / "below" / "c.txt", "And this?")
    put(folder / "d.txt", b"caf\xe9")
    put(folder / "d.png", picture(4))
    put(folder / "e.txt", "Its image is an e.heic.")
    put(folder / ".DS_Store", b"\0")
    found = read(folder)
    assert [(one.id, one.prompt) for one in found if isinstance(one, Pair)] == [
        ("a.png", "What is this?"),
        ("below/c.JPG", "And this?"),
    ]
    said = problems(found)
    assert said.pop("b.png") == "no prompt"
    assert said.pop("e.txt").startswith("no image")
    (undecodable,) = said.values()
    assert "is not UTF-8" in undecodable


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ((), "holds no table of pairs that is known, and no images"),
        (("x.png",), "no image with its prompt in a .txt beside it"),
        (("x.png", "mine.csv"), r"name the file \(mine.csv\)"),
    ],
)
def test_a_folder_without_pairs_says_what_is_missing(tmp_path, files, words) -> None:
    for name in files:
        put(tmp_path / name, b"")
    with pytest.raises(DataError, match=words):
        read(tmp_path)


@pytest.mark.parametrize("name", ["missing.jsonl", "data/missing.csv", "data/missing.jsonl.xz"])
def test_a_place_that_is_not_there_is_an_error(tmp_path, name, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputFileError, match=f'pairs "{name}" not found'):
        read(Path(name))
    with pytest.raises(InputFileError, match="not found"):
        read(put(tmp_path / "rows.jsonl", lines(ROW)), images="elsewhere")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("rows.jsonl", "", "holds no rows"),
        ("rows.csv", "", "holds no rows"),
        ("rows.csv", "id,image,prompt\n", "holds no rows"),
        ("rows.json", "[]", "holds no rows"),
        ("rows.json", "", "is not JSON"),
        ("rows.json", '{"a": {"prompt": "x"}, "a": {"prompt": "y"}}', '"a" is there twice'),
        ("rows.json", '{"data": [{"prompt": "x"}]}', "neither a list of objects nor objects by"),
        ("rows.json", "[" * 100_000, "is not JSON"),
        ("rows.jsonl", '{"image": "a.png", "prompt": "x"}\n{oops\n', "line 2: not JSON"),
        ("rows.jsonl.xz", b"no xz", "cannot be unpacked"),
        ("rows.jsonl.gz", gzip.compress(b"{}" * 999)[:-9], "cannot be unpacked"),
        ("rows.parquet", b"no parquet", "cannot be read as parquet"),
        ("rows.csv", b"image,prompt\na.png,\xff\n", "cannot be read as CSV in UTF-8"),
        ("rows.csv", 'image,prompt\na.png,"x" y\n', "cannot be read as CSV"),
        ("rows.csv", "image,prompt\na.png," + "x" * 2_000_000, "field larger than field limit"),
        ("rows.csv", "image,prompt,image\na.png,x,b.png\n", 'has two columns "image"; rename one'),
        ("rows.csv", "image;prompt\na.png;x\n", "no column of prompts that is known; name it with"),
        ("rows.csv", "picture,prompt\na.png,x\n", "no column of images .*--column images=NAME"),
        ("rows.xlsx", b"PK", "pairs come as .jsonl"),
        ("rows.csv.gz", b"", "pairs come as .jsonl"),
    ],
)
def test_a_bad_file_is_an_error(folder, name, content, words) -> None:
    place = put(folder / name, content)
    with pytest.raises(DataError, match=words) as caught:
        read(place)
    assert name in str(caught.value)


def test_ragged_rows_are_shown_and_the_others_read(folder) -> None:
    text = 'id,image,prompt\na,a.png,"two\nlines"\nb,b.png\nc,b.png,x,y\nd,b.png,What?\n'
    found = read(put(folder / "rows.csv", text))
    assert [(one.id, one.prompt) for one in found if isinstance(one, Pair)] == [
        ("a", "two\nlines"),
        ("d", "What?"),
    ]
    assert problems(found) == {
        "rows-2": "2 cells where the header has 3 (line 4)",
        "rows-3": "4 cells where the header has 3 (line 5)",
    }


def test_entries_of_a_json_list_that_are_no_objects_are_shown(folder) -> None:
    found = read(put(folder / "rows.json", json.dumps([ROW, "oops", None])))
    assert problems(found) == {"rows-2": "not an object", "rows-3": "not an object"}


WRONG = [
    ({"images": ["https://example.com/a.png"]}, "is a URL"),
    ({"images": ["/etc/hostname"]}, "is an absolute path"),
    ({"images": ["../a.png"]}, "leads out of"),
    ({"images": ["link.png"]}, "leads out of"),
    ({"images": ["c.png"]}, "not found under .*; pass --images DIR"),
    ({"images": ["a\0.png"]}, "not a usable path"),
    ({"images": [""]}, "null or empty"),
    ({"images": [None]}, "null or empty"),
    ({"images": None}, "no image"),
    ({"images": ""}, "no image"),
    ({"images": float("nan")}, "no image"),
    ({"images": 7}, "neither a path nor bytes"),
    ({"images": {"file": "a.png"}}, "neither a path nor bytes"),
    ({"images": {"path": "a.png", "bytes": "text"}}, "neither a path nor bytes"),
    ({"images": "['a.png', 'b.png']"}, "the list of images is not JSON"),
    ({"prompt": None}, "no prompt"),
    ({"prompt": ""}, "no prompt"),
    ({"prompt": float("nan")}, "no prompt"),
    ({"prompt": " \n"}, "prompt is empty"),
    ({"prompt": 7}, "prompt is not a text"),
    ({"prompt": ["x"]}, "prompt is a chat"),
    ({"prompt": "<image><image> What?"}, "prompt has 2 <image> but the row 1 images"),
    ({"prompt": "\ud800"}, "not valid Unicode"),
    ({"id": ["a"]}, "id is neither"),
    ({"id": {"a": 1}}, "id is neither"),
    ({"id": True}, "id is neither"),
    ({"license": 4}, "license is not a text"),
    ({"source": ["x"]}, "source is not a text"),
]


@pytest.mark.parametrize(("wrong", "words"), WRONG)
def test_a_bad_row_is_shown_with_its_reason(folder, wrong, words) -> None:
    (folder / "below").mkdir()
    put(folder / "below" / "a.png", picture(1))
    (folder / "below" / "link.png").symlink_to(folder / "b.png")
    rows = [ROW | {"id": "before"}, ROW | wrong, ROW | {"id": "after"}]
    found = read(put(folder / "below" / "rows.jsonl", lines(*rows)))
    assert [one.id for one in found] == ["before", "rows-2" if "id" in wrong else "a", "after"]
    (problem,) = problems(found).values()
    assert re.search(words, problem), problem


def test_an_id_may_be_a_number_or_absent(folder) -> None:
    rows = [ROW | {"id": one} for one in (7, " x ", None, "", float("nan"))]
    found = read(put(folder / "rows.jsonl", lines(*rows)))
    assert [one.id for one in found] == ["7", "x", "rows-3", "rows-4", "rows-5"]


def test_images_may_be_bytes_structs_or_an_empty_list(folder) -> None:
    rows = [
        {"images": [{"bytes": picture(5), "path": "x.png"}, {"bytes": None, "path": "a.png"}]},
        {"images": []},
    ]
    rows = [row | {"prompt": "<image>" * len(row["images"]) + "What?"} for row in rows]
    pq.write_table(pa.Table.from_pylist(rows), folder / "rows.parquet")
    two, none = read(folder / "rows.parquet")
    assert [ref.read_bytes() for ref in two.images] == [picture(5), picture(1)]
    assert (two.prompt, none.images) == ("What?", ())
    pq.write_table(pa.table({"image": [picture(6)], "prompt": ["x"]}), folder / "bare.parquet")
    assert read(folder / "bare.parquet")[0].images[0].read_bytes() == picture(6)


def test_columns_are_found_in_each_object_of_json(folder) -> None:
    rows = [
        {"image": "a.png", "question": "First?"},
        {"id": "n", "images": ["b.png"], "prompt": "Second?", "license": "MIT"},
    ]
    first, second = read(put(folder / "rows.jsonl", lines(*rows)))
    assert (first.id, first.prompt, first.images[0].name) == ("rows-1", "First?", "a.png")
    assert (second.id, second.license, second.images[0].name) == ("n", "MIT", "b.png")


def test_named_columns_win_and_what_they_hide_is_kept(folder) -> None:
    text = "id,key,picture,prompt,asked,origin\n1,k,a.png,Old?,New?,web\n"
    columns = {"id": "key", "images": "picture", "prompt": "asked", "source": "origin"}
    (pair,) = read(put(folder / "rows.csv", text), columns=columns)
    assert (pair.id, pair.prompt, pair.source) == ("k", "New?", "web")
    assert pair.meta == {"original_id": "1", "original_prompt": "Old?"}
    with pytest.raises(DataError, match='no column "asks"; its columns are id, key, picture'):
        read(folder / "rows.csv", columns={"prompt": "asks"})


def test_tags_of_a_table_are_known_and_what_is_no_tag_is_kept(folder) -> None:
    row = ROW | {"image_tag": "safe", "text_tag": "maybe", "combine_tag": None, "hue": 3}
    (pair,) = read(put(folder / "rows.jsonl", lines(row)))
    assert pair.known_tags == {"visual": "safe"}
    assert pair.meta == {"original_text_tag": "maybe", "hue": 3}


def test_source_and_license_of_the_spec_replace_the_rows(folder) -> None:
    place = put(folder / "rows.jsonl", lines(ROW | {"source": "a", "license": "b"}))
    assert [(p.source, p.license) for p in read(place)] == [("a", "b")]
    (pair,) = read(place, source="mine", license="CC0")
    assert (pair.source, pair.license) == ("mine", "CC0")


@pytest.mark.parametrize("packed", [False, True])
def test_a_table_is_read_no_further_than_asked(folder, packed) -> None:
    text = (lines(ROW) * 3 + "{oops\n").encode()
    name = "rows.jsonl.xz" if packed else "rows.jsonl"
    place = put(folder / name, lzma.compress(text) if packed else text)
    pairs = read_source(SourceSpec("plain", str(place)))
    assert [next(pairs).prompt for _ in range(3)] == [ROW["prompt"]] * 3
    with pytest.raises(DataError, match="line 4"):
        next(pairs)


def test_a_sample_is_of_pairs_in_order_and_by_the_seed(folder) -> None:
    rows = [ROW | {"id": number, "prompt": "x" if number % 5 else ""} for number in range(100)]
    place = put(folder / "rows.jsonl", lines(*rows))

    def sample(seed: int) -> list[str]:
        spec = SourceSpec("plain", str(place), limit=10, seed=seed)
        first = list(read_source(spec))
        assert first == list(read_source(spec))
        assert len(problems(first)) == 20  # each row that is no pair is shown all the same
        return [one.id for one in first if isinstance(one, Pair)]

    assert len(sample(0)) == 10
    assert sample(0) == sorted(sample(0), key=int)
    assert sample(0) != sample(1)
    assert len([one for one in read(place, limit=1000) if isinstance(one, Pair)]) == 80


# Published sets


@pytest.fixture
def vlguard(tmp_path) -> Path:
    """Rows as in VLGuard's train.json, its zip unpacked into train/."""
    root = tmp_path / "VLGuard"
    answer = {"response": "An answer."}
    both = [{"safe_instruction": "Safe?", **answer}, {"unsafe_instruction": "Unsafe?", **answer}]
    bad = {"harmful_category": "privacy", "harmful_subcategory": "personal data"}
    rows = [
        {"id": "11", "image": "HOD/a.jpg", "safe": True, "instr-resp": both},
        {"id": 12, "image": "bad_ads/b.png", "safe": False, **bad,
         "instr-resp": [{"instruction": "Describe it.", **answer}]},
    ]  # fmt: skip
    put(root / "train.json", json.dumps(rows))
    put(root / "train" / "HOD" / "a.jpg", picture(1, kind="JPEG"))
    put(root / "train" / "bad_ads" / "b.png", picture(2))
    return root


def test_vlguard_gives_a_pair_for_each_instruction(vlguard) -> None:
    safe, unsafe, image = read(vlguard, "vlguard")
    assert [one.id for one in (safe, unsafe, image)] == [
        "vlguard-train-11-safe",
        "vlguard-train-11-unsafe",
        "vlguard-train-12",
    ]
    assert [one.prompt for one in (safe, unsafe, image)] == ["Safe?", "Unsafe?", "Describe it."]
    assert dict(safe.known_tags) == {"visual": "safe", "text": "safe", "combined": "safe"}
    assert dict(unsafe.known_tags) == {"visual": "safe", "text": "unsafe", "combined": "unsafe"}
    assert dict(image.known_tags) == {"visual": "unsafe", "combined": "unsafe"}
    assert image.meta == {
        "harmful_category": "privacy",
        "harmful_subcategory": "personal data",
    }
    assert safe.images[0].read_bytes() == picture(1, kind="JPEG")


def test_vlguard_images_may_lie_beside_the_list_or_elsewhere(vlguard, tmp_path) -> None:
    (vlguard / "train" / "HOD").rename(vlguard / "HOD")
    assert problems(read(vlguard, "vlguard")) == {}
    shutil.move(vlguard / "HOD", tmp_path / "images" / "HOD")
    said = problems(read(vlguard / "train.json", "vlguard"))
    assert sorted(said) == ["vlguard-train-11-safe", "vlguard-train-11-unsafe"]
    assert "not found under" in said["vlguard-train-11-safe"]
    said = problems(read(vlguard, "vlguard", images=str(tmp_path / "images")))
    assert sorted(said) == ["vlguard-train-12"]


def test_vlguard_rows_that_are_none_are_shown(vlguard) -> None:
    turn = {"instr-resp": [{"instruction": "x"}], "image": "bad_ads/b.png", "safe": False}
    rows = [
        {"id": 1, "image": "bad_ads/b.png"},
        {**turn, "id": [1]},
        {**turn, "id": 2, "image": {"path": "bad_ads/b.png"}},
        {**turn, "id": 3, "image": "../train.json"},
        {**turn, "id": 4, "safe": True},
        {**turn, "id": 5, "instr-resp": [{"question": "x"}, 7]},
        {**turn, "id": 6, "instr-resp": [{"instruction": 7}]},
        "oops",
        {**turn, "id": 7},
        {**turn, "id": 7},
    ]
    put(vlguard / "train.json", json.dumps(rows))
    found = read(vlguard, "vlguard")
    assert [one.id for one in found if isinstance(one, Pair)] == [
        "vlguard-train-7",
        "vlguard-train-7-2",
    ]
    said = {pair_id.removeprefix("vlguard-train-"): p for pair_id, p in problems(found).items()}
    assert {pair_id: said[pair_id][:24] for pair_id in said} == {
        "row-1": 'no list "instr-resp"',
        "row-2": "id is neither a text nor",
        "2": "image is not the name of",
        "3": 'image file "../train.jso',
        "4": '"safe" is True, which "i',
        "5-unknown": "an entry of instr-resp h",
        "5-unknown-2": "an entry of instr-resp h",
        "6": "prompt is not a text, no",
        "row-8": "not an object",
    }


def test_vlguard_without_its_list_is_an_error(vlguard) -> None:
    with pytest.raises(InputFileError, match=r"test.json not found; VLGuard has train.json and"):
        read(vlguard, "vlguard", split="test")


def test_spa_vl_is_read_from_its_shards(tmp_path) -> None:
    kept = {"class1": "Made-up Class", "class2": "c2", "class3": "c3"}
    for shard in (0, 1):
        row = {
            "image": {"bytes": picture(shard), "path": f"{shard}.jpg"},
            "question": f"Question {shard}?",
            "chosen": "An answer.",
            "rejected": "Another.",
            **kept,
        }
        (tmp_path / "data").mkdir(exist_ok=True)
        path = tmp_path / "data" / f"train-0000{shard}-of-00002.parquet"
        pq.write_table(pa.Table.from_pylist([row]), path)
    first, second = read(tmp_path, "spa_vl", columns={"prompt": "a plain table's"})
    assert (first.id, first.prompt) == ("spa-vl-train-1", "Question 0?")
    assert (second.id, second.prompt) == ("spa-vl-train-2", "Question 1?")
    assert (first.source, first.license, first.meta) == ("spa-vl", "CC BY 4.0", kept)
    assert second.images[0].read_bytes() == picture(1)


def test_safetag_tags_are_known(tmp_path) -> None:
    row = {
        "prompt": "<image>What is this?",
        "images": [{"bytes": picture(1), "path": None}],
        "text_tag": "safe",
        "image_tag": "unsafe",
        "combine_tag": "unsafe",
    }
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "test-00000-of-00001.parquet")
    (pair,) = read(tmp_path, "safetag")
    assert (pair.id, pair.prompt) == ("safetag-vl-3k-test-1", "What is this?")
    assert pair.known_tags == {"visual": "unsafe", "text": "safe", "combined": "unsafe"}
    assert (pair.source, pair.license, pair.meta) == ("safetag-vl-3k", None, {})


HEADER = "dataset,category_id,task_id,category_name,question,instruction\n"


def figstep(root: Path, *rows: str, tiny: bool = False) -> Path:
    """A set in FigStep's layout, with the images of tasks 1 and 2."""
    name = "SafeBench-Tiny" if tiny else "SafeBench"
    table = "SafeBench-Tiny.csv" if tiny else "safebench.csv"
    put(root / "data" / "question" / table, HEADER + "".join(rows))
    for task in (1, 2):
        image = root / "data" / "images" / name / f"query_ForbidQI_1_{task}_6.png"
        put(image, picture(task + 10 * tiny))
    return root


def task(number: int) -> str:
    return f'ForbidQI,1,{number},Illegal Activity,"How to\nmake {number}?",Steps to make it.\n'


def test_figstep_pairs_an_image_with_a_harmless_question(tmp_path) -> None:
    root = figstep(tmp_path, task(1), task(2), task(3), "ForbidQI,1\n")
    figstep(tmp_path, task(1), tiny=True)
    found = read(root, "figstep")
    first = found[0]
    assert first.id == "figstep-ForbidQI_1_1"
    assert first.meta == {"category": "Illegal Activity", "intent": "How to\nmake 1?"}
    assert "make" not in first.prompt
    assert open_image(first.images[0]).size == (24, 24)
    assert sorted(problems(found)) == ["figstep-ForbidQI_1_3", "figstep-row-4"]
    (small,) = read(root, "figstep", split="tiny")
    assert small.images[0].read_bytes() == picture(11)


def test_figstep_images_are_looked_for_inside_the_folder_alone(tmp_path) -> None:
    root = figstep(tmp_path / "set", task(1))
    shutil.move(root / "data" / "question" / "safebench.csv", root / "safebench.csv")
    (pair,) = read(root, "figstep")
    assert pair.images[0].read_bytes() == picture(1)
    shutil.move(root / "data" / "images", tmp_path / "images")
    assert list(problems(read(root, "figstep"))) == ["figstep-ForbidQI_1_1"]


def test_figstep_without_its_table_is_an_error(tmp_path) -> None:
    with pytest.raises(InputFileError, match=r"FigStep has data/question/safebench.csv"):
        read(tmp_path, "figstep")
    put(tmp_path / "safebench.csv", "dataset,category_id\nForbidQI,1\n")
    with pytest.raises(DataError, match='no column "task_id"; FigStep has dataset, category_id'):
        read(tmp_path, "figstep")


def test_the_real_figstep_is_read_whole(shared_data) -> None:
    found = read(shared_data / "figstep", "figstep")
    assert len({one.id for one in found if isinstance(one, Pair)}) == 50
    assert problems(found) == {}
    assert len({one.meta["category"] for one in found}) == 10


@pytest.fixture
def beavertails(tmp_path) -> Path:
    """Thirty prompts, each answered three times, and two rows that have none."""
    row = {"response": "An answer.", "category": {"animal_abuse": False}, "is_safe": True}
    rows = [row | {"prompt": f"Made-up prompt {n // 3}."} for n in range(90)]
    rows += [row | {"prompt": 7}, row | {"prompt": " "}]
    return put(tmp_path / "train.jsonl.xz", lzma.compress(lines(*rows).encode()))


def test_beavertails_prompts_are_drawn_once_each(beavertails) -> None:
    found = read(beavertails, "beavertails", looks=("note",))
    pairs = [one for one in found if isinstance(one, Pair)]
    assert [one.meta["drawn"] for one in pairs] == [f"Made-up prompt {n}." for n in range(30)]
    assert len({one.id for one in pairs}) == 30
    assert sorted(problems(found)) == ["beavertails-row-91", "beavertails-row-92"]
    assert all("Made-up" not in one.prompt for one in pairs)
    assert open_image(pairs[0].images[0]).size == (760, 760)


def test_a_sample_of_beavertails_is_drawn_by_the_seed(beavertails) -> None:
    def sample(seed: int) -> list[Pair]:
        found = read(beavertails, "beavertails", limit=4, seed=seed)
        return [one for one in found if isinstance(one, Pair)]

    numbers = [int(one.meta["drawn"][15:-1]) for one in sample(0)]
    assert len(numbers) == 4
    assert numbers == sorted(numbers)
    assert [one.content_hash() for one in sample(0)] == [one.content_hash() for one in sample(0)]
    assert {one.meta["drawn"] for one in sample(0)} != {one.meta["drawn"] for one in sample(1)}


def test_a_prompt_that_cannot_be_drawn_is_shown(tmp_path) -> None:
    rows = [{"prompt": "x" * 100_000}, {"prompt": "\ud800"}, {"prompt": "Fine."}]
    found = read(put(tmp_path / "train.jsonl", lines(*rows)), "beavertails")
    assert [type(one) for one in found] == [Unusable, Unusable, Pair]


def test_what_beavertails_is_drawn_with_is_checked_once(beavertails, tmp_path) -> None:
    with pytest.raises(InputFileError, match="font file"):
        read(beavertails, "beavertails", font="missing.ttf")
    with pytest.raises(DataError, match="not a readable"):
        read(beavertails, "beavertails", font=str(put(tmp_path / "no.ttf", b"no font")))
    with pytest.raises(ConfigError, match="look"):
        read(beavertails, "beavertails", looks=("graffiti",))
    with pytest.raises(DataError, match='no column "prompt"'):
        read(put(tmp_path / "rows.jsonl", lines({"question": "x"})), "beavertails")


# Specs


def test_a_spec_finds_its_place_after_both_folders_have_moved(tmp_path) -> None:
    place = put(tmp_path / "old" / "pairs" / "rows.jsonl", lines(ROW))
    put(tmp_path / "old" / "pictures" / "a.png", picture(1))
    spec = SourceSpec(
        "plain",
        str(place),
        images=str(tmp_path / "old" / "pictures"),
        columns={"prompt": "prompt"},
        limit=1,
        looks=("note",),
        seed=3,
    )
    scores = tmp_path / "old" / "scores"
    said = json.loads(json.dumps(spec.to_json(scores)))
    assert said["place"] == "../pairs/rows.jsonl"
    assert SourceSpec.from_json(said, scores) == spec
    (tmp_path / "old").rename(tmp_path / "new")
    moved = SourceSpec.from_json(said, tmp_path / "new" / "scores")
    assert [pair.images[0].read_bytes() for pair in read_source(moved)] == [picture(1)]


def test_a_place_that_has_gone_is_not_sought_elsewhere(folder, monkeypatch) -> None:
    put(folder / "rows.jsonl", lines(ROW))
    monkeypatch.chdir(folder)
    said = SourceSpec("plain", "rows.jsonl").to_json(folder)
    assert said["place"] == "./rows.jsonl"
    with pytest.raises(InputFileError, match=r"elsewhere/rows.jsonl"):
        list(read_source(SourceSpec.from_json(said, folder / "elsewhere")))


def test_a_hub_name_stays_one(tmp_path) -> None:
    spec = SourceSpec("safetag", "owner/name", split="train")
    assert SourceSpec.from_json(spec.to_json(tmp_path), tmp_path) == spec
    with pytest.raises(InputFileError, match="HF_HUB_OFFLINE"):
        list(read_source(spec))


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ([], "no source of pairs"),
        ({}, "no source of pairs: .*'kind' and 'place'"),
        ({"plaice": "x"}, "plaice"),
        ({"place": ""}, "place of a source is a text"),
        ({"place": 7}, "place of a source is a text"),
        ({"split": ["train"]}, "split of a source is a text"),
        ({"columns": ["prompt"]}, "columns of a source map"),
        ({"columns": {"answer": "x"}}, 'not for "answer"'),
        ({"limit": 0}, "limit of a source is 1 or more"),
        ({"limit": "3"}, "limit of a source is 1 or more"),
        ({"seed": 0.5}, "seed of a source is a whole number"),
        ({"looks": 3}, "looks of a source are one name or more"),
        ({"looks": []}, "looks of a source are one name or more"),
    ],
)
def test_what_is_no_spec_is_an_error(tmp_path, said, words) -> None:
    given = {"kind": "plain", "place": "x"} | said if said else said
    with pytest.raises(DataError, match=words):
        SourceSpec.from_json(given, tmp_path)


def test_an_argument_names_a_kind_or_only_a_place(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert spec_from_argument("vlguard=~/V", seed=2) == SourceSpec(
        "vlguard", f"{tmp_path}/V", seed=2
    )
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "date=1.csv", "")
    assert spec_from_argument("date=1.csv") == SourceSpec("plain", "date=1.csv")
    assert spec_from_argument("sets/a=b.csv") == SourceSpec("plain", "sets/a=b.csv")
    for wrong in ("spa-vl=SPA-VL", "flickr=Flickr"):
        with pytest.raises(ConfigError, match=r"no kind of source .*; there are plain, safetag"):
            spec_from_argument(wrong)
    with pytest.raises(ConfigError, match="place of a source is a text"):
        spec_from_argument("vlguard=")
