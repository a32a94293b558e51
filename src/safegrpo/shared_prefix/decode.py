"""Keys and values of a generation: each prompt's once, each row's own behind it.

transformers' cache holds the prompt once a row and is copied whole at every token. Here the rows of
one prompt read the same keys, as one matrix product, and a row's own are written in place.
"""

from __future__ import annotations

import torch

from safegrpo.shared_prefix.attention import packed_attention
from safegrpo.shared_prefix.layout import Packed

GROW = 128
"""Columns by which the rows' own keys and values grow: what they never need is not held."""


class PrefixCache:
    """What the model's forward pass takes as `past_key_values=` and as `shared_prefix=`.

    The first pass, over packed prompts, fills it; then every row takes one token a pass. Rows stand
    in a grid, `slots` (U, G): which of the batch's rows U prompts with at most G rows each hold. A
    row that fills up the grid stands there twice, and what it computes is not read.
    """

    def __init__(self, packed: Packed) -> None:
        self._packed = packed
        segments = packed.layout.segments
        device = packed.input_ids.device
        counts = torch.tensor([len(segment.lengths) for segment in segments])
        first = counts.cumsum(0) - counts
        places = torch.arange(int(counts.max()))
        self.slots = (first[:, None] + torch.minimum(places, counts[:, None] - 1)).to(device)
        self.filling_up = (places >= counts[:, None]).to(device)  # (U, G), of the first pass
        self._prompts = torch.tensor([segment.prompt for segment in segments], device=device)
        begun = torch.tensor([n for segment in segments for n in segment.lengths], device=device)
        self.length = int(begun.max())  # the column of the first sampled token
        self._unused = self.length - begun[self.slots.flatten()]  # columns before a row's own
        # Of one length, and none begun before others: then every row sees all there is.
        self._even = len(set(self._prompts.tolist())) == 1 and len(set(begun.tolist())) == 1
        self._prefix: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._own: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._filling = True
        self._bias_of: dict[int | None, tuple[torch.Tensor | None, torch.Tensor | None]] = {}

    def update(
        self, key: torch.Tensor, value: torch.Tensor, layer_idx: int, *_: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Keep the keys and values (S, H_kv, 1, d) of new tokens; all of the rows' own so far."""
        if self._filling:
            self._prefix.append(self._of_prompts(key, value))
            self._own.append((self._of_begun(key), self._of_begun(value)))
            return key, value
        columns = slice(0, self.length + 1)
        own = self._own[layer_idx]
        if own[0].shape[2] <= self.length:
            own = (_grown(own[0]), _grown(own[1]))
            self._own[layer_idx] = own
        for held, new in zip(own, (key, value), strict=True):
            held[:, :, self.length] = new[:, :, 0]
        return own[0][:, :, columns], own[1][:, :, columns]

    def get_seq_length(self, *_: object) -> int:
        """The longest sequence's tokens so far; positions are given, so it only has to be told."""
        return int(self._prompts.max()) + self.length

    def advance(self) -> None:
        """A pass is over; the next one's tokens go into the next column."""
        self.length += not self._filling
        self._filling = False
        self._bias_of = {}

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scale: float | None,
        window: int | None,
    ) -> torch.Tensor:
        """Attention of one token a row, query (S, H, 1, d) -> (S, 1, H, d); of the packed prompts
        in the first pass. `key` and `value` are what `update` returned."""
        if self._filling:
            return packed_attention(query, key, value, self._packed.layout, scale, window)
        prompts, group = self.slots.shape
        heads, width = key.shape[1], query.shape[-1]
        prefix_key, prefix_value = self._prefix[layer]
        shared = query.shape[1] // heads
        query = query * (width**-0.5 if scale is None else scale)
        # (U, H_kv, G * shared, d): all that look at one prompt's keys of one head.
        grouped = query.view(prompts, group, heads, shared, width).transpose(1, 2).flatten(2, 3)
        to_prompt = grouped @ prefix_key
        own = query.view(prompts * group, heads, shared, width)
        to_own = own @ key.transpose(2, 3)
        prompt_bias, own_bias = self._bias(window, query.dtype)
        if prompt_bias is not None:
            to_prompt = to_prompt.unflatten(2, (group, shared)) + prompt_bias
            to_prompt = to_prompt.flatten(2, 3)
        if own_bias is not None:
            to_own = to_own + own_bias
        scores = torch.cat([to_prompt, _by_prompt(to_own, prompts)], dim=-1)
        weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
        split = to_prompt.shape[-1]
        out = weights[..., :split] @ prefix_value
        seen = weights[..., split:].unflatten(2, (group, shared)).transpose(1, 2).flatten(0, 1)
        result = out.unflatten(2, (group, shared)).transpose(1, 2).flatten(0, 1) + seen @ value
        return result.flatten(1, 2)[:, None]

    def select(self, prompts: torch.Tensor, slots: torch.Tensor) -> None:
        """Keep the rows in `slots` (U', G'), numbers of places of the grid, and `prompts` (U',)."""
        flat = slots.flatten()
        self.slots = self.slots.flatten()[flat].view(slots.shape)
        self._unused = self._unused[flat]
        if len(prompts) < len(self._prompts):
            self._prompts = self._prompts[prompts]
            _take(self._prefix, prompts)
        _take(self._own, flat)
        self._bias_of = {}

    def _of_prompts(
        self, key: torch.Tensor, value: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys (U, H_kv, d, P), as products want them, and values (U, H_kv, P, d); shorter prompts
        are padded behind their end."""
        spans = [slice(s.start, s.split) for s in self._packed.layout.segments]
        keys, values = (
            torch.nn.utils.rnn.pad_sequence(
                [x[0, :, span].transpose(0, 1) for span in spans], batch_first=True
            )
            for x in (key, value)
        )
        return keys.permute(0, 2, 3, 1).contiguous(), values.transpose(1, 2).contiguous()

    def _of_begun(self, x: torch.Tensor) -> torch.Tensor:
        """(S, H_kv, GROW or more, d) of what each row began with, ending in one column."""
        width = self.length + GROW
        rows = x.new_zeros(self.slots.numel(), x.shape[1], width, x.shape[3])
        if self.length:
            starts = [span for segment in self._packed.layout.segments for span in segment.spans]
            for slot, row in enumerate(self.slots.flatten().tolist()):
                at, length = starts[row]
                rows[slot, :, self.length - length : self.length] = x[0, :, at : at + length]
        return rows

    def _bias(
        self, window: int | None, dtype: torch.dtype
    ) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """What is added to the scores: over the prompt (U, 1, G, 1, P), over a row's own (S, 1, 1,
        columns); None where all is sure to be seen. Made once a pass, for all layers."""
        if window not in self._bias_of:
            if window is None and self._even:
                self._bias_of[window] = (None, None)
            else:
                prompt, own = (_as_bias(seen, dtype) for seen in self._seen(window))
                self._bias_of[window] = (prompt, own)
        return self._bias_of[window]

    def _seen(self, window: int | None) -> tuple[torch.Tensor, torch.Tensor]:
        prompts, group = self.slots.shape
        device, ends = self._prompts.device, self._prompts[:, None]
        at = torch.arange(self._prefix[0][0].shape[-1], device=device)
        columns = torch.arange(self.length + 1, device=device)
        prompt = (at < ends)[:, None].expand(-1, group, -1)
        own = columns >= self._unused[:, None]
        if window is not None:
            before = (self.length - self._unused).view(prompts, group)  # own tokens before this
            prompt = prompt & (at > (ends + before - window)[..., None])
            own = own & (columns > self.length - window)
        return prompt[:, None, :, None], own[:, None, None]


def _as_bias(seen: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    bias = torch.zeros(seen.shape, dtype=dtype, device=seen.device)
    return bias.masked_fill(~seen, torch.finfo(dtype).min)


def _by_prompt(x: torch.Tensor, prompts: int) -> torch.Tensor:
    """(U G, H, shared, n) -> (U, H, G * shared, n)."""
    return x.unflatten(0, (prompts, -1)).transpose(1, 2).flatten(2, 3)


def _grown(x: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.pad(x, (0, 0, 0, GROW))


def _take(layers: list[tuple[torch.Tensor, torch.Tensor]], rows: torch.Tensor) -> None:
    """Leave only `rows` of each layer's keys and values; one layer at a time is there twice."""
    for number, (key, value) in enumerate(layers):
        layers[number] = (key[rows], value[rows])
