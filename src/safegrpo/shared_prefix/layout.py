"""One packed row in place of a padded batch: each prompt once, its completions behind it.

    [prompt A, A's completion 1, 2, …, prompt B, B's completion 1, …]

A group of G completions of one prompt needs P + G R positions of the model instead of G (P + R),
and no padding. Which position may look at which is the `Layout`'s business (see attention.py);
where each stands in its own sequence is said by explicit position ids (see model.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

import numpy as np
import torch

from safegrpo.errors import ModelError

TOKEN_INPUTS = frozenset({"mm_token_type_ids", "token_type_ids"})
"""Inputs of the model with one value a token; all others are its images'."""


@dataclass(frozen=True)
class Group:
    """A prompt (P,), its completions (R_i,) each, and the model's inputs for the prompt's images.

    `inputs` hold one value a token of the prompt (`TOKEN_INPUTS`) or a tensor of image data whose
    first dimension runs over the images (or their patches or tiles).
    """

    prompt: torch.Tensor
    completions: tuple[torch.Tensor, ...]
    inputs: Mapping[str, torch.Tensor]

    def __post_init__(self) -> None:
        if not len(self.prompt):
            raise ModelError("a prompt without a single token")


def followed_inputs(inputs: Mapping[str, torch.Tensor], length: int) -> dict[str, torch.Tensor]:
    """A Group's `inputs` for its prompt with `length` tokens of text behind it."""
    return {
        name: torch.nn.functional.pad(value, (0, length)) if name in TOKEN_INPUTS else value
        for name, value in inputs.items()
    }


