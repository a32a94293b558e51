"""One side of bench/grpo_step.py: a model of random weights, and one trainer that takes turns."""

from __future__ import annotations

import argparse
import json
import os
import sys
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


def image_tokens(prompt: int) -> int:
    """Of a prompt, what its image takes: 256, or half of a prompt that is short."""
    return 256 if prompt >= 512 else prompt // 4 * 2


def build(folder: Path, shape: str, seed: int, dtype: str) -> None:
    """A model of random weights and its processor, as a directory."""
    from transformers import Qwen3VLConfig

    from safegrpo.microcosm import SHIPPED
    from safegrpo.microcosm.model import build_processor
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
    save_random(config, build_processor(tokenizer, 2**20), folder, seed, dtype)


def save_random(config: Any, processor: Any, folder: Path, seed: int, dtype: str) -> None:
    """Save a Qwen3-VL of random weights with its processor."""
    import torch
    from transformers import Qwen3VLForConditionalGeneration

    from safegrpo.microcosm.model import save_model

    torch.manual_seed(seed)
    torch.set_default_dtype(getattr(torch, dtype))
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = Qwen3VLForConditionalGeneration(config)
    torch.set_default_dtype(torch.float32)
    ids = processor.tokenizer.get_vocab()
    model.generation_config.eos_token_id = ids["<|im_end|>"]
    model.generation_config.pad_token_id = ids["<|endoftext|>"]
    save_model(model, processor, folder, getattr(torch, dtype))


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
    if ours and not (trainer.shared.scoring.kept and trainer.shared.sampling.kept):
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
