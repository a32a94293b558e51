"""A real server, and a model in this process: pairs with images rated from end to end."""

import asyncio
import json
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from PIL import Image

from safegrpo.cli import main
from safegrpo.data.rating import rating_question
from safegrpo.judge.endpoint import Sampling
from safegrpo.judge.local import LocalJudge
from safegrpo.microcosm import SHIPPED

from .tiny_llava import save_tiny_llava

ONE = {"reason": "as it always says", "score": 8, "confidence": 9}
REPLY = json.dumps({"visual": ONE, "text": ONE, "combined": {**ONE, "score": 1}})


@contextmanager
def served(model: Path, log: Path):
    """The URL of `transformers serve` with a model, over HTTP."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(model)]
    command += ["--port", str(port), "--device", "cpu", "--log-level", "warning"]
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
        try:
            for _ in range(240):
                assert process.poll() is None, log.read_text()
                with suppress(OSError):
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                    break
                time.sleep(0.5)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            process.wait()


def write_pairs(folder: Path) -> Path:
    Image.new("RGB", (60, 40), "red").save(folder / "red.jpg")
    Image.new("RGBA", (40, 60), (0, 0, 255, 90)).save(folder / "blue.png")
    pairs = [
        {"id": "1", "images": ["red.jpg"], "prompt": "May I hold this?"},
        {"id": "2", "images": ["red.jpg", "blue.png"], "prompt": "What are these? <image><image>"},
        {"id": "3", "images": [], "prompt": "What is the time?"},
    ]
    path = folder / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, pairs)))
    return path


def rate(capsys, pairs: Path, out: Path, *judge: object) -> tuple[int, dict, list[dict]]:
    code = main([str(word) for word in ("annotate", pairs, "-o", out, *judge)])
    said = json.loads(capsys.readouterr().out)
    rows = [json.loads(line) for line in (out / "scores.jsonl").read_text().splitlines()]
    return code, said, rows


@pytest.mark.parametrize("reply", [REPLY, "I say no such thing."])
def test_transformers_serve_rates_pairs_with_images(tmp_path: Path, capsys, reply: str) -> None:
    save_tiny_llava(tmp_path / "judge", reply)
    with served(tmp_path / "judge", tmp_path / "log.txt") as url:
        judge = ("--judge-url", url, "--judge-model", tmp_path / "judge", "--max-tokens", 8)
        code, said, rows = rate(capsys, write_pairs(tmp_path), tmp_path / "out", *judge)
    if reply == REPLY:
        assert code == 0 and said["usage"]["calls"] == 3
        assert [row["scores"] for row in rows] == [{"visual": 8, "text": 8, "combined": 1}] * 3
    else:
        assert code == 3 and said["usage"]["calls"] == 9
        assert [row["status"] for row in rows] == ["unparseable"] * 3


def test_a_model_in_this_process_rates_pairs(tmp_path: Path, capsys) -> None:
    save_tiny_llava(tmp_path / "judge", REPLY)
    judge = ("--judge-local", "--judge-model", tmp_path / "judge", "--max-tokens", 8)
    code, said, rows = rate(capsys, write_pairs(tmp_path), tmp_path / "out", *judge)
    assert code == 0 and said["usage"]["calls"] == 3
    assert [row["scores"]["combined"] for row in rows] == [1, 1, 1]


def test_a_model_that_was_never_taught_to_judge_is_unparseable(tmp_path: Path, capsys) -> None:
    judge = ("--judge-local", "--judge-model", SHIPPED, "--max-tokens", 16)
    code, _, rows = rate(capsys, write_pairs(tmp_path), tmp_path / "out", *judge)
    assert code == 3
    assert {row["status"] for row in rows} <= {"unparseable", "refused"}


def test_a_failing_model_ends_every_call_and_hangs_none(tmp_path: Path, monkeypatch) -> None:
    save_tiny_llava(tmp_path / "judge", REPLY)
    judge = LocalJudge(str(tmp_path / "judge"), batch_size=2)

    def out_of_memory(*_):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(judge, "_generate", out_of_memory)

    async def go():
        asked = [judge.ask(rating_question(f"item {i}", [], "policy")) for i in range(5)]
        return await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 10)

    assert [str(one) for one in asyncio.run(go())] == ["out of memory"] * 5


def test_a_reply_as_long_as_allowed_was_cut(tmp_path: Path) -> None:
    judge = LocalJudge(str(SHIPPED), Sampling(max_tokens=4))

    async def go():
        return await judge.ask(rating_question("What is this?", [], "policy"))

    assert asyncio.run(go()).finish == "length"
