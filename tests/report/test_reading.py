"""Files of a run that somebody else made: links that lead out, values that end a reader."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from safegrpo.errors import DataError
from safegrpo.report import write_report
from safegrpo.report.reading import MAX_DEPTH, check_depth, own_file
from safegrpo.report.runs import read_runs
from tests.report.run_folder import Page, evaluation, generation, judgement, metrics, write_rows

SECRET = "a private thing"


def private(folder: Path) -> Path:
    """A run that nobody asked to be shown."""
    figures = metrics()
    figures["benchmarks"]["set"]["title"] = SECRET
    run = evaluation(folder, figures, [generation(response=SECRET)], [judgement(reason=SECRET)])
    (run / "manifest.json").write_text(json.dumps({"said": SECRET}))
    (run / "config.yaml").write_text(f"said: {SECRET}\n")
    (run / "summary.json").write_text(json.dumps({"said": SECRET}))
    write_rows(run / "metrics.jsonl", [{"step": 1, SECRET: 0.5}])
    return run


@pytest.mark.parametrize(
    "name",
    ["generations.jsonl", "judgements.jsonl", "metrics.json", "metrics.jsonl", "config.yaml",
     "manifest.json", "summary.json"],
)  # fmt: skip
def test_a_file_that_is_a_link_out_of_the_run_is_not_read(tmp_path: Path, name: str) -> None:
    other = private(tmp_path / "private")
    run = evaluation(tmp_path / "run", metrics(), [generation()], [judgement()])
    write_rows(run / "metrics.jsonl", [{"step": 1, "reward": 0.5}])
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(other / name)
    page = write_report(run)
    assert SECRET not in page.read_text()
    assert f"{name} is a link out of the run's folder" in Page(page).text


def test_an_evaluation_that_is_a_link_out_of_the_run_is_not_read(tmp_path: Path) -> None:
    other = private(tmp_path / "private")
    run = evaluation(tmp_path / "run", metrics())
    (run / "eval").mkdir()
    (run / "eval" / "after").symlink_to(other)
    page = write_report(run)
    assert SECRET not in page.read_text()
    assert "eval/after is a link out of the run's folder" in Page(page).text


def test_a_whole_folder_of_evaluations_may_not_be_a_link_either(tmp_path: Path) -> None:
    private(tmp_path / "private" / "after")
    run = evaluation(tmp_path / "run", metrics())
    (run / "eval").symlink_to(tmp_path / "private")
    assert SECRET not in write_report(run).read_text()


def test_a_folder_of_images_that_is_a_link_out_of_the_run_shows_none(tmp_path: Path) -> None:
    other = private(tmp_path / "private")
    run = evaluation(tmp_path / "run", metrics(), [generation()])
    (run / "images" / "a.png").unlink()
    (run / "images").rmdir()
    (run / "images").symlink_to(other / "images")
    page = Page(write_report(run))
    assert "images-0" not in page.json
    (said,) = page.rows[0]["missing"]
    assert said == "Image not shown: the folder of images is a link out of the run's folder"


def test_links_inside_of_a_run_are_followed(tmp_path: Path) -> None:
    run = evaluation(tmp_path / "run", metrics(), [generation(images=["b.png"])])
    Image.new("RGB", (4, 4)).save(run / "images" / "c.png")
    (run / "images" / "b.png").symlink_to("c.png")
    (run / "images").rename(run / "pictures")
    (run / "images").symlink_to("pictures")
    assert "images-0" in Page(write_report(run)).json
    (tmp_path / "linked").symlink_to(run)
    assert "images-0" in Page(write_report(tmp_path / "linked")).json


def test_a_ring_of_links_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(DataError, match="no usable path"):
        own_file(tmp_path, "a")
    assert own_file(tmp_path, "none") is None


def nested(depth: int, inner: Any = 1) -> Any:
    for _ in range(depth):
        inner = [inner]
    return inner


def test_depth_is_counted_in_lists_and_objects() -> None:
    check_depth({"a": nested(MAX_DEPTH - 1)})
    with pytest.raises(DataError, match="deeper"):
        check_depth({"a": {"b": nested(MAX_DEPTH)}})


@pytest.mark.parametrize("sample", ["1e999", "-1e999", "1e400", '"x"', "null", "[[1]]", "true"])
def test_a_sample_that_is_no_number_is_named(tmp_path: Path, sample: str) -> None:
    run = evaluation(tmp_path / "run", metrics(), [generation()], [judgement()])
    for file, row in (("generations.jsonl", generation(1)), ("judgements.jsonl", judgement(1))):
        with (run / file).open("a") as rows:
            rows.write(json.dumps(row | {"sample": "HERE"}).replace('"HERE"', sample) + "\n")
    page = Page(write_report(run))
    assert "generations.jsonl is shown up to line 1" in page.text
    assert "judgements.jsonl is shown up to line 1" in page.text
    assert len(page.rows) == 1


@pytest.mark.parametrize("field", ["label", "tags", "faults", "reason", "score", "refused"])
@pytest.mark.parametrize("value", [nested(900), 10**400])
def test_values_that_end_a_reader_end_no_page(tmp_path: Path, field: str, value: Any) -> None:
    said = [judgement(), judgement(1, **{field: value})]
    runs = [evaluation(tmp_path / n, metrics(), [generation(), generation(1)], said) for n in "ab"]
    page = Page(write_report(*runs))
    assert len(page.rows) == 4
    if isinstance(value, list):
        assert "judgements.jsonl is shown up to line 1" in page.text


def test_items_nested_too_deep_are_named(tmp_path: Path) -> None:
    rows = [generation(), generation(1, item={"twin": nested(900), "prompt": nested(900)})]
    page = Page(write_report(evaluation(tmp_path / "run", metrics(), rows)))
    assert "generations.jsonl is shown up to line 1" in page.text


@pytest.mark.parametrize("value", [nested(900), "1e999", nested(900, {"a": 1})])
def test_a_manifest_that_cannot_be_read_is_named(tmp_path: Path, value: Any) -> None:
    run = evaluation(tmp_path / "run", metrics())
    text = json.dumps({"judge": value, "seed": 7}).replace('"1e999"', "1e999")
    (run / "manifest.json").write_text(text)
    (run / "summary.json").write_text(text)
    write_rows(run / "metrics.jsonl", [{"step": 1, "a": value}, {"step": 2, "a": 10**400}])
    page = Page(write_report(run))
    named = "manifest.json is not shown: it is nested deeper" in page.text
    assert named == isinstance(value, list)


def test_a_benchmark_nested_too_deep_is_left_out_and_named(tmp_path: Path) -> None:
    figures = metrics()
    figures["benchmarks"]["deep"] = metrics()["benchmarks"]["set"]
    figures["benchmarks"]["deep"]["modes"]["guided"]["scorers"]["rules"]["judge"] = nested(900)
    figures["benchmarks"]["worse"] = {"title": nested(900)}
    found = read_runs([evaluation(tmp_path / "run", figures)])
    assert list(found.evaluations[0].figures.benchmarks) == ["set"]
    assert sum("it is nested deeper" in note for note in found.notes) == 2


@pytest.mark.parametrize("value", [10**400, float("inf")])
def test_numbers_beyond_all_bounds_leave_their_benchmark_out(tmp_path: Path, value: Any) -> None:
    figures = metrics()
    figures["benchmarks"]["bad"] = {"title": "x", "items": value}
    scorer = {"metrics": {"safety": {"value": value, "n": 1}}}
    figures["benchmarks"]["worse"] = {"modes": {"guided": {"scorers": {"rules": scorer}}}}
    found = read_runs([evaluation(tmp_path / "run", figures)])
    assert list(found.evaluations[0].figures.benchmarks) == ["set"]
