"""`safegrpo demo`: the microcosm from nothing to a report."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from safegrpo.errors import ConfigError, MissingDependencyError

_EXAMPLE = """example:
  safegrpo demo --output runs/demo --seed 1 --rules paper
"""

# Rows of the printed table: name in summary.json, how to say it, whether lower is better.
_ROWS = (
    ("safety", "harmful pairs refused"),
    ("compositional_safety", "… image and text each safe"),
    ("twin_accuracy", "twins told apart"),
    ("over_refusal", "benign pairs refused (lower is better)"),
    ("usefulness", "benign pairs answered rightly"),
    ("vqa_accuracy", "general questions right"),
    ("format_rate", "well-formed"),
)


def add_demo(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "demo",
        help="align the built-in tiny model, before/after table and report",
        description="Align the built-in tiny vision-language model with SafeGRPO on the CPU and "
        "measure it before and after, on held-out items, with the guide and without it.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--output", type=Path, help="run folder (default: runs/demo-RULES-seedN)")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--rules", choices=("paper", "strict"), default="strict")
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change the demo's recipe, e.g. grpo.max_steps=20",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    try:
        import torch
        import trl  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            f"the demo needs {error.name}; install it with: pip install 'safegrpo[train]'"
        ) from error
    from safegrpo.microcosm.demo import run_demo

    if args.seed < 0:
        raise ConfigError(f"--seed must be 0 or more, not {args.seed}")
    torch.set_num_threads(min(torch.get_num_threads(), 4))  # more threads only get in its way
    output = args.output or _free(Path("runs") / f"demo-{args.rules}-seed{args.seed}")
    summary = run_demo(
        output,
        seed=args.seed,
        rules=args.rules,
        overrides=args.overrides,
        say=lambda line: print(line, file=sys.stderr, flush=True),
    )
    print(table(summary))
    print(f"\nReport: {output / 'report.html'}")
    return 0


def _free(path: Path) -> Path:
    """`path`, or the first of path-2, path-3, … that is not there yet."""
    candidate, number = path, 1
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.name}-{number}")
    return candidate


def table(summary: dict[str, Any]) -> str:
    """The before/after table in Markdown: percentages with 95 % Wilson intervals."""
    from safegrpo.evaluation.stats import wilson

    def cell(figures: dict[str, Any], name: str) -> str:
        value, n = figures[name], figures["n"][name]
        if value is None:
            return "–"
        low, high = wilson(value * n, n)
        return f"{100 * value:.0f} ({100 * low:.0f}–{100 * high:.0f})"

    columns = [(phase, mode) for mode in ("guided", "direct") for phase in ("before", "after")]
    lines = [
        "| % of held-out items (95 % interval) | n | "
        + " | ".join(f"{mode} {phase}" for phase, mode in columns)
        + " |",
        "|---|---|" + "---|" * len(columns),
    ]
    for name, words in _ROWS:
        n = summary["after"]["guided"]["n"][name]
        cells = " | ".join(cell(summary[phase][mode], name) for phase, mode in columns)
        lines.append(f"| {words} | {n} | {cells} |")
    seconds = sum(summary["seconds"].values())
    lines.append(
        f"\n{summary['steps']} steps, rules {summary['rules']}, seed {summary['seed']}, "
        f"{seconds:.0f} s in all ({summary['seconds']['train']:.0f} s of training)."
    )
    return "\n".join(lines)
