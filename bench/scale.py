"""GRPO steps of a model of real size with random weights, held against the estimate; its table.

    python bench/scale.py run --size Qwen3-VL-2B --steps 10 --lora    on a CUDA GPU, one JSON object
    python bench/scale.py run --cpu --size tiny --steps 2 --lora      the same way, on this machine
    python bench/scale.py render                                      docs/scale.md, from shapes

`run` goes the whole way of `safegrpo train`: a model folder, a tagged set of random images, a
recipe, our trainer. Random weights hardly ever end an answer, so all are of full length, the bound
that the estimate counts. Without a GPU (and without --cpu) it says so and ends with code 2.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from grpo_step import machine
from scale_worker import Meter, build, measured_trainer, recipe_of, write_rows
from shapes import SHAPES, shape_of

from safegrpo.data.jsonl import write_text_atomic

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results" / "scale"
PAGE = ROOT / "docs" / "scale.md"
BEGIN, END = "<!-- estimates: bench/scale.py render -->", "<!-- end -->"
SIZES = ("tiny", *(name for name in SHAPES if name.startswith("Qwen3-VL")))
CARDS = ((1, 24), (1, 80), (4, 80), (8, 80))

INTRODUCTION = """\
GiB of one GPU at the moment of a step that takes most, computed from the models' shapes; nothing \
here was measured on a GPU. It is a bound: every prompt has `data.max_prompt_length` tokens, all \
an image's, and every completion is of full length. Adapters are trained with DDP, whole models \
with FSDP2; the update stays as large on more GPUs, each taking fewer batches of it. A tenth of a \
GPU is left to what no formula gives: between that and its size a run is tight."""


def run(args: argparse.Namespace) -> dict[str, Any]:
    """The measured run, beside the estimate of the same recipe."""
    from safegrpo.training import grpo
    from safegrpo.training.estimate.assumptions import assumptions
    from safegrpo.training.estimate.estimate import estimate
    from safegrpo.training.estimate.memory import PHASES
    from safegrpo.training.estimate.table import as_json
    from safegrpo.training.run import train

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build(folder / "model", args.size, args.seed, "bfloat16" if args.lora else "float32")
        count = args.prompts * args.accumulation * args.steps
        rows = write_rows(folder, count, args.image_tokens, args.words, args.seed)
        recipe = recipe_of(args, folder, rows)
        expected = estimate(recipe)
        meter = Meter()
        grpo.SafeGRPOTrainer = measured_trainer(meter)
        done = train(recipe).steps
        recipe = recipe.model_copy(update={"model": args.size})  # no path into the result
        said = as_json(expected, assumptions(expected, recipe), [])
    warm = meter.steps[1:] or meter.steps  # the first one warms up, and compares both ways
    generating = statistics.median(step["generating"] for step in warm)
    rest = statistics.median(step["step"] - step["generating"] for step in warm)
    return {
        "size": args.size,
        "steps": done,
        "seconds": {"step": statistics.median(s["step"] for s in warm), "generating": generating},
        "generated_tokens_per_s": expected.work.generated / generating,
        "trained_tokens_per_s": expected.work.trained / rest,
        "peak_mib": meter.peaks,
        "estimate_mib": {phase: expected.memory.total(phase) / 2**20 for phase in PHASES},
        # A CPU's peak is the whole process's, Python and all: nothing to divide by.
        "estimate_over_peak": None
        if args.cpu
        else {
            phase: expected.memory.total(phase) / 2**20 / peak
            for phase, peak in meter.peaks.items()
        },
        "estimate": {**said, "model": args.size},
        "machine": machine(),
    }


def on_cards(recipe: Any, shape: Any, gpus: int, card: int) -> str:
    """A cell of the table: the peak of a GPU in GiB, and whether that fits.

    The update stays as large as on the GPUs that the recipe was written for (LoRA: one, else four):
    more of them take fewer batches each.
    """
    from safegrpo.errors import ConfigError
    from safegrpo.training.estimate.estimate import estimate
    from safegrpo.training.estimate.prompts import assumed_prompts

    meant = 1 if recipe.lora is not None else 4
    grpo = dict(recipe.grpo)
    for name in ("gradient_accumulation_steps", "steps_per_generation"):
        if name in grpo:
            grpo[name] = max(1, grpo[name] * meant // gpus)
    try:
        found = estimate(
            recipe.model_copy(update={"grpo": grpo}),
            gpus=gpus,
            sharding="ddp" if gpus == 1 or recipe.lora is not None else "fsdp",
            gpu_memory=card,
            shape=shape,
            prompts=assumed_prompts(recipe.data.max_prompt_length, "no data is read"),
        )
    except ConfigError as error:
        return str(error)
    return f"{found.memory.peak / 2**30:.0f} {found.memory.phase}: {found.verdict}"


def table() -> str:
    """The estimates of all recipes whose model's shape is known, as a Markdown table."""
    from safegrpo.training.config import load_recipe
    from safegrpo.training.estimate.shape import model_shape

    heads = [f"{gpus} x {card} GB" for gpus, card in CARDS]
    lines = [INTRODUCTION, ""]
    lines += [f"| recipe | {' | '.join(heads)} |", f"|---|{'---|' * len(CARDS)}"]
    for path in sorted((ROOT / "recipes").glob("*.yaml")):
        recipe = load_recipe(path)
        model = shape_of(recipe.model)
        if model is None:
            continue
        shape = model_shape(model.config(), recipe.lora)
        cells = [on_cards(recipe, shape, gpus, card) for gpus, card in CARDS]
        lines.append(f"| {path.stem} | {' | '.join(cells)} |")
    return "\n".join(lines)


