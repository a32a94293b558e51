import datetime
import io
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from safegrpo.data.images import ImageRef
from safegrpo.data.schema import TaggedPair, load_tagged, save_tagged, tag_cells
from safegrpo.errors import DataError, InputFileError
from safegrpo.thinking import Tags

SAFE = {"image_tag": "safe", "text_tag": "safe", "combine_tag": "safe"}
HIDDEN_RISK = Tags("safe", "safe", "unsafe")
RATINGS = {"visual": 9.0, "text": 8.5, "combined": 1.0}


def png(shade: int = 0) -> bytes:
    sink = io.BytesIO()
    Image.new("RGB", (4, 4), (shade, 0, 0)).save(sink, "PNG")
    return sink.getvalue()


def ref(shade: int = 0) -> ImageRef:
    return ImageRef(data=png(shade), name=f"{shade}.png")


def pair(pair_id: str = "a", **changes: Any) -> TaggedPair:
    given = {"id": pair_id, "images": (ref(),), "prompt": "What is this?", "tags": HIDDEN_RISK}
    return TaggedPair(**{**given, **changes})


def write_jsonl(path: Path, *rows: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_parquet(path: Path, *rows: dict[str, Any]) -> Path:
    pa = pytest.importorskip("pyarrow")
    path.parent.mkdir(parents=True, exist_ok=True)
    pytest.importorskip("pyarrow.parquet").write_table(pa.Table.from_pylist(list(rows)), path)
    return path


def published(*images: bytes, **changes: Any) -> dict[str, Any]:
    """A row with only the published columns."""
    structs = [{"bytes": data, "path": None} for data in images]
    return {"prompt": "What is this?", "images": structs, **SAFE, **changes}


def contents(row: TaggedPair) -> list[bytes]:
    return [image.read_bytes() for image in row.images]


def without_images(row: TaggedPair) -> dict[str, Any]:
    return {name: v for name, v in vars(row).items() if name not in ("images", "place")}


def rich_rows() -> list[TaggedPair]:
    """Rows with all that a round trip could lose."""
    return [
        pair("a", scores=RATINGS, confidences=RATINGS, source="VLGuard", license="CC BY 4.0"),
        pair("b", images=(ref(3), ref(1), ref(2), ref(1)), prompt="  Ünï\u2028code 图 🙂\n\ttail "),
        pair("c", images=(), prompt="long " * 50_000),
        pair("d", tags=None, answer="42", meta={"n": 1, "ok": True, "list": ["x", "y"]}),
        pair("e", meta={"n": 2.5, "nested": {"k": [1, {"z": None}]}, "text": "a column", "e": {}}),
        pair("f", meta={"n": 2**70, "surrogate": "\ud800", "nested": "not a dict here"}),
    ]


# What a pair is


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"id": ""}, "id is empty"),
        ({"prompt": " \n"}, "prompt is empty"),
        ({"prompt": "a <image> b"}, "prompt holds <image>"),
        ({"prompt": "\ud800"}, "prompt is not valid Unicode at character 0"),
        ({"prompt": 3}, "prompt is not a text"),
        ({"tags": None}, "no tags; only a row with an answer may go without"),
        ({"answer": ""}, "answer is empty; leave it null"),
        ({"source": 7}, "source is not a text"),
        ({"scores": {"visual": 1}}, "scores need visual, text and combined"),
        ({"scores": {**RATINGS, "text": 10.5}}, 'scores: "text" is not a number from 0 to 10'),
        ({"confidences": {**RATINGS, "text": float("nan")}}, 'confidences: "text" is not'),
        ({"confidences": {**RATINGS, "text": True}}, 'confidences: "text" is not'),
        ({"meta": {"prompt": "x"}}, 'meta holds "prompt", which is a column of its own'),
    ],
)
def test_a_pair_that_cannot_be_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        pair(**changes)


def test_a_pair_with_an_answer_needs_no_tags() -> None:
    assert pair(tags=None, answer="blue").tags is None


def test_a_null_in_meta_is_the_same_as_an_absent_key() -> None:
    assert pair(meta={"x": None, "y": 1}).meta == {"y": 1}


def test_a_pair_can_be_sent_to_another_process() -> None:
    row = pair(scores=RATINGS, meta={"x": 1})
    assert pickle.loads(pickle.dumps(row)) == row


# JSON lines


