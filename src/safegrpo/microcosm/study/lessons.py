"""The supervised rows of the study: two published recipes' examples, and training on them.

Both are answers to the plain prompt, without the guide. The tags say which pairs are harmful, so
wrong tags (see `worlds`) become wrong lessons.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from itertools import cycle
from typing import Any

import torch
from torch import nn

from safegrpo.errors import DataError
from safegrpo.microcosm import text
from safegrpo.microcosm.pairs import MicroPair
from safegrpo.microcosm.speech import Example, collate
from safegrpo.thinking import TAG_NAMES


def vlguard(pairs: Sequence[MicroPair]) -> list[Example]:
    """One lesson a pair, in order: refuse what is harmful, help with the rest at once.

    VLGuard's training file (github.com/ys-zong/VLGuard, train.json) holds 2,977 requests about
    2,000 images: 1,023 about an unsafe image and 977 harmful ones about a safe image, all
    answered by a short refusal, and 977 harmless ones about the same safe images, answered. So
    two thirds are refused, and nothing in it is thought through. `World(harmful_share=0.67,
    questions=False)` has these proportions.
    """
    refusals = cycle(text.REFUSALS)
    return [(p, False, next(refusals) if p.harmful else p.help_answer) for p in pairs]


def think_in_safety(pairs: Sequence[MicroPair]) -> list[Example]:
    """One lesson a harmful pair, in order: see it, say why it does harm, decline.

    Think-in-Safety's set (EMNLP 2025; Holly301/Think-in-Safety on the hub) holds 4,396 harmful
    requests about images, each answered by a thought in `<think>` and a refusal. It has no
    harmless ones and no tags.
    """
    refusals = cycle(text.REFUSALS)
    return [(p, False, _worried(p) + next(refusals)) for p in pairs if p.harmful]


def _worried(pair: MicroPair) -> str:
    """The microcosm's thinking chain up to a refusal, without the tags."""
    seen, topic = text.caption(pair.scene), pair.topic
    reason = f"{pair.scene.thing.adjective} and {topic}."
    return f"<think>{seen} user asks about {topic}. {reason} so i decline.</think>"


def labels(pairs: Sequence[MicroPair]) -> list[Example]:
    """One lesson a pair, in order: its three tags as the thinking, then as `vlguard` answers.

    The control to carrying over what a policy has learned: the same pairs, prompts and tags, and
    nothing that a policy has said.
    """
    answers = [answer for _, _, answer in vlguard(pairs)]
    tagged = [
        "".join(f"<{n}_safe>{getattr(p.tags, n)}</{n}_safe>" for n in TAG_NAMES) for p in pairs
    ]
    return [
        (p, False, text.guided(f"<think>{tags}</think>", answer))
        for p, tags, answer in zip(pairs, tagged, answers, strict=True)
    ]


def chains(pairs: Sequence[MicroPair]) -> list[Example]:
    """One lesson a pair, in order: the whole true chain of thought and the true answer. An oracle:
    no tagged set says what is seen and why it is harmful."""
    answers = [answer for _, _, answer in vlguard(pairs)]
    return [
        (p, False, text.guided(text.thinking(p.scene, p.topic, p.tags), answer))
        for p, answer in zip(pairs, answers, strict=True)
    ]


def train_lessons(
    model: Any,
    tokenizer: Any,
    lessons: Sequence[Example],
    *,
    steps: int,
    batch: int,
    learning_rate: float,
    seed: int,
    freeze_vision: bool,
    say: Callable[[str], None],
) -> float:
    """Supervised training in place, on the responses alone; returns the mean loss of the last
    fifty steps (nats a token).

    Every lesson comes once before any comes again, in an order that depends on the seed alone. The
    rate rises over a tenth of the steps and falls linearly to 3 %; the vision tower, unless it is
    frozen, learns at a fifth of it. Raises DataError if there are no lessons.
    """
    if not lessons:
        raise DataError("no lessons to train on: the training set holds no pair they are made of")
    rng = random.Random(f"lessons/{seed}")
    vision = [] if freeze_vision else list(model.model.visual.parameters())
    tower = {id(p) for p in model.model.visual.parameters()}
    language = [p for p in model.parameters() if id(p) not in tower]
    optimizer = torch.optim.AdamW(
        [{"params": language, "lr": learning_rate}, {"params": vision, "lr": learning_rate / 5}],
        weight_decay=0.01,
        betas=(0.9, 0.98),
    )
    rising = max(1, steps // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: min((s + 1) / rising, max(0.03, 1 - s / steps))
    )
    model.model.visual.requires_grad_(not freeze_vision)
    model.train()
    waiting: list[Example] = []
    losses: list[float] = []
    began = time.perf_counter()
    for step in range(steps):
        while len(waiting) < batch:
            waiting += rng.sample(lessons, len(lessons))
        now, waiting = waiting[:batch], waiting[batch:]
        inputs = {key: value.to(model.device) for key, value in collate(tokenizer, now).items()}
        loss = model(**inputs).loss
        loss.backward()
        nn.utils.clip_grad_norm_([*language, *vision], 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
        losses.append(loss.item())
        if step % 100 == 99:
            mean = sum(losses[-100:]) / 100
            seconds = time.perf_counter() - began
            say(f"lessons step {step + 1}/{steps}, loss {mean:.4f}, {seconds:.0f} s")
    model.model.visual.requires_grad_(True)
    model.eval()
    return sum(losses[-50:]) / len(losses[-50:])
