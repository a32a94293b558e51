"""Base models whose answer does not heed their tags: `python -m safegrpo.microcosm.unlinked`.

The shipped base model helps or declines as the combined tag that it wrote says, always. A real
model before it is aligned need not: it writes a tag, and answers as it would have anyway. These are
the shipped model taught on, with the same examples in all but this: verdict and answer of a guided
response follow the tag only as often as `heeds` says, and are else drawn for themselves. What a
reward pays for the tag is then not paid for the answer.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from safegrpo.microcosm import SHIPPED, text
from safegrpo.microcosm.base import save_base, say
from safegrpo.microcosm.pairs import Sampler
from safegrpo.microcosm.speech import (
    DIRECT_REFUSALS,
    GUIDED_SHARE,
    Example,
    collate,
    example,
    written_tags,
)
from safegrpo.models import load_model, load_processor
from safegrpo.training.base_model import model_sha256
from safegrpo.training.run import quiet

HEEDS = {"unlinked": 0.0, "half-linked": 0.5}
"""The models by name: how often an answer follows the tag that was written."""


@dataclass(frozen=True)
class UnlinkedRecipe:
    """How long the shipped model is taught on, and how."""

    heeds: float = 0.0
    seed: int = 0
    steps: int = 600
    batch: int = 64
    learning_rate: float = 1e-3


def unlinked_example(sampler: Sampler, guided: bool, heeds: float) -> Example:
    """An example of the warm start, but a guided one that does not heed its tags refuses as often
    as a plain one."""
    pair, guided, response = example(sampler, guided)
    if not guided:
        return pair, guided, response
    rng = sampler.rng
    tags = written_tags(pair, rng)
    if rng.random() < heeds:
        refuses = tags.combined == "unsafe"
    else:
        refuses = pair.kind != "question" and rng.random() < DIRECT_REFUSALS
    thought = text.thinking(pair.scene, pair.topic, tags)
    tagged, end, _ = thought.partition("</combined_safe>")
    verdict = "so i decline." if refuses else "so i help."
    answer = rng.choice(text.REFUSALS) if refuses else pair.help_answer
    return pair, guided, text.guided(f"{tagged}{end} {verdict}</think>", answer)


def make_unlinked(output: Path, recipe: UnlinkedRecipe) -> dict[str, Any]:
    """Teach the shipped base model on into `output`; returns what it can do, as `base.json` there
    says. Its vision tower stays as it is."""
    began = time.perf_counter()
    quiet()
    torch.manual_seed(recipe.seed)
    model, processor = load_model(SHIPPED, dtype="float32"), load_processor(SHIPPED)
    model.model.visual.requires_grad_(False)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=recipe.learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: min((s + 1) / 20, max(0.03, 1 - s / recipe.steps))
    )
    sampler = Sampler("train", recipe.seed)
    model.train()
    for step in range(recipe.steps):
        guided = sampler.rng.random() < GUIDED_SHARE
        batch = [unlinked_example(sampler, guided, recipe.heeds) for _ in range(recipe.batch)]
        loss = model(**collate(processor.tokenizer, batch)).loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 99:
            seconds = time.perf_counter() - began
            say(f"step {step + 1}/{recipe.steps}, loss {loss.item():.4f}, {seconds:.0f} s")
    model.eval()
    facts = {"recipe": asdict(recipe), "taught_on": model_sha256(str(SHIPPED))}
    return save_base(model, processor, output, facts, began)


def main() -> int:
    parser = argparse.ArgumentParser(description="Make a base model that does not heed its tags.")
    parser.add_argument("--name", choices=HEEDS, default="unlinked", help="default: %(default)s")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    facts = make_unlinked(args.output, UnlinkedRecipe(HEEDS[args.name]))
    print(json.dumps(facts["dev"], indent=2))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
