"""The prompts of a batch, each prepared once however many completions it has.

TRL has the processor render, tokenise and cut into patches every row of a batch, twice: for
generation and for the forward passes. Rows of one prompt are alike, so one of them is enough.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from safegrpo.errors import ModelError
from safegrpo.shared_prefix.layout import TOKEN_INPUTS, followed_inputs, joined, prompt_inputs


@dataclass(frozen=True, eq=False)
class PreparedPrompt:
    """A prompt as the model takes it: ids (P,), its images, and the processor's other outputs.

    `inputs` hold one value a token (P,) for names in `TOKEN_INPUTS`, else image data.
    """

    ids: torch.Tensor
    images: list[Any]
    inputs: dict[str, torch.Tensor]

    def followed_by(self, ids: Sequence[int]) -> PreparedPrompt:
        """The prompt and the beginning of an answer, as one longer prompt."""
        longer = torch.cat([self.ids, self.ids.new_tensor(list(ids))])
        return PreparedPrompt(longer, self.images, followed_inputs(self.inputs, len(ids)))


Tokenize = Callable[[list[Any]], tuple[Any, Any, Any]]
"""TRL's: prompts -> (ids of each, images of each or None, other outputs of the processor)."""


def prepare_prompts(
    prompts: Sequence[Any], tokenize: Tokenize, device: torch.device
) -> list[PreparedPrompt]:
    """The prompts in order; equal ones are one object, and go through `tokenize` once."""
    found: dict[Any, PreparedPrompt] = {}
    rows = []
    for prompt in prompts:
        key = _key(prompt)
        if key not in found:
            ids, images, fields = tokenize([prompt])
            tokens, inputs = prompt_inputs({"input_ids": ids, **fields})
            found[key] = PreparedPrompt(
                tokens.to(device),
                list((images or [None])[0] or []),
                {name: value.to(device) for name, value in inputs.items()},
            )
        rows.append(found[key])
    return rows


def _key(value: Any) -> Any:
    """Something that is equal, and only equal, for prompts of the same words and (RGB) pictures."""
    if isinstance(value, Image.Image):
        return value.mode, value.size, value.tobytes()
    if isinstance(value, dict):
        return tuple((name, _key(part)) for name, part in value.items())
    if isinstance(value, list | tuple):
        return tuple(_key(part) for part in value)
    return value


def joined_inputs(rows: Sequence[PreparedPrompt]) -> dict[str, torch.Tensor]:
    """What the processor would have made of all rows at once, ids and mask left out: image data
    one behind the other, token inputs (B, P) padded on the left. Raises ModelError as `joined`."""
    longest = max(len(row.ids) for row in rows)
    by_row = any(
        "pixel_attention_mask" in row.inputs and "spatial_shapes" not in row.inputs for row in rows
    )
    if by_row and not all(row.images for row in rows):
        raise ModelError(
            "this model's processor lays images out by row (Idefics, SmolVLM), which leaves no "
            "place for rows without; train on rows with images alone"
        )
    found: dict[str, torch.Tensor] = {}
    for name in {name: None for row in rows for name in row.inputs}:
        if name in TOKEN_INPUTS:
            padded = [_left_padded(row, name, longest) for row in rows]
            found[name] = torch.stack(padded)
        else:
            found[name] = joined([row.inputs[name] for row in rows if name in row.inputs])
    return found


def generation_inputs(rows: Sequence[PreparedPrompt]) -> dict[str, Any]:
    """The same in the form that TRL's generation pads itself: token inputs as lists of lists."""
    lists = {
        name: [row.inputs.get(name, torch.zeros_like(row.ids)).tolist() for row in rows]
        for name in TOKEN_INPUTS
        if any(name in row.inputs for row in rows)
    }
    return {**joined_inputs(rows), **lists}


def _left_padded(row: PreparedPrompt, name: str, length: int) -> torch.Tensor:
    kinds = row.inputs.get(name, torch.zeros_like(row.ids))
    return torch.nn.functional.pad(kinds, (length - len(kinds), 0))


class PreparedProcessor:
    """A processor that answers the one call by which TRL prepares the images of a batch a second
    time with what is prepared already; in all else the processor itself."""

    def __init__(self, processor: Any, rows: Callable[[], Sequence[PreparedPrompt]]) -> None:
        self._processor = processor
        self._rows = rows

    def __getattr__(self, name: str) -> Any:
        return getattr(self._processor, name)

    def __call__(self, *args: Any, **options: Any) -> Any:
        rows = self._rows()
        if len(options.get("images") or ()) != len(rows):
            return self._processor(*args, **options)
        return joined_inputs(rows)
