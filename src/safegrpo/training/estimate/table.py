"""An estimate as a table for a terminal, and as a JSON object."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from safegrpo.terminal import printable
from safegrpo.training.estimate.advice import Turn
from safegrpo.training.estimate.estimate import GIB, Estimate
from safegrpo.training.estimate.memory import PHASES


def as_json(found: Estimate, assumptions: Sequence[str], turns: Sequence[Turn]) -> dict[str, Any]:
    """All numbers by name: memory in bytes of one GPU, work of one update over all GPUs."""
    plan, done = found.plan, found.work
    return {
        "model": found.model,
        "gpus": plan.gpus,
        "sharding": plan.sharding,
        "parameters": {
            **{name: part.parameters for name, part in found.shape.parts.items()},
            "total": found.shape.parameters,
            "trained": {name: part.parameters for name, part in found.trained.items()},
        },
        "memory": {
            "parts": {item.name: item.bytes for item in found.memory.items},
            "phases": {phase: found.memory.total(phase) for phase in PHASES},
            "peak": found.memory.peak,
            "gpu": found.gpu_bytes,
            "verdict": found.verdict,
            "engine_tokens": found.memory.engine_tokens,
        },
        "prompts": dataclasses.asdict(plan.prompts),
        "update": {**dataclasses.asdict(done), "trained": done.trained},
        "steps": found.steps,
        "completions": None if found.steps is None else found.steps * done.completions,
        "evaluated_tokens": found.evaluated,
        "hours": _hours(found),
        "assumptions": list(assumptions),
        "advice": [dataclasses.asdict(turn) for turn in turns],
    }


def _hours(found: Estimate) -> dict[str, float | None] | None:
    if found.hours is None:
        return None
    return {**dataclasses.asdict(found.hours), "total": found.hours.total}


def lines(found: Estimate, assumptions: Sequence[str], turns: Sequence[Turn]) -> Iterator[str]:
    """The same for people."""
    plan = found.plan
    many = f"{plan.gpus} GPUs, {plan.sharding}" if plan.gpus > 1 else "one GPU"
    yield f"{printable(found.model)}: {many}"
    yield ""
    yield from _parameters(found)
    yield ""
    yield from _memory(found)
    for turn in turns:
        fits = f" ({turn.verdict})" if turn.verdict else ""
        yield f"  {_gib(turn.peak)} GiB{fits} with {turn.setting}"
    yield ""
    yield from _work(found)
    yield ""
    yield "what this rests on:"
    for sentence in assumptions:
        yield f"- {printable(sentence)}"


def _parameters(found: Estimate) -> Iterator[str]:
    trained = found.trained
    rows = [("parameters", "all", "trained")]
    for name, part in {**found.shape.parts, **trained}.items():
        changed = trained[name].parameters if name in trained else 0
        rows.append((name, f"{part.parameters:,}", f"{changed:,}"))
    total = sum(part.parameters for part in {**found.shape.parts, **trained}.values())
    rows.append(("sum", f"{total:,}", f"{sum(p.parameters for p in trained.values()):,}"))
    yield from _columns(rows)


def _memory(found: Estimate) -> Iterator[str]:
    rows: list[tuple[str, ...]] = [("GiB of a GPU, while", *PHASES)]
    for item in found.memory.items:
        taken = [_gib(item.bytes) if phase in item.phases else "" for phase in PHASES]
        rows.append((item.name, *taken))
    rows.append(("sum", *(_gib(found.memory.total(phase)) for phase in PHASES)))
    yield from _columns(rows)
    if found.memory.engine_tokens is not None:
        length = found.plan.prompts.longest + found.plan.completion
        held = max(found.memory.engine_tokens, 0)
        yield f"vLLM has room for {held:,} tokens beside its weights: {held // length} full rows"
    if found.gpu_bytes is None:
        yield f"peak {_gib(found.memory.peak)} GiB ({found.memory.phase})"
    else:
        yield (
            f"peak {_gib(found.memory.peak)} GiB ({found.memory.phase}) of "
            f"{_gib(found.gpu_bytes)} GiB: {found.verdict}"
        )


def _work(found: Estimate) -> Iterator[str]:
    done, plan = found.work, found.plan
    prompts = plan.prompts
    saved = done.dense_prompt_tokens / done.prompt_tokens
    yield (
        f"prompts: median {prompts.median:,.0f}, 95 % up to {prompts.p95:,.0f}, longest "
        f"{prompts.longest:,} tokens"
    )
    yield (
        f"an update: {done.completions:,} completions of {done.completions // plan.group:,} prompts"
        f" on all GPUs; {done.prompt_tokens:,.0f} prompt tokens ({done.dense_prompt_tokens:,.0f} "
        f"without a shared prefix: {saved:.1f} times) and {done.completion_tokens:,} completion "
        f"tokens trained on, {done.generated:,.0f} generated"
    )
    yield (
        f"an update's operations: {done.generating:.2e} generating, {done.scoring:.2e} scoring, "
        f"{done.training:.2e} training"
    )
    if found.steps is None:
        yield "the run: steps unknown, since the training set was not read"
        return
    yield (
        f"the run: {found.steps:,} updates, {found.steps * done.completions:,} completions trained "
        f"on, {found.steps * (done.generating + done.scoring + done.training):.2e} operations"
    )
    if found.hours is None:
        yield "hours: give measured --generate-rate and --train-rate (none is assumed)"
        return
    known = dataclasses.asdict(found.hours)
    said = [f"{name} {value:.1f}" for name, value in known.items() if value is not None]
    missing = [name for name, value in known.items() if value is None]
    total = "" if found.hours.total is None else f"; {found.hours.total:.1f} in all"
    yield f"hours: {', '.join(said)}{total}" + (
        f" (no rate for {' and '.join(missing)})" if missing else ""
    )


def _gib(size: float) -> str:
    return f"{size / GIB:.2f}"


def _columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    wide = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        first, *others = zip(row, wide, strict=True)
        cells = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
        yield "  ".join(cells).rstrip()
