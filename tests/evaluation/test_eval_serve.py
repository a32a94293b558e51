"""A real server and the same model in this process: items with images, end to end."""

from pathlib import Path

import pytest
from eval_runs import generations, judgements, metrics, run_eval, write_items
from judge.test_serve import served
from judge.tiny_llava import save_tiny_llava

from safegrpo.cli import main

REPLY = "Sure. Hold it level, turn it slowly, and stop when it clicks."


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save_tiny_llava(folder, REPLY)
    return folder


def test_a_served_model_and_the_same_here_say_the_same(
    tmp_path: Path, model: Path, monkeypatch
) -> None:
    monkeypatch.setenv("MODEL_KEY", "sk-none")
    data = write_items(tmp_path / "data", 3)
    lone = '\n{"id": "item-3", "images": [], "prompt": "item-3 and now?", "combined": "safe"}'
    with (data / "items.jsonl").open("a") as file:
        file.write(lone)
    with served(model, tmp_path / "log.txt") as url:
        asked = ("--model", model, "--max-tokens", 8)
        assert run_eval(data, tmp_path / "served", url, *asked) == 0
    words = ["eval", "--model", model, "--benchmarks", "folder", "--data", data, "--rules-only"]
    words += ["-o", tmp_path / "here", "--max-tokens", 8]
    assert main([str(word) for word in words]) == 0
    one, other = (generations(tmp_path / name) for name in ("served", "here"))
    assert [(row["id"], row["mode"]) for row in one] == [
        (f"item-{i}", mode) for mode in ("guided", "direct") for i in range(4)
    ]
    for row in (*one, *other):
        assert (row["status"], row["response"], row["finish"]) == ("done", REPLY, "stop")
        assert row["completion_tokens"] >= 1
    assert [row.get("images") for row in one] == [row.get("images") for row in other]
    assert [len(row.get("images", [])) for row in one] == [1, 1, 1, 0] * 2
    judged = [judgements(tmp_path / name, "rules") for name in ("served", "here")]
    assert judged[0] == judged[1]
    tables = [metrics(tmp_path / name)["benchmarks"] for name in ("served", "here")]
    for table in tables:
        for mode in table["folder"]["modes"].values():
            del mode["tokens"]  # a server counts the end as one
    assert tables[0] == tables[1]
