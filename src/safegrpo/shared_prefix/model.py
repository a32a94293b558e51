"""Making a vision-language model able to take packed rows, in its own forward pass.

The model keeps its class and its weights. Its text tower gets an attention that understands
layouts (attention.py), and its forward pass one more way in, `groups=`: the wrapped model (DDP,
FSDP, PEFT) is called as ever, and the head sees no more than the completions' positions.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from transformers.utils import ModelOutput

from safegrpo.errors import ModelError
from safegrpo.shared_prefix.attention import PREFIX, register_beside
from safegrpo.shared_prefix.layout import Group, Packed, pack
from safegrpo.shared_prefix.scoring import score_tokens

_ATTENTION_KINDS = frozenset({"full_attention", "sliding_attention"})
_BASES = frozenset({"sdpa", "flash_attention_2", "flash_attention_3"})
_IMAGES_SEE_THEMSELVES = frozenset({"gemma3"})


class UnsupportedModelError(ModelError):
    """A model that packed rows would compute wrongly; the message says why."""


@dataclass
class ScoredTokens(ModelOutput):
    """What a packed row gives: `log_probs` and `entropies` (N,) of the completions' tokens."""

    log_probs: torch.Tensor | None = None
    entropies: torch.Tensor | None = None


def accept_packed(model: Any) -> None:
    """Let `model` (the transformers model itself, not a wrapper) take groups: `model(groups=[...],
    temperature=1.0, entropy_gradient=False, float32_head=False)` gives the `ScoredTokens` of their
    completions; with `float32_head` the head is left out of autocast.

    Raises UnsupportedModelError, with the reason, where that could not give the same numbers. The
    forward pass raises ModelError if the model's attention was changed afterwards. Doing it twice
    changes nothing.
    """
    if getattr(model, "accepts_packed", False):
        return
    reason = _why_not(model)
    if reason is not None:
        raise UnsupportedModelError(reason)
    config = model.config
    base = config.get_text_config()._attn_implementation
    if not base.startswith(PREFIX):  # as where another model has the same configuration object
        model.set_attn_implementation({_text_key(config): register_beside(base)})
    # Not bound to this model: a deep copy must not compute with the original's weights.
    plain = model.forward
    inner = getattr(plain, "__func__", lambda _, *args, **options: plain(*args, **options))

    @functools.wraps(type(model).forward)  # generate() checks its arguments against the signature
    def forward(
        self: Any,
        *args: Any,
        groups: Sequence[Group] | None = None,
        temperature: float = 1.0,
        entropy_gradient: bool = False,
        float32_head: bool = False,
        **options: Any,
    ) -> Any:
        if groups is None:
            return inner(self, *args, **options)
        # Whatever else a wrapper adds (PEFT: input_ids=None, …) is empty.
        packed = pack(groups, images_see_themselves(self))
        return _score(self, packed, temperature, entropy_gradient, float32_head)

    model.forward = MethodType(forward, model)
    model.accepts_packed = True


