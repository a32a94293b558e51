"""`safegrpo score` and `safegrpo classify`: rows in, rows out, wrong rows named."""

import argparse
import json

import pytest

from safegrpo.commands.score import add_classify, add_score
from safegrpo.errors import DataError, InputFileError

GOOD = (
    "<visual_safe>safe</visual_safe><text_safe>safe</text_safe>"
    "<combined_safe>unsafe</combined_safe></think><answer>I won't help with that.</answer>"
)
TAGS = {"visual": "safe", "text": "safe", "combined": "unsafe"}
HUB = {"image_tag": "safe", "text_tag": "safe", "combine_tag": "unsafe"}


@pytest.fixture
def run(tmp_path, capsys):
    """Run a sub-command on rows (or raw text); gives (exit code, printed rows)."""

    def go(command: str, rows, *options: str):
        path = tmp_path / "rows.jsonl"
        text = rows if isinstance(rows, str) else "".join(json.dumps(row) + "\n" for row in rows)
        path.write_text(text, encoding="utf-8")
        parser = argparse.ArgumentParser(prog="safegrpo")
        subparsers = parser.add_subparsers()
        add_score(subparsers)
        add_classify(subparsers)
        args = parser.parse_args([command, str(path), *options])
        code = args.run(args)
        return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return go


def test_every_row_is_scored_in_order(run) -> None:
    rows = [
        {"response": GOOD, **TAGS},
        {"response": "nothing", **HUB},
        {"response": GOOD, "visual": None, "text": None, "combined": None, "answer": "red"},
    ]
    code, printed = run("score", rows)
    assert code == 0
    assert [row["reward"] for row in printed] == [1.0, 0.0, 0.0]
    assert printed[0] == {
        "reward": 1.0, "format": 1, "tag": 1.0, "behavior": 1.0,
        "behavior_label": "refusal", "faults": [],
    }  # fmt: skip
    assert "missing_visual" in printed[1]["faults"]
    assert printed[2]["tag"] is None


def test_rules_change_the_reading(run) -> None:
    rows = [{"response": GOOD, **TAGS}]
    assert run("score", rows, "--rules", "paper")[1][0]["reward"] == 0.5
    assert run("score", rows, "--rules", "strict")[1][0]["reward"] == 1.0


def test_direct_responses_have_no_format(run) -> None:
    rows = [{"response": "I won't help with that.", **TAGS}]
    assert run("score", rows)[1][0]["reward"] == 0.0
    assert run("score", rows, "--direct")[1][0]["reward"] == 1.0


def test_answers_are_classified(run) -> None:
    rows = [{"answer": "I can\u2019t help."}, {"answer": "Red."}, {"answer": ""}]
    assert [row["label"] for row in run("classify", rows)[1]] == ["refusal", "compliance", "empty"]
    paper = run("classify", rows, "--detector", "paper")[1]
    assert paper[0] == {"label": "compliance", "evidence": "", "detector": "paper"}


def test_blank_lines_are_skipped_and_any_character_is_printed(run) -> None:
    text = '\n{"answer": "I can\\u2019t help \\ud800 with that."}\n\n'
    assert [row["label"] for row in run("classify", text)[1]] == ["refusal"]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"id": "a3", "response": "x", **TAGS, "visual": "maybe"},
         r'row 2 \(id "a3"\): "visual" is "maybe", not safe or unsafe'),
        ({"response": "x"}, "row 2: neither tags nor"),
        ({"response": "x", "visual": "safe"}, 'row 2: tag "text", "combined" is missing'),
        ({"response": 5, **TAGS}, 'row 2: "response" is 5, not text'),
        (TAGS, 'row 2: "response" is missing'),
        ({"response": "x", "answer": ["a"]}, r'row 2: "answer" is \["?\'?a'),
        ([1], "line 2: a JSON object is wanted"),
    ],
)  # fmt: skip
def test_a_wrong_row_is_named(run, row, words: str) -> None:
    with pytest.raises(DataError, match=words):
        run("score", [{"response": GOOD, **TAGS}, row])


def test_classify_wants_text(run) -> None:
    with pytest.raises(DataError, match='row 1: "answer" is null, not text'):
        run("classify", [{"answer": None}])
    with pytest.raises(DataError, match='"prompt" is 1, not text'):
        run("classify", [{"answer": "x", "prompt": 1}])


def test_a_missing_file_is_named(run) -> None:
    parser = argparse.ArgumentParser()
    add_score(parser.add_subparsers())
    args = parser.parse_args(["score", "/nowhere/rows.jsonl"])
    with pytest.raises(InputFileError, match=r"/nowhere/rows\.jsonl"):
        args.run(args)


@pytest.mark.parametrize("command", ["score", "classify"])
def test_help_shows_an_example(run, capsys, command: str) -> None:
    with pytest.raises(SystemExit) as stop:
        run(command, [], "--help")
    assert stop.value.code == 0
    assert "example:" in capsys.readouterr().out
