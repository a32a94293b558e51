"""Warm start, first half: the vision tower learns to tell what the world's pictures show.

Linear heads on the tower's image features name the thing, the words written in it, color, count,
place and ground; they are thrown away afterwards. The language model then finds features worth
reading, which it would not in any time we could wait for if it had to train them itself.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from safegrpo.microcosm.draw import Scene, draw, random_scene
from safegrpo.microcosm.model import MERGE, PATCH
from safegrpo.microcosm.things import (
    BACKGROUNDS,
    COLORS,
    COUNTS,
    LABELS,
    NOTE_NOUNS,
    NOTE_VERBS,
    OBJECTS,
    PLACES,
)

IGNORE = -100  # cross-entropy's own "no label here"


def patches(images: Tensor) -> tuple[Tensor, Tensor]:
    """`uint8[B, H, W, 3]` to what the processor makes of them: `[B*h*w, 3*16*16]`, grid `[B, 3]`.

    The same numbers as the image processor's for images of the right size (a test compares), a
    hundred times faster than it, which the warm start needs.
    """
    B, H, W, _ = images.shape
    h, w = H // PATCH, W // PATCH
    x = images.to(torch.float32).div_(127.5).sub_(1).permute(0, 3, 1, 2)
    x = x.reshape(B, 3, h // MERGE, MERGE, PATCH, w // MERGE, MERGE, PATCH)
    x = x.permute(0, 2, 5, 3, 6, 1, 4, 7).reshape(B * h * w, 3 * PATCH * PATCH)
    return x, torch.tensor([[1, h, w]] * B)


def pixels(image: Image.Image) -> Tensor:
    """`uint8[H, W, 3]` of an RGB image."""
    return torch.from_numpy(np.array(image, dtype=np.uint8))


_VERBS = tuple(v for verbs in NOTE_VERBS.values() for v in verbs)
_WORDS = tuple(w for words in LABELS.values() for w in words)
_KINDS = tuple(t.name for t in OBJECTS)
HEADS: dict[str, Sequence[str]] = {
    "thing": (*_KINDS, "bottle", "note"),
    "label": _WORDS,
    "verb": _VERBS,
    "noun": NOTE_NOUNS,
    "color": COLORS,
    "count": COUNTS,
    "place": PLACES,
    "ground": BACKGROUNDS,
}


def labels(scene: Scene) -> list[int]:
    """One class index a head, `IGNORE` where the question does not arise."""
    thing = scene.thing
    verb, _, noun = thing.name.partition(" ") if thing.medium == "note" else ("", "", "")
    answers = {
        "thing": {"label": "bottle", "note": "note"}.get(thing.medium, thing.name),
        "label": thing.name if thing.medium == "label" else None,
        "verb": verb or None,
        "noun": noun or None,
        "color": scene.color,
        "count": scene.count if thing.medium == "object" else None,
        "place": scene.place if thing.medium == "object" and scene.count == "one" else None,
        "ground": scene.ground,
    }
    return [
        IGNORE if answer is None else HEADS[head].index(answer) for head, answer in answers.items()
    ]


def features(model: Any, images: Tensor) -> Tensor:
    """Image features of `uint8[B, H, W, 3]` as the language model gets them, averaged over the
    image's tokens: `[B, 2*width]`, the merger's and the deepstack tap's side by side.

    Averaged, because heads that could pick one thing from each token would teach each token only
    its own corner, and three layers of language model do not put corners together.
    """
    values, grid = patches(images)
    out = model.model.visual(values, grid_thw=grid, return_dict=True)
    B = len(images)
    parts = [out.pooler_output, *out.deepstack_features]
    return torch.cat([p.reshape(B, -1, p.shape[-1]).mean(1) for p in parts], dim=1)


def train_vision(
    model: Any,
    *,
    steps: int,
    pool: int,
    seed: int,
    batch: int = 64,
    learning_rate: float = 2e-3,
    say: Callable[[str], None] = print,
) -> dict[str, float]:
    """Train the tower in place; accuracy of each head on fresh scenes, as fractions."""
    rng = random.Random(seed)
    scenes = [random_scene(rng) for _ in range(pool)]
    images = torch.stack([pixels(draw(s)) for s in scenes])
    targets = torch.tensor([labels(s) for s in scenes])
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        width = features(model, images[:1]).shape[1]
    torch.manual_seed(seed)
    heads = nn.ModuleList([nn.Linear(width, len(classes)) for classes in HEADS.values()])
    parameters = [*model.model.visual.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=0.01)
    warmup = min(200, steps // 10 + 1)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda s: min((s + 1) / warmup, max(0.02, (1 + np.cos(np.pi * s / steps)) / 2)),
    )
    began = time.perf_counter()
    model.train()
    for step in range(steps):
        index = torch.randint(pool, (batch,), generator=generator)
        x = features(model, images[index])
        loss = (
            torch.stack(
                [
                    F.cross_entropy(
                        head(x), targets[index, i], ignore_index=IGNORE, reduction="sum"
                    )
                    for i, head in enumerate(heads)
                ]
            ).sum()
            / batch
        )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        if step % 500 == 499:
            seconds = time.perf_counter() - began
            say(f"vision step {step + 1}/{steps}, loss {loss.item():.3f}, {seconds:.0f} s")
    return _accuracy(model, heads, seed + 1)


def _accuracy(model: Any, heads: nn.ModuleList, seed: int, n: int = 2000) -> dict[str, float]:
    rng = random.Random(seed)
    scenes = [random_scene(rng) for _ in range(n)]
    targets = torch.tensor([labels(s) for s in scenes])
    model.eval()
    with torch.no_grad():
        x = torch.cat(
            [
                features(model, torch.stack([pixels(draw(s)) for s in scenes[i : i + 200]]))
                for i in range(0, n, 200)
            ]
        )
        result = {}
        for i, (name, head) in enumerate(zip(HEADS, heads, strict=True)):
            asked = targets[:, i] != IGNORE
            right = head(x).argmax(1)[asked] == targets[asked, i]
            result[name] = right.float().mean().item()
    return result
