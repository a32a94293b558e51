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
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

SHAPES = {
    # (width, inner, layers, heads, key heads, head size, words), (depth, width, inner, heads, taps)
    "tiny": ((128, 384, 3, 4, 2, 32, 2048), (3, 128, 384, 4, [1])),
    "37m": ((512, 1536, 8, 8, 4, 64, 4096), (6, 256, 1024, 4, [1, 3])),
    "2b": ((2048, 6144, 28, 16, 8, 128, 151936), (24, 1024, 4096, 16, [5, 11, 17])),
    "4b": ((2560, 9728, 36, 32, 8, 128, 151936), (24, 1024, 4096, 16, [5, 11, 17])),
}
PATCH, MERGE = 16, 2
PARTS = ("generation", "reference", "logps", "step")


def limit(prompt: int, completion: int, group: int) -> float:
    """The ratio of tokens that the language model reads: G (P + R) over P + G R."""
    return group * (prompt + completion) / (prompt + group * completion)


def image_tokens(prompt: int) -> int:
    """Of a prompt, what its image takes: 256, or half of a prompt that is short."""
    return 256 if prompt >= 512 else prompt // 4 * 2


def build(folder: Path, shape: str, seed: int, dtype: str) -> None:
    """A model of random weights and its processor, as a directory."""
    import torch
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    from safegrpo.microcosm import SHIPPED
    from safegrpo.microcosm.model import build_processor, save_model
    from safegrpo.models import load_processor

    tokenizer = load_processor(SHIPPED).tokenizer
    ids = tokenizer.get_vocab()
    text, vision = SHAPES[shape]
    width, inner, layers, heads, key_heads, head, words = text
    depth, vision_width, vision_inner, vision_heads, taps = vision
    half = head // 2
    sections = [half - 2 * (half // 3), half // 3, half // 3]
    config = Qwen3VLConfig(
        text_config={
            "vocab_size": words,
            "hidden_size": width,
            "intermediate_size": inner,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": key_heads,
            "head_dim": head,
            "max_position_embeddings": 16384,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 5e6,
                "mrope_section": sections,
                "mrope_interleaved": True,
            },
            "eos_token_id": ids["<|im_end|>"],
            "pad_token_id": ids["<|endoftext|>"],
            "tie_word_embeddings": True,
        },
        vision_config={
            "depth": depth,
            "hidden_size": vision_width,
            "intermediate_size": vision_inner,
            "num_heads": vision_heads,
            "patch_size": PATCH,
            "spatial_merge_size": MERGE,
            "temporal_patch_size": 1,
            "out_hidden_size": width,
            "num_position_embeddings": 2304,
            "deepstack_visual_indexes": taps,
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=True,
    )
    torch.manual_seed(seed)
    torch.set_default_dtype(getattr(torch, dtype))
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = Qwen3VLForConditionalGeneration(config)
    torch.set_default_dtype(torch.float32)
    model.generation_config.eos_token_id = ids["<|im_end|>"]
    model.generation_config.pad_token_id = ids["<|endoftext|>"]
    save_model(model, build_processor(tokenizer, 2**20), folder, getattr(torch, dtype))


def rows(processor: Any, prompt: int, count: int, seed: int) -> list[dict[str, Any]]:
    """`count` prompts of exactly `prompt` tokens, each with an image of its own."""
    import numpy as np
    from PIL import Image

    from safegrpo.evaluation.generate import chat_messages

    rng = np.random.default_rng(seed)
    side = PATCH * MERGE
    tokens = image_tokens(prompt)
    high = max(n for n in range(1, int(tokens**0.5) + 1) if tokens % n == 0)
    shape = (high * side, tokens // high * side, 3)

    def made(words: int) -> tuple[list[dict[str, Any]], int]:
        text = " ".join(["what is in the picture ?"] + ["red"] * words)
        image = Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8), "RGB")
        rendered = processor.apply_chat_template(
            chat_messages([image], text),
            tokenize=True,
            add_generation_prompt=True,
            return_dict=True,
        )
        row = {"prompt": [{"role": "user", "content": text}], "images": [image]}
        return row, len(rendered["input_ids"][0])

    short = made(0)[1]
    found = [made(prompt - short) for _ in range(count)]
    if any(length != prompt for _, length in found):
        raise SystemExit(f"a prompt of {prompt} tokens cannot be made (got {found[0][1]})")
    return [row for row, _ in found]


def reward(completion_ids: list[list[int]], **_: Any) -> list[float]:
    """Anything that differs between completions, so that there is an advantage."""
    return [sum(ids) % 97 / 97 for ids in completion_ids]


class Clock:
    """Seconds of named stretches of the running step; a GPU's queue is emptied at both ends."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        begun = self._now()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + self._now() - begun

    def around(self, owner: Any, method: str, name: Callable[[], str | None]) -> None:
        """Measure every call of `owner.method` under the name that holds at the time."""
        inner = getattr(owner, method)

        def measured(*args: Any, **options: Any) -> Any:
            label = name()
            if label is None:
                return inner(*args, **options)
            with self.measure(label):
                return inner(*args, **options)

        setattr(owner, method, measured)

    @staticmethod
    def _now() -> float:
        import torch

        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return perf_counter()


def peak_memory(reset: bool = False) -> float:
    """The highest memory since the last reset, in MiB: the GPU's, or this process's."""
    import torch

    if torch.cuda.is_available():
        if reset:
            torch.cuda.reset_peak_memory_stats()
        return torch.cuda.max_memory_allocated() / 2**20
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if "VmHWM" in line) / 1024


def worker(args: argparse.Namespace, folder: str) -> None:
    """Train with one of the trainers; a step begins when a line comes in, and ends with a line of
    its seconds and peak memory going out."""
    # The trainers print to standard output, which is for the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    import torch
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    from safegrpo.models import load_model, load_processor
    from safegrpo.training.trainer import SafeGRPOTrainer

    on_gpu = torch.cuda.is_available()
    processor = load_processor(folder)
    data = rows(processor, args.prompt, args.prompts * (args.steps + 1), args.seed)
    config = GRPOConfig(
        output_dir=f"{folder}/{args.worker}",
        per_device_train_batch_size=args.group * args.prompts,
        num_generations=args.group,
        max_completion_length=args.completion,
        max_steps=args.steps + 1,
        generation_kwargs={"min_new_tokens": args.completion},
        beta=0.04,
        learning_rate=1e-5,
        gradient_checkpointing=args.checkpointing,
        shuffle_dataset=False,
        seed=args.seed,
        use_cpu=not on_gpu,
        bf16=on_gpu,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        logging_steps=1000,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
    )
    ours = args.worker == "ours"
    model = load_model(folder, dtype="auto")
    if args.freeze_vision:
        model.model.visual.requires_grad_(False)
    trainer = (SafeGRPOTrainer if ours else GRPOTrainer)(
        model=model,
        reward_funcs=reward,
        args=config,
        train_dataset=Dataset.from_list(data),
        processing_class=processor,
    )
    clock = Clock()
    clock.around(trainer, "_generate", lambda: "generation")
    clock.around(trainer, "_prepare_inputs", lambda: "before")
    clock.around(trainer, "training_step", lambda: "training")
    reference = "_get_per_token_logps_and_entropies"
    clock.around(trainer, reference, lambda: None if torch.is_grad_enabled() else "reference")
    difference = []
    if ours:
        _compare_first(trainer, difference)

    class Turns(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            if not sys.stdin.readline():
                raise SystemExit("the benchmark is gone")
            clock.seconds = {}
            peak_memory(reset=True)
            self.begun = clock._now()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            found = clock.seconds
            seconds = {
                "step": clock._now() - self.begun,
                "generation": found["generation"],
                "reference": found["reference"],
                "logps": found["training"] - found["before"],
                "rest": found["before"] - found["generation"] - found["reference"],
            }
            said = {"seconds": seconds, "memory": peak_memory(), "difference": difference[:1]}
            print(json.dumps(said), file=answers, flush=True)

    trainer.add_callback(Turns())
    trainer.train()
    if ours and not (trainer.shared.scores and trainer.shared.samples):
        raise SystemExit("the shared prefix was switched off, see the warning above")


def _compare_first(trainer: Any, into: list[float]) -> None:
    """Record how far the first step's log-probabilities are from TRL's own way."""
    import torch
    from trl import GRPOTrainer

    inner = trainer._get_per_token_logps_and_entropies

    def compared(model: Any, *args: Any, **options: Any) -> Any:
        found = inner(model, *args, **options)
        if torch.is_grad_enabled() and not into:
            with torch.no_grad():
                dense, _, _ = GRPOTrainer._get_per_token_logps_and_entropies(
                    trainer, model, *args, **options
                )
            into.append(float((found[0] - dense).abs().max()))
        return found

    trainer._get_per_token_logps_and_entropies = compared


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
