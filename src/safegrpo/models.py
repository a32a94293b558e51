"""Loading and saving vision-language models and their processors, with or without torchvision.

Qwen-VL processors ask for torchvision only because of their video half. Where it is missing, a
subclass without that half serves images through the PIL image processor; where it is present the
stock processor loads. What we save always names the stock class, so a model trained on one kind of
machine loads on the other, and in plain transformers.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
from transformers.models.qwen2_5_vl.processing_qwen2_5_vl import Qwen2_5_VLProcessor
from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor
from transformers.utils import is_torchvision_available

from safegrpo.errors import InputFileError, ModelError

VIDEO_FILE = "video_preprocessor_config.json"


class ImageQwen3VLProcessor(Qwen3VLProcessor):
    """Qwen3-VL's processor without its video half, for machines without torchvision."""

    def __init__(
        self,
        image_processor: Any = None,
        tokenizer: Any = None,
        chat_template: str | None = None,
        **_: Any,
    ) -> None:
        super().__init__(image_processor, tokenizer, None, chat_template=chat_template)


class ImageQwen2_5_VLProcessor(Qwen2_5_VLProcessor):
    """Qwen2.5-VL's processor without its video half, for machines without torchvision."""

    def __init__(
        self,
        image_processor: Any = None,
        tokenizer: Any = None,
        chat_template: str | None = None,
        **_: Any,
    ) -> None:
        super().__init__(image_processor, tokenizer, None, chat_template=chat_template)


_IMAGE_ONLY = {
    "qwen3_vl": ImageQwen3VLProcessor,
    "qwen3_vl_moe": ImageQwen3VLProcessor,
    "qwen2_5_vl": ImageQwen2_5_VLProcessor,
}
_STOCK_NAME = {cls.__name__: cls.__mro__[1].__name__ for cls in _IMAGE_ONLY.values()}


_APART = "lora_adapter"


def check_merged(name_or_path: str | Path) -> None:
    """ModelError for what verl's merger leaves of adapters: the untrained model, they beside it."""
    if (Path(name_or_path) / _APART / "adapter_model.safetensors").is_file():
        raise ModelError(
            f'"{name_or_path}" holds the model before training; what it learned is beside it in '
            f"{_APART}/. Merge the two first: docs/verl.md, Afterwards"
        )


def load_config(name_or_path: str | Path) -> Any:
    """The configuration of a model directory or hub name.

    Raises:
        InputFileError: it is neither a directory nor could a hub be asked for it.
        ModelError: it is no vision-language model that transformers can load, or not all of one
            (`check_merged`).
    """
    check_merged(name_or_path)
    path = Path(name_or_path)
    if path.exists() and not (path / "config.json").is_file():
        raise ModelError(f'"{name_or_path}" is no model directory: it holds no config.json')
    # What cannot be a hub's owner/name is not asked for there.
    if not path.exists() and (len(path.parts) > 2 or path.is_absolute() or path.parts[0] == ".."):
        raise InputFileError(f'model "{name_or_path}" is no directory here')
    try:
        config = AutoConfig.from_pretrained(str(name_or_path), trust_remote_code=False)
    except OSError as error:
        if path.is_dir():
            raise ModelError(f'"{name_or_path}": config.json cannot be read: {error}') from error
        raise InputFileError(
            f'model "{name_or_path}" is no directory here and could not be had from the hub '
            f"({type(error).__name__}); give a model directory, or a hub name with network access"
        ) from error
    except (ValueError, KeyError) as error:
        raise ModelError(f'"{name_or_path}": config.json is not understood: {error}') from error
    if config.model_type not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        raise ModelError(
            f'"{name_or_path}" is a {config.model_type} model, not a vision-language model '
            "(image and text in, text out)"
        )
    return config


def model_type(name_or_path: str | Path) -> str:
    """The architecture that a model declares. Raises as `load_config`."""
    return str(load_config(name_or_path).model_type)


