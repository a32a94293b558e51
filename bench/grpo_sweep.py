"""How a step's ratio to TRL's moves along one axis at a time, and docs/performance.md from it.

    python bench/grpo_sweep.py run       one file a point in docs/results/step/
    python bench/grpo_sweep.py render    docs/performance.md and its plot, from these files alone

`run` goes on where it stopped. Run it on a quiet machine: a point's two trainers take turns, but a
neighbour's load takes none.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import demo
from grpo_step import PARTS, limit, measure, parser

from safegrpo.data.jsonl import write_text_atomic

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results" / "step"
DEMO = RESULTS / "demo.json"
PAGE = ROOT / "docs" / "performance.md"
PLOT = ROOT / "docs" / "performance.svg"
AXES = {
    "prompt": (256, 512, 600, 1024, 2048),
    "completion": (64, 128, 256, 400, 1024),
    "group": (4, 8, 16),
}
BASE = {"prompt": 600, "completion": 128, "group": 8}
FLAGS = ("checkpointing", "freeze_vision")


def points() -> dict[str, list[str]]:
    """The arguments of bench/grpo_step.py for each point, by name."""
    found = {"base": [], "base-checkpointing": ["--checkpointing"]}
    for axis, values in AXES.items():
        for value in values:
            if value != BASE[axis]:
                found[f"{axis}-{value}"] = [f"--{axis}", str(value)]
    found["completion-400-checkpointing"] = ["--completion", "400", "--checkpointing"]
    found["base-freeze-vision"] = ["--freeze-vision"]
    found["base-four-prompts"] = ["--prompts", "4"]
    found["tiny"] = ["--model", "tiny"]
    return found


def run(only: list[str]) -> None:
    for name, arguments in points().items():
        target = RESULTS / f"{name}.json"
        if target.exists() or (only and name not in only):
            continue
        result = measure(parser().parse_args(arguments))
        result["command"] = " ".join(["python bench/grpo_step.py", *arguments, "--json"])
        RESULTS.mkdir(parents=True, exist_ok=True)
        write_text_atomic(target, json.dumps(result, indent=1) + "\n")
        print(f"{name}: step {result['ratio_step']:.2f} times", file=sys.stderr, flush=True)
    if not DEMO.exists() and (not only or "demo" in only):
        write_text_atomic(DEMO, json.dumps(demo.measure(repeats=1, seed=0), indent=1) + "\n")


def load() -> dict[str, dict[str, Any]]:
    return {
        name: json.loads((RESULTS / f"{name}.json").read_text("utf-8"))
        for name in points()
        if (RESULTS / f"{name}.json").exists()
    }


def along(results: dict[str, dict[str, Any]], axis: str) -> list[dict[str, Any]]:
    """The points that differ from the base in `axis` alone, in its order."""
    plain = [
        result
        for result in results.values()
        if not any(result[flag] for flag in FLAGS)
        and (result["model"], result["prompts"]) == ("37m", 1)
        and all(result[other] == BASE[other] for other in BASE if other != axis)
    ]
    return sorted(plain, key=lambda result: result[axis])


def table(results: list[dict[str, Any]], first: str) -> list[str]:
    """A Markdown table, a row a point; `first` names the column that tells them apart."""
    lines = [
        f"| {first} | generation | reference | forward + backward | step | limit | memory "
        "| TRL, s a step | ours, s a step | largest difference, nats |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        ratios = " | ".join(f"{result[f'ratio_{part}']:.2f}" for part in PARTS)
        seconds = result["seconds"]
        lines.append(
            f"| {label(result, first)} | {ratios} | {result['limit']:.2f} "
            f"| {result['memory_ratio']:.2f} | {seconds['stock']['step']:.2f} "
            f"| {seconds['ours']['step']:.2f} | {result['max_logp_diff']:.0e} |"
        )
    return lines


def label(result: dict[str, Any], axis: str) -> str:
    if axis in BASE:
        return str(result[axis])
    said = [f"P {result['prompt']}, R {result['completion']}, G {result['group']}"]
    said += [flag.replace("_", " ") for flag in FLAGS if result[flag]]
    if result["prompts"] > 1:
        said.append(f"{result['prompts']} prompts a step")
    if result["model"] != "37m":
        said.append(f"model {result['model']}")
    return ", ".join(said)


def _spoken(values: list[float]) -> str:
    return " and ".join(f"{value:.0f}" for value in values)


def plot(results: dict[str, dict[str, Any]]) -> None:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "safegrpo", "font.size": 9})
    from matplotlib import pyplot

    figure, panes = pyplot.subplots(1, 3, figsize=(9.6, 3.2), sharey=True, layout="constrained")
    for pane, axis in zip(panes, AXES, strict=True):
        found = along(results, axis)
        values = [result[axis] for result in found]
        for part, name in [
            ("logps", "forward + backward"),
            ("step", "whole step"),
            ("generation", "generation"),
        ]:
            pane.plot(values, [result[f"ratio_{part}"] for result in found], "o-", label=name)
        shapes = [{**BASE, axis: value} for value in values]
        limits = [limit(s["prompt"], s["completion"], s["group"]) for s in shapes]
        pane.plot(values, limits, "k:", label="tokens read, G(P+R) : P+GR")
        pane.axhline(1, color="gray", linewidth=0.8)
        pane.set_xscale("log", base=2)
        # The base lies too close to 512 for a label of its own.
        pane.set_xticks(values, ["" if value == 600 else str(value) for value in values])
        pane.set_xlabel({"prompt": "prompt P", "completion": "completion R", "group": "G"}[axis])
        pane.set_ylim(bottom=0)
    panes[0].set_ylabel("times faster than TRL")
    panes[0].legend(frameon=False, fontsize=8)
    figure.savefig(PLOT, metadata={"Date": None})


def render() -> None:
    results = load()
    if "base" not in results:
        raise SystemExit(f"nothing measured in {RESULTS}; run first")
    plot(results)
    base = results["base"]
    machine = base["machine"]
    template = (Path(__file__).with_name("performance.md.in")).read_text("utf-8")
    named = [
        results[name]
        for name in (
            *("base", "base-checkpointing", "completion-400", "completion-400-checkpointing"),
            *("base-freeze-vision", "base-four-prompts", "tiny"),
        )
        if name in results
    ]
    ratios = [r[f"ratio_{part}"] for r in results.values() for part in PARTS]
    trained = json.loads(DEMO.read_text("utf-8")) if DEMO.exists() else None
    filled = {
        "machine": f"{machine['device']}, {machine['threads']} threads, torch {machine['torch']}, "
        f"transformers {machine['transformers']}, TRL {machine['trl']}, {base['dtype']}",
        "steps": str(base["steps"]),
        "seed": str(base["seed"]),
        "named": "\n".join(table(named, "point")),
        "demo": "not measured"
        if trained is None
        else f"{trained['ratio_train']:.2f} times faster with it than without "
        f"({_spoken(trained['seconds']['without'])} s against "
        f"{_spoken(trained['seconds']['with'])} s of training, in turn; `{trained['command']}`)",
        "published": f"{limit(2048, 4096, 8):.1f}",
        "lowest": f"{min(ratios):.2f}",
        "memory": f"{min(r['memory_ratio'] for r in results.values()):.2f}",
        **{axis: "\n".join(table(along(results, axis), axis)) for axis in AXES},
    }
    for name, value in filled.items():
        template = template.replace("{{" + name + "}}", value)
    write_text_atomic(PAGE, template)


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("what", choices=("run", "render"))
    names = [*points(), "demo"]
    arguments.add_argument("--only", nargs="*", default=[], choices=names, metavar="NAME")
    args = arguments.parse_args()
    if args.what == "run":
        run(args.only)
    else:
        render()


if __name__ == "__main__":
    main()
