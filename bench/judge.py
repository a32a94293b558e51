"""Throughput of `safegrpo annotate` at an endpoint, and the CPU it takes for a call.

    python bench/judge.py [--pairs 2000] [--concurrency 64] [--delay 1.0] [--json]

The endpoint (another process here) answers each request after `--delay` seconds. What it allows at
a concurrency is measured in the same run, before and after, by bare clients on as many connections
that send a request of the same size and read the reply, and do nothing else. The images are JPEGs
of 512 x 512, each another.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--pairs", type=int, default=2000)
    options.add_argument("--concurrency", type=int, default=64)
    options.add_argument("--delay", type=float, default=1.0, help="seconds")
    options.add_argument("--json", action="store_true")
    args = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), args.pairs, args.concurrency, args.delay)
    if args.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:<28} {value}")


def measure(folder: Path, pairs: int, concurrency: int, delay: float) -> dict[str, float]:
    """What a run over `pairs` new pairs took, beside what the server allows."""
    table = write_pairs(folder, pairs)
    payload = sample_payload(folder / "images" / "0.jpg")
    server = [sys.executable, str(ROOT / "tests/judge/fault_server.py"), "--delay", str(delay)]
    with subprocess.Popen(server, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        try:
            bare = [asyncio.run(bare_rate(url, payload, pairs // 2, concurrency))]
            seconds, cpu, idle_cpu = annotate(table, folder / "out", url, concurrency)
            bare.append(asyncio.run(bare_rate(url, payload, pairs // 2, concurrency)))
        finally:
            process.terminate()
    rate, allowed = pairs / seconds, statistics.mean(bare)
    return {
        "pairs": pairs,
        "concurrency": concurrency,
        "delay_s": delay,
        "calls_per_s": round(rate, 2),
        "allowed_per_s": round(allowed, 2),
        "share_of_allowed": round(rate / allowed, 4),
        "share_of_ideal": round(rate * delay / concurrency, 4),
        "cpu_ms_per_call": round(1000 * (cpu - idle_cpu) / pairs, 2),
        "cpu_ms_per_call_with_start": round(1000 * cpu / pairs, 2),
    }


def annotate(table: Path, out: Path, url: str, concurrency: int) -> tuple[float, float, float]:
    """(seconds from the first request to the last row, CPU seconds of it all, those of a start)."""
    command = [sys.executable, "-m", "safegrpo", "annotate", str(table), "-o", str(out)]
    command += ["--judge-url", url, "--judge-model", "judge", "--concurrency", str(concurrency)]
    idle = cpu_of([*command, "--dry-run", "--limit", "1"])[1]
    said, cpu = cpu_of(command)
    assert said["statuses"] == {"scored": said["pairs"]}, said
    return said["seconds"], cpu, idle


def cpu_of(command: list[str]) -> tuple[dict, float]:
    """(what a command prints, its CPU seconds, user and system)."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return json.loads(done.stdout), spent


async def bare_rate(url: str, payload: bytes, calls: int, concurrency: int) -> float:
    """Calls a second of clients that do nothing but send and read."""
    place = urlsplit(url)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {place.netloc}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(payload)}\r\n\r\n"
    left = calls

    async def client() -> None:
        nonlocal left
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        while left > 0:
            left -= 1
            writer.write(head.encode() + payload)
            await writer.drain()
            answer = await reader.readuntil(b"\r\n\r\n")
            lengths = [
                line for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length")
            ]
            await reader.readexactly(int(lengths[0].partition(b":")[2]))
        writer.close()

    start = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(concurrency)))
    return calls / (time.perf_counter() - start)


def sample_payload(image: Path) -> bytes:
    """A request as `annotate` sends it."""
    from safegrpo.data.images import ImageRef, image_as_sent
    from safegrpo.data.rating import load_policy, rating_question
    from safegrpo.judge.completion import request_body
    from safegrpo.judge.question import Picture

    picture = Picture(*image_as_sent(ImageRef(path=image), 1536))
    question = rating_question("item-0 what now?", [picture], load_policy())
    body = {"model": "judge", "max_tokens": 2048, "temperature": 0}
    return json.dumps({**body, **request_body(question, "json_schema")}).encode()


def write_pairs(folder: Path, count: int) -> Path:
    """`count` pairs, each with a JPEG of 512 x 512 (about 85 kB) of its own."""
    (folder / "images").mkdir()
    rng = np.random.default_rng(0)
    lines = []
    for number in range(count):
        coarse = rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((512, 512), Image.Resampling.BICUBIC)
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=90)
        (folder / "images" / f"{number}.jpg").write_bytes(buffer.getvalue())
        row = {"id": f"item-{number}", "images": [f"images/{number}.jpg"]}
        lines.append(json.dumps({**row, "prompt": f"item-{number} what now?"}))
    path = folder / "pairs.jsonl"
    path.write_text("\n".join(lines))
    return path


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