def load_processor(name_or_path: str | Path, **kwargs: Any) -> Any:
    """The processor of a model, left-padding, the image-only one where torchvision is missing.

    Raises:
        InputFileError, ModelError: as `model_type`, or the directory holds no processor.
    """
    kind = model_type(name_or_path)
    cls = AutoProcessor
    if not is_torchvision_available():
        cls = _IMAGE_ONLY.get(kind, AutoProcessor)
    try:
        processor = cls.from_pretrained(str(name_or_path), trust_remote_code=False, **kwargs)
    except (OSError, ValueError, ImportError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise ModelError(f'the processor of "{name_or_path}" does not load: {reason}') from error
    tokenizer = getattr(processor, "tokenizer", None)
    if tokenizer is None or getattr(processor, "image_processor", None) is None:
        raise ModelError(f'"{name_or_path}" has no image processor beside its tokenizer')
    # TRL pads prompts on the left; mm_token_type_ids must follow the same side.
    tokenizer.padding_side = "left"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return processor


def load_model(name_or_path: str | Path, dtype: str | torch.dtype = "auto", **kwargs: Any) -> Any:
    """The model of a directory or hub name; weights from safetensors only.

    Raises:
        InputFileError, ModelError: as `model_type`, or the weights do not load.
    """
    model_type(name_or_path)
    if isinstance(dtype, str) and dtype != "auto":
        dtype = getattr(torch, dtype)
    try:
        return AutoModelForImageTextToText.from_pretrained(
            str(name_or_path),
            dtype=dtype,
            trust_remote_code=False,
            use_safetensors=True,
            **kwargs,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise ModelError(f'the weights of "{name_or_path}" do not load: {reason}') from error


def save_processor(processor: Any, directory: str | Path, source: str | Path | None = None) -> None:
    """Save a processor so that both the stock class and ours load it.

    `source` is the directory it came from: its video half, which the image-only class never read,
    is carried over.
    """
    directory = Path(directory)
    processor.save_pretrained(directory)
    for name in ("processor_config.json", "preprocessor_config.json", "tokenizer_config.json"):
        file = directory / name
        if not file.is_file():
            continue
        config = json.loads(file.read_text(encoding="utf-8"))
        stock = _STOCK_NAME.get(config.get("processor_class", ""))
        if stock is not None:
            config["processor_class"] = stock
            file.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", "utf-8")
    if source is not None and (Path(source) / VIDEO_FILE).is_file():
        shutil.copyfile(Path(source) / VIDEO_FILE, directory / VIDEO_FILE)


def special_token_ids(tokenizer: Any) -> set[int]:
    """Ids of all tokens that a tokenizer calls special, added ones too."""
    special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    return special | set(tokenizer.all_special_ids)


def control_token_ids(processor: Any) -> frozenset[int]:
    """Ids of tokens that a user's text must not turn into.

    A prompt that holds one could leave the user's turn, or stand for an image that is not there.
    """
    special = special_token_ids(processor.tokenizer) | set(vision_token_ids(processor))
    return frozenset(special - {processor.tokenizer.unk_token_id})  # any rare sign may become it


def control_tokens_in(text: str, tokenizer: Any, control: frozenset[int]) -> list[str]:
    """The tokens of `control` (see `control_token_ids`) that are read out of `text`, in order."""
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    return [str(tokenizer.convert_ids_to_tokens(i)) for i in ids if i in control]


def vision_token_ids(processor: Any) -> list[int]:
    """Ids of placeholder tokens that stand for vision features and must never be sampled."""
    names = (
        "image_token",
        "video_token",
        "vision_start_token",
        "vision_end_token",
        "boi_token",
        "eoi_token",
    )
    tokens = [getattr(owner, n, None) for owner in (processor, processor.tokenizer) for n in names]
    tokens += ["<|vision_pad|>", "<image_soft_token>", "<IMG_CONTEXT>", "<fake_token_around_image>"]
    vocabulary = processor.tokenizer.get_vocab()
    return sorted({vocabulary[t] for t in tokens if isinstance(t, str) and t in vocabulary})
