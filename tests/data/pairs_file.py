"""Pairs on disk for tests: small images that all differ, prompts that a fault server can tell."""

import io
import json
from pathlib import Path

from PIL import Image, ImageDraw


def picture(number: int, side: int = 24, kind: str = "PNG") -> bytes:
    """An encoded image that no other number gives."""
    image = Image.new("RGB", (side, side), (number % 256, number // 256 % 256, 90))
    ImageDraw.Draw(image).rectangle((number % 11, number % 7, side - 3, side - 5), fill="white")
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def write_pairs(folder: Path, count: int, **more: object) -> Path:
    """`count` pairs item-0, item-1, …, each with an image of its own below `folder`/images."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    path = folder / "pairs.jsonl"
    with path.open("w") as file:
        for number in range(count):
            name = f"images/{number}.png"
            (folder / name).write_bytes(picture(number))
            row = {"id": f"item-{number}", "images": [name], "prompt": f"item-{number} what now?"}
            file.write(json.dumps(row | more) + "\n")
    return path


def rows(path: Path) -> list[dict]:
    """The rows of a file of JSON lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]