def rendered(page: str, made: str) -> str:
    """The page with `made` between the markers; SystemExit if they are not there."""
    begin, rest = page.find(BEGIN), page.find(END)
    if begin < 0 or rest < begin:
        raise SystemExit(f"{PAGE.name}: the lines {BEGIN} and {END} are not there, in this order")
    return f"{page[: begin + len(BEGIN)]}\n{made}\n{page[rest:]}"


def parser() -> argparse.ArgumentParser:
    """The arguments of both commands."""
    found = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = found.add_subparsers(dest="command", required=True)
    one = commands.add_parser("run", help="train a few steps and compare")
    one.add_argument("--size", choices=SIZES, default="Qwen3-VL-2B")
    one.add_argument("--steps", type=int, default=10)
    one.add_argument("--lora", action="store_true", help="adapters; else all but the vision tower")
    one.add_argument("--vllm", action="store_true", help="generate with vLLM, on the same GPU")
    one.add_argument("--group", type=int, default=8, help="completions of a prompt")
    one.add_argument("--prompts", type=int, default=1, help="prompts that a pass takes at once")
    one.add_argument("--accumulation", type=int, default=4, help="passes of an update")
    one.add_argument("--completion", type=int, default=512, help="tokens of each completion")
    one.add_argument("--image-tokens", type=int, default=1024, help="tokens of each image")
    one.add_argument("--words", type=int, default=200, help="words of each question")
    one.add_argument("--beta", type=float, default=0.01)
    one.add_argument("--no-checkpointing", action="store_true")
    one.add_argument("--cpu", action="store_true", help="on this machine's CPU (for --size tiny)")
    one.add_argument("--seed", type=int, default=0)
    one.add_argument("--save", metavar="NAME", help="keep the result as docs/results/scale/NAME")
    commands.add_parser("render", help="write the table of docs/scale.md")
    return found


def main(given: list[str]) -> int:
    arguments = parser()
    args = arguments.parse_args(given)
    if args.command == "render":
        write_text_atomic(PAGE, rendered(PAGE.read_text(encoding="utf-8"), table()))
        return 0
    import torch

    if not args.cpu and not torch.cuda.is_available():
        print("no CUDA GPU here; for the same way on a CPU: --cpu --size tiny", file=sys.stderr)
        return 2
    result = run(args)
    result["command"] = " ".join(["python bench/scale.py", *given])
    print(json.dumps(result))
    if args.save:
        RESULTS.mkdir(parents=True, exist_ok=True)
        text = json.dumps(result, indent=1) + "\n"
        write_text_atomic(RESULTS / f"{Path(args.save).name}.json", text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
