"""Tiny models of five makes, from configuration, and prompts for them without a processor."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from transformers import (
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    InternVLConfig,
    InternVLForConditionalGeneration,
    LlavaConfig,
    LlavaForConditionalGeneration,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)

from safegrpo.shared_prefix.layout import Group

IMAGE, VIDEO, START, END = 5, 6, 7, 8
WORDS = range(20, 200)
VOCABULARY = 200
TEXT = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": 2,
}
Size = tuple[int, int]
"""An image's height and width, in patches that are merged two by two."""


@dataclass
class Tiny:
    """A model and its way with images: pixels and other inputs of some, and the tokens of one."""

    model: torch.nn.Module
    image_inputs: Callable[[Sequence[Size]], dict[str, torch.Tensor]]
    image_tokens: Callable[[Size], int]
    kinds: str | None

    def group(
        self, sizes: Sequence[Size], lengths: Sequence[int], words: int = 6, seed: int = 0
    ) -> Group:
        """A prompt with an image of each size and `words` words, and completions of `lengths`."""
        torch.manual_seed(seed)
        ids = [2]
        for size in sizes:
            ids += [START, *[IMAGE] * self.image_tokens(size), END]
        ids += torch.randint(20, VOCABULARY, (words,)).tolist()
        prompt = torch.tensor(ids)
        inputs = self.image_inputs(sizes) if sizes else {}
        if self.kinds is not None:
            inputs[self.kinds] = (prompt == IMAGE).long()
        completions = tuple(torch.randint(20, VOCABULARY, (n,)) for n in lengths)
        return Group(prompt, completions, inputs)


def _grid(patch: int) -> Callable[[Sequence[Size]], dict[str, torch.Tensor]]:
    def inputs(sizes: Sequence[Size]) -> dict[str, torch.Tensor]:
        pixels = [torch.randn(h * w, 3 * patch * patch) for h, w in sizes]
        return {
            "pixel_values": torch.cat(pixels),
            "image_grid_thw": torch.tensor([[1, h, w] for h, w in sizes]),
        }

    return inputs


def _square(side: int) -> Callable[[Sequence[Size]], dict[str, torch.Tensor]]:
    return lambda sizes: {"pixel_values": torch.randn(len(sizes), 3, side, side)}


def _merged(size: Size) -> int:
    return size[0] * size[1] // 4


def _rope(**more: object) -> dict[str, object]:
    return {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, **more}}


SPECIAL = {"image_token_id": IMAGE, "video_token_id": VIDEO, "vision_start_token_id": START}


def qwen3_vl() -> Tiny:
    vision = {
        **{"depth": 3, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2},
        **{"patch_size": 4, "spatial_merge_size": 2, "temporal_patch_size": 1},
        **{"out_hidden_size": 64, "num_position_embeddings": 64},
        "deepstack_visual_indexes": [0, 1],
    }
    config = Qwen3VLConfig(
        text_config={**TEXT, **_rope(mrope_section=[4, 2, 2], mrope_interleaved=True)},
        vision_config=vision,
        vision_end_token_id=END,
        **SPECIAL,
    )
    model = Qwen3VLForConditionalGeneration(config)
    return Tiny(model, _grid(4), _merged, "mm_token_type_ids")


def qwen2_5_vl() -> Tiny:
    vision = {
        **{"depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2},
        **{"patch_size": 4, "spatial_merge_size": 2, "temporal_patch_size": 1},
        **{"out_hidden_size": 64, "window_size": 16, "fullatt_block_indexes": [1]},
    }
    text = {key: value for key, value in TEXT.items() if key != "head_dim"}
    config = Qwen2_5_VLConfig(
        text_config={**text, **_rope(mrope_section=[4, 2, 2])},
        vision_config=vision,
        vision_end_token_id=END,
        **SPECIAL,
    )
    model = Qwen2_5_VLForConditionalGeneration(config)
    return Tiny(model, _grid(4), _merged, "mm_token_type_ids")


def llava() -> Tiny:
    vision = {
        **{"model_type": "clip_vision_model", "hidden_size": 32, "intermediate_size": 64},
        **{"num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 16, "patch_size": 4},
        "projection_dim": 32,
    }
    config = LlavaConfig(
        text_config={"model_type": "llama", **TEXT},
        vision_config=vision,
        image_token_index=IMAGE,
    )
    return Tiny(LlavaForConditionalGeneration(config), _square(16), lambda _: 16, None)


def internvl() -> Tiny:
    vision = {
        **{"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2},
        **{"num_attention_heads": 2, "image_size": [16, 16], "patch_size": [4, 4]},
    }
    text = {key: value for key, value in TEXT.items() if key != "head_dim"}
    config = InternVLConfig(
        text_config={"model_type": "qwen2", **text},
        vision_config=vision,
        image_token_id=IMAGE,
        downsample_ratio=0.5,
    )
    return Tiny(InternVLForConditionalGeneration(config), _square(16), lambda _: 4, None)


def gemma3() -> Tiny:
    """Its images see themselves both ways, and two layers of three look back 8 tokens only."""
    vision = {
        **{"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2},
        **{"num_attention_heads": 2, "image_size": 16, "patch_size": 4},
    }
    text = {
        **TEXT,
        "sliding_window": 8,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        "query_pre_attn_scalar": 16,
    }
    config = Gemma3Config(
        text_config=text,
        vision_config=vision,
        image_token_index=IMAGE,
        boi_token_index=START,
        eoi_token_index=END,
        mm_tokens_per_image=4,
    )
    model = Gemma3ForConditionalGeneration(config)
    return Tiny(model, _square(16), lambda _: 4, "token_type_ids")


MAKES = {
    "qwen3_vl": qwen3_vl,
    "qwen2_5_vl": qwen2_5_vl,
    "llava": llava,
    "internvl": internvl,
    "gemma3": gemma3,
}


def build(make: str, seed: int = 0) -> Tiny:
    torch.manual_seed(seed)
    tiny = MAKES[make]()
    for weight in tiny.model.parameters():
        # As initialised such a model hardly looks back: a wrong mask would change next to nothing.
        torch.nn.init.normal_(weight, std=0.15) if weight.ndim > 1 else None
    tiny.model.eval()
    return tiny
