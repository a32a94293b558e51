"""What the numbers of an estimate rest on, said with them."""

from __future__ import annotations

from collections.abc import Iterator

from safegrpo.training.config import Recipe
from safegrpo.training.estimate.estimate import MARGIN, Estimate
from safegrpo.training.estimate.rows import packs_sampling, packs_scoring


def assumptions(found: Estimate, recipe: Recipe) -> list[str]:
    """The assumptions of an estimate, a sentence each."""
    return [*_of_lengths(found), *_of_the_machine(found, recipe), *_left_out(found, recipe)]


def _of_lengths(found: Estimate) -> Iterator[str]:
    plan, shape = found.plan, found.shape
    yield f"prompts: {plan.prompts.source}"
    yield (
        f"completions all reach grpo.max_completion_length ({plan.completion:,}): the bound, not "
        "the expectation; for that give a run's mean length by --set grpo.max_completion_length=N"
    )
    yield "memory counts every prompt as the longest, with the most images; tokens count the mean"
    if not packs_scoring(shape, plan):
        yield f"each completion computes its prompt: {shape.packs or 'shared_prefix: false'}"
    elif packs_sampling(shape, plan):
        yield "the shared prefix holds: a prompt is computed once for its group"
    else:
        yield (
            "the shared prefix holds: a prompt is computed once for its group, but for each "
            "completion to generate, where weights are sharded"
        )


def _of_the_machine(found: Estimate, recipe: Recipe) -> Iterator[str]:
    plan = found.plan
    if recipe.grpo.get("use_cpu"):
        yield "grpo.use_cpu: one process without a GPU, products in the weights' own type"
    else:
        half = "float16" if recipe.grpo.get("fp16") else "bfloat16"
        yield (
            f"products in {half}; {MARGIN:.0%} of a GPU is left to what no formula gives (CUDA's "
            "and NCCL's own memory, what the allocator loses)"
        )
    if plan.sharding == "fsdp" and plan.gpus > 1:
        yield "FSDP2, every transformer layer wrapped by itself, resharded after each pass"
    if plan.sharding in ("zero2", "zero3"):
        yield "DeepSpeed's default buckets, 16-bit gradients, nothing offloaded to the CPU"
    if plan.vllm is not None and found.gpu_bytes is None:
        share = f"{plan.vllm.share:.0%} of each GPU"
        yield f"vLLM's share ({share}) is not in the sum: give --gpu-memory"
    if plan.generator == "server":
        yield "vLLM runs as a server, on GPUs of its own"


def _left_out(found: Estimate, recipe: Recipe) -> Iterator[str]:
    plan, shape = found.plan, found.shape
    if plan.trains_vision and shape.kind != "qwen3_vl":
        yield "the vision tower's activations are counted as if its layers were Qwen3-VL's"
    if shape.experts:
        yield "experts: activations and operations are counted as if every token saw all"
    if recipe.cold_start is not None:
        yield "the cold start is not counted"
    if recipe.internalise is not None:
        yield "what comes after GRPO (internalise) is not counted"
    if recipe.data.eval is not None:
        yield "memory of held-out measurement is not counted: caches of evaluate.batch_size rows"
    if recipe.data.eval is not None and not found.evaluated:
        yield "nor are its tokens: data.eval_limit, or the number of steps, is unknown"
