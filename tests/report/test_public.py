"""What of a machine stays off pages and cards."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from safegrpo.report import write_report
from safegrpo.report.public import (
    judge_name,
    model_name,
    settings_without_places,
    told,
    value_without_places,
    without_places,
)
from tests.report.run_folder import Page, evaluation, generation, judgement, metrics, write_rows


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no /home/me/sets/a.png here", "no a.png here"),
        ('file "/home/my self/my sets/a b.png" is gone', 'file "a b.png" is gone'),
        ("in ../../private/sets, or ~/sets/x", "in sets, or x"),
        ("at http://10.1.2.3:8000/v1/chat?key=1 (refused)", "at URL (refused)"),
        ("C:\\Users\\me\\a.png and D:/x/y.png", "a.png and D:y.png"),
        ("--data=/home/me/sets", "--data=sets"),
        ("</think> 1/2 and/or /think a/b/c <b/>", "</think> 1/2 and/or /think a/b/c <b/>"),
        ("runs/mine/checkpoints", "runs/mine/checkpoints"),
    ],
)
def test_places_in_a_sentence_are_cut(text: str, said: str) -> None:
    assert without_places(text) == said


def test_a_whole_value_may_hold_spaces() -> None:
    assert value_without_places("/home/me/my sets/one") == "one"
    assert value_without_places("--data=/home/me/my sets/one") == "--data=one"


def test_a_recipe_keeps_its_form(tmp_path: Path) -> None:
    recipe = "model: /home/me/my models/x\ndata:\n  train: '../../a b/c'\n  list:\n  - /a/b c/d\n"
    said = "model: x\ndata:\n  train: 'c'\n  list:\n  - d\n"
    assert settings_without_places(recipe) == said


@pytest.mark.parametrize("text", ["/a" * 100_000, "a" * 200_000, '"/' * 100_000, " " * 200_000,
                                  "../" * 70_000, "- " * 100_000, "a:" * 100_000])  # fmt: skip
def test_long_texts_are_read_in_no_time(text: str) -> None:
    started = time.process_time()
    settings_without_places(text + "!")
    assert time.process_time() - started < 1


def test_models_and_judges_are_called_by_name() -> None:
    assert model_name("org/name") == "org/name"
    assert model_name("/home/me/runs/mine/checkpoints/last") == "mine"
    assert judge_name("/models/judge-x, org/judge-y") == "judge-x, org/judge-y"
    assert judge_name(None) == ""


def test_what_is_nested_too_deep_is_not_told() -> None:
    deep: object = "x"
    for _ in range(900):
        deep = [deep]
    assert told(deep) == ""
    assert told({"a": 1, "b": deep}) == "a 1"


SECRET = "/home/secret-user/secret-place"


def test_a_page_does_not_tell_where_a_run_was_made(tmp_path: Path) -> None:
    problem = f'image "{SECRET}/a.png" is gone; http://10.1.2.3/secret-v1 is down'
    run = evaluation(
        tmp_path / "run",
        metrics(model=f"{SECRET}/runs/mine/checkpoints/last"),
        [generation(problem=problem, status="error")],
        [judgement(problem=problem, status="error")],
    )
    manifest = {
        "model": {"model": f"{SECRET}/model", "url": "http://secret.example/v1"},
        "judge": {"model": "judge-x", "url": "http://10.1.2.3/v1"},
        "data": "../../secret-place/sets",
        "command": [f"{SECRET}/bin/safegrpo", f"--data={SECRET}/sets", "http://10.1.2.3/v1"],
        "seed": 7,
    }
    (run / "manifest.json").write_text(json.dumps(manifest))
    (run / "config.yaml").write_text(f"model: {SECRET}/model\nurl: https://secret.example/x\n")
    (run / "summary.json").write_text(json.dumps({"place": f"{SECRET}/out"}))
    write_rows(run / "metrics.jsonl", [{"step": 1, "reward": 0.1}])
    page = write_report(run)
    raw = page.read_text()
    for place in ("secret-user", "secret-place", "10.1.2.3", "secret.example", str(tmp_path)):
        assert place not in raw
    text = Page(page).text
    for kept in ("judge-x", '"seed": 7', '"data": "sets"', "--data=sets", "model: model", "mine"):
        assert kept in text
    assert Page(page).rows[0]["problem"] == 'image "a.png" is gone; URL is down'
