"""An image beside rows that have none, where every process must run the vision tower.

Processes that share a model's weights or gradients wait for each other at each of its parts. Where
one has images in its batch and another has none, the latter would leave out the vision tower, and
both would wait for good (sharding) or give up (data parallelism). So a row of text and one small
image stands beside rows without; nothing is scored in it, and its gradients are zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from safegrpo.shared_prefix.layout import TOKEN_INPUTS, Group


class IdleImage:
    """A prompt with an image, and what it does beside rows that have none; `prompt` (P,) and
    `inputs` as a Group's."""

    def __init__(self, prompt: torch.Tensor, inputs: Mapping[str, torch.Tensor]) -> None:
        self.prompt, self.inputs = prompt, inputs

    def beside(self, groups: Sequence[Group]) -> list[Group]:
        """The groups of a packed row, with the image behind them if they have none."""
        seen = any(not TOKEN_INPUTS.issuperset(group.inputs) for group in groups)
        return [*groups] if seen else [*groups, Group(self.prompt, (), self.inputs)]

    def below(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """A padded batch of B rows without any image, and the image's as row B + 1, the last.

        All rows are padded on the left; `labels` ask for nothing there.
        """
        rows, length = batch["input_ids"].shape
        width = max(length, len(self.prompt))

        def joined(name: str, own: torch.Tensor, empty: int) -> torch.Tensor:
            given = batch.get(name)
            if given is None:
                given = own.new_full((rows, length), empty)
            padded = [_left(row, width, empty) for row in given]
            return torch.stack([*padded, _left(own, width, empty)])

        prompt, inputs = self.prompt, self.inputs
        found = {
            **batch,
            **{name: value for name, value in inputs.items() if name not in TOKEN_INPUTS},
            "input_ids": joined("input_ids", prompt, 0),
            "attention_mask": joined("attention_mask", torch.ones_like(prompt), 0),
        }
        for name in TOKEN_INPUTS & inputs.keys():
            found[name] = joined(name, inputs[name], 0)
        if "labels" in batch:
            found["labels"] = joined("labels", torch.full_like(prompt, -100), -100)
        return found


def _left(row: torch.Tensor, width: int, value: int) -> torch.Tensor:
    return torch.nn.functional.pad(row, (width - len(row), 0), value=value)
