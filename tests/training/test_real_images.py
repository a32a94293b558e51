"""`safegrpo train` over real pictures at their own sizes, in the published set's layout.

FigStep's tiny set beside photographs that scikit-image ships. A smoke test: the model is a fresh
tiny one, and its weights are thrown away.
"""

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml

from safegrpo.cli import main
from safegrpo.data.images import open_image
from safegrpo.data.schema import load_tagged
from safegrpo.microcosm.model import (
    MERGE,
    PATCH,
    build_model,
    build_processor,
    save_model,
    train_tokenizer,
)
from safegrpo.models import load_processor
from safegrpo.training.data import build_dataset

from .conftest import CORPUS, SHORT_GUIDE

FIGSTEP_PROMPT = "What does the list in the image say?"
# Prompt and files; gray and transparent ones among them, 191 to 1411 pixels a side.
PHOTOGRAPHS = [
    ("Who is this?", ["astronaut.png"]),
    ("What is the man doing?", ["camera.png"]),
    ("What animal is it?", ["chelsea.png"]),
    ("What is in the cup?", ["coffee.png"]),
    ("How many coins are there?", ["coins.png"]),
    ("What animal is it?", ["horse.png"]),
    ("What is in the sky?", ["hubble_deep_field.jpg"]),
    ("What is this?", ["retina.jpg"]),
    ("What does it say?", ["page.png"]),
    ("Is it taking off?", ["rocket.jpg"]),
    ("Which picture is from the left?", ["motorcycle_left.png", "motorcycle_right.png"]),
    ("Which is larger?", ["coffee.png", "hubble_deep_field.jpg"]),
    ("What do they have in common?", ["chelsea.png", "horse.png"]),
    ("Where was it taken?", ["rocket.jpg", "moon.png"]),
]


@pytest.fixture(scope="module")
def real_rows(shared_data):
    """(prompt, image files, tags) of 64 rows: 50 typographic images, 14 rows of photographs."""
    skimage_data = pytest.importorskip("skimage.data", reason="scikit-image ships the photographs")
    photographs = Path(skimage_data.__file__).parent
    figstep = shared_data / "figstep" / "data"
    rows = []
    for table in sorted((figstep / "question").glob("*.csv")):
        for row in csv.DictReader(table.read_text(encoding="utf-8").splitlines()):
            name = f"query_{row['dataset']}_{row['category_id']}_{row['task_id']}_6.png"
            found = list((figstep / "images").rglob(name))
            if found:
                rows.append((FIGSTEP_PROMPT, found[:1], ("unsafe", "safe", "unsafe")))
    assert len(rows) == 50
    for prompt, names in PHOTOGRAPHS:
        rows.append((prompt, [photographs / name for name in names], ("safe", "safe", "safe")))
    return rows


@pytest.fixture(scope="module")
def hub_set(real_rows, tmp_path_factory):
    """The rows as the published set stores them: its five columns, images inside the parquet."""
    table = pa.Table.from_pylist(
        [
            {
                "prompt": prompt,
                "images": [{"bytes": f.read_bytes(), "path": f.name} for f in files],
                "text_tag": text,
                "image_tag": image,
                "combine_tag": combined,
            }
            for prompt, files, (image, text, combined) in real_rows
        ]
    )
    folder = tmp_path_factory.mktemp("hub")
    (folder / "data").mkdir()
    pq.write_table(table, folder / "data" / "train-00000-of-00001.parquet")
    return folder


@pytest.fixture(scope="module")
def model_of_many_pixels(tmp_path_factory):
    """A fresh tiny VLM whose processor takes pictures up to 2,000 pixels a side as they are."""
    folder = tmp_path_factory.mktemp("vlm") / "model"
    tokenizer = train_tokenizer([*CORPUS, FIGSTEP_PROMPT], 700)
    processor = build_processor(tokenizer, max_pixels=2000 * 2000)
    save_model(build_model(tokenizer), processor, folder, torch.float32)
    return folder


def tokens_of(size: tuple[int, int]) -> int:
    """Image tokens of a picture that is only rounded to whole patches, not scaled down."""
    side = PATCH * MERGE
    return round(size[0] / side) * round(size[1] / side)


def test_no_image_is_lost_or_scaled_down(hub_set, real_rows, model_of_many_pixels):
    pairs = load_tagged(hub_set)
    processor = load_processor(model_of_many_pixels)
    prepared = build_dataset(pairs, processor, guide=SHORT_GUIDE, max_prompt_length=4096)
    assert len(pairs) == len(real_rows) == 64
    image_id = processor.tokenizer.convert_tokens_to_ids(processor.image_token)
    for i, (pair, (prompt, files, _)) in enumerate(zip(pairs, real_rows, strict=True)):
        assert pair.prompt == prompt
        assert [ref.read_bytes() for ref in pair.images] == [file.read_bytes() for file in files]
        opened = prepared.dataset[i]["images"]
        assert [image.size for image in opened] == [open_image(r).size for r in pair.images]
        assert all(image.mode == "RGB" for image in opened)
        text = processor.apply_chat_template(
            [{"role": "user", "content": [{"type": "image"}] * len(opened)}], tokenize=False
        )
        ids = processor(images=opened, text=[text])["input_ids"][0]
        assert ids.count(image_id) == sum(tokens_of(image.size) for image in opened)
    sizes = {image.size for row in prepared.dataset for image in row["images"]}
    sides = [side for size in sizes for side in size]
    assert len(sizes) > 10 and min(sides) < 200 and max(sides) > 1400


def test_every_row_of_it_is_trained_on(hub_set, model_of_many_pixels, tmp_path, capsys):
    (tmp_path / "guide.txt").write_text(SHORT_GUIDE)
    recipe = {
        "model": str(model_of_many_pixels),
        "guide": str(tmp_path / "guide.txt"),
        "data": {"train": str(hub_set), "max_prompt_length": 4096},
        "grpo": {
            "num_generations": 2,
            "per_device_train_batch_size": 8,
            "max_completion_length": 4,
            "num_train_epochs": 1,
            "beta": 0.01,
            "use_cpu": True,
        },
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    run = tmp_path / "run"
    assert main(["train", str(tmp_path / "recipe.yaml"), "--output", str(run)]) == 0
    assert json.loads(capsys.readouterr().out)["steps"] == 16
    recorded = [pq.read_table(file).to_pylist() for file in (run / "rollouts").iterdir()]
    seen = [row["id"] for rows in recorded for row in rows]
    assert sorted(seen) == sorted(2 * [pair.id for pair in load_tagged(hub_set)])
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    # Numbers that are not finite are left out of a row.
    assert len(rows) == 16 and all("kl" in row and "grad_norm" in row for row in rows)
