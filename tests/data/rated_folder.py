"""Builders of what `safegrpo annotate` leaves: pairs with their images, scores and a manifest."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from safegrpo.data.images import ImageRef
from safegrpo.data.rating import Rating
from safegrpo.data.scores import ScoreRow, Vote
from safegrpo.data.sources import Pair
from safegrpo.thinking import TAG_NAMES

MANIFEST = {
    "judges": [{"url": "http://judge.internal/v1", "model": "judge-1", "temperature": 0.0}],
    **{"votes": 1, "max_side": 1536, "wording": "1", "policy_sha256": "ab" * 32, "shards": 1},
}
CELLS = [tuple("safe" if bit == "0" else "unsafe" for bit in f"{n:03b}") for n in range(8)]
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def picture(seed: int, side: int = 64) -> bytes:
    """A PNG of random blocks; those of two seeds are no near-duplicates."""
    blocks = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    sink = io.BytesIO()
    Image.fromarray(blocks).resize((side, side), Image.Resampling.NEAREST).save(sink, "PNG")
    return sink.getvalue()


def wording(seed: int) -> str:
    """A question of random letters; those of two seeds are no near-duplicates."""
    rng = random.Random(seed)
    return " ".join("".join(rng.choices(_LETTERS, k=6)) for _ in range(5)) + "?"


def rating(scores: Sequence[float] = (9, 9, 9), confidences: Sequence[float] | float = 9) -> Rating:
    sure = [confidences] * 3 if isinstance(confidences, int | float) else confidences
    return Rating(
        dict(zip(TAG_NAMES, map(float, scores), strict=True)),
        dict(zip(TAG_NAMES, map(float, sure), strict=True)),
        {name: f"a reason for {name}" for name in TAG_NAMES},
    )


def rating_of(cell: Sequence[str], confidence: float = 9) -> Rating:
    return rating([9 if tag == "safe" else 1 for tag in cell], confidence)


@dataclass
class Row:
    """A pair and what a judge said of it. `images` are seeds of pictures, or encoded files."""

    id: str
    cell: Sequence[str] = ("safe", "safe", "safe")
    images: Sequence[int | bytes] = ()
    prompt: str = ""
    confidence: float = 9
    status: str = "scored"
    rating: Rating | None = None
    votes: Sequence[Rating] = ()
    columns: Mapping[str, Any] = field(default_factory=dict)

    def files(self) -> list[bytes]:
        return [one if isinstance(one, bytes) else picture(one) for one in self.images]

    def score_row(self) -> ScoreRow:
        refs = tuple(ImageRef(data=data) for data in self.files())
        said = self.rating or rating_of(self.cell, self.confidence)
        return ScoreRow(
            self.id,
            self.status,  # type: ignore[arg-type]
            said if self.status == "scored" else None,
            content=Pair(self.id, refs, self.prompt).content_hash(),
            votes=tuple(Vote(f"judge-{n}", "scored", one) for n, one in enumerate(self.votes)),
        )


def row(number: int, cell: Sequence[str] = ("safe", "safe", "safe"), **changes: Any) -> Row:
    """A row unlike those of other numbers."""
    given = {"images": (number,), "prompt": wording(number), **changes}
    return Row(f"p{number}", cell, **given)


def rated_folder(
    base: Path,
    rows: Sequence[Row],
    shards: int = 1,
    manifest: Mapping[str, Any] = MANIFEST,
    place: str = "../pairs.jsonl",
) -> Path:
    """Write base/pairs.jsonl with base/images and base/rated; returns the last."""
    write_pairs(base / "pairs.jsonl", rows)
    folder = base / "rated"
    folder.mkdir()
    said = {**manifest, "pairs": {"kind": "plain", "place": place}}
    (folder / "manifest.json").write_text(json.dumps(said))
    for shard in range(shards):
        name = "scores.jsonl" if shards == 1 else f"scores-{shard + 1:05d}-of-{shards:05d}.jsonl"
        mine = [json.dumps(one.score_row().to_json()) + "\n" for one in rows[shard::shards]]
        (folder / name).write_text("".join(mine))
    return folder


def write_pairs(path: Path, rows: Sequence[Row]) -> None:
    images = path.parent / "images"
    images.mkdir(parents=True, exist_ok=True)
    lines = []
    for one in rows:
        names = [f"{one.id}-{n}.png" for n in range(len(one.images))]
        for name, data in zip(names, one.files(), strict=True):
            (images / name).write_bytes(data)
        given = {"id": one.id, "images": [f"images/{n}" for n in names], "prompt": one.prompt}
        lines.append(json.dumps({**given, **one.columns}) + "\n")
    path.write_text("".join(lines))
