"""`safegrpo report`: the page of a run folder, where it was asked for."""

from safegrpo.cli import main


def test_the_page_is_written_and_its_place_printed(tmp_path, capsys) -> None:
    (tmp_path / "metrics.jsonl").write_text(
        '{"step": 1, "reward": 0.5}\n{"step": 2, "reward": 1}\n'
    )
    assert main(["report", str(tmp_path)]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "report.html")
    assert main(["report", str(tmp_path), "-o", str(tmp_path / "other.html")]) == 0
    assert (tmp_path / "other.html").read_text() == (tmp_path / "report.html").read_text()
    assert "<html" in (tmp_path / "other.html").read_text()


def test_a_folder_that_is_no_run_is_exit_code_2(tmp_path, capsys) -> None:
    assert main(["report", str(tmp_path)]) == 2
    assert "neither summary.json nor metrics.jsonl" in capsys.readouterr().err
