"""Tagged pairs as the rows of one parquet that verl and EasyR1 both read.

verl takes `prompt` (a chat), `images`, `data_source`, `reward_model.ground_truth` and `extra_info`;
EasyR1 takes `problem` (the same text, not as a chat), `images` and `ground_truth`. Each image has
its placeholder at the beginning of the text. Rows go to disk in groups that fit in memory.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from safegrpo.data.hub_layout import IMAGES_METADATA, GroupedFile, arrow_modules
from safegrpo.data.images import FORMATS, ImageRef, open_image
from safegrpo.data.jsonl import replacing
from safegrpo.data.pairs import IMAGE_PLACEHOLDER, TaggedPair
from safegrpo.errors import DataError
from safegrpo.thinking import HUB_NAMES

# verl splits the text of a row with images at these, and counts them against what the row has.
_MARKS = (IMAGE_PLACEHOLDER, "<video>", "<audio>")


def data_source(pair: TaggedPair) -> str:
    """The name under which verl's validation averages a row.

    `benign` and `harmful` pairs, those `compositional`ly harmful (image and text each safe), and
    any `question` without tags.
    """
    tags = pair.tags
    if tags is None:
        return "question"
    if tags.combined == "safe":
        return "benign"
    return "compositional" if tags.visual == tags.text == "safe" else "harmful"


def ground_truth(pair: TaggedPair) -> str:
    """What a response to the pair is scored against, as JSON; `rewards.target_in` reads it."""
    truth = {**_tags(pair), "prompt": pair.prompt, "answer": pair.answer}
    return json.dumps(truth, ensure_ascii=False)


def placed_text(pair: TaggedPair, text: str) -> str:
    """`text`, with one placeholder for each image of the pair before it.

    Raises DataError, which names the row, if the text itself holds what either engine would take
    for a placeholder.
    """
    # Without images verl looks for none, and EasyR1 only for those of images.
    marks = _MARKS if pair.images else _MARKS[:1]
    for mark in marks:
        if mark in text:
            place = "its prompt" if mark in pair.prompt else "the guide"
            raise DataError(
                f"{pair.where}: {place} holds {mark}, which verl takes for a placeholder; take it "
                "out"
            )
    return IMAGE_PLACEHOLDER * len(pair.images) + text


def plain_image(ref: ImageRef, max_pixels: int, where: str) -> bytes:
    """The encoded image, so that any reader sees what `open_image` does.

    Its bytes as they are if decoding them to RGB already gives that; else (turned by EXIF,
    transparent, 16 bits) a PNG of it. Raises DataError as `open_image`.
    """
    from PIL import Image

    seen = open_image(ref, max_pixels, where)
    encoded = ref.read_bytes()
    with Image.open(io.BytesIO(encoded), formats=FORMATS) as image:
        plain = image.size == seen.size and image.convert("RGB").tobytes() == seen.tobytes()
    if plain:
        return encoded
    buffer = io.BytesIO()
    seen.save(buffer, "PNG")
    return buffer.getvalue()


def write_rows(
    path: Path, pairs: Sequence[TaggedPair], texts: Iterable[str], max_pixels: int
) -> None:
    """Write the pairs, each asked by its text, to one parquet file, all or nothing.

    Raises DataError, which names the row, for an image that does not open or has more than
    `max_pixels`, and as `placed_text`.
    """
    with replacing(path) as temporary, GroupedFile(temporary, _schema()) as file:
        for index, (pair, text) in enumerate(zip(pairs, texts, strict=True)):
            file.add(_row(pair, index, placed_text(pair, text), max_pixels))


def _row(pair: TaggedPair, index: int, text: str, max_pixels: int) -> dict[str, Any]:
    truth = ground_truth(pair)
    return {
        "data_source": data_source(pair),
        "prompt": [{"role": "user", "content": text}],
        "images": [
            {"bytes": plain_image(ref, max_pixels, pair.where), "path": _name(ref)}
            for ref in pair.images
        ],
        "ability": "safety" if pair.tags else "general",
        "reward_model": {"style": "rule", "ground_truth": truth},
        "extra_info": {"index": index, "id": pair.id, **_tags(pair), "source": pair.source},
        "problem": text,
        "ground_truth": truth,
    }


def _tags(pair: TaggedPair) -> dict[str, str | None]:
    tags = pair.tags
    return {hub: getattr(tags, name) if tags else None for name, hub in HUB_NAMES.items()}


def _name(ref: ImageRef) -> str:
    # A file's name need not be UTF-8, and comes as lone surrogates then.
    return Path(ref.name).name.encode("utf-8", "replace").decode()


def _schema() -> Any:
    """Types that do not depend on what the rows happen to hold."""
    pa, _ = arrow_modules()
    text = pa.string()
    turn = pa.struct([("role", text), ("content", text)])
    image = pa.struct([("bytes", pa.binary()), ("path", text)])
    tags = [(name, text) for name in HUB_NAMES.values()]
    return pa.schema(
        [
            ("data_source", text),
            ("prompt", pa.list_(turn)),
            ("images", pa.list_(image)),
            ("ability", text),
            ("reward_model", pa.struct([("style", text), ("ground_truth", text)])),
            (
                "extra_info",
                pa.struct([("index", pa.int64()), ("id", text), *tags, ("source", text)]),
            ),
            ("problem", text),
            ("ground_truth", text),
        ]
    ).with_metadata(IMAGES_METADATA)
