"""What bench/scale.py measures: a model, rows and a recipe made on the spot, and a trainer that
tells how long each phase takes and how much memory."""

from __future__ import annotations

import argparse
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from grpo_worker import Clock, peak_memory, save_random
from shapes import SHAPES


def build(folder: Path, size: str, seed: int, dtype: str) -> None:
    """A Qwen3-VL of random weights, as a directory, with a processor of the microcosm's words."""
    from safegrpo.microcosm import SHIPPED
    from safegrpo.microcosm.model import build_model, build_processor
    from safegrpo.models import load_processor

    tokenizer = load_processor(SHIPPED).tokenizer
    config = build_model(tokenizer).config if size == "tiny" else SHAPES[size].config()
    ids = tokenizer.get_vocab()
    for name in ("image", "video"):
        setattr(config, f"{name}_token_id", ids[f"<|{name}_pad|>"])
    for name in ("start", "end"):
        setattr(config, f"vision_{name}_token_id", ids[f"<|vision_{name}|>"])
    processor = build_processor(tokenizer, max_pixels=2**22)
    processor.image_processor.temporal_patch_size = config.vision_config.temporal_patch_size
    save_random(config, processor, folder, seed, dtype)


def write_rows(folder: Path, count: int, image_tokens: int, words: int, seed: int) -> Path:
    """A tagged set of `count` rows: a random image of so many tokens and a question of words."""
    import numpy as np
    from PIL import Image

    from safegrpo.data.images import ImageRef
    from safegrpo.data.schema import TaggedPair, save_tagged
    from safegrpo.thinking import Tags

    rng = np.random.default_rng(seed)
    high = max(n for n in range(1, int(image_tokens**0.5) + 1) if image_tokens % n == 0)
    size = (32 * high, 32 * image_tokens // high, 3)
    pairs = []
    for row in range(count):
        file = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8), "RGB").save(file, "PNG")
        image = ImageRef(data=file.getvalue(), name=f"{row}.png")
        text = " ".join(["what is in the picture ?"] + ["red"] * words)
        pairs.append(TaggedPair(f"r{row}", (image,), text, Tags("safe", "safe", "safe")))
    path = folder / "rows.parquet"
    save_tagged(pairs, path)
    return path


def recipe_of(args: argparse.Namespace, folder: Path, rows: Path) -> Any:
    """The recipe of the measured run."""
    from safegrpo.training.config import Recipe
    from safegrpo.training.grpo_options import check_grpo_options

    grpo = {
        "num_generations": args.group,
        "per_device_train_batch_size": args.group * args.prompts,
        "gradient_accumulation_steps": args.accumulation,
        "max_completion_length": args.completion,
        "max_steps": args.steps,
        # Both engines then never end a completion early; they call it by different names.
        "generation_kwargs": {"min_tokens" if args.vllm else "min_new_tokens": args.completion},
        "beta": args.beta,
        "gradient_checkpointing": not args.no_checkpointing,
        **({"use_cpu": True} if args.cpu else {}),
        **({"use_vllm": True, "vllm_max_model_length": 8192} if args.vllm else {}),
    }
    return Recipe.model_validate(
        {
            "model": str(folder / "model"),
            "mode": "direct",
            "data": {"train": str(rows), "max_prompt_length": 8192},
            "lora": {} if args.lora else None,
            "grpo": check_grpo_options(grpo),
            "checkpoint": {"every": args.steps + 1},
            "seed": args.seed,
            "output": str(folder / "run"),
        }
    )


@dataclass
class Meter:
    """Seconds of each step by phase, and the peak memory (MiB) of each phase."""

    clock: Clock = field(default_factory=Clock)
    steps: list[dict[str, float]] = field(default_factory=list)
    peaks: dict[str, float] = field(default_factory=dict)
    begun: float = 0.0

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """What happens meanwhile belongs to this phase, its memory too."""
        peak_memory(reset=True)
        with self.clock.measure(name):
            yield
        self.note(name)

    def note(self, name: str) -> None:
        """Count the memory since the last reset as a phase's."""
        self.peaks[name] = max(self.peaks.get(name, 0.0), peak_memory())
        peak_memory(reset=True)


def measured_trainer(meter: Meter) -> type:
    """Our trainer, telling `meter` of its phases; the names overridden are TRL's."""
    import torch
    from transformers import TrainerCallback

    from safegrpo.training.trainer import SafeGRPOTrainer

    class Steps(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            meter.clock.seconds, meter.begun = {}, meter.clock._now()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            meter.note("training")
            seconds = meter.clock._now() - meter.begun
            meter.steps.append({"step": seconds, **meter.clock.seconds})

    class MeasuredTrainer(SafeGRPOTrainer):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.add_callback(Steps())

        def _generate(self, *args: Any, **options: Any) -> Any:
            with meter.phase("generating"):
                return super()._generate(*args, **options)

        def _get_per_token_logps_and_entropies(self, *args: Any, **options: Any) -> Any:
            with nullcontext() if torch.is_grad_enabled() else meter.phase("scoring"):
                return super()._get_per_token_logps_and_entropies(*args, **options)

    return MeasuredTrainer
