"""Held-out measurement in the middle of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from safegrpo.data.pairs import TaggedPair
from safegrpo.evaluation.measure import ask_items, item_of
from safegrpo.evaluation.summary import flatten, summarise
from safegrpo.training.config import Recipe
from safegrpo.training.model_parts import mixed_precision
from safegrpo.training.result import Measure


@dataclass(frozen=True)
class HeldOut:
    """What a run is measured by: `pairs`, asked as the recipe says, and the caller's `measure`.

    `counts` are how many pairs are behind each number, once there is one.
    """

    recipe: Recipe
    args: Any
    processor: Any
    guide: str
    pairs: Sequence[TaggedPair]
    sha256: str
    measure: Measure | None
    counts: dict[str, int] = field(default_factory=dict, init=False)

    def __bool__(self) -> bool:
        return bool(self.pairs) or self.measure is not None

    def __call__(self, model: Any, step: int) -> dict[str, float]:
        """The numbers of a model after a step, by the names under which they are logged."""
        # What the trainer's forward passes do inside; said here, so that a check of what was
        # sampled knows how far rounding goes.
        with mixed_precision(self.args):
            return self._measured(model, step)

    def _measured(self, model: Any, step: int) -> dict[str, float]:
        values: dict[str, float] = {}
        config = self.recipe.evaluate
        for mode in config.modes if self.pairs else ():
            asked = ask_items(
                model,
                self.processor,
                [item_of(pair) for pair in self.pairs],
                guide=self.guide if mode == "guided" else None,
                max_new_tokens=config.max_new_tokens,
                batch_size=config.batch_size,
                max_pixels=self.recipe.data.max_pixels,
                chat_template_kwargs=self.args.chat_template_kwargs,
                shared_prefix=self.recipe.shared_prefix,
            )
            found = summarise(asked)
            for name, value in flatten(found).items():
                key = f"eval/{mode}/{name}"
                values[key], self.counts[key] = value, found["n"][name.partition("/")[0]]
        if self.measure is not None:
            values |= self.measure(model, self.processor, step)
        return with_balance(values)


def with_balance(values: Mapping[str, float]) -> dict[str, float]:
    """`values` and, wherever both safety and over-refusal are, their balance: refusing everything
    scores no better there than refusing nothing."""
    balance = {}
    for key, safety in values.items():
        prefix, _, name = key.rpartition("/")
        refused = values.get(f"{prefix}/over_refusal")
        if name == "safety" and refused is not None:
            balance[f"{prefix}/balance"] = (safety + 1 - refused) / 2
    return {**values, **balance}
