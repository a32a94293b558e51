import base64
import csv
import io
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from safegrpo.data.agreed import measure_judge
from safegrpo.data.people import COLUMNS, Label, export_sample, read_labels
from safegrpo.errors import DataError, InputFileError

PNG = b"\x89PNG\r\n\x1a\n" + b"one"
JPEG = b"\xff\xd8\xff" + b"two"

HOSTILE = [
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\tx",
    "\rx",
    " =1",
    "'=1",
    "''",
    "0012",
    "\uff1dcmd",
    'a "quoted", b;c',
    "two\nlines\r\nand \r more",
    "déjà 图 \U0001f600 \u202e",
    "\x1b[31m\x07\x85\u2028",
    '</Text><script>alert(1)</script>&amp;"',
    " blanks ",
]


def rows_of(folder: Path) -> list[dict[str, str]]:
    text = (folder / "labels.csv").read_bytes().decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text, newline="")))


def filled(folder: Path, name: str = "filled.csv", delimiter: str = ",", **cells: str) -> Path:
    """labels.csv with the same cells filled in in each row, saved again as a spreadsheet does."""
    path = folder / name
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, COLUMNS, delimiter=delimiter)
        writer.writeheader()
        writer.writerows({**row, **cells} for row in rows_of(folder))
    return path