def prompt_inputs(encoded: Mapping[str, Any]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The ids (P,) of one prompt and a Group's `inputs`, from what a processor made of it alone."""

    def tensor(value: Any) -> torch.Tensor:
        return value if isinstance(value, torch.Tensor) else torch.tensor(np.array(value))

    inputs = {
        name: tensor(value)[0] if name in TOKEN_INPUTS else tensor(value)
        for name, value in encoded.items()
        if name not in ("input_ids", "attention_mask")
    }
    return tensor(encoded["input_ids"])[0], inputs


@dataclass(frozen=True)
class Segment:
    """Where one group lies in the packed row: from `start`, the prompt's tokens, then each
    completion's; `blocks` (P,) numbers the images whose tokens see each other both ways."""

    start: int
    prompt: int
    lengths: tuple[int, ...]
    device: torch.device
    blocks: torch.Tensor | None = None

    @property
    def split(self) -> int:
        """Where the prompt ends and the completions begin."""
        return self.start + self.prompt

    @property
    def stop(self) -> int:
        return self.split + sum(self.lengths)

    @property
    def spans(self) -> list[tuple[int, int]]:
        """Where each completion begins in the row, and its length."""
        return list(zip(accumulate(self.lengths, initial=self.split), self.lengths, strict=False))

    @property
    def longest(self) -> int:
        return max(self.lengths)

    @cached_property
    def padding(self) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Between the N tokens of the completions and the same padded to (G, longest).

        The N token each padded place (G x longest,) is filled from, and the padded place each
        token (N,) is found at; None if all completions are equally long.
        """
        if len(set(self.lengths)) == 1:
            return None
        lengths = torch.tensor(self.lengths)
        starts = lengths.cumsum(0) - lengths
        steps = torch.arange(self.longest)
        # A padded place comes after all real ones of its row, which never look ahead.
        fill = starts[:, None] + torch.minimum(steps, (lengths - 1).clamp(min=0)[:, None])
        fill = fill.flatten().clamp(max=sum(self.lengths) - 1)
        real = (steps < lengths[:, None]).flatten().nonzero()[:, 0]
        return fill.to(self.device), real.to(self.device)

    def prompt_mask(self, window: int | None) -> torch.Tensor | None:
        """(P, P), true where a token of the prompt sees another; None: all before it and itself."""
        if self.blocks is None and (window is None or self.prompt <= window):
            return None
        mask = _causal(self.prompt, self.prompt, window, self.device)
        if self.blocks is not None:
            mask |= (self.blocks[:, None] == self.blocks[None, :]) & (self.blocks >= 0)
        return mask

    def completion_mask(self, window: int | None) -> torch.Tensor:
        """(longest, P + longest), true where a completion's token sees the prompt's or its own."""
        return _causal(self.longest, self.prompt + self.longest, window, self.device)


def _causal(queries: int, keys: int, window: int | None, device: torch.device) -> torch.Tensor:
    """The last `queries` of `keys` tokens each see themselves and what came before, no more than
    `window` in all."""
    at = torch.arange(keys - queries, keys, device=device)[:, None]
    seen = torch.arange(keys, device=device)[None, :]
    mask = seen <= at
    return mask if window is None else mask & (seen > at - window)


class Layout:
    """The segments of a packed row; attention masks are made once a pass and kept."""

    def __init__(self, segments: Sequence[Segment]) -> None:
        self.segments = tuple(segments)
        self._masks: dict[tuple[int, str, int | None, int], torch.Tensor | None] = {}

    def mask(self, number: int, part: str, window: int | None, heads: int) -> torch.Tensor | None:
        """Segment `number`'s mask for its "prompt" or "completion" tokens, once for each of the
        `heads` that share keys: (heads x queries, keys)."""
        key = (number, part, window, heads)
        if key not in self._masks:
            segment = self.segments[number]
            make = segment.prompt_mask if part == "prompt" else segment.completion_mask
            mask = make(window)
            self._masks[key] = None if mask is None else mask.repeat(heads, 1)
        return self._masks[key]


@dataclass(frozen=True)
class Packed:
    """Groups as one row (1, T), the images' inputs of all of them, and what is to be scored:
    `targets` (N,) are the completions' tokens in order, `sources` (N,) the positions that predict
    them."""

    groups: tuple[Group, ...]
    layout: Layout
    input_ids: torch.Tensor
    inputs: Mapping[str, torch.Tensor]
    sources: torch.Tensor
    targets: torch.Tensor


def pack(groups: Sequence[Group], bidirectional_images: bool = False) -> Packed:
    """The groups as one row; `bidirectional_images` lets the tokens of one image see each other."""
    device = groups[0].prompt.device
    segments: list[Segment] = []
    sources: list[int] = []
    at = 0
    for group in groups:
        lengths = tuple(len(completion) for completion in group.completions)
        blocks = _image_blocks(group) if bidirectional_images else None
        segment = Segment(at, len(group.prompt), lengths, device, blocks)
        for begin, length in segment.spans:
            if length:  # the first token is predicted by the prompt's last
                sources += [segment.split - 1, *range(begin, begin + length - 1)]
        segments.append(segment)
        at = segment.stop
    completions = [completion for group in groups for completion in group.completions]
    return Packed(
        groups=tuple(groups),
        layout=Layout(segments),
        input_ids=torch.cat([piece for g in groups for piece in (g.prompt, *g.completions)])[None],
        inputs=_image_inputs(groups),
        sources=torch.tensor(sources, dtype=torch.long, device=device),
        targets=torch.cat(completions) if completions else groups[0].prompt[:0],
    )


def _image_inputs(groups: Sequence[Group]) -> dict[str, torch.Tensor]:
    """The image inputs of all groups, one behind the other, as the placeholders come."""
    names = {name: None for group in groups for name in group.inputs if name not in TOKEN_INPUTS}
    return {
        name: joined([group.inputs[name] for group in groups if name in group.inputs])
        for name in names
    }


def joined(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """The parts one behind the other; in their other dimensions the smaller ones are padded with
    zeros, as processors do where images differ in size or in number of patches.

    Raises ModelError if they differ in their number of dimensions.
    """
    if len({part.ndim for part in parts}) > 1:
        raise ModelError("image data of different kinds in one batch")
    largest = [max(sizes) for sizes in zip(*(part.shape[1:] for part in parts), strict=True)]
    padded = []
    for part in parts:
        missing = [most - n for most, n in zip(largest, part.shape[1:], strict=True)]
        spread = [n for more in reversed(missing) for n in (0, more)]
        padded.append(torch.nn.functional.pad(part, spread) if any(missing) else part)
    return torch.cat(padded)


def _image_blocks(group: Group) -> torch.Tensor | None:
    """(P,): the number of the image that a token of the prompt belongs to, -1 for text."""
    kinds = next((group.inputs[name] for name in TOKEN_INPUTS if name in group.inputs), None)
    if kinds is None or not bool((kinds == 1).any()):
        return None
    image = kinds == 1
    first = image & ~torch.cat([image.new_zeros(1), image[:-1]])
    return torch.where(image, first.long().cumsum(0), -1)
