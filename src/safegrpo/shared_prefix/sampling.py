"""Sampling the completions of many prompts: each prompt read once, rows that have ended dropped.

The distribution is transformers': the same generation options, the same processors of the logits,
in the same order. What differs is that nothing is computed twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from safegrpo.errors import ModelError
from safegrpo.shared_prefix.attention import PREFIX
from safegrpo.shared_prefix.decode import PrefixCache
from safegrpo.shared_prefix.layout import Group, Packed, pack
from safegrpo.shared_prefix.model import (
    PromptPositions,
    images_see_themselves,
    no_mask,
    position_ids,
    prompt_positions,
)

KEPT = 0.75
"""Share of the grid's places still needed, below which the ended rows are taken out of it."""

_PLAIN = {
    "num_beams": (None, 1),
    "num_return_sequences": (None, 1),
    "prompt_lookup_num_tokens": (None,),
    "assistant_early_exit": (None,),
    "stop_strings": (None,),
    "guidance_scale": (None, 1, 1.0),
    "max_time": (None,),
    "cache_implementation": (None,),
    "token_healing": (None, False),
    "return_dict_in_generate": (None, False),
}
"""Generation options that would need another loop than this one, and the values that do not."""


class UnsupportedOptionError(ModelError):
    """A generation option that only generate() knows."""


@dataclass(frozen=True)
class Sampled:
    """Token ids of one row, its end token included, and the log-probability of each in the model's
    own distribution at the temperature sampled at (zeros unless asked for)."""

    ids: list[int]
    log_probs: list[float]


@torch.no_grad()
def sample(
    model: Any,
    groups: Sequence[Group],
    config: Any = None,
    *,
    log_probs: bool = False,
    **options: Any,
) -> list[Sampled]:
    """A completion for each of the groups' completions, in order, going on from what they hold
    already (nothing, as a rule); only what is new is returned.

    `model` is the transformers model itself, made ready by `accept_packed`; `config` a
    GenerationConfig and `options` its fields, as generate() takes them. Sampling goes without
    dropout, whatever mode the model is in.

    Raises UnsupportedOptionError for an option that this loop does not know (given, or in the
    model's own configuration), ValueError without max_new_tokens, RuntimeError for logits that are
    not finite.
    """
    if not groups:
        return []
    complete, _ = model._prepare_generation_config(config, **options)
    if complete.max_new_tokens is None:
        raise ValueError("max_new_tokens is not given")
    for name, plain in _PLAIN.items():
        if getattr(complete, name) not in plain:
            raise UnsupportedOptionError(f'the generation option "{name}" needs another loop')
    with evaluating(model):
        return _sample(model, groups, complete, log_probs)


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """The model without dropout, which no two passes share; each module's mode is given back."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _sample(model: Any, groups: Sequence[Group], config: Any, log_probs: bool) -> list[Sampled]:
    packed = pack(groups, images_see_themselves(model))
    cache = PrefixCache(packed)
    positions = [prompt_positions(model.base_model, group) for group in groups]
    rows = _Rows(model, groups, positions, cache, config)
    logits = _first_logits(model, packed, positions, cache)[rows.last]
    for step in range(config.max_new_tokens):
        rows.take(logits, step, log_probs)
        kept = rows.drop_ended()
        if step + 1 == config.max_new_tokens or not rows.alive:
            break
        if kept is not None:
            cache.select(*kept)
        cache.advance()
        output = model(
            input_ids=rows.tokens[:, None],
            position_ids=rows.positions(step),
            attention_mask=no_mask(rows.tokens.device),
            past_key_values=cache,
            use_cache=True,
            **{PREFIX: cache},
        )
        logits = output.logits[:, -1]
    return rows.sampled()


def _first_logits(
    model: Any, packed: Packed, positions: Sequence[PromptPositions], cache: PrefixCache
) -> torch.Tensor:
    """Logits (N, V) after each of the N rows' last given token; fills the cache."""
    ends = []
    for segment in packed.layout.segments:
        for at, length in segment.spans:
            ends.append(at + length - 1 if length else segment.split - 1)
    kept, each = torch.tensor(ends, device=packed.input_ids.device).unique(return_inverse=True)
    output = model(
        input_ids=packed.input_ids,
        position_ids=position_ids(packed.groups, positions),
        attention_mask=no_mask(packed.input_ids.device),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=kept,
        **{PREFIX: cache},
        **packed.inputs,
    )
    logits: torch.Tensor = output.logits[0][each]
    return logits


