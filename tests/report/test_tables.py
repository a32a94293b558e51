import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from safegrpo.evaluation.stats import wilson
from safegrpo.report.figures import RunFigures, read_figures
from safegrpo.report.results import Row, axes, rows_of_runs
from safegrpo.report.tables import COLUMNS, as_csv, as_json, as_latex, as_markdown, in_cell, latex

HOSTILE = "=x`y|z\u202e\n# Title <script>a()</script> ![i](http://a.example) \\input{x} % & $1_2^~"


def metric(hits: int, n: int, items: int | None = None, better: str = "higher") -> dict[str, Any]:
    items = n if items is None else items
    low, high = wilson(hits, n)
    return {
        **{"value": hits / n if n else None, "n": n, "low": low, "high": high, "items": items},
        **{"coverage": n / items, "least": hits / items, "most": (hits + items - n) / items},
        "better": better,
    }


def figures(folder: Path, benchmarks: dict[str, dict[str, dict[str, Any]]]) -> RunFigures:
    """A run whose guided mode has these benchmarks: name -> scorer -> metrics."""
    said = {
        name: {
            "title": f"The {name}",
            "headline": [] if name == "folder" else list(next(iter(scorers.values()))),
            "modes": {"guided": {"scorers": {k: {"metrics": v} for k, v in scorers.items()}}},
        }
        for name, scorers in benchmarks.items()
    }
    path = folder / "metrics.json"
    path.write_text(json.dumps({"format": 1, "model": "m", "benchmarks": said}))
    notes: list[str] = []
    found = read_figures(path, notes)
    assert not notes
    return found


def rows(place: Path, run: str = "mine", **benchmarks: dict[str, Any]) -> tuple[Row, ...]:
    """The rows of a run scored by rules."""
    scored = {name: {"rules": metrics} for name, metrics in benchmarks.items()}
    return rows_of_runs({run: figures(place, scored)})


def lines_of(text: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("| ").split(" | ")]
        for line in text.splitlines()
        if line.startswith("|")
    ]


def test_markdown_shows_percent_interval_n_and_which_way_is_better(tmp_path: Path) -> None:
    text = as_markdown(rows(tmp_path, mine={"attack_success": metric(8, 10, better="lower")}))
    head, _, row = lines_of(text)
    assert head[:5] == ["run", "mode", "benchmark", "scorer (judge)", "metric"]
    assert row[:5] == ["mine", "guided", "The mine", "rules", "attack success ↓"]
    assert row[5:] == ["80.0 [49.0, 94.3]", "10/10"]


def test_missing_items_are_shown_with_the_bounds_they_leave(tmp_path: Path) -> None:
    text = as_markdown(rows(tmp_path, x={"safety": metric(8, 10, items=16)}))
    assert "| 10/16: 50.0 to 87.5 |" in text


def test_what_is_unknown_is_a_dash_and_what_was_not_measured_has_no_line(tmp_path: Path) -> None:
    text = as_markdown(
        rows(tmp_path, a={"safety": metric(0, 0, items=7)}, b={"over_refusal": metric(1, 4)})
    )
    assert [line[4:] for line in lines_of(text)[2:]] == [
        ["safety ↑", "–", "0/7"],
        ["over-refusal ↑", "25.0 [4.6, 69.9]", "4/4"],
    ]


def test_a_set_without_headlines_shows_the_common_ones(tmp_path: Path) -> None:
    text = as_markdown(rows(tmp_path, folder={"f1": metric(1, 4), "safety": metric(1, 2)}))
    assert [line[4] for line in lines_of(text)[2:]] == ["safety ↑"]
    text = as_markdown(rows(tmp_path, folder={"f1": metric(1, 4), "yes_rate": metric(1, 2)}))
    assert [line[4] for line in lines_of(text)[2:]] == ["F1 of yes ↑", "share of yes ↑"]