def transformers_model(model: Any) -> Any:
    """The model under adapters, if it has any."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def images_see_themselves(model: Any) -> bool:
    """Whether the tokens of one image attend to each other in both directions."""
    return model.config.model_type in _IMAGES_SEE_THEMSELVES


def _why_not(model: Any) -> str | None:
    config = model.config
    text = config.get_text_config()
    if config.is_encoder_decoder or text is config:
        return f"{config.model_type} is not a decoder with a vision tower"
    if text._attn_implementation.removeprefix(f"{PREFIX}_") not in _BASES:
        return f'its attention is "{text._attn_implementation}", not one of {sorted(_BASES)}'
    other = set(getattr(text, "layer_types", None) or ()) - _ATTENTION_KINDS
    if other:
        return f"it has layers other than attention: {', '.join(sorted(other))}"
    if getattr(text, "attn_logit_softcapping", None) is not None:
        return "it caps its attention logits"
    if getattr(text, "use_bidirectional_attention", None):
        return "its attention looks ahead"
    for name in ("logit_scale", "logits_scaling", "output_multiplier", "lm_head_multiplier"):
        if getattr(text, name, None) not in (None, 1, 1.0):
            return "it scales its logits"
    if _text_key(config) is None:
        return "its text model has no configuration of its own"
    if getattr(text, "num_experts", None) or getattr(text, "num_local_experts", None):
        return "it routes tokens to experts, whose balance depends on the batch"
    return None


def _text_key(config: Any) -> str | None:
    text = config.get_text_config()
    return next((key for key in config.sub_configs if getattr(config, key) is text), None)


@dataclass(frozen=True)
class PromptPositions:
    """Positions of a prompt's tokens, (P,), or (3, P) where rotary positions have three axes, and
    the position of the token that follows, the same on every axis."""

    tokens: torch.Tensor
    following: int


def prompt_positions(backbone: Any, group: Group) -> PromptPositions:
    """As the model itself would number the group's prompt."""
    rope_index = getattr(backbone, "get_rope_index", None)
    length, device = len(group.prompt), group.prompt.device
    plain = torch.arange(length, device=device)
    if rope_index is None:
        return PromptPositions(plain, length)
    grid = group.inputs.get("image_grid_thw")
    if grid is None or not len(grid):
        return PromptPositions(plain.expand(3, -1), length)
    kinds = group.inputs["mm_token_type_ids"]
    found, _ = rope_index(group.prompt[None], mm_token_type_ids=kinds[None], image_grid_thw=grid)
    return PromptPositions(found[:, 0], int(found.max()) + 1)


def position_ids(groups: Sequence[Group], positions: Sequence[PromptPositions]) -> torch.Tensor:
    """Positions of a packed row, (1, T) or (3, 1, T): a completion goes on where its prompt ends,
    whatever lies between them in the row."""
    pieces = []
    for group, prompt in zip(groups, positions, strict=True):
        pieces.append(prompt.tokens)
        for completion in group.completions:
            steps = torch.arange(len(completion), device=prompt.tokens.device) + prompt.following
            pieces.append(steps.expand(*prompt.tokens.shape[:-1], -1))
    return torch.cat(pieces, dim=-1)[..., None, :]


def no_mask(device: torch.device) -> torch.Tensor:
    """What to give for an attention mask: transformers hands a mask of four dimensions on as it
    is, where it would build one of T x T from none."""
    return torch.ones(1, 1, 1, 1, dtype=torch.bool, device=device)


def _within(
    module: Any,
    compute: Callable[[Callable[[torch.Tensor], torch.Tensor], torch.Tensor], Any],
    states: torch.Tensor,
) -> Any:
    """`compute(project, states)` inside one call of `module`, whose plain forward is `project`.

    However many tiles are projected, what hangs on the module (sharding, adapters) sees one call
    on every process.
    """
    plain, own = module.forward, module.__dict__.get("forward")
    module.forward = lambda given: compute(plain, given)
    try:
        return module(states)
    finally:
        if own is None:
            del module.forward
        else:
            module.forward = own


def _score(
    model: Any, packed: Packed, temperature: float, entropy_gradient: bool, float32_head: bool
) -> ScoredTokens:
    backbone = model.base_model
    text = model.config.get_text_config()
    if not text._attn_implementation.startswith(PREFIX):
        raise ModelError(f'its attention was set to "{text._attn_implementation}" afterwards')
    positions = [prompt_positions(backbone, group) for group in packed.groups]
    hidden = backbone(
        input_ids=packed.input_ids,
        position_ids=position_ids(packed.groups, positions),
        attention_mask=no_mask(packed.input_ids.device),
        use_cache=False,
        **{PREFIX: packed.layout},
        **packed.inputs,
    ).last_hidden_state[0]
    states = hidden[packed.sources]

    def score(project: Callable[[torch.Tensor], torch.Tensor], states: torch.Tensor) -> Any:
        return score_tokens(
            states,
            packed.targets,
            project,
            text.vocab_size,
            temperature=temperature,
            softcap=getattr(text, "final_logit_softcapping", None),
            entropy_gradient=entropy_gradient,
        )

    with torch.autocast(states.device.type, enabled=False) if float32_head else nullcontext():
        log_probs, entropies = _within(
            model.get_output_embeddings(), score, states.float() if float32_head else states
        )
    if not len(packed.targets):  # keep the result connected: a backward pass must reach the model
        log_probs = log_probs + hidden.sum() * 0
    return ScoredTokens(log_probs=log_probs, entropies=entropies)
