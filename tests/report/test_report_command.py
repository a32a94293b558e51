"""`safegrpo report`: the page of runs, where it was asked for."""

import csv
import io
import json

import pytest

from safegrpo.cli import main
from tests.report.run_folder import Page, evaluation, generation, metrics


def test_the_page_is_written_and_its_place_printed(tmp_path, capsys) -> None:
    (tmp_path / "metrics.jsonl").write_text(
        '{"step": 1, "reward": 0.5}\n{"step": 2, "reward": 1}\n'
    )
    assert main(["report", str(tmp_path)]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "report.html")
    assert main(["report", str(tmp_path), "-o", str(tmp_path / "other.html")]) == 0
    assert (tmp_path / "other.html").read_text() == (tmp_path / "report.html").read_text()
    assert "<html" in (tmp_path / "other.html").read_text()


def test_several_runs_against_a_baseline(tmp_path) -> None:
    one, two = (str(evaluation(tmp_path / n, metrics(), [generation()])) for n in ("one", "two"))
    page = tmp_path / "page.html"
    given = [one, two, "--baseline", two, "--no-images", "--max-samples", "1", "-o", str(page)]
    assert main(["report", *given]) == 0
    assert "one against two" in Page(page).text
    assert len(Page(page).rows) == 1


def test_a_folder_that_is_no_run_is_exit_code_2(tmp_path, capsys) -> None:
    assert main(["report", str(tmp_path)]) == 2
    assert "holds no metrics.json" in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--max-samples", "0"], ["--image-budget", "-1"]])
def test_options_out_of_range_are_exit_code_2(tmp_path, capsys, option) -> None:
    assert main(["report", str(tmp_path), *option]) == 2
    assert option[0] in capsys.readouterr().err


def test_tables_are_printed_instead_of_a_page(tmp_path, capsys) -> None:
    runs = [str(evaluation(tmp_path / n, metrics(), [generation()])) for n in ("one", "two")]
    printed = {}
    for form in ("md", "latex", "csv", "json"):
        assert main(["report", *runs, "--table", form]) == 0
        printed[form] = capsys.readouterr().out
    assert "| one | guided | The Set | rules | safety ↑ | 50.0 [" in printed["md"]
    assert "\\toprule" in printed["latex"]
    assert {row["run"] for row in csv.DictReader(io.StringIO(printed["csv"]))} == {"one", "two"}
    assert json.loads(printed["json"])["rows"][0]["value"] == 0.5
    assert not list(tmp_path.glob("*/report.html"))


def test_a_table_says_on_standard_error_what_could_not_be_read(tmp_path, capsys) -> None:
    run = evaluation(tmp_path / "run", metrics(benchmarks=metrics()["benchmarks"] | {"bad": 3}))
    assert main(["report", str(run), "--table", "md"]) == 0
    said = capsys.readouterr()
    assert "benchmark bad is left out" in said.err
    assert "The Set" in said.out


def test_a_table_goes_without_a_file(tmp_path, capsys) -> None:
    run = str(evaluation(tmp_path / "run", metrics()))
    assert main(["report", run, "--table", "md", "-o", str(tmp_path / "x")]) == 2
    assert "write > FILE" in capsys.readouterr().err


def test_a_page_in_a_folder_that_is_not_there_is_exit_code_2(tmp_path, capsys) -> None:
    run = str(evaluation(tmp_path / "run", metrics()))
    assert main(["report", run, "-o", str(tmp_path / "none" / "page.html")]) == 2
    assert "does not exist; make it first" in capsys.readouterr().err
