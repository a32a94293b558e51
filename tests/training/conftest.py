"""A tiny VLM on disk and tagged pairs to train it on; everything else is the real thing."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from safegrpo.data.images import ImageRef
from safegrpo.data.pairs import TaggedPair
from safegrpo.microcosm import SHIPPED
from safegrpo.microcosm.model import build_model, build_processor, save_model, train_tokenizer
from safegrpo.microcosm.pairs import training_stream
from safegrpo.models import load_model, load_processor
from safegrpo.thinking import GUIDE, GUIDE_FILE, Tags
from safegrpo.training.config import Recipe
from safegrpo.training.data import build_dataset
from safegrpo.training.grpo_options import grpo_config
from safegrpo.training.rewards import SafetyReward
from safegrpo.training.trainer import SafeGRPOTrainer

GUIDE_PATH = str(SHIPPED / GUIDE_FILE)
SHORT_GUIDE = "think , tag , answer ."
CORPUS = [
    GUIDE,
    SHORT_GUIDE,
    "what is in the picture ? a red thing . sorry , i can't help with this .",
    "I am given 1 image(s) and a request. The image alone: The request alone: Both together: "
    "Nothing here leads to harm, so I should help. I should decline, since the request and the "
    "image together could lead to harm. I'm sorry, but I can't help with this:",
]


@pytest.fixture(scope="session")
def tokenizer():
    return train_tokenizer(CORPUS * 4, 700)


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory, tokenizer) -> Path:
    """A freshly initialised tiny Qwen3-VL in float32."""
    folder = tmp_path_factory.mktemp("tiny") / "model"
    processor = build_processor(tokenizer, max_pixels=96 * 96)
    save_model(build_model(tokenizer), processor, folder, torch.float32)
    return folder


def image(width: int = 64, height: int = 64, color: tuple[int, int, int] = (200, 10, 10)):
    """A plain picture as PNG bytes."""
    file = io.BytesIO()
    Image.new("RGB", (width, height), color).save(file, "PNG")
    return ImageRef(data=file.getvalue(), name=f"{width}x{height}.png")


def pair(i: int, images: int = 1, combined: str = "safe", **rest) -> TaggedPair:
    """A pair whose image and text are safe; the first image is 64 wide, further ones 96."""
    refs = tuple(image(64 + 32 * k, 64, (20 * i % 256, 3, 4)) for k in range(images))
    return TaggedPair(
        id=f"p{i}",
        images=refs,
        prompt=rest.pop("prompt", f"what is in picture {i} ?"),
        tags=rest.pop("tags", Tags("safe", "safe", combined)),
        **rest,
    )


@pytest.fixture
def pairs() -> list[TaggedPair]:
    """Eight pairs with 0, 1 or 2 images of two sizes; every second one is unsafe in combination."""
    return [pair(i, images=i % 3, combined="unsafe" if i % 2 else "safe") for i in range(8)]


@pytest.fixture
def guide_file(tmp_path) -> Path:
    path = tmp_path / "guide.txt"
    path.write_text(SHORT_GUIDE)
    return path


@pytest.fixture
def recipe(model_dir, tmp_path, guide_file):
    """A function that makes a recipe of two steps; `grpo` options are added to the small ones."""

    def make(grpo: dict | None = None, **changes) -> Recipe:
        small = {
            "per_device_train_batch_size": 8,
            "num_generations": 4,
            "max_completion_length": 12,
            "max_steps": 2,
            "learning_rate": 1e-3,
            "use_cpu": True,
            "beta": 0.0,
        }
        options = {
            "model": str(model_dir),
            "guide": str(guide_file),
            "output": str(tmp_path / "run"),
            "evaluate": {"max_new_tokens": 8},
            **changes,
            "grpo": {**small, **(grpo or {})},
        }
        return Recipe.model_validate(options)

    return make


@pytest.fixture(scope="session")
def speaking_pairs() -> list[TaggedPair]:
    """Twelve pairs that the microcosm's base model answers in the format, now so and now so: what
    it needs to learn something. Two of them have no image, one has two."""
    drawn = [p.tagged() for batch in training_stream(7, 1) for p in batch]
    first, second, third, *rest = drawn
    return [
        replace(first, images=()),
        replace(second, images=first.images + second.images),
        replace(third, images=()),
        *rest,
    ]


@pytest.fixture
def speaking_recipe(recipe):
    """As `recipe`, for the microcosm's base model, which earns rewards from the first step on."""

    def make(grpo: dict | None = None, **changes) -> Recipe:
        grpo = {"max_completion_length": 72, "per_device_train_batch_size": 16, **(grpo or {})}
        return recipe(grpo, **{"model": str(SHIPPED), "guide": GUIDE_PATH, **changes})

    return make


@pytest.fixture
def repository() -> Path:
    return Path(__file__).resolve().parents[2]


@pytest.fixture
def processor(model_dir):
    return load_processor(model_dir)


@pytest.fixture
def trainer(recipe, processor, pairs, tmp_path):
    """A function that builds a trainer on `rows`."""

    def build(rows=pairs, credit=None, **grpo):
        made = recipe(grpo)
        return SafeGRPOTrainer(
            model=load_model(made.model, dtype="float32"),
            reward_funcs=SafetyReward(processor.tokenizer).functions(),
            args=grpo_config(made, str(tmp_path / "trl")),
            train_dataset=build_dataset(
                rows, processor, guide=SHORT_GUIDE, max_prompt_length=2048
            ).dataset,
            processing_class=processor,
            credit=credit,
        )

    return build
