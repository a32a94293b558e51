"""The demo with and without the shared prefix, in turn: seconds of training.

    python bench/demo.py [--repeats N] [--json]

Held-out measurement samples by packed rows in both, so that only the step differs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any


def seconds(shared: bool, seed: int) -> float:
    """Seconds that the demo trains for."""
    with tempfile.TemporaryDirectory() as folder:
        options = ["--seed", str(seed), "--output", f"{folder}/run"]
        options += ["--set", f"shared_prefix={str(shared).lower()}", "--set", "internalise=null"]
        command = [sys.executable, "-m", "safegrpo", "demo", *options]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        summary = json.loads(Path(folder, "run", "summary.json").read_text("utf-8"))
    return float(summary["seconds"]["train"])


def measure(repeats: int, seed: int) -> dict[str, Any]:
    found: dict[str, list[float]] = {"without": [], "with": []}
    for _ in range(repeats):
        found["without"].append(seconds(False, seed))
        found["with"].append(seconds(True, seed))
    medians = {name: statistics.median(values) for name, values in found.items()}
    return {
        "ratio_train": medians["without"] / medians["with"],
        "seconds": found,
        "seed": seed,
        "command": f"python bench/demo.py --repeats {repeats} --seed {seed} --json",
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    result = measure(args.repeats, args.seed)
    if args.json:
        print(json.dumps(result))
        return
    print(f"the demo trains {result['ratio_train']:.2f} times faster: {result['seconds']}")


if __name__ == "__main__":
    main()