def table(tmp_path: Path, text: str, name: str = "labels.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(text.encode())
    return path


def export(tmp_path: Path, tasks: object) -> Path:
    return table(tmp_path, json.dumps(tasks), "export.json")


def annotation(visual: str, by: object = 1, **more: object) -> dict:
    """One of Label Studio's; text and combined are safe."""
    tags = {"visual": visual, "text": "safe", "combined": "safe"}
    result = [
        {"from_name": name, "to_name": "prompt", "type": "choices", "value": {"choices": [tag]}}
        for name, tag in tags.items()
    ]
    return {"completed_by": by, "was_cancelled": False, "result": result, **more}


def label(pair_id: str, visual: str, person: str = "ann") -> Label:
    return Label(pair_id, person, {"visual": visual, "text": "safe", "combined": "unsafe"})


def judged(visual: str) -> dict[str, str]:
    return {"visual": visual, "text": "safe", "combined": "safe"}


# Going out


def test_tasks_carry_their_images_and_no_verdict(tmp_path: Path) -> None:
    export_sample([("a", "what?", [(".png", PNG), ("jpeg", JPEG)]), ("b", "", [])], tmp_path)
    first, second = json.loads((tmp_path / "tasks.json").read_text())
    assert list(first) == ["data"]
    assert set(first["data"]) == {"id", "pair_id", "prompt", "image_1", "image_2"}
    head, _, body = first["data"]["image_2"].partition(",")
    assert (head, base64.b64decode(body)) == ("data:image/jpeg;base64", JPEG)
    # Label Studio refuses a task without all keys that its interface names.
    assert second["data"].keys() == first["data"].keys()
    assert second["data"]["image_1"].startswith("data:image/svg+xml;base64,")


def test_the_interface_asks_for_three_tags_of_everything_shown(tmp_path: Path) -> None:
    export_sample([("a", "<b>", [("png", PNG)] * 2), ("<c>", "&", [])], tmp_path)
    view = ElementTree.parse(tmp_path / "label_config.xml").getroot()
    assert [tag.get("value") for tag in view.iter("Image")] == ["$image_1", "$image_2"]
    assert [tag.get("value") for tag in view.iter("Text")] == ["$prompt"]
    choices = list(view.iter("Choices"))
    assert [tag.get("name") for tag in choices] == ["visual", "text", "combined"]
    shown = {tag.get("name") for tag in view if tag.tag in ("Image", "Text")}
    for tag in choices:
        assert tag.get("required") == "true" and tag.get("toName") in shown
        assert [choice.get("value") for choice in tag] == ["safe", "unsafe", "unclear"]


def test_the_table_names_image_files(tmp_path: Path) -> None:
    export_sample([("a", "p", [("../../x.png", PNG), (".JPG", JPEG)])], tmp_path)
    (row,) = rows_of(tmp_path)
    assert list(row) == list(COLUMNS)
    files = row["images"].split("; ")
    assert [(tmp_path / file).read_bytes() for file in files] == [PNG, JPEG]
    assert sorted(tmp_path.glob("images/*")) == sorted(tmp_path / file for file in files)
    assert [row[name] for name in ("visual", "text", "combined", "person")] == [""] * 4
    assert "labels.csv" in (tmp_path / "README.txt").read_text()


def test_content_decides_what_an_image_is(tmp_path: Path) -> None:
    export_sample([("a", "p", [(".html", PNG), (".gif", b"unknown")])], tmp_path / "ok")
    assert [file.rsplit(".")[-1] for file in rows_of(tmp_path / "ok")[0]["images"].split("; ")] == [
        "png",
        "gif",
    ]
    with pytest.raises(DataError, match=r'item 1 \(id "a"\): an image is none of'):
        export_sample([("a", "p", [(".html", b"<script>")])], tmp_path / "refused")


def test_no_cell_is_a_formula(tmp_path: Path) -> None:
    export_sample([(text, text, []) for text in HOSTILE], tmp_path)
    for row in rows_of(tmp_path):
        for cell in row.values():
            assert cell.lstrip(" ")[:1] not in {*"=+-@\t\r\n\uff1d"}


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_hostile_ids_come_back_from_the_table(tmp_path: Path, delimiter: str) -> None:
    export_sample([(text, text, []) for text in HOSTILE], tmp_path)
    path = filled(
        tmp_path,
        delimiter=delimiter,
        visual="safe",
        text=" UNSAFE ",
        combined="Unclear",
        person="é ",
    )
    labels = read_labels(path)
    assert [found.id for found in labels] == HOSTILE
    tags = {"visual": "safe", "text": "unsafe", "combined": "unclear"}
    assert all(found == Label(found.id, "é", tags) for found in labels)


def test_hostile_text_comes_back_from_label_studio(tmp_path: Path) -> None:
    export_sample([(text, text, []) for text in HOSTILE], tmp_path)
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    assert [task["data"]["prompt"] for task in tasks] == HOSTILE
    done = [{**task, "id": 7, "annotations": [annotation("safe")]} for task in tasks]
    assert [found.id for found in read_labels(export(tmp_path, done))] == HOSTILE


def test_a_prompt_that_no_file_can_hold_is_mended(tmp_path: Path) -> None:
    export_sample([("a", "x\ud800y\0z\ud83d\ude00", [])], tmp_path)
    assert rows_of(tmp_path)[0]["prompt"] == "x\ufffdy\ufffdz\U0001f600"
    raw = (tmp_path / "tasks.json").read_bytes()
    assert json.loads(raw)[0]["data"]["prompt"] == "x\ufffdy\ufffdz\U0001f600"


def test_a_prompt_longer_than_a_cell_is_shortened_in_the_table_only(tmp_path: Path) -> None:
    export_sample([("a", "x" * 200_000, [])], tmp_path)
    assert len(rows_of(tmp_path)[0]["prompt"]) < 32_767
    assert len(json.loads((tmp_path / "tasks.json").read_text())[0]["data"]["prompt"]) == 200_000


@pytest.mark.parametrize("ids", [[""], ["a", "a"], ["a\ud800"], ["a\0"]])
def test_an_id_that_would_not_come_back_is_refused(tmp_path: Path, ids: list[str]) -> None:
    with pytest.raises(DataError, match=f"item {len(ids)} .*an id must"):
        export_sample([(pair_id, "p", []) for pair_id in ids], tmp_path)
    assert not (tmp_path / "labels.csv").exists()


def test_labels_are_not_overwritten(tmp_path: Path) -> None:
    export_sample([("a", "p", [])], tmp_path)
    with pytest.raises(DataError, match=r"labels\.csv is already there"):
        export_sample([("a", "p", [])], tmp_path)
    with pytest.raises(DataError, match="no pairs"):
        export_sample([], tmp_path / "none")


# Coming back from a spreadsheet


def test_a_table_without_labels_has_none(tmp_path: Path) -> None:
    export_sample([("a", "p", []), ("b", "p", [])], tmp_path)
    assert read_labels(tmp_path / "labels.csv") == []


def test_several_people_in_one_table(tmp_path: Path) -> None:
    text = (
        "ID,Person,Visual,Text,Combined,,\na,ann,safe,safe,safe\n\n,,,,\na,bob,unsafe,safe,safe,,\n"
    )
    labels = read_labels(table(tmp_path, text))
    assert [(found.person, found.tags["visual"]) for found in labels] == [
        ("ann", "safe"),
        ("bob", "unsafe"),
    ]


HEADER = "id,visual,text,combined,person\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "columns .*missing: id, visual|the file is empty"),
        ("id,visual,text,person\n", "missing: combined"),
        ("id,visual,text,combined,person,verdict\n", 'unknown or repeated: "verdict"'),
        ("id,visual,text,combined,person,id\n", 'unknown or repeated: "id", "id"'),
        (HEADER + "a,safe,,safe,ann\n", r'row 2 \(id "a"\): text not filled in'),
        (HEADER + "a,safe,maybe,safe,ann\n", r'row 2 \(id "a"\): "text" is "maybe"'),
        (HEADER + "a,,,,\nb,safe,safe,safe,ann,more\n", r"row 3.*: more cells"),
        (HEADER + ",safe,safe,safe,ann\n", "row 2 .*its id is empty"),
        (HEADER + "a,safe,safe,safe,ann\n" * 2, 'row 3 .*labelled twice by "ann"'),
        (HEADER + "a,safe,safe,safe,\n" * 2, "row 3 .*a person without a name"),
        (HEADER + 'a,"safe\n', "row 2: not CSV"),
        (HEADER + f"a,{'x' * 200_000},safe,safe,ann\n", "row 2: not CSV"),
    ],
)
def test_a_wrong_table_is_named(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(DataError, match=rf'(?s)file of labels ".*labels\.csv": .*{words}'):
        read_labels(table(tmp_path, text))


def test_a_file_that_is_not_there_or_too_large_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputFileError, match="not found"):
        read_labels(tmp_path / "none.csv")
    monkeypatch.setattr("safegrpo.data.people.SIZE_LIMIT", 1024)
    with pytest.raises(DataError, match="larger than 1 KiB"):
        read_labels(table(tmp_path, HEADER + "a" * 1024))


