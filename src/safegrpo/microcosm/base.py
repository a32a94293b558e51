"""The recipe of the microcosm's base model: `python -m safegrpo.microcosm.base`.

From nothing to a tiny vision-language model that sees, follows the format and helps with anything:
a tokenizer trained on the world's sentences, a vision tower trained to tell pictures
(`vision.py`), a language model taught to speak about them (`speech.py`). The result ships with the
package in bfloat16, so that the demo starts at once.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate.hooks import AlignDevicesHook, add_hook_to_module, remove_hook_from_module
from transformers import __version__

from safegrpo.data.jsonl import write_text_atomic
from safegrpo.microcosm import SHIPPED, measure, text
from safegrpo.microcosm.model import build_model, build_processor, save_model, train_tokenizer
from safegrpo.microcosm.pairs import held_out
from safegrpo.microcosm.sizes import SHIPPED_SIZE, SIZES, Size, rate_scale, resized
from safegrpo.microcosm.speech import train_speech
from safegrpo.microcosm.vision import train_vision
from safegrpo.microcosm.vision_attention import attend_at_once
from safegrpo.models import load_model, load_processor
from safegrpo.thinking import GUIDE_FILE
from safegrpo.training.checkpoints import replace_folder
from safegrpo.training.run import quiet


@dataclass(frozen=True)
class BaseRecipe:
    """Sizes of the warm start; the defaults make the shipped model. Learning rates are those at its
    size, see `rate_scale`."""

    seed: int = 0
    size: Size = SHIPPED_SIZE
    vision_steps: int = 5000
    vision_pool: int = 40000
    vision_batch: int = 64
    vision_learning_rate: float = 1e-3
    speech_steps: int = 4500
    speech_batch: int = 64
    speech_learning_rate: float = 2e-3


def recipe_of(size: Size, seed: int = 0) -> BaseRecipe:
    """The recipe for a size. All but the shipped one are for a GPU, which batches of 64 leave idle:
    as many examples in batches four times as large, at higher rates."""
    if size == SHIPPED_SIZE:
        return BaseRecipe(seed=seed)
    return BaseRecipe(
        seed=seed,
        size=size,
        vision_steps=1250,
        vision_batch=256,
        vision_learning_rate=2e-3,
        speech_steps=1125,
        speech_batch=256,
        speech_learning_rate=3e-3,
    )


MADE_BY = (
    *("things", "instructions", "world", "wordings", "pen", "pictograms", "draw", "text", "pairs"),
    *("model", "vision", "speech"),
)
"""Modules of this package that decide, with BaseRecipe, what the recipe makes."""


def made_by() -> dict[str, str]:
    """A hash of those modules, and the libraries."""
    digest = hashlib.sha256()
    for name in MADE_BY:
        digest.update((Path(__file__).parent / f"{name}.py").read_bytes())
    versions = {"torch": torch.__version__.partition("+")[0], "transformers": __version__}
    return {"sources": digest.hexdigest(), **versions}


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def default_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def place(model: Any, device: str) -> None:
    """Move the model. Its inputs follow it there, and what its vision tower makes of inputs from
    elsewhere goes back to them: the warm start has its batches and its heads on the CPU."""
    model.to(device)
    if torch.device(device).type != "cpu":
        attend_at_once(model)
    add_hook_to_module(model, AlignDevicesHook(device))
    add_hook_to_module(model.model.visual, AlignDevicesHook(device, io_same_device=True))


def make_base(
    output: Path, recipe: BaseRecipe | None = None, device: str = "cpu"
) -> dict[str, Any]:
    """Train the base model into `output`; returns what it can do, as `base.json` there says."""
    recipe = recipe or BaseRecipe()
    began = time.perf_counter()
    quiet()
    torch.manual_seed(recipe.seed)
    tokenizer = train_tokenizer(text.corpus())
    processor = build_processor(tokenizer)
    model = resized(build_model(tokenizer, recipe.seed), recipe.size, recipe.seed)
    place(model, device)
    sees = train_vision(
        model,
        steps=recipe.vision_steps,
        pool=recipe.vision_pool,
        batch=recipe.vision_batch,
        learning_rate=recipe.vision_learning_rate * rate_scale(recipe.size),
        seed=recipe.seed,
        say=say,
    )
    say(f"heads on fresh pictures: {', '.join(f'{k} {v:.3f}' for k, v in sees.items())}")
    loss = train_speech(
        model,
        tokenizer,
        steps=recipe.speech_steps,
        batch=recipe.speech_batch,
        learning_rate=recipe.speech_learning_rate * rate_scale(recipe.size),
        seed=recipe.seed,
        say=say,
    )
    facts = {
        "recipe": asdict(recipe),
        "parameters": sum(p.numel() for p in model.parameters()),
        "heads": sees,
        "speech_loss": loss,
        "device": torch.device(device).type,
        "remade_by": made_by(),
    }
    remove_hook_from_module(model, recurse=True)
    return save_base(model, processor, output, facts, began)


def save_base(
    model: Any, processor: Any, output: Path, facts: dict[str, Any], began: float
) -> dict[str, Any]:
    """A base model's folder, whole or not at all; returns `facts` with what it can do and the
    seconds since `began`, as `base.json` there says."""
    part = output.with_name(output.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    save_model(model, processor, part, torch.bfloat16)
    (part / GUIDE_FILE).write_text(text.GUIDE + "\n", encoding="utf-8")
    dev = abilities(part, device=model.device)
    facts = {**facts, "dev": dev, "seconds": round(time.perf_counter() - began)}
    write_text_atomic(part / "base.json", json.dumps(facts, indent=2) + "\n")
    replace_folder(part, output)
    return facts


def abilities(
    directory: Path, split: str = "dev", size: float = 1.0, device: str | torch.device = "cpu"
) -> dict[str, Any]:
    """What the model in `directory` can do on a held-out split, guided and direct."""
    model = load_model(directory, dtype="float32").to(device)
    processor = load_processor(directory)
    pairs = [pair.tagged() for pair in held_out(split, size)]  # type: ignore[arg-type]
    return {
        mode: measure.metrics(measure.ask_mode(model, processor, pairs, mode))
        for mode in measure.MODES
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="Train the microcosm's base model.")
    parser.add_argument("--output", type=Path, default=SHIPPED, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", choices=SIZES, default=SHIPPED_SIZE, help="default: %(default)s")
    parser.add_argument(
        "--device", help="cuda or cpu (default: a GPU if there is one, but not for what ships)"
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    recipe = recipe_of(args.size, args.seed)
    if args.output == SHIPPED and recipe != BaseRecipe():
        parser.error("only the default model ships with the package; name another --output")
    device = args.device or ("cpu" if args.output == SHIPPED else default_device())
    if torch.device(device).type == "cuda":
        torch.set_float32_matmul_precision("high")  # TF32: a warm start needs no more
    facts = make_base(args.output, recipe, device)
    print(json.dumps(facts["dev"], indent=2))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
