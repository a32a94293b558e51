"""The demo's results over seeds and rules, and the tables made from them.

    python scripts/demo_results.py run --seeds 21 22 23 --rules paper strict --jobs 2
    python scripts/demo_results.py render

`run` leaves one summary for each demo in docs/results/demo/ and goes on where it stopped; `render`
writes docs/results.md and the table of the README from these files alone.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean
from typing import Any

from safegrpo.commands.demo import table
from safegrpo.data.jsonl import write_text_atomic
from safegrpo.evaluation.stats import wilson

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results" / "demo"
NAME = re.compile(r"(paper|strict)-seed(\d+)\.json")
README_RUN = "strict-seed0.json"  # what `make demo` runs
RATES = (
    "safety",
    "compositional_safety",
    "twin_accuracy",
    "over_refusal",
    "usefulness",
    "vqa_accuracy",
    "format_rate",
)


def run(seeds: list[int], rules: list[str], jobs: int) -> None:
    """Run each demo whose summary is not there yet, `jobs` at a time with a share of the cores."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    threads = max(1, (os.cpu_count() or 1) // jobs)

    def one(case: tuple[int, str]) -> None:
        seed, rule = case
        target = RESULTS / f"{rule}-seed{seed}.json"
        if target.exists():
            return
        with tempfile.TemporaryDirectory() as folder:
            options = ["--seed", str(seed), "--rules", rule, "--output", f"{folder}/run"]
            command = [sys.executable, "-m", "safegrpo", "demo", *options]
            environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
            subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
            summary = json.loads(Path(folder, "run", "summary.json").read_text("utf-8"))
        summary["machine"] = f"{platform.machine()}, {platform.system()}, {threads} thread(s)"
        write_text_atomic(target, json.dumps(summary, indent=2) + "\n")
        print(f"{target.name}: {sum(summary['seconds'].values()):.0f} s", flush=True)

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(one, [(seed, rule) for seed in seeds for rule in rules]))


def summaries() -> list[dict[str, Any]]:
    """All summaries on file, by rules and seed."""
    found = [
        (match[1], int(match[2]), json.loads(path.read_text("utf-8")))
        for path in RESULTS.glob("*.json")
        if (match := NAME.fullmatch(path.name))
    ]
    return [summary for _, _, summary in sorted(found, key=lambda row: row[:2])]


def results_table(rows: list[dict[str, Any]], mode: str) -> str:
    """One line a run: after training, in percent; the mean of each rule's runs beneath."""
    titles = [name.replace("_", " ") for name in RATES]
    kinds = sorted(rows[0]["after"][mode]["twin_accuracy_by_kind"])
    titles += [f"twins: {kind}s" for kind in kinds]
    lines = [
        "| rules | seed | " + " | ".join(titles) + " |",
        "|---|---|" + "---|" * len(titles),
    ]

    n = rows[0]["after"][mode]["n"]
    sizes = [n[name] for name in RATES] + [n["twin_accuracy_by_kind"][kind] for kind in kinds]

    def figures(row: dict[str, Any]) -> list[float | None]:
        after = row["after"][mode]
        rates = [after[name] for name in RATES]
        return rates + [after["twin_accuracy_by_kind"][kind] for kind in kinds]

    def line(rules: str, seed: str, cells: Iterable[str]) -> str:
        return f"| {rules} | {seed} | {' | '.join(cells)} |"

    def percent(rate: float | None) -> str:
        return "–" if rate is None else f"{100 * rate:.1f}"

    def with_interval(rate: float | None, size: int) -> str:
        if rate is None:
            return "–"
        low, high = wilson(rate * size, size)
        return f"{percent(rate)} ({percent(low)}–{percent(high)})"

    for rules in sorted({row["rules"] for row in rows}):
        of_rules = [row for row in rows if row["rules"] == rules]
        lines += [line(rules, str(row["seed"]), map(percent, figures(row))) for row in of_rules]
        columns = zip(*(figures(row) for row in of_rules), strict=True)
        means = [None if None in column else mean(v or 0 for v in column) for column in columns]
        lines.append(line(f"**{rules}**", "**mean**", map(with_interval, means, sizes)))
    return "\n".join(lines)


def render() -> None:
    """Write docs/results.md and the README's table."""
    rows = summaries()
    if not rows:
        raise SystemExit("no results yet: run them first")
    n = rows[0]["after"]["guided"]["n"]
    before = rows[0]["before"]
    text = [
        "# Results",
        "",
        "Made by `python scripts/demo_results.py render` from the summaries in "
        "[results/demo](results/demo), which `python scripts/demo_results.py run` leaves.",
        "",
        "## The microcosm",
        "",
        "`safegrpo demo --seed SEED --rules RULES`, the last checkpoint, test split "
        "(combinations and wordings that were never trained on; the recipe was chosen on "
        "the development split and on other seeds). Percent of "
        + ", ".join(f"{n[name]} ({name.replace('_', ' ')})" for name in RATES)
        + " items. Base model and items are the same for every run; seeds differ in the training "
        "pairs and in sampling. Beside a mean stands the 95 % Wilson interval of one run's items, "
        "since several runs on the same items are not more items.",
        "",
    ]
    for mode in ("guided", "direct"):
        start = ", ".join(
            f"{name.replace('_', ' ')} {100 * before[mode][name]:.1f}"
            for name in RATES
            if before[mode][name] is not None
        )
        text += [f"### Asked {mode}", "", f"Before: {start}.", "", results_table(rows, mode), ""]
    write_text_atomic(ROOT / "docs" / "results.md", "\n".join(text))
    readme = ROOT / "README.md"
    shown = json.loads((RESULTS / README_RUN).read_text("utf-8"))
    block = f"<!-- demo table: scripts/demo_results.py render -->\n{table(shown)}\n<!-- end -->"
    pattern = re.compile(r"<!-- demo table.*?<!-- end -->", re.DOTALL)
    content, replaced = pattern.subn(lambda _: block, readme.read_text("utf-8"))
    if replaced != 1:
        raise SystemExit("README.md: the markers of the demo table are missing")
    write_text_atomic(readme, content)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    runner = commands.add_parser("run", help="run demos and keep their summaries")
    runner.add_argument("--seeds", type=int, nargs="+", required=True)
    runner.add_argument("--rules", nargs="+", choices=("paper", "strict"), default=["paper"])
    runner.add_argument("--jobs", type=int, default=1, help="demos at a time (default: 1)")
    commands.add_parser("render", help="write docs/results.md and the README's table")
    args = parser.parse_args()
    if args.command == "run":
        run(args.seeds, args.rules, args.jobs)
    else:
        render()


if __name__ == "__main__":
    main()