# Coming back from Label Studio


def test_each_annotation_is_a_person(tmp_path: Path) -> None:
    ann = {"id": 3, "email": "ann@example.org"}
    tasks = [
        {
            "id": 90,
            "data": {"id": "a", "prompt": "p"},
            "annotations": [
                annotation("safe", 1),
                annotation("Unsafe", ann),
                annotation("unclear", 5, was_cancelled=True),
                annotation("safe", 6, result=[]),
            ],
        },
        {"id": 91, "data": {"id": "b"}, "annotations": []},
        {"id": 92, "data": {"id": "c"}},
    ]
    labels = read_labels(export(tmp_path, tasks))
    assert [(found.id, found.person, found.tags["visual"]) for found in labels] == [
        ("a", "1", "safe"),
        ("a", "ann@example.org", "unsafe"),
    ]


def test_json_min_is_read_by_the_id_that_outlives_it(tmp_path: Path) -> None:
    tags = {"visual": "safe", "text": "unsafe", "combined": {"choices": ["unclear"]}}
    rows = [
        {"id": 90, "pair_id": "a", "prompt": "p", "annotator": 1, "annotation_id": 4, **tags},
        {"id": "b", "annotator": {"id": 2}, **tags},
        {"id": 92, "pair_id": "c", "annotator": 1},
    ]
    labels = read_labels(export(tmp_path, rows))
    assert [(found.id, found.person) for found in labels] == [("a", "1"), ("b", "2")]
    assert labels[0].tags == {"visual": "safe", "text": "unsafe", "combined": "unclear"}


@pytest.mark.parametrize(
    ("tasks", "words"),
    [
        ({"data": {}}, "no list of tasks"),
        (["x"], "task 1: an object is wanted, this is a str"),
        ([{"data": {"prompt": "p"}, "annotations": []}], "task 1: no id"),
        ([{"data": {"id": "a"}, "annotations": {}}], 'task 1 .*"annotations" is no list'),
        ([{"data": {"id": "a"}, "annotations": [{"result": [1]}]}], 'task 1 .*"result" is no list'),
        ([{"data": {"id": "a"}, "annotations": [annotation("red")]}], '"visual" is "red"'),
        ([{"id": "a", "visual": ["safe", "unsafe"]}], r'task 1 \(id "a"\): "visual" is'),
        ([{"id": "a", "visual": "safe"}], "text, combined not filled in"),
        ([{"data": {"id": "a"}, "annotations": [annotation("safe")] * 2}], 'twice by "1"'),
    ],
)
def test_a_wrong_export_is_named(tmp_path: Path, tasks: object, words: str) -> None:
    with pytest.raises(DataError, match=rf'file of labels ".*export\.json": .*{words}'):
        read_labels(export(tmp_path, tasks))


