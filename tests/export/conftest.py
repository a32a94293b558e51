"""Small pairs and recipes to export; nothing here needs TRL or verl."""

import io
import os
import subprocess
from pathlib import Path

import pytest
import yaml
from PIL import Image

from safegrpo.cli import main
from safegrpo.data.images import ImageRef
from safegrpo.data.pairs import TaggedPair
from safegrpo.data.schema import save_tagged
from safegrpo.microcosm import SHIPPED
from safegrpo.thinking import Tags

GOOD = (
    "<think>so <visual_safe>safe</visual_safe><text_safe>safe</text_safe>"
    "<combined_safe>{}</combined_safe></think><answer>{}</answer>"
)
REFUSES = "I'm sorry, but I can't help with this."
HELPS = "It is a red thing on a table, of course."
RESPONSES = (
    GOOD.format("unsafe", REFUSES),
    GOOD.format("unsafe", HELPS),
    GOOD.format("safe", HELPS),
    GOOD.format("safe", REFUSES),
    GOOD.format("safe", "7").removeprefix("<think>"),
    "no format at all",
    "",
)


def encoded(mode="RGB", color=(200, 10, 10), size=(64, 32), kind="PNG", **options) -> bytes:
    """A plain picture as a file's bytes."""
    file = io.BytesIO()
    Image.new(mode, size, color).save(file, kind, **options)
    return file.getvalue()


def pair(i: int, images: int = 1, tags: Tags | None = None, **rest) -> TaggedPair:
    """A pair with pictures of two sizes; without tags a question whose answer is 7."""
    refs = tuple(
        ImageRef(data=encoded(size=(64 + 32 * k, 64)), name=f"{i}-{k}.png") for k in range(images)
    )
    rest = {"prompt": f"what is in picture {i} ?", **rest}
    if tags is None:
        rest.setdefault("answer", "7")
    return TaggedPair(id=f"p{i}", images=refs, tags=tags, **rest)


SAFE = Tags("safe", "safe", "safe")
TOGETHER = Tags("safe", "safe", "unsafe")
IMAGE_UNSAFE = Tags("unsafe", "safe", "unsafe")


@pytest.fixture
def pairs() -> list[TaggedPair]:
    """One image, two, none; unsafe together, by the image, safe; and a question without tags."""
    return [
        pair(0, 1, TOGETHER, source="made up"),
        pair(1, 2, SAFE),
        pair(2, 0, SAFE),
        pair(3, 1, IMAGE_UNSAFE),
        pair(4, 1, None),
        pair(5, 0, None),
    ]


@pytest.fixture
def tagged(tmp_path, pairs) -> Path:
    """The pairs as a set with a train and a test split."""
    folder = tmp_path / "set"
    save_tagged(pairs, folder / "train.parquet")
    save_tagged(pairs[:3], folder / "test.parquet")
    return folder


@pytest.fixture
def recipe_file(tmp_path, tagged):
    """A function that writes a recipe for the microcosm's model: batches of four prompts of two
    completions each, two prompts an update, on two GPUs."""

    def write(grpo: dict | None = None, **changes) -> Path:
        options = {
            "model": str(SHIPPED),
            "rules": "paper",
            "freeze_vision": False,
            "data": {"train": str(tagged), "split": "train"},
            "output": "runs/small",
            **changes,
            "grpo": {
                "num_generations": 2,
                "per_device_train_batch_size": 2,
                "gradient_accumulation_steps": 1,
                "steps_per_generation": 2,
                "lr_scheduler_type": "constant",
                "multi_objective_aggregation": "sum_then_normalize",
                **(grpo or {}),
            },
        }
        path = tmp_path / "small.yaml"
        path.write_text(yaml.safe_dump(options))
        return path

    return write


@pytest.fixture
def exported(tmp_path, recipe_file):
    """A function that exports the recipe by the command, on two GPUs; the folder it wrote."""

    def go(*words: object, engine="verl", output="out", recipe: Path | None = None) -> Path:
        path = recipe or recipe_file()
        argv = ["export", engine, *words, "--recipe", path, "-o", tmp_path / output]
        argv += ["--gpus-per-node", 2]
        assert main([str(word) for word in argv]) == 0
        return tmp_path / output

    return go


def words_of(script: Path, *more: str, folder: Path) -> list[str]:
    """The command line that a run.sh ends in, found by having it start something else."""
    stub = folder / "python-stub"
    stub.write_text("#!/bin/sh\nprintf '%s\\0' \"$@\"\n")
    stub.chmod(0o755)
    done = subprocess.run(
        [str(script), *more],
        env={**os.environ, "PYTHON": str(stub)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split("\0")[:-1]
