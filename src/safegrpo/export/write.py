"""A whole export: the recipe's data as parquet, what the engine needs beside it, and a record.

Everything is written into a hidden folder first and moved into place at the end, the record last.
The same input gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from safegrpo.data.hub_layout import is_hub_name
from safegrpo.data.jsonl import check_folder, parse_object
from safegrpo.data.pairs import TaggedPair
from safegrpo.data.schema import tag_cells
from safegrpo.errors import (
    ConfigError,
    DataError,
    InputFileError,
    MissingDependencyError,
    ModelError,
)
from safegrpo.export import easyr1, verl
from safegrpo.export.rows import write_rows
from safegrpo.export.settings import Cluster, Exported, Settings, settings_of
from safegrpo.thinking import guided_prompt
from safegrpo.training.config import Recipe
from safegrpo.training.inputs import guide_of, held_out_pairs, training_pairs
from safegrpo.versions import versions_of

Engine = Literal["verl", "easyr1"]

RECORD = "export.json"
# In the order in which they take their places.
_FILES = (
    *("train.parquet", "test.parquet", easyr1.ONE_ROW, "reward.py", "config.yaml", "run.sh"),
    RECORD,
)
_PACKAGES = ("safegrpo", "pyarrow", "pillow", "transformers", "datasets")
_ANY_LENGTH = 2**31


@dataclass(frozen=True)
class Part:
    """One split: the pairs that are written, and those left out as too long, by id.

    `sha256` is that of all of them, as in the manifest of a training run.
    """

    pairs: Sequence[TaggedPair]
    too_long: tuple[str, ...]
    sha256: str

    def to_json(self) -> dict[str, Any]:
        return {
            "rows": len(self.pairs),
            "cells": tag_cells(self.pairs),
            "sha256": self.sha256,
            "too_long": {"rows": len(self.too_long), "ids": list(self.too_long)},
        }


def export(engine: Engine, recipe: Recipe, output: Path, cluster: Cluster) -> dict[str, Any]:
    """Write a recipe and its data for an engine into a folder; returns what export.json holds.

    Raises ConfigError for what the engine cannot do, for a folder that holds something else and
    for one whose checkpoints are those of another export; InputFileError and DataError as the
    loading of the data, and MissingDependencyError.
    """
    settings = settings_of(recipe, cluster)
    said = [*settings.notices, *_module(engine).check(settings)]
    check_folder(output, (RECORD,), f"export {engine}")
    earlier = _earlier(output)
    guide = guide_of(recipe)
    processor, reason = _processor(engine, recipe)
    if reason is not None:
        said.append(
            "the model's processor was not looked at (lengths of prompts, control tokens in them, "
            f"whether {engine} can show it images), since {reason}; "
            f"{engine} leaves out what is longer than {recipe.data.max_prompt_length} tokens, "
            "without saying which"
        )
    parts = {
        name: _part(name, pairs, recipe, processor, guide)
        for name, pairs in (("train", training_pairs(recipe)), ("test", held_out_pairs(recipe)))
        if pairs
    }
    _check_rows(parts["train"], settings)
    data = Exported(
        train_rows=len(parts["train"].pairs),
        test_rows=len(parts["test"].pairs) if "test" in parts else 0,
        measured=processor is not None,
    )
    with _staged(output) as fresh:
        for name, part in parts.items():
            texts = (_text(pair, recipe, guide) for pair in part.pairs)
            write_rows(fresh / f"{name}.parquet", part.pairs, texts, recipe.data.max_pixels)
        if engine == "easyr1" and "test" not in parts:
            _write_one_row(fresh, parts["train"], recipe, guide)
        _write_engine(engine, fresh, settings, cluster, data)
        record = {
            "engine": engine,
            "written_for": _module(engine).VERSION,
            "versions": versions_of(_PACKAGES),
            "recipe": recipe.model_dump(mode="json"),
            "guide_sha256": hashlib.sha256(guide.encode()).hexdigest(),
            "data": {name: part.to_json() for name, part in parts.items()},
            "lengths_measured": data.measured,
            "batch": settings.batch,
            "mini_batch": settings.mini_batch,
            "gpus": cluster.gpus,
            "batches": _batches(settings, data),
            "notices": said,
            "files": {path.name: _sha256(path) for path in sorted(fresh.iterdir())},
        }
        text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
        (fresh / RECORD).write_bytes(text.encode("utf-8", "replace"))
        _check_checkpoints(output, earlier, record["files"])
    return record


def _earlier(output: Path) -> dict[str, Any] | None:
    """The files, with their hashes, of the export that a folder holds; None without one."""
    path = output / RECORD
    if not path.exists():
        return None
    try:
        record = parse_object(path.read_bytes(), str(path))
    except (OSError, DataError):
        record = {}
    if "engine" not in record or not isinstance(record.get("files"), dict):
        raise ConfigError(
            f"-o {output} holds an {RECORD} that safegrpo export has not written; name a new folder"
        )
    found: dict[str, Any] = record["files"]
    return found


def _check_checkpoints(output: Path, earlier: dict[str, Any] | None, files: dict[str, str]) -> None:
    """ConfigError where run.sh would go on from checkpoints of another run than it starts."""
    folder = output / "checkpoints"
    if earlier not in (None, files) and folder.is_dir() and any(folder.iterdir()):
        raise ConfigError(
            f"-o {output} holds checkpoints of another export than this, and run.sh would go on "
            f"from them; name another folder, or remove {folder}"
        )


def _module(engine: Engine) -> Any:
    return verl if engine == "verl" else easyr1


def _write_engine(
    engine: Engine, folder: Path, settings: Settings, cluster: Cluster, data: Exported
) -> None:
    if engine == "verl":
        files = {
            "reward.py": verl.REWARD_FILE,
            "run.sh": verl.run_script(verl.overrides(settings, cluster, data)),
        }
    else:
        files = {
            "reward.py": easyr1.REWARD_FILE,
            "config.yaml": easyr1.config_text(settings, cluster, data),
            "run.sh": easyr1.run_script(data),
        }
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "run.sh").chmod(0o755)


def _write_one_row(folder: Path, part: Part, recipe: Recipe, guide: str) -> None:
    # A short one, which is not left out where the engine measures lengths itself.
    pair = min(part.pairs, key=lambda pair: (len(pair.images), len(pair.prompt)))
    text = _text(pair, recipe, guide)
    write_rows(folder / easyr1.ONE_ROW, [pair], [text], recipe.data.max_pixels)


def _text(pair: TaggedPair, recipe: Recipe, guide: str) -> str:
    return guided_prompt(pair.prompt, guide) if recipe.mode == "guided" else pair.prompt


def _processor(engine: Engine, recipe: Recipe) -> tuple[Any, str | None]:
    """(the model's processor, None), or (None, why it cannot be had here).

    Raises ConfigError for one with which the engine or the reward would not work.
    """
    try:
        from safegrpo.models import load_processor, special_token_ids
        from safegrpo.training.rewards import hidden_token_ids
    except ImportError as error:
        return None, f"{error.name or error} is not installed"
    try:
        processor = load_processor(recipe.model)
    except (InputFileError, ModelError) as error:
        # A folder by its full name may well be the cluster's; anything else is a slip.
        path = Path(recipe.model)
        if path.exists() or not (path.is_absolute() or is_hub_name(recipe.model)):
            raise
        return None, str(error)
    name = type(processor).__name__.removeprefix("Image")  # ours, where torchvision is missing
    if engine == "verl" and name not in verl.PROCESSORS:
        raise ConfigError(
            f'"model": {recipe.model} has a {name}, which verl {verl.VERSION} takes for a text '
            f"model's; it shows images to those with {', '.join(verl.PROCESSORS)}"
        )
    tokenizer = processor.tokenizer
    dropped = special_token_ids(tokenizer) - hidden_token_ids(tokenizer)
    if dropped:
        raise ConfigError(
            f'"model": to the tokenizer of {recipe.model}, '
            f"{tokenizer.convert_ids_to_tokens(min(dropped))} is a special token, and the engines "
            "leave those out of what a reward is given"
        )
    return processor, None


def _part(
    name: str, pairs: Sequence[TaggedPair], recipe: Recipe, processor: Any, guide: str
) -> Part:
    """The pairs that fit; without a processor all of them."""
    try:
        from safegrpo.training.data import build_dataset, data_sha256
    except ImportError as error:
        raise MissingDependencyError(
            f"exporting needs what safegrpo trains with ({error}): pip install 'safegrpo[train]'"
        ) from error
    if processor is None:
        return Part(pairs, (), data_sha256(pairs))
    try:
        prepared = build_dataset(
            pairs,
            processor,
            guide=guide if recipe.mode == "guided" else None,
            max_prompt_length=_ANY_LENGTH,
            max_pixels=recipe.data.max_pixels,
            chat_template_kwargs=recipe.grpo.get("chat_template_kwargs"),
        )
    except DataError as error:
        raise DataError(f"data.{'train' if name == 'train' else 'eval'}: {error}") from error
    limit = recipe.data.max_prompt_length
    long = [length > limit for length in prepared.prompt_lengths]
    kept = [pair for pair, over in zip(pairs, long, strict=True) if not over]
    if not kept:
        raise DataError(
            f"all {len(pairs)} prompts of the {name} split are longer than {limit} tokens; raise "
            "data.max_prompt_length"
        )
    too_long = tuple(pair.id for pair, over in zip(pairs, long, strict=True) if over)
    return Part(kept, too_long, prepared.sha256)


def _check_rows(part: Part, settings: Settings) -> None:
    if len(part.pairs) < settings.batch:
        raise ConfigError(
            f"the training set has {len(part.pairs)} rows, fewer than the {settings.batch} prompts "
            "of a batch; lower grpo.per_device_train_batch_size, gradient_accumulation_steps or "
            "steps_per_generation, or name fewer GPUs"
        )


def _batches(settings: Settings, data: Exported) -> int:
    """How many batches the run will have: whole ones of each epoch, unless it ends before."""
    if settings.max_batches is not None:
        return settings.max_batches
    return data.train_rows // settings.batch * settings.epochs


@contextmanager
def _staged(output: Path) -> Iterator[Path]:
    """A folder whose files take the place of those of `output`, synced, if all went well."""
    fresh = output / ".new"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    try:
        yield fresh
        for path in fresh.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        for name in _FILES:
            if (fresh / name).exists():
                os.replace(fresh / name, output / name)
            else:  # of an export before, such as held-out rows that are no longer asked for
                (output / name).unlink(missing_ok=True)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
