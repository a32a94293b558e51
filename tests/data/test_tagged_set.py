import io
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from markdown_it import MarkdownIt
from PIL import Image

from safegrpo.cli import main
from safegrpo.data import tagged_set
from safegrpo.data.agreed import against_people
from safegrpo.data.hub_layout import SplitWriter
from safegrpo.data.images import ImageRef
from safegrpo.data.pairs import TaggedPair, row_from_pair
from safegrpo.data.schema import load_tagged
from safegrpo.errors import DataError
from safegrpo.thinking import Tags

from .rated_folder import (
    CELLS,
    MANIFEST,
    Row,
    picture,
    rated_folder,
    rating,
    row,
    wording,
    write_pairs,
)

COMPOSITIONAL = ("safe", "safe", "unsafe")
HOSTILE = (
    "x`y|z\u202e\n---\n# Title <script>a()</script> ![i](http://a.example) https://b.example "
    '"{[: &amp;'
)


def eighty() -> list[Row]:
    return [row(n, CELLS[n % 8], columns={"source": f"s{n % 2}"}) for n in range(80)]


@pytest.fixture(scope="module")
def selected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eighty pairs in all eight cells; beside it `pairs.jsonl` and `rated`."""
    base = tmp_path_factory.mktemp("selected")
    rated_folder(base, eighty())
    assert main(["select", str(base / "rated"), "-o", str(base / "tagged")]) == 0
    return base / "tagged"


def run(base: Path, *options: str) -> int:
    return main(["select", str(base / "rated"), "-o", str(base / "tagged"), *options])


def report_of(base: Path, *options: str, code: int = 0) -> dict[str, Any]:
    assert run(base, *options) == code
    report: dict[str, Any] = json.loads((base / "tagged" / "selection.json").read_text())
    return report


def select_rows(base: Path, rows: Sequence[Row], *options: str) -> dict[str, Any]:
    rated_folder(base, rows)
    return report_of(base, *options)


def loaded(folder: Path) -> dict[str, TaggedPair]:
    """The pairs of all splits."""
    splits = sorted({path.name.partition("-")[0] for path in (folder / "data").iterdir()})
    return {pair.id: pair for split in splits for pair in load_tagged(folder, split=split)}


def contents(folder: Path) -> Mapping[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


# What is written


def test_all_eight_cells_are_counted(selected: Path) -> None:
    report = json.loads((selected / "selection.json").read_text())
    assert report["cells"] == {"/".join(cell): 10 for cell in CELLS}
    assert report["split_cells"]["test"] == {"/".join(cell): 1 for cell in CELLS}


def test_safegrpo_reads_it_back_with_images_byte_for_byte(selected: Path) -> None:
    given = {one.id: one for one in eighty()}
    found = loaded(selected)
    assert found.keys() == given.keys()
    for pair_id, pair in found.items():
        assert [ref.read_bytes() for ref in pair.images] == given[pair_id].files()
        assert (pair.prompt, pair.tags) == (given[pair_id].prompt, Tags(*given[pair_id].cell))
        assert pair.meta["reasons"]["visual"] == "a reason for visual"


def test_the_splits_have_no_pair_in_common(selected: Path) -> None:
    train, test = ({p.id for p in load_tagged(selected, split=s)} for s in ("train", "test"))
    assert (len(train), len(test), len(train & test)) == (72, 8, 0)


def test_datasets_reads_it_back_offline(selected: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    found = datasets.load_dataset(str(selected), cache_dir=str(tmp_path))
    assert {name: len(rows) for name, rows in found.items()} == {"train": 72, "test": 8}
    given = {one.id: one for one in eighty()}
    for one in found["test"]:
        expected = Image.open(io.BytesIO(given[one["id"]].files()[0])).convert("RGB")
        assert one["images"][0].convert("RGB").tobytes() == expected.tobytes()


def test_the_counts_are_printed(tmp_path: Path, capsys) -> None:
    report = select_rows(tmp_path, [row(n) for n in range(3)])
    assert json.loads(capsys.readouterr().out) == report


def test_one_seed_gives_the_same_files(tmp_path: Path) -> None:
    rated_folder(tmp_path, eighty())
    size = ["--size", "40", "--seed", "7"]
    for name in ("one", "two"):
        assert main(["select", str(tmp_path / "rated"), "-o", str(tmp_path / name), *size]) == 0
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_text_alone_and_several_images_are_pairs_too(tmp_path: Path) -> None:
    select_rows(tmp_path, [row(0, images=()), row(1, images=(1, 2, 1))])
    found = loaded(tmp_path / "tagged")
    assert found["p0"].images == ()
    assert [ref.read_bytes() for ref in found["p1"].images] == [picture(n) for n in (1, 2, 1)]


def test_columns_called_as_ours_are_kept_under_another_name(tmp_path: Path) -> None:
    clash = {"scores": "mine", "answer": "B", "flags": [1], "meta_json": "{", "reasons": 2}
    select_rows(tmp_path, [row(0, columns={**clash, "visual": "blue", "topic": "x"})])
    meta = loaded(tmp_path / "tagged")["p0"].meta
    assert {name: meta[f"original_{name}"] for name in clash} == clash
    assert (meta["visual"], meta["topic"], meta["flags"]) == ("blue", "x", [])


def test_columns_that_json_cannot_hold_are_left_out_and_counted(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    given = [row(0), row(1)]
    rated_folder(tmp_path, given)
    rows = [
        {"id": one.id, "prompt": one.prompt, "thumbnail": b"\xff", "topic": "x"}
        | {"images": [{"bytes": one.files()[0], "path": None}]}
        for one in given
    ]
    parquet = tmp_path / "pairs.parquet"
    pytest.importorskip("pyarrow.parquet").write_table(pa.Table.from_pylist(rows), parquet)
    report = report_of(tmp_path, "--pairs", str(parquet))
    assert report["columns_left_out"] == {"thumbnail": 2}
    assert loaded(tmp_path / "tagged")["p0"].meta["topic"] == "x"


# What is lost, and why


def test_what_was_dropped_and_what_was_kept_come_to_all_rows(tmp_path: Path) -> None:
    rows = [
        *(row(n, CELLS[n % 8]) for n in range(24)),
        row(30, confidence=6.9),
        row(31, rating=rating((3.5, 9, 9))),
        row(32, status="refused"),
        row(33, status="unparseable"),
        row(34, images=(0,), prompt=wording(0), confidence=8),
        row(35),
        row(36, COMPOSITIONAL, images=(35,), prompt=wording(35)),
        row(37, images=(b"no image",)),
        row(38),
        row(39),
        row(40),
    ]
    rated_folder(tmp_path, rows)
    there = [one for one in rows if one.id != "p38"]
    there[there.index(rows[-2])] = row(39, prompt="other words than were rated")
    write_pairs(tmp_path / "pairs.jsonl", there)
    (tmp_path / "images" / "p40-0.png").unlink()
    report = report_of(tmp_path, "--per-cell", "2")
    assert report["dropped"] == {
        **{"low_confidence": 1, "unclear_score": 1, "refused": 1, "unparseable": 1},
        **{"near_duplicate": 1, "contradiction": 2, "image_unreadable": 1, "not_in_source": 1},
        **{"changed_since_rated": 1, "unusable_in_source": 1, "balance": 7},
    }
    assert report["rows"] == len(rows) == report["kept"] + sum(report["dropped"].values())


def test_an_image_changed_since_it_was_rated_drops_its_pair(tmp_path: Path) -> None:
    rated_folder(tmp_path, [row(0), row(1)])
    (tmp_path / "images" / "p1-0.png").write_bytes(picture(99))
    assert report_of(tmp_path)["dropped"] == {"changed_since_rated": 1}


def test_scores_without_a_content_hash_are_taken(tmp_path: Path) -> None:
    folder = rated_folder(tmp_path, [row(0)])
    score = json.loads((folder / "scores.jsonl").read_text())
    kept = ("id", "status", "scores", "confidences", "reasons")
    (folder / "scores.jsonl").write_text(json.dumps({k: score[k] for k in kept}) + "\n")
    assert report_of(tmp_path)["kept"] == 1


def test_tags_that_the_source_states_otherwise_are_flagged(tmp_path: Path) -> None:
    stated = {"image_tag": "safe", "text_tag": "safe", "combine_tag": "unsafe"}
    report = select_rows(tmp_path, [row(0, columns=stated), row(1, COMPOSITIONAL, columns=stated)])
    assert report["flags"] == {"differs_from_source": 1}
    found = loaded(tmp_path / "tagged")
    assert [found[i].meta["flags"] for i in ("p0", "p1")] == [["differs_from_source"], []]


def test_an_id_twice_in_the_source_is_an_error(tmp_path: Path, capsys) -> None:
    rated_folder(tmp_path, [row(0)])
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text(pairs.read_text() * 2)
    assert run(tmp_path) == 2
    assert '"p0" stands for more than one pair' in capsys.readouterr().err


def test_nothing_selected_is_an_error_that_says_why(tmp_path: Path, capsys) -> None:
    rated_folder(tmp_path, [row(0, confidence=5), row(1), row(2)])
    for path in (tmp_path / "images").iterdir():
        path.unlink()
    assert run(tmp_path) == 2
    said = capsys.readouterr().err
    assert "no pair is left of 3 (unusable_in_source 2, low_confidence 1; the first: " in said
    assert not (tmp_path / "tagged").exists()


def test_pairs_that_were_never_rated_are_told(tmp_path: Path, capsys) -> None:
    folder = rated_folder(tmp_path, [row(i) for i in range(6)])
    lines = (folder / "scores.jsonl").read_text().splitlines()
    (folder / "scores.jsonl").write_text("\n".join(lines[:4]) + "\n")
    report = report_of(tmp_path)
    assert (report["rows"], report["not_rated"]) == (4, 2)
    assert "2 pairs of the source were never rated" in capsys.readouterr().err
    assert "2 more pairs" in (tmp_path / "tagged" / "README.md").read_text()


def test_tags_that_sources_state_are_held_against_the_judges(tmp_path: Path) -> None:
    stated = {"image_tag": "safe", "text_tag": "unsafe", "combine_tag": "safe"}
    rows = [row(i, columns=stated) for i in range(3)]
    report = select_rows(tmp_path, rows)
    values = {name: one["value"] for name, one in report["against_source"].items()}
    assert values == {"visual": 1.0, "text": 0.0, "combined": 1.0}
    assert "| text | 3 | 0.00 (" in (tmp_path / "tagged" / "README.md").read_text()


def test_a_size_below_the_compositional_cell_says_so(tmp_path: Path, capsys) -> None:
    report = select_rows(tmp_path, [row(n, CELLS[n % 2]) for n in range(12)], "--size", "4")
    assert report["cells"] == {"safe/safe/unsafe": 6}
    assert "more than 4: all that are unsafe only together" in capsys.readouterr().err


# Where things are


def test_data_that_moved_is_found_by_pairs_and_images(tmp_path: Path, capsys) -> None:
    rated_folder(tmp_path, [row(0)])
    (tmp_path / "there").mkdir()
    (tmp_path / "pairs.jsonl").rename(tmp_path / "there" / "pairs.jsonl")
    assert run(tmp_path) == 2
    assert "--pairs" in capsys.readouterr().err
    moved = ["--pairs", str(tmp_path / "there" / "pairs.jsonl"), "--images", str(tmp_path)]
    assert run(tmp_path, *moved) == 0


def test_pairs_that_moved_are_read_as_they_were_rated(tmp_path: Path) -> None:
    folder = rated_folder(tmp_path, [row(0)])
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["pairs"] |= {"columns": {"prompt": "asked"}, "source": "mine"}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    one = json.loads((tmp_path / "pairs.jsonl").read_text())
    one["asked"], one["prompt"] = one["prompt"], "something else"
    (tmp_path / "moved.jsonl").write_text(json.dumps(one))
    report = report_of(tmp_path, "--pairs", str(tmp_path / "moved.jsonl"))
    assert report["sources"] == {"mine": 1}


@pytest.mark.parametrize("where", ["rated", "rated/tagged", "pairs.jsonl", ".", "images"])
def test_an_output_that_would_spoil_something_is_refused(tmp_path, capsys, where) -> None:
    rated_folder(tmp_path, [row(0)])
    before = contents(tmp_path)
    assert main(["select", str(tmp_path / "rated"), "-o", str(tmp_path / where)]) == 2
    assert f"-o {tmp_path / where} " in capsys.readouterr().err
    assert contents(tmp_path) == before


def test_a_selected_set_is_not_replaced_by_what_is_chosen_from_it(tmp_path: Path, capsys) -> None:
    select_rows(tmp_path, [row(0), row(1)], "--test-share", "0")
    again = ["--pairs", str(tmp_path / "tagged"), "--test-share", "0"]
    assert run(tmp_path, *again) == 2
    assert "which is read" in capsys.readouterr().err


def test_an_output_among_pairs_in_a_folder_is_refused(tmp_path: Path, capsys) -> None:
    rated_folder(tmp_path, [row(0)])
    images = tmp_path / "images"
    inside = ["select", str(tmp_path / "rated"), "-o", str(images / "tagged")]
    assert main([*inside, "--pairs", str(images)]) == 2
    assert "lies among the pairs" in capsys.readouterr().err


def test_ratings_of_another_making_are_taken_if_the_pairs_are_named(tmp_path: Path) -> None:
    folder = rated_folder(tmp_path, [row(0), row(1)])
    (folder / "manifest.json").unlink()
    scores = (folder / "scores.jsonl").read_text()
    (folder / "scores.jsonl").write_text(scores.rstrip("\n"))
    report = report_of(tmp_path, "--pairs", str(tmp_path / "pairs.jsonl"))
    assert (report["rows"], report["kept"]) == (2, 2)


def test_a_folder_without_a_manifest_is_an_error(tmp_path: Path, capsys) -> None:
    assert run(tmp_path) == 2
    assert "run safegrpo annotate first" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options",
    [["--unsafe-max", "8"], ["--min-confidence", "11"], ["--size", "0"], ["--test-share", "1"]],
)
def test_wrong_options_are_errors(tmp_path: Path, options) -> None:
    assert run(tmp_path, *options) == 2


# Again, and cut short


def test_running_again_replaces_the_whole_set(tmp_path: Path, monkeypatch) -> None:
    rated_folder(tmp_path, [row(n) for n in range(12)])
    monkeypatch.setattr(tagged_set, "_SHARD_BYTES", 2000)
    report_of(tmp_path)
    assert len(list((tmp_path / "tagged" / "data").iterdir())) > 2
    monkeypatch.undo()
    assert report_of(tmp_path, "--per-cell", "3", "--test-share", "0")["kept"] == 3
    names = ["README.md", "data", "plots", "selection.json"]
    assert sorted(path.name for path in (tmp_path / "tagged").iterdir()) == names
    assert len(loaded(tmp_path / "tagged")) == 3
    assert [p.name for p in (tmp_path / "tagged/data").iterdir()] == [
        "train-00000-of-00001.parquet"
    ]


def test_a_set_of_several_files_is_read_back_whole(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(tagged_set, "_SHARD_BYTES", 2000)
    select_rows(tmp_path, [row(n) for n in range(12)])
    assert len(loaded(tmp_path / "tagged")) == 12


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left")])
def test_what_breaks_in_the_middle_leaves_the_old_set(tmp_path: Path, monkeypatch, error) -> None:
    select_rows(tmp_path, [row(n) for n in range(12)])
    before = contents(tmp_path / "tagged")
    write = SplitWriter.write
    written: list[object] = []

    def breaking(self: SplitWriter, *row: Any) -> None:
        written.append(row)
        if len(written) == 5:
            raise error
        write(self, *row)

    monkeypatch.setattr(SplitWriter, "write", breaking)
    assert run(tmp_path, "--seed", "1") in (1, 130)
    assert contents(tmp_path / "tagged") == before


def test_what_a_killed_run_left_is_not_read_and_goes_away(tmp_path: Path) -> None:
    rated_folder(tmp_path, [row(0)])
    torn = tmp_path / "tagged" / ".new" / "data" / "train-00000-of-00001.parquet"
    torn.parent.mkdir(parents=True)
    torn.write_bytes(b"PAR1")
    assert report_of(tmp_path)["kept"] == 1
    assert not torn.exists()


@pytest.mark.parametrize("change", ["image", "row"])
def test_pairs_that_change_between_the_passes_are_an_error(
    tmp_path: Path, monkeypatch, capsys, change
) -> None:
    rated_folder(tmp_path, [row(n) for n in range(4)])

    def meanwhile(*given: Any) -> Any:
        if change == "image":
            (tmp_path / "images" / "p2-0.png").write_bytes(picture(99))
        else:
            write_pairs(tmp_path / "pairs.jsonl", [row(n) for n in range(3)])
        return split(*given)

    split = tagged_set.split
    monkeypatch.setattr(tagged_set, "split", meanwhile)
    assert run(tmp_path) == 2
    assert "changed meanwhile; run again" in capsys.readouterr().err
    assert not (tmp_path / "tagged" / "data").exists()


# SplitWriter


def test_more_files_than_rows_are_not_made(tmp_path: Path) -> None:
    pair = TaggedPair("a", (), "Why?", Tags("safe", "safe", "safe"))
    with SplitWriter(tmp_path, "train", rows=1, shards=5) as writer:
        writer.write(row_from_pair(pair), (), {"reasons": None, "flags": []}, {})
    assert [path.name for path in tmp_path.iterdir()] == ["train-00000-of-00001.parquet"]


def test_a_split_that_is_not_written_to_its_end_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="only 0 of 2 rows"), SplitWriter(tmp_path, "train", 2, 1):
        pass


def test_a_file_name_that_is_no_text_is_written(tmp_path: Path) -> None:
    pair = TaggedPair(
        "a", (ImageRef(data=picture(0), name="b\udcff.png"),), "Why?", Tags("safe", "safe", "safe")
    )
    with SplitWriter(tmp_path, "train", 1, 1) as writer:
        writer.write(row_from_pair(pair), pair.images, {"reasons": None, "flags": []}, {})
    assert load_tagged(tmp_path)[0].images[0].name == "b?.png"


# The card


def front_matter(card: str) -> dict[str, Any]:
    found = yaml.safe_load(card.split("---\n")[1])
    assert isinstance(found, dict)
    return found


def tables(card: str) -> dict[str, dict[str, str]]:
    """The tables of two columns: {first heading: {name: count}}."""
    found: dict[str, dict[str, str]] = {}
    for block in card.split("\n\n"):
        lines = [line.strip("| ").split(" | ") for line in block.splitlines() if line[:1] == "|"]
        if len(lines) > 2 and len(lines[0]) == 2:
            found[lines[0][0]] = {name.strip("`"): count for name, count in lines[2:]}
    return found


def test_the_cards_front_matter_names_the_files_of_each_split(selected: Path) -> None:
    config = front_matter((selected / "README.md").read_text())["configs"][0]
    for one in config["data_files"]:
        assert len(list(selected.glob(one["path"]))) == 1
    assert {one["split"] for one in config["data_files"]} == {"train", "test"}


def test_the_cards_numbers_are_those_of_the_selection(tmp_path: Path) -> None:
    rows = [*eighty(), row(90, confidence=5), row(91, ("unsafe", "safe", "safe"))]
    report = select_rows(tmp_path, rows)
    card = (tmp_path / "tagged" / "README.md").read_text()
    names = {"split": "splits", "source": "sources", "licence": "licenses", "reason": "dropped"}
    for head, key in {**names, "flag": "flags", "image / text / both": "cells"}.items():
        assert tables(card)[head] == {name: str(count) for name, count in report[key].items()}
    assert f"{report['kept']} pairs of images" in card
    assert f"Of {report['rows']} rated pairs" in card


def test_the_plots_are_images(selected: Path) -> None:
    card = (selected / "README.md").read_text()
    for name in ("cells", "scores", "confidences"):
        with Image.open(selected / "plots" / f"{name}.png") as image:
            image.load()
            assert image.format == "PNG"
        assert f"](plots/{name}.png)" in card


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    judge = {"model": HOSTILE, "temperature": HOSTILE}
    said = {**MANIFEST, "judges": [judge, "no object"], "votes": HOSTILE, "wording": HOSTILE}
    hostile = {"source": HOSTILE, "license": HOSTILE + " 2", HOSTILE: "x"}
    rated_folder(tmp_path, [row(0, columns=hostile), row(1)], manifest=said)
    report_of(tmp_path)
    card = (tmp_path / "tagged" / "README.md").read_text()
    assert front_matter(card)["pretty_name"] == "Safety tags for image-text pairs"
    tokens = MarkdownIt("commonmark").enable("table").parse(card.split("---\n", 2)[2])
    inline = [one for token in tokens for one in token.children or ()]
    assert not [one for one in (*tokens, *inline) if one.type.startswith("html")]
    assert [str(one.attrs["src"])[:6] for one in inline if one.type == "image"] == ["plots/"] * 3
    assert sum(token.type == "heading_open" for token in tokens) == 5
    text = "".join(one.content for one in inline if one.type == "text")
    assert not [word for word in ("Title", "script", "example", "http") if word in text]
    assert "\u202e" not in card


def test_the_card_and_the_counts_do_not_say_where_the_judge_is(selected: Path) -> None:
    for name in ("README.md", "selection.json"):
        assert "judge.internal" not in (selected / name).read_text()
    assert "`judge-1`" in (selected / "README.md").read_text()


def test_the_card_tells_of_prompts_that_both_splits_may_hold(tmp_path: Path) -> None:
    report = select_rows(tmp_path, [row(n, prompt="What is shown here?") for n in range(30)])
    assert (report["splits"], report["stock_prompts"]) == ({"train": 27, "test": 3}, 1)
    assert "but for 1 prompts" in (tmp_path / "tagged" / "README.md").read_text()


def test_many_sources_are_cut_to_the_largest(tmp_path: Path) -> None:
    rows = [row(n, images=(), columns={"source": f"page {max(n, 5)}"}) for n in range(70)]
    select_rows(tmp_path, rows, "--test-share", "0")
    shown = tables((tmp_path / "tagged" / "README.md").read_text())["source"]
    assert (shown["page 5"], shown["15 others"], len(shown)) == ("6", "15", 51)


def test_one_vote_a_pair_is_said_to_tell_nothing_of_agreement(selected: Path) -> None:
    assert "One vote a pair" in (selected / "README.md").read_text()


def test_the_card_tells_how_far_votes_agree_by_the_thresholds_used(tmp_path: Path) -> None:
    votes = [[rating((9, 9, 9)), rating((9, 9, 6))], [rating((1, 1, 1)), rating((1, 1, 1))]]
    rows = [row(n, rating=votes[n % 2][0], votes=votes[n % 2]) for n in range(12)]
    rated_folder(tmp_path, rows, manifest={**MANIFEST, "votes": 2})
    usual = report_of(tmp_path)["agreement"]["combined"]["share_equal"]["value"]
    lower = report_of(tmp_path, "--safe-min", "6")["agreement"]["combined"]
    assert (usual, lower["share_equal"]["value"], lower["units"]) == (0.5, 1.0, 12)
    assert "| combined | 12 | 1.00" in (tmp_path / "tagged" / "README.md").read_text()


def test_the_card_tells_how_the_judge_does_against_people(tmp_path: Path) -> None:
    folder = rated_folder(tmp_path, [row(0), row(1), row(2, COMPOSITIONAL)])
    assert run(tmp_path) == 0
    assert "No sample was labelled by people" in (tmp_path / "tagged" / "README.md").read_text()
    labels = folder / "labels.csv"
    lines = ["id,visual,text,combined,person", "p0,safe,safe,safe,x", "p2,safe,safe,safe,x"]
    labels.write_text("\n".join(lines) + "\n")
    measured = against_people(folder, labels)
    assert report_of(tmp_path)["people"] == measured
    assert "| combined | 2 | 2 | 0.50 (" in (tmp_path / "tagged" / "README.md").read_text()


# The hub


class Hub:
    """A hub with one data set, which is public or not, and what was uploaded to it."""

    def __init__(self, private: bool) -> None:
        self.private = private
        self.uploads: list[dict[str, Any]] = []

    def create_repo(self, name: str, **_: Any) -> None: ...

    def dataset_info(self, name: str) -> Any:
        return self

    def upload_folder(self, **given: Any) -> None:
        self.uploads.append(given)


@pytest.mark.parametrize("private", [True, False])
def test_a_set_goes_to_a_private_data_set_only(tmp_path, monkeypatch, private) -> None:
    hub = Hub(private)
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: hub)
    rated_folder(tmp_path, [row(0)])
    assert run(tmp_path, "--push", "me/set") == (0 if private else 2)
    assert len(hub.uploads) == private


# Memory

_PEAK = """
import sys
from safegrpo.cli import main
assert main(["select", *sys.argv[1:]]) == 0
print([line for line in open("/proc/self/status") if line.startswith("VmHWM")][0].split()[1])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
def test_ten_times_the_rows_take_hardly_more_memory(tmp_path: Path) -> None:
    peaks = []
    for count in (300, 3000):
        base = tmp_path / str(count)
        # 27 KB an image: if they were kept, 3,000 of them would be 81 MB.
        rows = [Row(f"p{n}", prompt=wording(n), images=(_bitmap(n),)) for n in range(count)]
        folder = rated_folder(base, rows)
        command = [sys.executable, "-c", _PEAK, str(folder), "-o", str(base / "tagged")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout.split()[-1]) / 1024)
    assert peaks[1] - peaks[0] < 40, peaks


def _bitmap(seed: int) -> bytes:
    blocks = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    sink = io.BytesIO()
    Image.fromarray(blocks.repeat(12, axis=0).repeat(12, axis=1)).save(sink, "BMP")
    return sink.getvalue()
