"""Peaks of whole passes, held against the tensors that are alive at the same time."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import GenerationConfig

from safegrpo.shared_prefix.sampling import sample
from safegrpo.shared_prefix.scoring import score_tokens
from safegrpo.training.config import LoraConfig
from safegrpo.training.estimate.generation import generation
from safegrpo.training.estimate.passes import LOGIT, passes
from safegrpo.training.estimate.plan import Plan
from safegrpo.training.estimate.prompts import assumed_prompts, measured_prompts
from tests.training.test_estimate_activations import MODES, RANK, Case


class Alive(TorchDispatchMode):
    """Bytes of the tensors that operations made and that still exist: now, and at most."""

    def __init__(self, known: Iterable[torch.Tensor]) -> None:
        super().__init__()
        self._known = {tensor.untyped_storage()._cdata for tensor in known}
        self._sizes: dict[int, int] = {}
        self.now = self.peak = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                key = storage._cdata
                if key not in self._sizes and key not in self._known:
                    self._sizes[key] = storage.nbytes()
                    self.now += storage.nbytes()
                    weakref.finalize(storage, self._forget, key)
        self.peak = max(self.peak, self.now)
        return out

    def _forget(self, key: int) -> None:
        self.now -= self._sizes.pop(key)


def plan_of(case: Case) -> Plan:
    rows = case.groups * case.size
    return Plan(
        gpus=1,
        sharding="ddp",
        rows=rows,
        accumulation=1,
        parts=1,
        iterations=1,
        group=case.size,
        completion=case.completion,
        prompts=assumed_prompts(case.prompt, ""),
        hints=0,
        epochs=1,
        max_steps=1,
        beta=0.0,
        checkpointing=case.checkpointing,
        precision=case.precision,
        optimizer="adamw_torch_fused",
        lora=LoraConfig(r=RANK) if case.lora else None,
        trains_vision=case.trains_vision,
        shared_prefix=True,
        generator="transformers",
        vllm=None,
        corrects=False,
    )


def known_of(case: Case) -> list[torch.Tensor]:
    """What is there before a pass: weights, gradients, buffers, prompts."""
    states = [t for p in case.model.parameters() for t in (p, p.grad) if t is not None]
    given = [
        tensor
        for group in case.packed_groups
        for tensor in (group.prompt, *group.completions, *group.inputs.values())
    ]
    return [*states, *case.model.buffers(), *given]


LONG = {"prompt": 192, "completion": 64}
WIDE_LAYER = {"text": {"intermediate_size": 1024}, "groups": 2, **LONG}
IMAGE = {"prompt": 256, "completion": 16, "side": 16}
TRAINED = [
    (mode, checkpointing, options)
    for mode in ("float32", "autocast", "lora on bfloat16")
    for checkpointing, options in ((False, LONG), (True, WIDE_LAYER), (True, IMAGE))
]


@pytest.mark.parametrize(("mode", "checkpointing", "options"), TRAINED)
def test_the_peak_of_training_is_bounded_within_a_quarter(
    tokenizer, mode, checkpointing, options
) -> None:
    case = Case(tokenizer, checkpointing=checkpointing, **MODES[mode], **options)
    case.start_gradients()
    with Alive(known_of(case)) as alive:
        case.packed().backward()
    said = passes(case.shape, plan_of(case), case.rows(packed=True))
    assert 0.95 * alive.peak < said.kept + said.working + said.logits < 1.25 * alive.peak


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("mode", ["float32", "autocast"])
def test_the_same_where_the_vision_tower_trains(tokenizer, mode, checkpointing) -> None:
    case = Case(
        tokenizer, checkpointing=checkpointing, trains_vision=True, **MODES[mode], **LONG, side=16
    )
    case.start_gradients()
    with Alive(known_of(case)) as alive:
        case.packed().backward()
    said = passes(case.shape, plan_of(case), case.rows(packed=True))
    assert 0.95 * alive.peak < said.kept + said.working + said.logits < 1.25 * alive.peak


@pytest.mark.parametrize("mode", ["float32", "autocast", "lora on bfloat16"])
@pytest.mark.parametrize("options", [LONG, IMAGE])
def test_the_peak_of_a_pass_without_gradients(tokenizer, mode, options) -> None:
    case = Case(tokenizer, **MODES[mode], **options)
    with torch.no_grad(), Alive(known_of(case)) as alive:
        case.packed()
    said = passes(case.shape, plan_of(case), case.rows(packed=True))
    assert 0.88 * alive.peak < said.scoring < 1.25 * alive.peak


@pytest.mark.parametrize("mode", ["float32", "autocast", "lora on bfloat16"])
@pytest.mark.parametrize("options", [{"prompt": 256, "side": 8}, {"prompt": 64, "size": 16}])
def test_the_peak_of_generating(tokenizer, mode, options) -> None:
    case = Case(tokenizer, **MODES[mode], **options, completion=20, groups=2)
    nothing = case.packed_groups[0].prompt[:0]
    groups = [replace(g, completions=(nothing,) * case.size) for g in case.packed_groups]
    config = GenerationConfig(max_new_tokens=20, min_new_tokens=20, do_sample=True)
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=case.autocast)
    with Alive(known_of(case)) as alive, autocast:
        sample(case.inner, groups, config)
    prompts = measured_prompts([case.prompt], [case.side**2 // 4])
    said = generation(case.shape, replace(plan_of(case), prompts=prompts), packed=True)
    # No row ends before the others here, so that nothing is moved.
    assert 0.93 * alive.peak < said.cache + said.working < 1.2 * alive.peak


@pytest.mark.parametrize(("tokens", "words"), [(64, 1000), (500, 1000), (200, 4000)])
def test_logits_are_held_a_tile_at_a_time(tokens, words) -> None:
    tile, width = 2**16, 8
    head = torch.nn.Linear(width, words, bias=False)
    hidden, targets = torch.randn(tokens, width), torch.randint(0, words, (tokens,))
    with torch.no_grad(), Alive([head.weight, hidden, targets]) as alive:
        score_tokens(hidden, targets, head, words, tile=tile)
    held = LOGIT * min(tokens, tile // words) * words
    assert held <= alive.peak < 1.05 * held


def test_with_checkpointing_what_is_kept_does_not_grow_with_a_layers_width(tokenizer) -> None:
    case = Case(tokenizer, checkpointing=True)
    plan, rows = plan_of(case), case.rows(packed=True)
    wide = Case(tokenizer, checkpointing=True, text={"intermediate_size": 4096})
    assert passes(case.shape, plan, rows).kept == passes(wide.shape, plan, rows).kept
    without = replace(plan, checkpointing=False)
    assert passes(wide.shape, without, rows).kept > 10 * passes(wide.shape, plan, rows).kept
