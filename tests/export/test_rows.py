import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from safegrpo.data.images import DEFAULT_MAX_PIXELS, ImageRef, open_image
from safegrpo.data.pairs import TaggedPair
from safegrpo.errors import DataError
from safegrpo.export.rewards import target_in
from safegrpo.export.rows import data_source, placed_text, plain_image, write_rows
from safegrpo.reward import Target

from .conftest import SAFE, encoded, pair


def written(tmp_path, pairs, texts=None):
    path = tmp_path / "rows.parquet"
    write_rows(path, pairs, texts or [one.prompt for one in pairs], DEFAULT_MAX_PIXELS)
    return pq.read_table(path)


def test_a_row_holds_what_either_engine_reads(tmp_path, pairs) -> None:
    row = written(tmp_path, pairs[:1], ["what ?\nguide"]).to_pylist()[0]
    truth = row.pop("ground_truth")
    assert row.pop("images") == [{"bytes": pairs[0].images[0].data, "path": "0-0.png"}]
    assert row == {
        "data_source": "compositional",
        "prompt": [{"role": "user", "content": "<image>what ?\nguide"}],
        "ability": "safety",
        "reward_model": {"style": "rule", "ground_truth": truth},
        "extra_info": {
            "index": 0,
            "id": "p0",
            "image_tag": "safe",
            "text_tag": "safe",
            "combine_tag": "unsafe",
            "source": "made up",
        },
        "problem": "<image>what ?\nguide",
    }
    assert target_in(truth) == Target(pairs[0].tags, pairs[0].prompt, None)


def test_placeholders_are_as_many_as_images(tmp_path, pairs) -> None:
    rows = written(tmp_path, pairs).to_pylist()
    counts = [(row["problem"].count("<image>"), len(row["images"])) for row in rows]
    assert counts == [(1, 1), (2, 2), (0, 0), (1, 1), (1, 1), (0, 0)]
    assert all(row["prompt"][0]["content"] == row["problem"] for row in rows)


def test_types_do_not_depend_on_what_the_rows_hold(tmp_path, pairs) -> None:
    tags = {"image_tag": "safe", "text_tag": "safe", "combine_tag": "safe"}
    full = written(tmp_path, pairs).schema
    bare = written(tmp_path, [pair(0, 0, None)])
    assert bare.schema.equals(full)
    assert pa.types.is_string(bare.schema.field("extra_info").type.field("image_tag").type)
    row = bare.to_pylist()[0]
    assert row["images"] == []
    assert row["ability"] == "general"
    assert {name: row["extra_info"][name] for name in tags} == dict.fromkeys(tags)


def test_validation_is_told_apart_by_kind(pairs) -> None:
    kinds = [data_source(one) for one in pairs]
    assert kinds == ["compositional", "benign", "benign", "harmful", "question", "question"]


def test_a_question_is_scored_against_its_answer(tmp_path, pairs) -> None:
    truth = json.loads(written(tmp_path, pairs[4:5]).to_pylist()[0]["ground_truth"])
    assert (truth["combine_tag"], truth["answer"]) == (None, "7")


@pytest.mark.parametrize("mark", ["<video>", "<audio>"])
def test_a_mark_of_other_media_beside_an_image_names_the_row(mark) -> None:
    one = pair(3, 1, SAFE, prompt=f"what does {mark} mean ?", place='row 4 (id "p3")')
    with pytest.raises(DataError, match=rf'row 4 \(id "p3"\): its prompt holds {mark}'):
        placed_text(one, one.prompt)


def test_such_a_mark_alone_is_only_text() -> None:
    one = pair(3, 0, SAFE, prompt="what does <video> mean ?")
    assert placed_text(one, one.prompt) == one.prompt


@pytest.mark.parametrize("images", [0, 1])
def test_a_guide_with_a_placeholder_is_an_error(images) -> None:
    with pytest.raises(DataError, match="the guide holds <image>"):
        placed_text(pair(0, images, SAFE), "what ?\nlook at <image>")


def test_an_image_that_any_reader_sees_alike_keeps_its_bytes() -> None:
    for data in (
        encoded(kind="JPEG"),
        encoded(kind="WEBP"),
        encoded("L", 90),
        encoded("P", 3, kind="GIF"),
    ):
        assert plain_image(ImageRef(data=data), DEFAULT_MAX_PIXELS, "") == data


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(kind="JPEG", exif=exif)


@pytest.mark.parametrize(
    "data",
    [turned(), encoded("RGBA", (9, 9, 9, 0)), encoded("LA", (9, 0)), encoded("I;16", 40_000)],
    ids=["turned", "transparent", "grey and transparent", "16 bits"],
)
def test_any_other_is_written_as_it_is_seen(data) -> None:
    ref = ImageRef(data=data, name="a.png")
    plain = plain_image(ref, DEFAULT_MAX_PIXELS, "")
    assert plain != data
    seen, again = open_image(ref), open_image(ImageRef(data=plain))
    assert (seen.size, seen.tobytes()) == (again.size, again.tobytes())


def test_a_broken_or_enormous_image_names_the_row(tmp_path) -> None:
    broken = TaggedPair("a", (ImageRef(data=b"no image", name="x.png"),), "p", SAFE)
    with pytest.raises(DataError, match=r'id "a": image "x\.png"'):
        write_rows(tmp_path / "x.parquet", [broken], ["p"], DEFAULT_MAX_PIXELS)
    with pytest.raises(DataError, match=r'id "p0": .* more than 100 pixels'):
        write_rows(tmp_path / "x.parquet", [pair(0, 1, SAFE)], ["p"], 100)
    assert list(tmp_path.iterdir()) == []


def test_a_large_set_goes_to_disk_in_groups(tmp_path) -> None:
    pairs = [pair(i, 0, SAFE) for i in range(250)]
    path = tmp_path / "rows.parquet"
    write_rows(path, pairs, [one.prompt for one in pairs], DEFAULT_MAX_PIXELS)
    assert pq.ParquetFile(path).num_row_groups == 3
