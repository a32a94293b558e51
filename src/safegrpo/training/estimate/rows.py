"""The rows that go through a model at once: packed, or each behind a prompt of its own."""

from __future__ import annotations

from dataclasses import dataclass

from safegrpo.training.estimate.plan import Plan
from safegrpo.training.estimate.shape import ModelShape


@dataclass(frozen=True)
class Rows:
    """`groups` prompts of `prompt` tokens with `size` completions each, of `completion` tokens.

    `packed`: one row [prompt, completion 1, 2, …, prompt, …], T = groups (P + size R) tokens; else
    a row for each completion behind its own prompt, T = groups size (P + R), `padded` where prompts
    or completions differ in length. `images` are the image tokens of a prompt.
    """

    groups: int
    size: int
    prompt: int
    completion: int
    images: int
    packed: bool
    padded: bool = False

    @property
    def prompts(self) -> int:
        """How often a prompt is computed."""
        return self.groups if self.packed else self.groups * self.size

    @property
    def prompt_tokens(self) -> int:
        """Tokens of prompts, each as often as it is computed."""
        return self.prompts * self.prompt

    @property
    def completion_tokens(self) -> int:
        """Tokens of completions."""
        return self.groups * self.size * self.completion

    @property
    def tokens(self) -> int:
        """T, tokens that the language model computes."""
        return self.prompt_tokens + self.completion_tokens

    @property
    def image_tokens(self) -> int:
        """Image tokens, each as often as it is computed."""
        return self.prompts * self.images


def packs_scoring(shape: ModelShape, plan: Plan) -> bool:
    """Whether training and scoring passes compute a prompt once for its group."""
    return plan.shared_prefix and shape.packs is None


def packs_sampling(shape: ModelShape, plan: Plan) -> bool:
    """Whether generation does; where weights are sharded it is left to transformers, which sees to
    it that every process calls the model equally often."""
    return packs_scoring(shape, plan) and plan.sharding not in ("fsdp", "zero3")
