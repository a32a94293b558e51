"""A tiny LLaVA on disk that always gives one reply, for servers that need no torchvision.

Its weights are set by hand: every layer adds nothing, so the last token alone decides the next.
After the token that opens the assistant's turn comes the whole reply, which is one token, and after
that the end. Images go through its processor, its vision tower and its projector all the same.
"""

from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from transformers import (
    CLIPImageProcessor,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }} {% if message['content'] is string %}"
    "{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }} {% else %}<image> {% endif %}{% endfor %}"
    "{% endif %}<s>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)


def save_tiny_llava(folder: Path, reply: str) -> None:
    """Write model and processor; the model answers `reply` to anything."""
    special = ["<unk>", "<pad>", "</s>", "<s>", "<image>", "<assistant>"]
    vocabulary = {token: number for number, token in enumerate(special)}
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        unk_token="<unk>",
        pad_token="<pad>",
        eos_token="</s>",
        bos_token="<s>",
        additional_special_tokens=["<image>", "<assistant>"],
    )
    tokenizer.add_tokens([AddedToken(reply, normalized=False, special=False)])
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in (*special, reply)}
    config = LlavaConfig(
        text_config={
            "model_type": "llama",
            **{"vocab_size": 16, "hidden_size": 16, "intermediate_size": 16},
            **{"num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2},
            **{"pad_token_id": ids["<pad>"], "eos_token_id": ids["</s>"]},
            **{"bos_token_id": ids["<s>"], "max_position_embeddings": 8192},
            "tie_word_embeddings": False,
        },
        vision_config={
            "model_type": "clip_vision_model",
            **{"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1},
            **{"num_attention_heads": 2, "image_size": 28, "patch_size": 14, "projection_dim": 16},
        },
        image_token_index=ids["<image>"],
        vision_feature_layer=-1,
        tie_word_embeddings=False,
    )
    model = LlavaForConditionalGeneration(config)
    with torch.no_grad():
        for layer in model.model.language_model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        embedded = model.get_input_embeddings().weight
        embedded.zero_()
        embedded[ids["<assistant>"], 0] = embedded[ids[reply], 1] = 1
        head = model.get_output_embeddings().weight
        head.zero_()
        head[ids[reply], 0] = head[ids["</s>"], 1] = 10
    model.generation_config.eos_token_id = ids["</s>"]
    model.generation_config.pad_token_id = ids["<pad>"]
    model.save_pretrained(folder)
    side = {"shortest_edge": 28}
    crop = {"height": 28, "width": 28}
    LlavaProcessor(
        CLIPImageProcessor(size=side, crop_size=crop),
        tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    ).save_pretrained(folder)