def test_a_judge_stands_beside_its_scorer(tmp_path: Path) -> None:
    run = figures(tmp_path, {"a": {"rubric": {"safety": metric(1, 2)}}})
    scored = run.benchmarks["a"].modes["guided"].scorers
    scored["rubric"] = scored["rubric"].model_copy(update={"judge": "/models/judge-x"})
    assert lines_of(as_markdown(rows_of_runs({"r": run})))[2][3] == "rubric (judge-x)"


def test_csv_has_one_row_for_each_metric_in_fractions(tmp_path: Path) -> None:
    said = rows(tmp_path, a={"safety": metric(8, 10, items=16), "yes_rate": metric(0, 0, 4)})
    table = list(csv.DictReader(io.StringIO(as_csv(said))))
    assert tuple(table[0]) == COLUMNS
    assert (table[0]["benchmark"], table[0]["metric"], table[0]["value"]) == ("a", "safety", "0.8")
    assert (table[0]["n"], table[0]["items"], table[0]["coverage"]) == ("10", "16", "0.625")
    assert (table[1]["metric"], table[1]["value"]) == ("yes_rate", "")


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", "\r=", "\uff1d", " =", '"='])
def test_csv_holds_nothing_that_a_spreadsheet_computes(tmp_path: Path, start: str) -> None:
    text = as_csv(rows(tmp_path, run=start + "1+1", a={"safety": metric(1, 2)}))
    (row,) = csv.DictReader(io.StringIO(text))
    assert row["run"].startswith("'")


def test_json_holds_rows_and_axes_as_numbers(tmp_path: Path) -> None:
    said = json.loads(as_json(rows(tmp_path, siuo={"safety": metric(8, 10)})))
    assert said["rows"][0]["value"] == 0.8
    (axis,) = said["axes"]
    assert (axis["name"], axis["value"], axis["sets"]) == ("safety awareness", 0.8, ["siuo"])


def test_latex_is_a_booktabs_table_in_which_names_are_only_text(tmp_path: Path) -> None:
    text = as_latex(rows(tmp_path, run=HOSTILE, siuo={"safety": metric(8, 10)}))
    assert text.count("\\begin{tabular}") == text.count("\\bottomrule") == 2
    assert "\\input" not in text
    assert r"\textbackslash{}input\{x\} \% \& \$1\_2\textasciicircum{}" in text
    assert "80.0 {[}49.0, 94.3] & 10/10" in text
    body = [line for line in text.splitlines() if not line.startswith("% ")]
    assert sum(line.endswith(r"\\") for line in body) == 4


def test_latex_leaves_no_option_at_the_start_of_a_row() -> None:
    assert latex("[x]") == "{[}x]"
    assert latex("*") == "{*}"


def test_markdown_leaves_names_as_text(tmp_path: Path) -> None:
    text = as_markdown(rows(tmp_path, run=HOSTILE, **{HOSTILE: {HOSTILE: metric(1, 2)}}))
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    inline = [one for token in tokens for one in token.children or ()]
    kinds = {one.type for one in (*tokens, *inline)}
    assert not kinds & {"html_block", "html_inline", "link_open", "image", "heading_open"}
    assert sum(token.type == "tr_open" for token in tokens) == 2
    assert "\u202e" not in text


@pytest.mark.parametrize(
    "text",
    ["FigStep", "mm_safetybench", "CC BY-NC 4.0", "tag accuracy: image", "a (2), 3/4 ↑", "é"],
)
def test_harmless_words_are_no_code(text: str) -> None:
    assert in_cell(text) == text


@pytest.mark.parametrize(
    "text",
    ["_x_", "a _b_", "*a*", "a|b", "<b>", "[a](b)", "&lt;", "http://a.example", "www.a.example",
     "me@a.example", "~~a~~", ":a:", "a\\|b", "#1", ""],
)  # fmt: skip
def test_what_could_be_markup_is_code(text: str) -> None:
    assert in_cell(text).startswith("`")


def test_a_metric_that_is_not_known_is_told_in_words(tmp_path: Path) -> None:
    text = as_markdown(rows(tmp_path, folder={"my_own": metric(1, 2)}))
    assert lines_of(text)[2][4] == "my own ↑"


