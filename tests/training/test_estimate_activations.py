"""What a layer keeps for its backward pass, by the formulas and by autograd's own account.

Each test trains the microcosm's architecture for a pass, in several sizes, and adds up the tensors
that autograd saves while a layer runs.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from peft import get_peft_model
from transformers import Qwen3VLForConditionalGeneration

from safegrpo.microcosm.model import build_model
from safegrpo.shared_prefix.layout import Group
from safegrpo.shared_prefix.model import accept_packed, transformers_model
from safegrpo.training.config import LANGUAGE_LINEAR, LoraConfig
from safegrpo.training.estimate.activations import Adapters, layer_bytes, vision_bytes
from safegrpo.training.estimate.plan import Precision
from safegrpo.training.estimate.rows import Rows
from safegrpo.training.estimate.shape import ModelShape, model_shape
from safegrpo.training.model_parts import freeze_vision, peft_config

RANK = 8
SMALL = {"hidden_size": 64, "intermediate_size": 200, "num_attention_heads": 8, "head_dim": 16}


@dataclass
class Case:
    """A model in one of the ways that recipes train it, and rows to train it on."""

    tokenizer: Any
    text: dict[str, int] = field(default_factory=dict)
    weights: torch.dtype = torch.float32
    autocast: bool = False
    lora: bool = False
    trains_vision: bool = False
    checkpointing: bool = False
    prompt: int = 40
    completion: int = 24
    size: int = 4
    groups: int = 1
    side: int = 4

    def __post_init__(self) -> None:
        config = copy.deepcopy(build_model(self.tokenizer).config)
        for name, value in self.text.items():
            setattr(config.text_config, name, value)
        config.vision_config.out_hidden_size = config.text_config.hidden_size
        self.config = config
        torch.manual_seed(0)
        model = Qwen3VLForConditionalGeneration(config).to(self.weights).train()
        if not self.trains_vision:
            freeze_vision(model)
        if self.lora:
            model = get_peft_model(model, peft_config(model, LoraConfig(r=RANK)))
        if self.checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
            if self.lora:
                model.enable_input_require_grads()
        self.model = model
        self.inner = transformers_model(model)
        accept_packed(self.inner)
        self.packed_groups = [self._group() for _ in range(self.groups)]

    def _group(self) -> Group:
        ids = self.tokenizer.get_vocab()
        images = self.side * self.side // 4
        words = torch.randint(60, 400, (self.prompt - images,))
        prompt = torch.cat([torch.full((images,), ids["<|image_pad|>"]), words])
        inputs = {
            "pixel_values": torch.randn(self.side * self.side, 3 * 16 * 16),
            "image_grid_thw": torch.tensor([[1, self.side, self.side]]),
            "mm_token_type_ids": (prompt == ids["<|image_pad|>"]).long(),
        }
        completions = (torch.randint(60, 400, (self.completion,)) for _ in range(self.size))
        return Group(prompt, tuple(completions), inputs)

    def rows(self, packed: bool, padded: bool = False) -> Rows:
        images = self.side * self.side // 4
        return Rows(self.groups, self.size, self.prompt, self.completion, images, packed, padded)

    @property
    def shape(self) -> ModelShape:
        return model_shape(self.config, LoraConfig(r=RANK) if self.lora else None)

    @property
    def precision(self) -> Precision:
        kept = self.weights.itemsize
        compute = 2 if self.autocast else kept
        return Precision(kept, compute, kept, self.autocast and kept == 4)

    @property
    def adapters(self) -> Adapters | None:
        return Adapters(RANK, frozenset(LANGUAGE_LINEAR)) if self.lora else None

    def start_gradients(self) -> None:
        """As in the midst of an update: the gradients are there to be added to."""
        for parameter in self.model.parameters():
            if parameter.requires_grad:
                parameter.grad = torch.zeros_like(parameter)

    def packed(self) -> torch.Tensor:
        """A packed forward pass: the sum of the log-probabilities."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.autocast):
            return self.model(groups=self.packed_groups).log_probs.sum()

    def dense(self, padded: bool) -> torch.Tensor:
        """The same rows each behind its own prompt; `padded`: one is shorter than the others."""
        (group,) = self.packed_groups
        ids = torch.stack([torch.cat([group.prompt, c]) for c in group.completions])
        mask = torch.ones_like(ids)
        mask[0, -2:] = int(not padded)
        kinds = torch.nn.functional.pad(group.inputs["mm_token_type_ids"], (0, self.completion))
        with torch.autocast("cpu", torch.bfloat16, enabled=self.autocast):
            output = self.model(
                input_ids=ids,
                attention_mask=mask,
                mm_token_type_ids=kinds.expand(self.size, -1),
                pixel_values=group.inputs["pixel_values"].repeat(self.size, 1),
                image_grid_thw=group.inputs["image_grid_thw"].repeat(self.size, 1),
                logits_to_keep=self.completion + 1,
            )
        return output.logits.float().sum()

    def kept_by(self, layer: torch.nn.Module, forward: Any) -> int:
        """Bytes that autograd first saves while `layer` runs, weights not counted."""
        known = {p.untyped_storage().data_ptr() for p in self.model.parameters()}
        saved: dict[int, torch.Tensor] = {}  # kept alive, so that no address comes twice
        inside = 0
        running = False

        def note(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal inside
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in known and storage.data_ptr() not in saved:
                saved[storage.data_ptr()] = tensor
                inside += storage.nbytes() * running
            return tensor

        def switch(on: bool) -> Any:
            def hook(*_: Any) -> None:
                nonlocal running
                running = on

            return hook

        hooks = [
            layer.register_forward_pre_hook(switch(True)),
            layer.register_forward_hook(switch(False)),
        ]
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            forward()
        for hook in hooks:
            hook.remove()
        return inside


MODES = {
    "float32": {},
    "autocast": {"autocast": True},
    "bfloat16": {"weights": torch.bfloat16},
    "lora": {"lora": True},
    "lora on bfloat16": {"lora": True, "weights": torch.bfloat16, "autocast": True},
    "lora, autocast": {"lora": True, "autocast": True},
}
SMALLER = {"text": SMALL, "prompt": 64, "completion": 10, "size": 2}
SIZES = [({}, mode) for mode in MODES] + [
    (SMALLER, mode) for mode in ("float32", "autocast", "lora on bfloat16")
]


@pytest.mark.parametrize(("size", "mode"), SIZES)
def test_a_layer_keeps_what_the_formula_says(tokenizer, size, mode) -> None:
    case = Case(tokenizer, **MODES[mode], **size)
    layer = case.inner.model.language_model.layers[1]  # the first also saves rotations, for all
    block, precision, adapters = case.shape.layers[1], case.precision, case.adapters
    found = {
        "packed": case.kept_by(layer, case.packed),
        "dense": case.kept_by(layer, lambda: case.dense(padded=False)),
        "padded": case.kept_by(layer, lambda: case.dense(padded=True)),
    }
    said = {
        "packed": layer_bytes(block, case.rows(packed=True), precision, adapters),
        "dense": layer_bytes(block, case.rows(packed=False), precision, adapters),
        "padded": layer_bytes(block, case.rows(packed=False, padded=True), precision, adapters),
    }
    assert said == found


@pytest.mark.parametrize("side", [4, 8])
@pytest.mark.parametrize("autocast", [False, True])
def test_a_layer_of_the_vision_tower_keeps_what_the_formula_says(tokenizer, side, autocast) -> None:
    case = Case(tokenizer, trains_vision=True, autocast=autocast, side=side)
    found = case.kept_by(case.inner.model.visual.blocks[1], case.packed)
    block = case.shape.vision[1]
    said = vision_bytes(block, side * side, case.precision)
    # Autocast leaves layer norms to the tower's 16 bits on a CPU, and casts to 32 on a GPU.
    assert said - found == side * side * block.norms * block.width * (2 if autocast else 0)


def test_a_frozen_vision_tower_keeps_nothing(tokenizer) -> None:
    case = Case(tokenizer)
    assert case.kept_by(case.inner.model.visual.blocks[1], case.packed) == 0
