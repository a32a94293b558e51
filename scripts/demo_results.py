"""The demo's results over seeds and rules, and the tables made from them.

    python scripts/demo_results.py run --seeds 21 22 23 --rules paper strict --jobs 2
    python scripts/demo_results.py options --seeds 21 22 --jobs 2
    python scripts/demo_results.py render

`run` leaves one summary for each demo in docs/results/demo/, `options` one for each option of the
recipe in docs/results/options/; both go on where they stopped. `render` writes docs/results.md and
the table of the README from these files alone.
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
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean
from typing import Any

from safegrpo.commands.demo import table
from safegrpo.data.jsonl import write_text_atomic
from safegrpo.evaluation.stats import wilson

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results" / "demo"
OPTION_RESULTS = ROOT / "docs" / "results" / "options"
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


Case = tuple[int, str, Path, Sequence[str]]
"""Seed, rules, the file of the summary, settings on top of the recipe."""

OPTIONS: dict[str, Sequence[str]] = {
    "one-sum": ["grpo.multi_objective_aggregation=sum_then_normalize"],
    "no-hints": ["credit.hints=0"],
    "one-hint": ["credit.hints=1"],
    "skip-settled": ["credit.skip_settled=true"],
    "format-by-itself": ["credit.format_weight=0.2"],
    "rows-shuffled": ["grpo.shuffle_dataset=true"],
    "shuffled-then-balanced": ["sampling.balance=true"],
    "no-questions": ["data.question_share=0"],
}
"""What differs from the demo's recipe under strict rules, by name."""


def run(cases: Sequence[Case], jobs: int) -> None:
    """Run each demo whose summary is not there yet, `jobs` at a time with a share of the cores."""
    threads = max(1, (os.cpu_count() or 1) // jobs)

    def one(case: Case) -> None:
        seed, rule, target, settings = case
        if target.exists():
            return
        with tempfile.TemporaryDirectory() as folder:
            options = ["--seed", str(seed), "--rules", rule, "--output", f"{folder}/run"]
            for setting in settings:
                options += ["--set", setting]
            command = [sys.executable, "-m", "safegrpo", "demo", *options]
            environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
            subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
            summary = json.loads(Path(folder, "run", "summary.json").read_text("utf-8"))
        summary["machine"] = f"{platform.machine()}, {platform.system()}, {threads} thread(s)"
        write_text_atomic(target, json.dumps(summary, indent=2) + "\n")
        print(f"{target.name}: {sum(summary['seconds'].values()):.0f} s", flush=True)

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(one, cases))


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


def options_section(rows: list[dict[str, Any]]) -> list[str]:
    """The effect of each option: means over its seeds, beside the recipe's own on the same."""
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for path in sorted(OPTION_RESULTS.glob("*.json")):
        name, _, seed = path.stem.rpartition("-seed")
        found.setdefault(name, {})[int(seed)] = json.loads(path.read_text("utf-8"))
    if not found:
        return []
    seeds = sorted({seed for runs in found.values() for seed in runs})
    own = {row["seed"]: row for row in rows if row["rules"] == "strict" and row["seed"] in seeds}
    titles = [name.replace("_", " ") for name in RATES]
    lines = [
        f"| option | set by | seeds | {' | '.join(titles)} | direct usefulness |",
        "|---|---|---|" + "---|" * (len(titles) + 1),
    ]
    for name, runs in [("the demo's recipe", own), *sorted(found.items())]:
        after = [row["after"] for row in runs.values()]
        figures = [100 * mean(a["guided"][rate] for a in after) for rate in RATES]
        figures.append(100 * mean(a["direct"]["usefulness"] for a in after))
        setting = ", ".join(f"`{one}`" for one in OPTIONS.get(name, [])) or "–"
        cells = " | ".join(f"{figure:.1f}" for figure in figures)
        lines.append(f"| {name} | {setting} | {', '.join(map(str, sorted(runs)))} | {cells} |")
    return [
        "### Options of the recipe",
        "",
        "Strict rules, asked guided, test split; percent, means over the seeds named. One seed's "
        "standard error is about 1 point for safety and 2 for twins: only larger differences mean "
        "anything. `python scripts/demo_results.py options`.",
        "",
        *lines,
        "",
    ]


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
    text += options_section(rows)
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
    more = commands.add_parser("options", help="run the demo with each option of the recipe")
    more.add_argument("--seeds", type=int, nargs="+", required=True)
    more.add_argument("--names", nargs="+", choices=tuple(OPTIONS), default=list(OPTIONS))
    more.add_argument("--jobs", type=int, default=1, help="demos at a time (default: 1)")
    commands.add_parser("render", help="write docs/results.md and the README's table")
    args = parser.parse_args()
    if args.command == "run":
        cases = [
            (seed, rule, RESULTS / f"{rule}-seed{seed}.json", ())
            for seed in args.seeds
            for rule in args.rules
        ]
        run(cases, args.jobs)
    elif args.command == "options":
        named = [(name, seed) for name in args.names for seed in args.seeds]
        cases = [
            (seed, "strict", OPTION_RESULTS / f"{name}-seed{seed}.json", OPTIONS[name])
            for name, seed in named
        ]
        run(cases, args.jobs)
    else:
        render()


if __name__ == "__main__":
    main()