def test_jailbreak_defence_is_the_plain_mean_of_its_sets(tmp_path: Path) -> None:
    (axis,) = axes(
        rows(
            tmp_path,
            figstep={"attack_success": metric(1, 10, better="lower"), "safety": metric(9, 10)},
            vlguard={"safety": metric(500, 1000)},
            mm_safetybench={"safety": metric(80, 100)},
        )
    )
    assert axis.name == "jailbreak defence"
    assert axis.sets == ("figstep", "vlguard", "mm_safetybench")
    assert (axis.absent, axis.measure) == ((), "safety")
    assert axis.figure.value == pytest.approx((0.9 + 0.5 + 0.8) / 3)
    ends = [wilson(9, 10), wilson(500, 1000), wilson(80, 100)]
    below = math.dist([0.9, 0.5, 0.8], [low for low, _ in ends]) / 3
    assert axis.figure.low == pytest.approx(axis.figure.value - below)
    assert axis.figure.n == 1110


def test_an_axis_names_the_sets_it_lacks(tmp_path: Path) -> None:
    said = rows(tmp_path, figstep={"safety": metric(9, 10)}, figstep_tiny={"safety": metric(0, 9)})
    (axis,) = axes(said)
    assert (axis.sets, axis.absent) == (("figstep",), ("vlguard", "mm_safetybench"))
    assert axis.figure.value == 0.9
    more = rows(tmp_path, figstep={"safety": metric(9, 10)}, vlguard={"safety": metric(9, 10)})
    assert "figstep, vlguard (without mm_safetybench)" in as_markdown(more)


def test_one_set_of_several_makes_no_line_of_an_axis(tmp_path: Path) -> None:
    said = rows(tmp_path, figstep={"safety": metric(9, 10)}, siuo={"safety": metric(8, 10)})
    text = as_markdown(said)
    assert "safety awareness" in text  # its only set
    assert "jailbreak defence" not in text
    assert {axis["name"] for axis in json.loads(as_json(said))["axes"]} == {
        "jailbreak defence",
        "safety awareness",
    }


def test_an_axis_never_mixes_scorers(tmp_path: Path) -> None:
    run = figures(
        tmp_path,
        {
            "figstep": {"rules": {"safety": metric(9, 10)}, "rubric": {"safety": metric(5, 10)}},
            "vlguard": {"rubric": {"safety": metric(7, 10)}},
        },
    )
    by_scorer = {axis.scorer: axis for axis in axes(rows_of_runs({"r": run}))}
    assert by_scorer["rules"].sets == ("figstep",)
    assert by_scorer["rubric"].sets == ("figstep", "vlguard")
    assert by_scorer["rubric"].figure.value == pytest.approx(0.6)


def test_an_axis_is_of_one_run(tmp_path: Path) -> None:
    one = figures(tmp_path, {"siuo": {"rules": {"safety": metric(9, 10)}}})
    two = figures(tmp_path, {"siuo": {"rules": {"safety": metric(5, 10)}}})
    found = axes(rows_of_runs({"one": one, "two": two}))
    assert [(axis.run, axis.figure.value) for axis in found] == [("one", 0.9), ("two", 0.5)]


def test_over_sensitivity_and_general_ability_take_their_own_metrics(tmp_path: Path) -> None:
    found = axes(
        rows(
            tmp_path,
            mossbench={"over_refusal": metric(3, 10, better="lower"), "safety": metric(1, 10)},
            pope={"accuracy": metric(9, 10), "yes_rate": metric(5, 10, better="neither")},
            mmvet={"score": metric(6, 10)},
            scienceqa={"accuracy": metric(0, 0, items=5)},
        )
    )
    values = {axis.name: (axis.measure, axis.sets, axis.figure.value) for axis in found}
    assert values["over-sensitivity"] == ("over_refusal", ("mossbench",), 0.3)
    assert values["general ability"] == ("accuracy, score", ("pope", "mmvet"), 0.75)


def test_nothing_measured_is_said() -> None:
    assert as_markdown(()) == "Nothing was measured.\n"
    assert as_csv(()) == ",".join(COLUMNS) + "\n"