def test_image_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "img").mkdir()
    (tmp_path / "img" / "x.png").write_bytes(png(5))
    path = write_jsonl(tmp_path / "s.jsonl", {"prompt": "p", "images": ["img/x.png"], **SAFE})
    [row] = load_tagged(path)
    assert (row.images[0].name, contents(row)) == ("img/x.png", [png(5)])


def test_images_root_takes_the_place_of_the_files_folder(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x.png").write_bytes(png())
    path = write_jsonl(tmp_path / "s.jsonl", {"prompt": "p", "images": "x.png", **SAFE})
    [row] = load_tagged(path, images_root=tmp_path / "elsewhere")
    assert contents(row) == [png()]


def test_our_own_tag_names_are_read_too(tmp_path: Path) -> None:
    tags = {"visual": "safe", "text": "safe", "combined": "unsafe"}
    [row] = load_tagged(write_jsonl(tmp_path / "s.jsonl", {"prompt": "p", **tags}))
    assert (row.tags, row.meta) == (HIDDEN_RISK, {})


def test_a_column_called_text_beside_the_hubs_names_is_kept(tmp_path: Path) -> None:
    [row] = load_tagged(write_jsonl(tmp_path / "s.jsonl", {"prompt": "p", "text": "hello", **SAFE}))
    assert row.meta == {"text": "hello"}


def test_our_tags_count_where_the_hub_s_columns_are_empty(tmp_path: Path) -> None:
    row = {**dict.fromkeys(SAFE), "visual": "safe", "text": "safe", "combined": "unsafe"}
    path = write_jsonl(tmp_path / "s.jsonl", {"prompt": "p", "answer": "a", **row})
    assert load_tagged(path)[0].tags == Tags("safe", "safe", "unsafe")


def test_a_row_remembers_where_it_stood(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    write_jsonl(path, {"prompt": "p", **SAFE}, {"prompt": "p", "id": "x", **SAFE})
    path.write_text("\n" + path.read_text())
    assert [pair.where for pair in load_tagged(path)] == ["row 2", 'row 3 (id "x")']


def test_a_row_without_id_is_called_after_its_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    line = json.dumps({"prompt": "p", **SAFE})
    path.write_text(f"{line}\n\n{line}\n")
    assert [row.id for row in load_tagged(path)] == ["mine-1", "mine-3"]


def test_numbers_become_text_where_text_is_wanted(tmp_path: Path) -> None:
    [row] = load_tagged(write_jsonl(tmp_path / "s.jsonl", {"id": 7, "prompt": "p", "answer": 42}))
    assert (row.id, row.answer, row.tags) == ("7", "42", None)


# The prompt


def test_a_chat_of_one_user_turn_is_its_text(tmp_path: Path) -> None:
    chat = [{"role": "user", "content": "How?"}]
    [row] = load_tagged(write_jsonl(tmp_path / "s.jsonl", {"prompt": chat, **SAFE}))
    assert row.prompt == "How?"


@pytest.mark.parametrize(
    "chat",
    [
        [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}],
        [{"role": "assistant", "content": "a"}],
        [],
        ["u"],
    ],
)
def test_any_other_chat_is_refused(tmp_path: Path, chat: list[Any]) -> None:
    path = write_jsonl(tmp_path / "s.jsonl", {"prompt": chat, **SAFE})
    with pytest.raises(DataError, match="prompt is a chat; only a single turn of the user"):
        load_tagged(path)


def test_placeholders_that_match_the_images_are_taken_out(tmp_path: Path) -> None:
    row = published(png(1), png(2), prompt="<image>\n<image>\nCompare these.")
    [loaded] = load_tagged(write_parquet(tmp_path / "s.parquet", row))
    assert loaded.prompt == "Compare these."


@pytest.mark.parametrize("images", [0, 1, 3])
def test_placeholders_that_do_not_match_are_refused(tmp_path: Path, images: int) -> None:
    row = published(*[png()] * images, prompt="<image><image> Compare.")
    path = write_parquet(tmp_path / "s.parquet", row)
    with pytest.raises(DataError, match=f"prompt has 2 <image> but the row {images} images"):
        load_tagged(path)


# Parquet and the hub's layout


@pytest.mark.parametrize("place", ["train-00000-of-00001.parquet", "data/train.parquet"])
@pytest.mark.parametrize("count", [0, 1, 2])
def test_published_columns_load_as_they_are(tmp_path: Path, place: str, count: int) -> None:
    images = [png(shade) for shade in range(count)]
    # A second row with an image gives the column its type when the first has none.
    write_parquet(tmp_path / place, published(*images), published(png(9)))
    first, second = load_tagged(tmp_path)
    assert (first.id, second.id) == ("train-1", "train-2")
    assert (contents(first), contents(second)) == (images, [png(9)])
    assert first.tags == Tags("safe", "safe", "safe")


@pytest.mark.parametrize("nothing", [None, {"bytes": None, "path": None}])
def test_a_single_struct_may_be_null(tmp_path: Path, nothing: Any) -> None:
    one = {"prompt": "p", "images": {"bytes": png(), "path": "a.png"}, **SAFE}
    rows = load_tagged(write_parquet(tmp_path / "s.parquet", one, {**one, "images": nothing}))
    assert [len(row.images) for row in rows] == [1, 0]


def test_parquet_may_hold_paths_instead_of_bytes(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(png(4))
    row = published(images=[{"bytes": None, "path": "x.png"}])
    assert contents(load_tagged(write_parquet(tmp_path / "s.parquet", row))[0]) == [png(4)]


def test_shards_are_joined_in_order_and_numbered_through(tmp_path: Path) -> None:
    write_parquet(tmp_path / "data/train-00001-of-00002.parquet", published(prompt="three"))
    first = [published(prompt="one"), published(prompt="two")]
    write_parquet(tmp_path / "data/train-00000-of-00002.parquet", *first)
    rows = load_tagged(tmp_path)
    assert [row.prompt for row in rows] == ["one", "two", "three"]
    assert [row.id for row in rows] == ["train-1", "train-2", "train-3"]


def test_a_missing_shard_is_noticed(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train-00000-of-00002.parquet", published())
    with pytest.raises(DataError, match="shard 1 of 00002 is missing"):
        load_tagged(tmp_path)


def test_of_several_splits_one_has_to_be_named(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "train.jsonl", {"prompt": "p", **SAFE})
    write_jsonl(tmp_path / "test.jsonl", {"prompt": "q", **SAFE})
    assert load_tagged(tmp_path, split="test")[0].prompt == "q"
    with pytest.raises(DataError, match="several splits: test, train; name one"):
        load_tagged(tmp_path)
    with pytest.raises(DataError, match='has no split "dev"; it has: test, train'):
        load_tagged(tmp_path, split="dev")


def test_one_split_in_two_forms_is_refused(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "train.jsonl", {"prompt": "p", **SAFE})
    write_parquet(tmp_path / "data/train-00000-of-00001.parquet", published())
    with pytest.raises(DataError, match="holds one split twice"):
        load_tagged(tmp_path)


def test_a_file_of_another_split_is_refused(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "train.jsonl", {"prompt": "p", **SAFE})
    with pytest.raises(DataError, match='is the split train, but "test" was asked for'):
        load_tagged(path, split="test")


def test_a_set_on_the_hub_is_read_without_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    loaded = datasets.Dataset.from_list(
        [published(png(6))],
        features=datasets.Features(
            prompt=datasets.Value("string"),
            images=datasets.List(datasets.Image()),
            **{name: datasets.Value("string") for name in SAFE},
        ),
    )
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(datasets, "load_dataset", lambda name, split: loaded)
    [row] = load_tagged("owner/name", split="train")
    assert (row.id, contents(row)) == ("train-1", [png(6)])


# Round trips


@pytest.mark.parametrize("name", ["s.jsonl", "data/train-00000-of-00001.parquet"])
def test_a_round_trip_loses_nothing(tmp_path: Path, name: str) -> None:
    rows = rich_rows()
    save_tagged(rows, tmp_path / name)
    back = load_tagged(tmp_path / name)
    assert [without_images(row) for row in back] == [without_images(row) for row in rows]
    assert [contents(row) for row in back] == [contents(row) for row in rows]


def test_json_lines_and_parquet_agree(tmp_path: Path) -> None:
    save_tagged(rich_rows(), tmp_path / "a.jsonl")
    save_tagged(load_tagged(tmp_path / "a.jsonl"), tmp_path / "b.parquet")
    save_tagged(load_tagged(tmp_path / "b.parquet"), tmp_path / "c" / "a.jsonl")
    first, second = (
        [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
        for path in (tmp_path / "a.jsonl", tmp_path / "c" / "a.jsonl")
    )
    assert first == second


def test_parquet_keeps_the_names_of_images(tmp_path: Path) -> None:
    save_tagged([pair()], tmp_path / "s.parquet")
    assert load_tagged(tmp_path / "s.parquet")[0].images == (ref(),)


def test_parquet_keeps_types_that_json_has_not(tmp_path: Path) -> None:
    meta = {"raw": b"\0\xff", "day": datetime.date(2026, 3, 1)}
    save_tagged([pair(meta=meta)], tmp_path / "s.parquet")
    assert load_tagged(tmp_path / "s.parquet")[0].meta == meta
    with pytest.raises(DataError, match=r'id "a": .*not JSON serializable; save as .parquet'):
        save_tagged([pair(meta=meta)], tmp_path / "s.jsonl")


def test_beside_json_lines_one_image_is_kept_once(tmp_path: Path) -> None:
    save_tagged([pair("a"), pair("b")], tmp_path / "s.jsonl")
    [image] = (tmp_path / "images").iterdir()
    assert (image.suffix, image.read_bytes()) == (".png", png())


def test_a_set_can_be_saved_over_itself(tmp_path: Path) -> None:
    for name in ("s.jsonl", "s.parquet"):
        save_tagged([pair(images=(ref(1), ref(2)))], tmp_path / name)
        before = load_tagged(tmp_path / name)
        save_tagged(before, tmp_path / name)
        assert [contents(row) for row in load_tagged(tmp_path / name)] == [[png(1), png(2)]]


def test_datasets_reads_the_images_as_images(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    path = tmp_path / "data" / "train-00000-of-00001.parquet"
    save_tagged([pair(images=(ref(7), ref(8)), scores=RATINGS), pair("b", images=())], path)
    loaded = datasets.load_dataset(
        "parquet", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert [image.getpixel((0, 0)) for image in loaded[0]["images"]] == [(7, 0, 0), (8, 0, 0)]
    assert (loaded[0]["scores"], loaded[1]["images"]) == (RATINGS, [])


def test_a_failed_save_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    path = tmp_path / "s.parquet"
    save_tagged([pair()], path)
    before = path.read_bytes()
    with pytest.raises(DataError, match="cannot be read"):
        save_tagged([pair(images=(ImageRef(path=tmp_path / "gone.png"),))], path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["s.parquet"]


@pytest.mark.parametrize(
    ("rows", "name", "reason"),
    [
        ([], "s.jsonl", "no rows to save"),
        (["a", "a"], "s.jsonl", 'id "a" stands for more than one row'),
        (["a"], "s.csv", "name a .jsonl or .parquet file"),
    ],
)
def test_what_cannot_be_saved(tmp_path: Path, rows: list[str], name: str, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        save_tagged([pair(pair_id) for pair_id in rows], tmp_path / name)


# Wrong input


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({}, r"no prompt \(columns: combine_tag, image_tag, text_tag\)"),
        ({"prompt": 3}, "prompt is not a text, nor a chat"),
        ({"prompt": "p", "image_tag": "Safe"}, '"image_tag" is "Safe", not safe or unsafe'),
        ({"prompt": "p", "image_tag": None}, '"visual" is missing'),
        ({"prompt": "p", **dict.fromkeys(SAFE)}, "no tags; only a row with an answer"),
        ({"prompt": "p", "image": "x.png"}, 'column "image" is not known'),
        ({"prompt": "p", "Images": ["x.png"]}, 'column "Images" is not known'),
        ({"prompt": "p", "images": None, "image_path": "x"}, 'column "image_path" is not known'),
        ({"prompt": "p", "visual": "unsafe"}, '"visual" and "image_tag" disagree'),
        ({"prompt": "p", "id": float("nan")}, "id is nan"),
        ({"prompt": "p", "meta_json": "[" * 100_000}, "meta_json is not a JSON object"),
        ({"prompt": "p", "images": [None]}, "image 1 is neither a path nor bytes"),
        ({"prompt": "p", "images": [{"bytes": "iVBO"}]}, "image 1 is neither a path nor bytes"),
        ({"prompt": "p", "images": [{}]}, "image 1 is neither a path nor bytes"),
        ({"prompt": "p", "images": 5}, "image 1 is neither a path nor bytes"),
        ({"prompt": "p", "images": "../x.png"}, r'image file "../x.png" leads out of'),
        ({"prompt": "p", "images": "http://a/x.png"}, "is a URL"),
        ({"prompt": "p", "scores": [1, 2, 3]}, "scores need visual, text and combined"),
        ({"prompt": "p", "scores": {}}, "scores need visual, text and combined"),
        ({"prompt": "p", "id": True}, "id is neither a text nor a number"),
        ({"prompt": "p", "answer": ["x"]}, "answer is neither a text nor a number"),
        ({"prompt": "p", "meta_json": "[1]"}, "meta_json is not a JSON object"),
        ({"prompt": "p", "meta_json": '{"tags": 1, "prompt": 2}'}, 'meta holds "prompt"'),
    ],
)
def test_a_bad_row_is_named_with_its_reason(
    tmp_path: Path, row: dict[str, Any], reason: str
) -> None:
    good = {"prompt": "p", **SAFE}
    path = write_jsonl(tmp_path / "s.jsonl", good, {**SAFE, **row})
    with pytest.raises(DataError, match=rf"s\.jsonl: row 2( \(id .*\))?: .*{reason}"):
        load_tagged(path)


def test_the_message_for_a_missing_image_is_the_promised_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    row = {"id": "a3", "prompt": "p", "images": ["x.png"], **SAFE}
    write_jsonl(tmp_path / "data" / "s.jsonl", row)
    with pytest.raises(DataError) as caught:
        load_tagged("data/s.jsonl")
    promised = 'row 1 (id "a3"): image file "x.png" not found under data/; pass --images DIR'
    assert str(caught.value) == f"data/s.jsonl: {promised}"


def test_five_bad_rows_are_shown_and_all_are_counted(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "s.jsonl", *[{"prompt": "", **SAFE}] * 7, {"prompt": "p", **SAFE})
    with pytest.raises(DataError) as caught:
        load_tagged(path)
    head, *rows, last = str(caught.value).split("; ")
    assert head.endswith("7 of 8 rows cannot be used: row 1: prompt is empty")
    assert (rows[0], len(rows), last) == ("row 2: prompt is empty", 4, "and 2 more")


def test_a_repeated_id_names_both_rows(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "s.jsonl", *[{"id": 1, "prompt": "p", **SAFE}] * 2)
    with pytest.raises(DataError, match=r'row 2 \(id "1"\): the same id as row 1'):
        load_tagged(path)


def test_an_empty_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the set is empty"):
        load_tagged(write_jsonl(tmp_path / "s.jsonl"))


def test_a_folder_without_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no .parquet or .jsonl file"):
        load_tagged(tmp_path)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("id,prompt\n")
    with pytest.raises(DataError, match=r"s\.csv is neither \.jsonl nor \.parquet"):
        load_tagged(tmp_path / "s.csv")


def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s.parquet").write_bytes(b"not parquet")
    with pytest.raises(DataError, match="cannot be read as parquet"):
        load_tagged(tmp_path / "s.parquet")


def test_a_path_that_is_not_there_is_an_input_file_error(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match=r"tagged set .* not found"):
        load_tagged(tmp_path / "gone.jsonl")


def test_the_hub_is_not_asked_when_offline() -> None:
    with pytest.raises(InputFileError, match="not asked while HF_HUB_OFFLINE is set"):
        load_tagged("owner/name")


def test_without_pyarrow_the_message_ends_with_the_mend(tmp_path: Path) -> None:
    (tmp_path / "s.parquet").write_bytes(b"")
    script = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from safegrpo.data.schema import load_tagged\n"
        "from safegrpo.errors import MissingDependencyError\n"
        "try: load_tagged(sys.argv[1])\n"
        "except MissingDependencyError as error: print(error)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "s.parquet")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("pip install 'safegrpo[train]'")


def test_the_module_loads_nothing_heavy() -> None:
    script = (
        "import sys, safegrpo.data, safegrpo.data.schema\n"
        "heavy = {'torch', 'transformers', 'trl', 'datasets', 'pyarrow', 'PIL'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


# Counts


def test_cells_are_counted_by_their_three_tags() -> None:
    rows = [pair(), pair("b"), pair("c", tags=Tags("unsafe", "safe", "unsafe"))]
    rows.append(pair("d", tags=None, answer="x"))
    counts = {"safe/safe/unsafe": 2, "unsafe/safe/unsafe": 1, "untagged": 1}
    assert tag_cells(rows) == counts


# Real data


def test_real_images_pass_through_parquet_unchanged(shared_data: Path, tmp_path: Path) -> None:
    files = sorted(shared_data.glob("*/data/images/**/*.png"))
    assert len(files) >= 60
    rows = [pair(str(n), images=(ImageRef(path=file),)) for n, file in enumerate(files)]
    save_tagged(rows, tmp_path / "train-00000-of-00001.parquet")
    back = load_tagged(tmp_path)
    assert [contents(row) for row in back] == [[file.read_bytes()] for file in files]
