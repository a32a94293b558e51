"""A GRPO step by TRL's stock trainer and by ours, in turn: seconds, memory, and whether they agree.

    python bench/grpo_step.py --prompt 600 --completion 128 --group 8 --json

Both get the same model (random weights), data and seed, each in a process of its own; the steps
alternate, so that a slow minute of the machine meets both. Ratios are TRL's time (or memory) over
ours. Runs unchanged on a GPU, there in bfloat16 and with `--model 2b` or `4b`, the shapes of
Qwen3-VL-2B and -4B.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from grpo_worker import SHAPES, build, image_tokens, worker

PARTS = ("generation", "reference", "logps", "step")


def limit(prompt: int, completion: int, group: int) -> float:
    """The ratio of tokens that the language model reads: G (P + R) over P + G R."""
    return group * (prompt + completion) / (prompt + group * completion)


class Turn:
    """A worker process, one step at a time."""

    def __init__(self, kind: str, folder: str, arguments: list[str]) -> None:
        command = [sys.executable, __file__, "--worker", kind, "--folder", folder, *arguments]
        self.kind = kind
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def step(self) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        print("go", file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.kind} trainer ended early (exit code {self._process.wait()})")
        return json.loads(line)

    def close(self) -> None:
        code = self._process.wait(timeout=600)
        if code:
            raise SystemExit(f"{self.kind} trainer failed (exit code {code})")


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """One point: medians of both, their ratios, and how far their numbers are apart."""
    passed = [
        *("--prompt", str(args.prompt), "--completion", str(args.completion)),
        *("--group", str(args.group), "--prompts", str(args.prompts)),
        *("--steps", str(args.steps), "--seed", str(args.seed)),
        *(["--checkpointing"] if args.checkpointing else []),
        *(["--freeze-vision"] if args.freeze_vision else []),
    ]
    found: dict[str, list[dict[str, Any]]] = {"stock": [], "ours": []}
    with tempfile.TemporaryDirectory() as folder:
        import torch

        dtype = "bfloat16" if torch.cuda.is_available() else "float32"
        build(Path(folder), args.model, args.seed, dtype)
        turns = [Turn(kind, folder, passed) for kind in found]
        for _ in range(args.steps + 1):
            for turn in turns:
                found[turn.kind].append(turn.step())
        for turn in turns:
            turn.close()
    # The first step warms up, and in ours compares the two ways.
    seconds = {
        kind: {
            part: statistics.median(step["seconds"][part] for step in steps[1:])
            for part in (*PARTS, "rest")
        }
        for kind, steps in found.items()
    }
    memory = {kind: max(step["memory"] for step in steps[1:]) for kind, steps in found.items()}
    ratios = {f"ratio_{p}": seconds["stock"][p] / seconds["ours"][p] for p in PARTS}
    return {
        **ratios,
        "memory_ratio": memory["stock"] / memory["ours"],
        "max_logp_diff": found["ours"][0]["difference"][0],
        "limit": limit(args.prompt, args.completion, args.group),
        "prompt": args.prompt,
        "image_tokens": image_tokens(args.prompt),
        "completion": args.completion,
        "group": args.group,
        "prompts": args.prompts,
        "model": args.model,
        "dtype": dtype,
        "checkpointing": args.checkpointing,
        "freeze_vision": args.freeze_vision,
        "seed": args.seed,
        "steps": args.steps,
        "seconds": seconds,
        "memory_mib": memory,
        "machine": machine(),
    }


def machine() -> dict[str, Any]:
    """What it was measured on, without anything that names it."""
    import torch
    import transformers
    import trl

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "device": gpu or f"{platform.machine()} CPU",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "trl": trl.__version__,
    }


def parser() -> argparse.ArgumentParser:
    """The arguments of one point."""
    found = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    found.add_argument("--prompt", type=int, default=600, help="tokens, its image's included")
    found.add_argument("--completion", type=int, default=128, help="tokens of each completion")
    found.add_argument("--group", type=int, default=8, help="completions of a prompt")
    found.add_argument("--prompts", type=int, default=1, help="prompts of a step")
    found.add_argument("--model", choices=SHAPES, default="37m")
    found.add_argument("--steps", type=int, default=3, help="measured steps; one more warms up")
    found.add_argument("--seed", type=int, default=0)
    found.add_argument("--checkpointing", action="store_true", help="gradient checkpointing")
    found.add_argument("--freeze-vision", action="store_true")
    found.add_argument("--json", action="store_true", help="print the whole result as one object")
    found.add_argument("--worker", choices=("stock", "ours"), help=argparse.SUPPRESS)
    found.add_argument("--folder", help=argparse.SUPPRESS)
    return found


def main() -> None:
    arguments = parser()
    args = arguments.parse_args()
    if args.prompt < 64 or args.completion < 1 or args.group < 2 or args.steps < 1:
        arguments.error("wanted: --prompt 64 or more, --group 2 or more, the others 1 or more")
    if args.worker:
        worker(args, args.folder)
        return
    result = measure(args)
    if args.json:
        print(json.dumps(result))
        return
    for part in PARTS:
        ours, stock = (result["seconds"][kind][part] for kind in ("ours", "stock"))
        print(f"{part:11} TRL {stock:8.3f} s   ours {ours:8.3f} s   ratio {stock / ours:5.2f}")
    print(f"memory      TRL over ours {result['memory_ratio']:.2f}; limit {result['limit']:.2f}")
    print(f"log-probabilities differ by at most {result['max_logp_diff']:.1e}")


if __name__ == "__main__":
    main()
