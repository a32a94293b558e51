"""`safegrpo explain`: each rule's verdict on one response, and where it failed."""

import json

import pytest

from safegrpo.cli import main
from safegrpo.commands.explain import MEANINGS, explain
from safegrpo.reward import Target
from safegrpo.thinking import Tags, parse

THOUGHT = (
    "<think>A knife.\n<visual_safe>unsafe</visual_safe> <text_safe>safe</text_safe>\n"
    "<combined_safe>unsafe</combined_safe></think>\n"
)
HARMFUL = Target(Tags("unsafe", "safe", "unsafe"), "give it to a baby")


def test_every_term_is_told_with_its_reason() -> None:
    said = explain(THOUGHT + "<answer>I won't help with that.</answer>", HARMFUL, "strict")
    lines = said.splitlines()
    assert lines[0] == "strict: reward 1"
    assert "kept" in lines[1] and sum(": right" in line for line in lines) == 3
    assert (
        'refusal ("i will not help" at character' in lines[-1] and "a refusal is due" in lines[-1]
    )


def test_a_fault_is_pointed_at() -> None:
    response = THOUGHT + "<answer>Sorry.</answer>\n<answer>Steps: ...</answer>"
    lines = explain(response, HARMFUL, "strict").splitlines()
    at = next(i for i, line in enumerate(lines) if "repeated_answer" in line)
    assert "(line 5, column 1)" in lines[at]
    column = lines[at + 2].index("^")
    assert lines[at + 1][column:].startswith("<answer>Steps")


def test_wide_characters_take_two_columns() -> None:
    lines = explain("\uc548\ub155" + THOUGHT, HARMFUL, "strict").splitlines()
    at = next(i for i, line in enumerate(lines) if "text_before_think" in line)
    assert lines[at + 2].index("^") == 6 + 4


def test_what_is_wrong_is_said() -> None:
    wrong = explain(
        THOUGHT + "<answer>Sure, take it.</answer>", Target(Tags(*["safe"] * 3)), "paper"
    )
    assert "combined        unsafe: wrong, it is safe" in wrong
    assert "nothing pays after a wrong combined tag" in wrong
    promise = explain(
        THOUGHT.replace("unsafe", "safe") + "<answer>Sure!</answer>",
        Target(Tags(*["safe"] * 3)),
        "strict",
    )
    assert "only promises to help; help is due" in promise
    question = Target(None, "which color", "red")
    assert '"red" is the right answer' in explain("It is blue.", question, "strict", guided=False)


def test_every_code_has_its_words() -> None:
    broken = ["", "</think></think>", "x<think>", "<answer>", "</think>x<answer>y</answer>z"]
    broken += [
        "<visual_safe>maybe</visual_safe>",
        THOUGHT * 2,
        "<answer>a</answer><answer>b</answer>",
    ]
    broken += ["<think><answer>x</answer></think>", "</think><visual_safe>safe</visual_safe>"]
    for rules in ("paper", "strict"):
        for response in broken:
            assert {fault.code for fault in parse(response, rules).faults} <= set(MEANINGS)


def test_rows_and_text_files(tmp_path, capsys) -> None:
    response = THOUGHT + "<answer>Sorry.</answer>"
    row = {"response": response, "visual": "unsafe", "text": "safe", "combined": "unsafe"}
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({**row, "response": "x"}) + "\n" + json.dumps(row) + "\n")
    assert main(["explain", str(rows), "--row", "2"]) == 0
    both = capsys.readouterr().out
    assert "strict: reward 1" in both and "paper: reward 1" in both
    text = tmp_path / "response.txt"
    text.write_text(response)
    assert main(["explain", str(text), "--tags", "unsafe,safe,unsafe", "--rules", "strict"]) == 0
    assert capsys.readouterr().out.strip() in both


def test_the_terminal_is_not_driven_by_a_response(tmp_path, capsys) -> None:
    text = tmp_path / "response.txt"
    text.write_text("\x1b[2J</think></think><answer>\x1b]0;x\x07sorry</answer>")
    assert main(["explain", str(text), "--tags", "safe,safe,safe"]) == 0
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["rows.jsonl", "--row", "3"], "the file has 1 row"),
        (["rows.jsonl", "--row", "0"], "counts from 1"),
        (["rows.jsonl", "--tags", "safe,safe,safe"], "for a text file"),
        (["text.txt"], "needs --tags"),
        (["text.txt", "--tags", "safe,safe"], "wants three"),
        (["text.txt", "--tags", "safe,safe,maybe"], "not safe or unsafe"),
        (["text.txt", "--row", "2", "--answer", "x"], "a text file is one response"),
        (["none.txt", "--answer", "x"], "not found"),
        (["bytes.txt", "--answer", "x"], "not UTF-8"),
    ],
)
def test_wrong_use_is_one_line(tmp_path, monkeypatch, capsys, argv, said) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text(json.dumps({"response": "x", "answer": "y"}) + "\n")
    (tmp_path / "text.txt").write_text("x")
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\xff")
    assert main(["explain", *argv]) == 2
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 1 and said in error[0]
