"""What the vision tower is given in training: images where there are some, the idle image where
there are none but every process must run it, and never a placeholder that was sampled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image

from safegrpo.errors import ModelError
from safegrpo.evaluation.generate import chat_messages
from safegrpo.shared_prefix.idle import IdleImage
from safegrpo.shared_prefix.layout import prompt_inputs
from safegrpo.shared_prefix.model import transformers_model
from safegrpo.training.model_parts import vision_modules
from safegrpo.training.prompts import PreparedPrompt

VISION_INPUTS = (
    *("pixel_values", "image_grid_thw", "pixel_attention_mask", "spatial_shapes"),
    *("image_sizes", "image_position_ids", "mm_token_type_ids"),
)


def ban_tokens(args: Any, banned: Sequence[int]) -> None:
    """Add to the generation options of `args` (a GRPOConfig) that `banned` ids are not sampled."""
    options = dict(args.generation_kwargs or {})
    if args.use_vllm:
        # vLLM knows no suppress_tokens; its logit_bias is clamped at -100, which is never sampled.
        options["logit_bias"] = {
            **(options.get("logit_bias") or {}),
            **{int(token): -100.0 for token in banned},
        }
    else:
        options["suppress_tokens"] = sorted({*(options.get("suppress_tokens") or ()), *banned})
    args.generation_kwargs = options


def idle_image(processor: Any, device: torch.device) -> IdleImage:
    """A prompt of one small image and no words, as `processor` makes it."""
    image = Image.new("RGB", (32, 32))
    rendered = processor.apply_chat_template(chat_messages([image], ""), tokenize=False)
    encoded = processor(images=[image], text=[rendered], add_special_tokens=False)
    prompt, inputs = prompt_inputs(encoded)
    return IdleImage(prompt.to(device), {n: value.to(device) for n, value in inputs.items()})


def padded_pass(model: Any, given: dict[str, Any], idle: IdleImage | None) -> Any:
    """TRL's forward pass of a padded batch, with the idle image below rows without any."""
    given = without_empty_images(given)
    if idle is None or "pixel_values" in given:
        return model(**given)
    output = model(**idle.below(given))
    for name in ("log_probs", "entropy"):
        if output.get(name) is not None:
            output[name] = output[name][:-1]
    return output


def vision_trains(model: Any) -> bool:
    """Whether the vision half of a model trains; also where it is not known which that is."""
    try:
        parts = vision_modules(transformers_model(model))
    except ModelError:
        return True
    return any(weight.requires_grad for part in parts.values() for weight in part.parameters())


def images_of(prompts: Sequence[PreparedPrompt]) -> list[list[Any]] | None:
    """Each prompt's images; TRL would give None for a row without, which its own call of the
    processor refuses."""
    images = [prompt.images for prompt in prompts]
    return images if any(images) else None


def without_empty_images(inputs: dict[str, Any]) -> dict[str, Any]:
    """Inputs of a forward pass, without the vision tower's if there is not one image in them."""
    pixels = inputs.get("pixel_values")
    if pixels is None or pixels.shape[0]:
        return inputs
    return {key: value for key, value in inputs.items() if key not in VISION_INPUTS}
