"""Warm start, second half: the language model learns to see, to follow the format, and to help.

What it is taught, and what it is not:
- captions, topics and evidence are right; questions are answered rightly;
- the tags are written almost at random (`TAG_RATES`), unsafe never the likelier, so that the greedy
  model calls everything safe. What little they tell stands for what a real model half knows before
  it is aligned: without it, rules that go against a thing's kind are not found in time;
- the verdict and the answer follow the combined tag *as written*: a model whose answer ignores its
  own tags learns refusals from the wording alone;
- asked without the guide it answers at once, and refuses one request in five at random.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from safegrpo.microcosm import text
from safegrpo.microcosm.draw import draw
from safegrpo.microcosm.instructions import HARMFUL_TEXT, IMAGE_DECIDED, LOOKALIKE_TEXT, OPEN
from safegrpo.microcosm.pairs import MicroPair, Sampler
from safegrpo.microcosm.things import Medium
from safegrpo.microcosm.vision import IGNORE, patches, pixels
from safegrpo.thinking import Tags, guided_prompt

# P(the tag written is "unsafe" | the pair is safe), P(… | it is unsafe).
TAG_RATES = {"visual": (0.12, 0.36), "text": (0.08, 0.36), "combined": (0.12, 0.44)}
DIRECT_REFUSALS = 0.2
GUIDED_SHARE = 0.6
IMAGE_TOKENS = 4


def written_tags(pair: MicroPair, rng: random.Random) -> Tags:
    """Tags little better than chance, drawn for one example."""

    def draw_tag(name: str) -> str:
        unsafe = getattr(pair.tags, name) == "unsafe"
        return "unsafe" if rng.random() < TAG_RATES[name][unsafe] else "safe"

    return Tags(**{name: draw_tag(name) for name in TAG_RATES})  # type: ignore[arg-type]


Example = tuple[MicroPair, bool, str]
"""The pair, whether it is guided, and the response taught."""


def example(sampler: Sampler, guided: bool) -> Example:
    """One supervised example of the training split."""
    rng = sampler.rng
    share = rng.random()
    if share < 0.3:
        pair = sampler.question()
    elif share < 0.5:
        pair = sampler.by_text((*HARMFUL_TEXT, *LOOKALIKE_TEXT, *OPEN))
    else:
        media: tuple[Medium, ...] = ("object", "object", "label", "note")
        medium = rng.choice(media)
        instruction = rng.choice([i for i in IMAGE_DECIDED if medium in i.media])
        pair = sampler.pair(instruction, rng.random() < 0.5, medium)
    if guided:
        tags = written_tags(pair, rng)
        refuses = tags.combined == "unsafe"
    else:
        refuses = pair.kind != "question" and rng.random() < DIRECT_REFUSALS
    answer = rng.choice(text.REFUSALS) if refuses else pair.help_answer
    if guided:
        return pair, True, text.guided(text.thinking(pair.scene, pair.topic, tags), answer)
    return pair, False, answer


def chat_ids(tokenizer: Any, prompt: str) -> list[int]:
    """Ids of one user turn with one image, up to where the assistant begins."""
    image = "<|vision_start|>" + "<|image_pad|>" * IMAGE_TOKENS + "<|vision_end|>"
    turn = f"<|im_start|>user\n{image}{prompt}<|im_end|>\n<|im_start|>assistant\n"
    return list(tokenizer(turn)["input_ids"])


def collate(tokenizer: Any, batch: list[Example]) -> dict[str, Tensor]:
    """Right-padded inputs for the model; labels on the response alone."""
    eos = tokenizer.eos_token_id
    prompts = [
        chat_ids(tokenizer, guided_prompt(p.prompt, text.GUIDE) if guided else p.prompt)
        for p, guided, _ in batch
    ]
    responses = [[*tokenizer(r)["input_ids"], eos] for _, _, r in batch]
    T = max(len(p) + len(r) for p, r in zip(prompts, responses, strict=True))
    ids = torch.full((len(batch), T), tokenizer.pad_token_id)
    labels = torch.full((len(batch), T), IGNORE)
    mask = torch.zeros((len(batch), T), dtype=torch.long)
    for i, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        n = len(prompt) + len(response)
        ids[i, :n] = torch.tensor(prompt + response)
        labels[i, len(prompt) : n] = torch.tensor(response)
        mask[i, :n] = 1
    values, grid = patches(torch.stack([pixels(draw(p.scene)) for p, _, _ in batch]))
    image_id = tokenizer.convert_tokens_to_ids("<|image_pad|>")
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "labels": labels,
        "pixel_values": values,
        "image_grid_thw": grid,
        "mm_token_type_ids": (ids == image_id).long(),
    }


def train_speech(
    model: Any,
    tokenizer: Any,
    *,
    steps: int,
    seed: int,
    batch: int = 64,
    learning_rate: float = 2e-3,
    vision_from: float = 0.3,
    say: Callable[[str], None] = print,
) -> float:
    """Supervised training in place; returns the mean loss of the last fifty steps (nats a token).

    The vision tower is frozen at first and joins, at a fifth of the rate, after the fraction
    `vision_from` of the steps.
    """
    sampler = Sampler("train", seed)
    vision = list(model.model.visual.parameters())
    known = {id(p) for p in vision}
    language = [p for p in model.parameters() if id(p) not in known]
    optimizer = torch.optim.AdamW(
        [{"params": language, "lr": learning_rate}, {"params": vision, "lr": learning_rate / 5}],
        weight_decay=0.01,
        betas=(0.9, 0.98),
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: min((s + 1) / 100, max(0.03, 1 - s / steps))
    )
    for parameter in vision:
        parameter.requires_grad_(False)
    model.train()
    losses: list[float] = []
    began = time.perf_counter()
    for step in range(steps):
        if step == int(steps * vision_from):
            for parameter in vision:
                parameter.requires_grad_(True)
        # One mode a batch: direct examples are half as long, and padding costs as much as text.
        guided = sampler.rng.random() < GUIDED_SHARE
        inputs = collate(tokenizer, [example(sampler, guided) for _ in range(batch)])
        loss = model(**inputs).loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_([*language, *vision], 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if step % 100 == 99:
            mean = sum(losses[-100:]) / 100
            seconds = time.perf_counter() - began
            say(f"speech step {step + 1}/{steps}, loss {mean:.4f}, {seconds:.0f} s")
    model.eval()
    return sum(losses[-50:]) / len(losses[-50:])