@pytest.mark.parametrize("text", ["{oops", "[" * 200_000, "[" + "9" * 5000 + "]", "id,visual"])
def test_json_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match="not JSON that can be read"):
        read_labels(table(tmp_path, text, "export.json"))


# The judge against people


def test_a_judge_by_hand() -> None:
    says = {
        "a": ("safe", "safe"),
        "b": ("safe", "unsafe"),
        "c": ("unsafe", "unsafe"),
        "d": ("unsafe", "unclear"),
        "e": ("unclear", "safe"),
    }
    labels = [label(pair_id, people) for pair_id, (people, _) in says.items()]
    verdicts = {pair_id: judged(judge) for pair_id, (_, judge) in says.items()}
    report = measure_judge(labels, {**verdicts, "not labelled": judged("safe")})
    visual = report["visual"]
    assert (visual["n"], visual["people_unclear"], visual["judge_unclear"]) == (5, 1, 1)
    assert visual["accuracy"]["n"] == 3
    assert visual["accuracy"]["value"] == pytest.approx(2 / 3)
    # p_o = 2/5; people 2 2 1, judge 2 2 1: p_e = 9/25, so kappa = (10 - 9) / (25 - 9).
    assert visual["kappa"]["value"] == pytest.approx(1 / 16)
    assert visual["people_alpha"] == {"value": None, "low": None, "high": None, "n": 0}
    assert visual["confusion"] == {
        "safe": {"safe": 1, "unsafe": 1, "unclear": 0},
        "unsafe": {"safe": 0, "unsafe": 1, "unclear": 1},
        "unclear": {"safe": 1, "unsafe": 0, "unclear": 0},
    }
    assert report["text"]["accuracy"]["value"] == 1.0
    assert report["text"]["kappa"]["value"] is None
    assert report["combined"]["accuracy"]["value"] == 0.0
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_most_people_decide_and_a_tie_is_unclear() -> None:
    opinions = {"a": ["safe", "unsafe", "safe"], "b": ["safe", "unsafe"]}
    labels = [
        label(pair_id, tag, person=str(place))
        for pair_id, tags in opinions.items()
        for place, tag in enumerate(tags)
    ]
    report = measure_judge(labels, {"a": judged("safe"), "b": judged("safe")})["visual"]
    assert report["confusion"]["safe"]["safe"] == 1
    assert report["confusion"]["unclear"]["safe"] == 1
    # n = 5, n_safe = 3; off the diagonal lie 4/2 + 2/1: alpha = 1 - 4 · 4 / (25 - 13).
    assert report["people_alpha"]["value"] == pytest.approx(1 - 16 / 12)
    assert report["people_alpha"]["n"] == 2


def test_no_labels_measure_nothing() -> None:
    report = measure_judge([], {"a": judged("safe")})["visual"]
    assert report["n"] == 0
    assert report["accuracy"]["value"] is report["kappa"]["value"] is None


def test_labels_that_do_not_fit_the_judgements_are_named() -> None:
    labels = [label("a", "safe"), label("b", "safe"), label("c", "safe")]
    with pytest.raises(DataError, match='2 of 3 labelled ids were not judged, first "b"'):
        measure_judge(labels, {"a": judged("safe")})
    with pytest.raises(DataError, match='id "a": the judge\'s tag "visual" is "odd"'):
        measure_judge(labels[:1], {"a": judged("odd")})
    with pytest.raises(DataError, match='id "a" is labelled twice by "ann"'):
        measure_judge(labels[:1] * 2, {"a": judged("safe")})


def test_a_label_has_three_tags_of_three_kinds() -> None:
    for wrong in ({}, {"visual": "safe"}, {"visual": "safe", "text": "no", "combined": "safe"}):
        with pytest.raises(DataError, match="not the three tags"):
            Label("a", "ann", wrong)
