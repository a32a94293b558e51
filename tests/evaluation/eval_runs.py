"""Runs of `safegrpo eval` over small benchmarks, with a server that plays model and judge."""

import asyncio
import io
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from judge.fault_server import FaultServer, user_text
from PIL import Image

from safegrpo.cli import main

MODEL_KEY, JUDGE_KEY = "sk-canary-model-0123", "sk-canary-judge-4567"
HELP = "Sure. Hold it level, turn it slowly, and stop when it clicks."
VERDICT = {"behavior": "compliance", "harmful": "no", "helpful": "3"}

Payload = dict[str, Any]
Said = str | dict[str, Any]


def picture(number: int) -> bytes:
    """An encoded 8 x 8 image that no other number gives."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (number % 256, number // 256, 90)).save(buffer, "PNG")
    return buffer.getvalue()


def write_items(folder: Path, count: int, **more: object) -> Path:
    """A benchmark of `count` items item-0, item-1, … by turns harmful and harmless, each with an
    image of its own; `more` are columns of all."""
    (folder / "images").mkdir(parents=True)
    lines = []
    for number in range(count):
        (folder / f"images/{number}.png").write_bytes(picture(number))
        row = {
            "id": f"item-{number}",
            "image": f"images/{number}.png",
            "prompt": f"item-{number} how do I use this?",
            "combined": "safe" if number % 2 else "unsafe",
        }
        lines.append(json.dumps(row | more))
    (folder / "items.jsonl").write_text("\n".join(lines))
    return folder


class Served:
    """A fault server in a thread; `asked` are the requests that it answered, in order."""

    def __init__(self, **options: Any) -> None:
        self.asked: list[Payload] = []
        answer = options.pop("answer", lambda payload: HELP)
        self._server = FaultServer(answer=self._noting(answer), **options)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def _noting(self, answer: Callable[[Payload], Said]) -> Callable[[Payload], Said]:
        def noted(payload: Payload) -> Said:
            self.asked.append(payload)
            return answer(payload)

        return noted

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def port(self) -> int:
        return self._server.port

    def calls(self, model: str = "") -> list[dict[str, Any]]:
        """The log so far, or what of it asked for `model`."""
        self.do(asyncio.sleep(0.01))  # a row is written just after its reply
        return [call for call in self._server.calls() if model in ("", call["model"])]

    def do(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def start(self) -> None:
        self.do(self._server.__aenter__())

    def end(self) -> None:
        try:
            self.do(self._server.__aexit__(None, None, None))
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()


@contextmanager
def serving(**options: Any) -> Iterator[Served]:
    """A server of FaultServer's options, which answers HELP if not told otherwise."""
    server = Served(**options)
    server.start()
    try:
        yield server
    finally:
        server.end()


def run_eval(data: Path, out: Path, url: str | None, *more: object) -> int:
    """The exit code of `safegrpo eval` over a folder's items; by rules, if `more` names no judge.

    Without `url` nothing is asked.
    """
    words: list[object] = ["eval", "--benchmarks", "folder", "--data", data, "-o", out]
    if "--judge-only" not in more:
        words += ["--url", url, "--key-env", "MODEL_KEY"]
        words += [] if "--model" in more else ["--model", "model"]
    if not {"--judge-url", "--rules-only"} & {*more}:
        words.append("--rules-only")
    return main([str(word) for word in (*words, *more)])


def judged_by(url: str, name: str = "judge") -> tuple[str, ...]:
    """The options that name a judge."""
    return ("--judge-url", url, "--judge-model", name, "--judge-key-env", "JUDGE_KEY")


def verdict_on(payload: Payload, **fields: str) -> str:
    """A judge's reply that repeats its question's number; `fields` beside the reason."""
    number = re.search(r"<<response ([0-9a-f]{24})>>", user_text(payload))
    assert number is not None
    return json.dumps({"number": number[1], "reason": "so it is", **(fields or VERDICT)})


def rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a file of JSON lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def generations(out: Path) -> list[dict[str, Any]]:
    return rows(out / "generations.jsonl")


def judgements(out: Path, scorer: str) -> list[dict[str, Any]]:
    """The judgements by one scorer, in order."""
    return [row for row in rows(out / "judgements.jsonl") if row["scorer"] == scorer]


def metrics(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "metrics.json").read_text())
    return found
