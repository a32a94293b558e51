"""The measurements of docs/safety_tags.md: the judge client's throughput, `select` by size.

    python bench/tags.py run [--rows 1000 10000 100000]    (about half an hour for all)
    python bench/tags.py render

`run` leaves one file a point in docs/results/tags, and measures none again that is there.
"""

from __future__ import annotations

import argparse
import io
import json
import platform
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from safegrpo.data.jsonl import write_text_atomic
from safegrpo.data.sources import SourceSpec, read_source

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results" / "tags"
PAGE = ROOT / "docs" / "safety_tags.md"
ROWS = (1_000, 3_000, 10_000, 30_000, 100_000)
SIDE = 256
WORDS = 2_000  # of the made-up language that prompts are in

# Runs select in a process of its own, and says what it took.
_MEASURED = """\
import json, resource, sys, time
from safegrpo.cli import main
start = time.perf_counter()
code = main(["select", sys.argv[1], "-o", sys.argv[2]])
spent = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({"code": code, "seconds": time.perf_counter() - start,
                  "cpu_seconds": spent.ru_utime + spent.ru_stime,
                  "peak_mib": spent.ru_maxrss / 1024}))
"""


def run(sizes: list[int]) -> None:
    RESULTS.mkdir(parents=True, exist_ok=True)
    for rows in sizes:
        keep(RESULTS / f"select-{rows}.json", lambda rows=rows: measure_select(rows))
    keep(RESULTS / "judge.json", measure_judge)


def keep(path: Path, measure: Any) -> None:
    if path.exists():
        return
    print(f"{path.name} ...", file=sys.stderr, flush=True)
    write_text_atomic(path, json.dumps(measure(), indent=2) + "\n")


def measure_judge() -> dict[str, Any]:
    command = ["bench/judge.py", "--json"]
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, check=True)
    return {**json.loads(done.stdout), "command": "python " + " ".join(command), **machine()}


def measure_select(rows: int) -> dict[str, Any]:
    """Seconds, CPU seconds and the peak of resident memory of selecting from `rows` ratings."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size = write_rated(folder, rows)
        command = [sys.executable, "-c", _MEASURED, str(folder / "rated"), str(folder / "tagged")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        report, measured = map(json.loads, done.stdout.splitlines())
        assert measured.pop("code") == 0, done.stderr
        written = sum(path.stat().st_size for path in (folder / "tagged" / "data").iterdir())
    return {
        "rows": rows,
        "kept": report["kept"],
        "dropped": report["dropped"],
        **{key: round(value, 1) for key, value in measured.items()},
        "image_kb": round(size / rows / 1000, 1),
        "written_mb": round(written / 1e6, 1),
        "seed": 0,
        "command": f"python bench/tags.py run --rows {rows}",
        **machine(),
    }


def write_rated(folder: Path, rows: int) -> int:
    """Pairs and ratings as `annotate` would leave them; returns the bytes of all images."""
    (folder / "images").mkdir()
    (folder / "rated").mkdir()
    rng, noise = random.Random(0), np.random.default_rng(0)
    words = ["".join(rng.choices("abcdefghijklmnop", k=rng.randint(3, 9))) for _ in range(WORDS)]
    size = 0
    with (folder / "pairs.jsonl").open("w") as pairs:
        for number in range(rows):
            coarse = noise.integers(0, 255, (16, 16, 3), dtype=np.uint8)
            image = Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
            buffer = io.BytesIO()
            image.save(buffer, "JPEG", quality=85)
            size += len(buffer.getvalue())
            path = f"images/{number % 1000:03d}/{number}.jpg"
            (folder / path).parent.mkdir(exist_ok=True)
            (folder / path).write_bytes(buffer.getvalue())
            row = {"id": f"pair-{number}", "images": [path], "source": f"source-{number % 3}"}
            pairs.write(json.dumps({**row, "prompt": " ".join(rng.choices(words, k=15))}) + "\n")
    spec = SourceSpec("plain", str(folder / "pairs.jsonl"))
    with (folder / "rated" / "scores.jsonl").open("w") as scores:
        for pair in read_source(spec):
            number = {n: rng.choice([0, 1, 2, 3, 7, 8, 9, 10]) for n in NAMES}
            row = {"id": pair.id, "status": "scored", "scores": number}
            row["confidences"] = {n: rng.choice([6, 7, 8, 9, 10, 10, 10]) for n in NAMES}
            row["reasons"] = {n: " ".join(rng.choices(words, k=12)) for n in NAMES}
            scores.write(json.dumps({**row, "asked": 1, "content": pair.content_hash()}) + "\n")
    manifest = {"pairs": spec.to_json(folder / "rated"), "judges": [{"model": "none"}], "votes": 1}
    (folder / "rated" / "manifest.json").write_text(json.dumps(manifest))
    return size


NAMES = ("visual", "text", "combined")


def machine() -> dict[str, Any]:
    from os import cpu_count

    return {
        "machine": {"cores": cpu_count(), "python": platform.python_version()},
        "date": time.strftime("%Y-%m-%d"),
    }


def render() -> None:
    points = [json.loads(path.read_text()) for path in RESULTS.glob("select-*.json")]
    points.sort(key=lambda point: point["rows"])
    judge = json.loads((RESULTS / "judge.json").read_text())
    lines = ["| rows | kept | seconds | CPU seconds | peak memory, MiB | written, MB |"]
    lines.append("|---|---|---|---|---|---|")
    for one in points:
        lines.append(
            f"| {one['rows']:,} | {one['kept']:,} | {one['seconds']:,} | {one['cpu_seconds']:,} | "
            f"{one['peak_mib']:,.0f} | {one['written_mb']:,} |"
        )
    said = (
        f"`safegrpo annotate` at concurrency {judge['concurrency']} against an endpoint that takes "
        f"{judge['delay_s']:g} s for a reply, {judge['pairs']:,} pairs with a JPEG of 512 x 512 "
        f"each: {judge['calls_per_s']} calls a second, where clients that do nothing but send and "
        f"read reach {judge['allowed_per_s']} in the same run "
        f"({100 * judge['share_of_allowed']:.1f} %), and {judge['cpu_ms_per_call']} ms of client "
        f"CPU a call (`{judge['command']}`)."
    )
    filled = {
        "judge": said,
        "select": "\n".join(lines),
        "kilobytes": str(points[-1]["image_kb"]),
        "machine": f"{judge['machine']['cores']} cores, Python {judge['machine']['python']}",
    }
    page = Path(__file__).with_name("safety_tags.md.in").read_text("utf-8")
    for name, value in filled.items():
        page = page.replace("{{" + name + "}}", value)
    write_text_atomic(PAGE, page)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = options.add_subparsers(dest="verb", required=True)
    verbs.add_parser("run").add_argument("--rows", type=int, nargs="+", default=list(ROWS))
    verbs.add_parser("render")
    args = options.parse_args()
    run(args.rows) if args.verb == "run" else render()


if __name__ == "__main__":
    main()