class _Rows:
    """The rows of the grid (see PrefixCache): what they were given, what they have sampled, and
    whether they have ended. A place that only fills up the grid belongs to row N, which is none."""

    def __init__(
        self,
        model: Any,
        groups: Sequence[Group],
        positions: Sequence[PromptPositions],
        cache: PrefixCache,
        config: Any,
    ) -> None:
        device = groups[0].prompt.device
        given = [torch.cat([g.prompt, c]) for g in groups for c in g.completions]
        following = [
            prompt.following + len(completion)
            for prompt, group in zip(positions, groups, strict=True)
            for completion in group.completions
        ]
        self._axes = positions[0].tokens.shape[:-1]
        self._count = len(given)
        self._grid = tuple(cache.slots.shape)
        self.last = cache.slots.flatten()
        self._ended = cache.filling_up.flatten()
        self._row = torch.where(self._ended, self._count, self.last)
        self._next = torch.tensor(following, device=device)[self.last]
        model._prepare_special_tokens(config, device=device, batch_size=len(self._row))
        self._pad, self._ends = config._pad_token_tensor, config._eos_token_tensor
        if self._pad is None:  # nothing ends a row, so nothing is padded
            self._pad = torch.zeros((), dtype=torch.long, device=device)
        self._config = config
        self._longest = max(len(ids) for ids in given)
        config.max_length = self._longest + config.max_new_tokens  # some processors read it
        self._processors = model._get_logits_processor(
            config, input_ids_seq_length=self._longest, device=device
        )
        # generate() would show its processors a short prompt behind padding, as if the padding
        # had been said before; behind its own first token it is what it is alone.
        size = self._longest + config.max_new_tokens
        self._ids = self._pad.new_full((len(self._row), size), int(self._pad))
        for place, row in enumerate(self.last.tolist()):
            start = self._longest - len(given[row])
            self._ids[place, :start] = given[row][0]
            self._ids[place, start : self._longest] = given[row]
        self._out = self._pad.new_full((self._count + 1, config.max_new_tokens), -1)
        self._log_probs = torch.zeros(self._out.shape, device=device)
        self.tokens = self._ids[:, -1]
        self.alive = True
        self._sound = torch.ones((), dtype=torch.bool, device=device)

    def take(self, logits: torch.Tensor, step: int, with_log_probs: bool) -> None:
        """Sample the next token of every row, or take the likeliest where sampling is off."""
        raw = logits.float()
        self._sound &= torch.isfinite(raw).all()
        column = self._longest + step
        scores = self._processors(self._ids[:, :column], raw.clone())
        if self._config.do_sample:
            tokens = _draw(torch.softmax(scores, dim=-1))
        else:
            tokens = scores.argmax(dim=-1)
        self.tokens = torch.where(self._ended, self._pad, tokens)
        self._ids[:, column] = self.tokens
        into = torch.where(self._ended, self._count, self._row)
        self._out[into, step] = self.tokens
        if with_log_probs:
            at = torch.log_softmax(raw / (self._config.temperature or 1.0), dim=-1)
            self._log_probs[into, step] = at.gather(-1, tokens[:, None])[:, 0]
        if self._ends is not None:
            self._ended = self._ended | torch.isin(self.tokens, self._ends)

    def drop_ended(self) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Leave the ended rows out, if they are many enough; the prompts (U',) and the places
        (U', G') of the grid that are kept. Says, too, whether any is `alive`."""
        ended = self._ended.view(self._grid).cpu()  # the one wait for the device a token
        counts = (~ended).sum(1)
        prompts, group = counts.nonzero()[:, 0], int(counts.max())
        self.alive = group > 0
        if not self.alive or len(prompts) * group > KEPT * ended.numel():
            return None
        places = ended[prompts].int().argsort(dim=1, stable=True)[:, :group]
        places = (prompts[:, None] * self._grid[1] + places).to(self._ended.device)
        self._grid = tuple(places.shape)
        for name in ("_row", "_ended", "_next", "_ids", "tokens"):
            setattr(self, name, getattr(self, name)[places.flatten()])
        return prompts.to(places.device), places

    def positions(self, step: int) -> torch.Tensor:
        """Where the token sampled at `step` stands in its own sequence: (S, 1) or (3, S, 1)."""
        return (self._next + step)[:, None].expand(*self._axes, -1, -1)

    def sampled(self) -> list[Sampled]:
        if not self._sound:
            raise RuntimeError("the model's logits are not finite; nothing can be sampled of them")
        result = []
        for ids, log_probs in zip(self._out.tolist(), self._log_probs.tolist(), strict=True):
            length = ids.index(-1) if -1 in ids else len(ids)
            result.append(Sampled(ids[:length], log_probs[:length]))
        return result[: self._count]


def _draw(probabilities: torch.Tensor) -> torch.Tensor:
    """One token (S,) from each of the distributions (S, V)."""
    if probabilities.is_cuda:
        return torch.multinomial(probabilities, 1)[:, 0]
    # On a CPU that is several times slower, since it draws a random number for every token of the
    # vocabulary: here the place is sought where the summed probabilities pass a single one.
    summed = probabilities.cumsum(-1, dtype=torch.float64)
    passed = torch.rand_like(summed[:, :1]) * summed[:, -1:]
    # Strictly beyond: a token of probability 0 is never the first to be.
    return torch.searchsorted(summed, passed, right=True)[:, 0].clamp(max=summed.shape[1] - 1)
