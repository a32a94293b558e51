"""The README's table of the demo, from the summary that a run of it left.

    python scripts/demo_table.py run      # safegrpo demo --seed 0, about two minutes
    python scripts/demo_table.py render

`run` leaves docs/results/demo/seed0.json; `render` puts its table into README.md.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from safegrpo.commands.demo import table
from safegrpo.data.jsonl import write_text_atomic

ROOT = Path(__file__).resolve().parent.parent
SUMMARY = ROOT / "docs" / "results" / "demo" / "seed0.json"
BLOCK = re.compile(r"<!-- demo table.*?<!-- end -->", re.DOTALL)


def run() -> None:
    """Run what `make demo` runs, and keep its summary."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "safegrpo", "demo", "--output", f"{folder}/run"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        summary = json.loads(Path(folder, "run", "summary.json").read_text("utf-8"))
    summary["machine"] = f"{platform.machine()}, {platform.system()}"
    write_text_atomic(SUMMARY, json.dumps(summary, indent=2) + "\n")


def render() -> None:
    """Write the README's table."""
    shown = json.loads(SUMMARY.read_text("utf-8"))
    block = f"<!-- demo table: scripts/demo_table.py render -->\n{table(shown)}\n<!-- end -->"
    readme = ROOT / "README.md"
    content, replaced = BLOCK.subn(lambda _: block, readme.read_text("utf-8"))
    if replaced != 1:
        raise SystemExit("README.md: the markers of the demo table are missing")
    write_text_atomic(readme, content)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("run", "render"))
    {"run": run, "render": render}[parser.parse_args().what]()


if __name__ == "__main__":
    main()
