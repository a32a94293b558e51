"""Vision-language models by their shapes: configurations of the sizes people train, no weights.

Widths, depths and vocabularies are those of the published config.json files, as public code repeats
them; `published` is the number of parameters that their model pages or weight files give, which
tests hold against what transformers makes of the configuration. Where it is None no exact number
was found: InternVL3's pages say 8B and 2B, and for 2B not whether head and embeddings share.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Shape:
    """A model's configuration, made when asked for, and its published number of parameters."""

    config: Callable[[], Any]
    published: int | None


def _qwen3_vl(width: int, inner: int, layers: int, heads: int, tied: bool, large: bool) -> Any:
    from transformers import Qwen3VLConfig

    depth, vision_width, vision_inner = (27, 1152, 4304) if large else (24, 1024, 4096)
    return Qwen3VLConfig(
        text_config={
            **{"vocab_size": 151936, "hidden_size": width, "intermediate_size": inner},
            **{"num_hidden_layers": layers, "num_attention_heads": heads},
            **{"num_key_value_heads": 8, "head_dim": 128, "tie_word_embeddings": tied},
            "max_position_embeddings": 262144,
            "rope_parameters": {
                **{"rope_type": "default", "rope_theta": 5e6},
                **{"mrope_section": [24, 20, 20], "mrope_interleaved": True},
            },
        },
        vision_config={
            **{"depth": depth, "hidden_size": vision_width, "intermediate_size": vision_inner},
            **{"num_heads": 16, "out_hidden_size": width, "patch_size": 16},
            **{"spatial_merge_size": 2, "temporal_patch_size": 2, "num_position_embeddings": 2304},
            "deepstack_visual_indexes": [8, 16, 24] if large else [5, 11, 17],
        },
        tie_word_embeddings=tied,
    )


def _qwen2_5_vl(
    width: int, inner: int, layers: int, heads: int, keys: int, words: int, tied: bool
) -> Any:
    from transformers import Qwen2_5_VLConfig

    return Qwen2_5_VLConfig(
        text_config={
            **{"vocab_size": words, "hidden_size": width, "intermediate_size": inner},
            **{"num_hidden_layers": layers, "num_attention_heads": heads},
            **{"num_key_value_heads": keys, "tie_word_embeddings": tied},
            "rope_parameters": {
                **{"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]}
            },
        },
        vision_config={
            **{"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16},
            **{"out_hidden_size": width, "patch_size": 14, "window_size": 112},
            "fullatt_block_indexes": [7, 15, 23, 31],
        },
        tie_word_embeddings=tied,
    )


def _internvl3(width: int, inner: int, layers: int, heads: int, keys: int) -> Any:
    from transformers import InternVLConfig

    return InternVLConfig(
        text_config={
            **{"model_type": "qwen2", "vocab_size": 151674, "hidden_size": width},
            **{"intermediate_size": inner, "num_hidden_layers": layers},
            **{"num_attention_heads": heads, "num_key_value_heads": keys},
            "tie_word_embeddings": False,
        },
        vision_config={
            **{"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24},
            **{"num_attention_heads": 16, "image_size": [448, 448], "patch_size": [14, 14]},
            "attention_bias": True,
        },
        tie_word_embeddings=False,
    )


def _gemma3() -> Any:
    from transformers import Gemma3Config

    return Gemma3Config(
        text_config={
            **{"vocab_size": 262208, "hidden_size": 2560, "intermediate_size": 10240},
            **{"num_hidden_layers": 34, "num_attention_heads": 8, "num_key_value_heads": 4},
            **{"head_dim": 256, "sliding_window": 1024},
        },
        vision_config={
            **{"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27},
            **{"num_attention_heads": 16, "image_size": 896, "patch_size": 14},
            "vision_use_head": False,
        },
        mm_tokens_per_image=256,
    )


SHAPES: dict[str, Shape] = {
    "Qwen3-VL-2B": Shape(lambda: _qwen3_vl(2048, 6144, 28, 16, True, False), 2_127_532_032),
    "Qwen3-VL-4B": Shape(lambda: _qwen3_vl(2560, 9728, 36, 32, True, False), 4_437_815_808),
    "Qwen3-VL-8B": Shape(lambda: _qwen3_vl(4096, 12288, 36, 32, False, True), 8_767_123_696),
    "Qwen2.5-VL-3B": Shape(
        lambda: _qwen2_5_vl(2048, 11008, 36, 16, 2, 151936, True), 3_754_622_976
    ),
    "Qwen2.5-VL-7B": Shape(
        lambda: _qwen2_5_vl(3584, 18944, 28, 28, 4, 152064, False), 8_292_166_656
    ),
    "InternVL3-2B": Shape(lambda: _internvl3(1536, 8960, 28, 12, 2), None),
    "InternVL3-8B": Shape(lambda: _internvl3(3584, 18944, 28, 28, 4), None),
    "gemma-3-4b": Shape(_gemma3, 4_300_079_472),
}
"""By the beginning of the model's name on the hub, without its owner."""


def shape_of(model: str) -> Shape | None:
    """The shape of a hub name or folder, by how its last part begins."""
    name = model.rstrip("/").rpartition("/")[2]
    return next((shape for start, shape in SHAPES.items() if name.startswith(start)), None)
