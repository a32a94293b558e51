"""A run that is killed again and again leaves what an unbroken one does, and pays once."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from eval_runs import generations, judgements, write_items
from judge.fault_server import RunningServer, running_server

COUNT, CONCURRENCY, KILLS = 300, 32, 5
PASSING = {
    **{"rate_limit_bare": 0.02, "server_error": 0.02, "bad_gateway": 0.01},
    **{"cut_before": 0.02, "cut_headers": 0.01, "cut_body": 0.01},
}


def command(data: Path, out: Path, url: str) -> list[str]:
    words = [sys.executable, "-m", "safegrpo", "eval", "--benchmarks", "folder", "--data", data]
    words += ["-o", out, "--url", url, "--model", "model", "--concurrency", CONCURRENCY]
    return [str(word) for word in (*words, "--judge-url", url, "--judge-model", "judge")]


def quick_env() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def run_to_the_end(words: list[str]) -> None:
    done = subprocess.run(words, capture_output=True, text=True, env=quick_env())
    assert done.returncode == 0, done.stderr


def kill_after(words: list[str], server: RunningServer, calls: int) -> None:
    """Start a run and kill it as soon as the server has logged `calls` more calls."""
    wanted = logged(server) + calls
    process = subprocess.Popen(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=quick_env()
    )
    while logged(server) < wanted:
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()


def logged(server: RunningServer) -> int:
    return server.log.read_bytes().count(b"\n") if server.log.is_file() else 0


def test_killed_five_times_it_is_as_if_it_had_not_been(tmp_path: Path) -> None:
    """300 items in two modes, judged; the server goes by the text of a request alone."""
    data = write_items(tmp_path / "data", COUNT)
    killed, unbroken = tmp_path / "killed", tmp_path / "unbroken"
    rng = random.Random(5)
    with running_server(delay=0.03, faults=PASSING, seed=5, plain="response") as server:
        for _ in range(KILLS):
            kill_after(command(data, killed, server.url), server, rng.randrange(100, 260))
        # The calls come to an end of which nobody takes the answer.
        time.sleep(0.2)
        run_to_the_end(command(data, killed, server.url))
        broken = server.calls()
        run_to_the_end(command(data, unbroken, server.url))
        whole = server.calls()[len(broken) :]
    for name in ("generations.jsonl", "judgements.jsonl", "metrics.json"):
        assert (killed / name).read_bytes() == (unbroken / name).read_bytes()
    shown = [{path.name for path in (out / "images").iterdir()} for out in (killed, unbroken)]
    assert shown[0] == shown[1] != set()
    rows = generations(killed)
    assert len(rows) == 2 * COUNT and {row["status"] for row in rows} == {"done"}
    judged = judgements(killed, "rubric")
    assert len(judged) == 2 * COUNT and {row["asked"] for row in judged} == {1}
    assert len({row["label"] for row in judged}) > 1
    # Each question was answered once, but for those under way at a kill. (Of an item that is
    # answered alike in both modes the judge is asked once.)
    answered = Counter(call["key"] for call in broken if call["answered"])
    assert {*answered} == {call["key"] for call in whole if call["answered"]}
    assert answered.total() - len(answered) <= KILLS * CONCURRENCY
