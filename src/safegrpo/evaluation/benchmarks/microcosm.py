"""The microcosm's held-out test items as a benchmark: drawn, not read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from safegrpo.evaluation.benchmarks.base import Benchmark
from safegrpo.evaluation.item import Item

MAX_TOKENS: Mapping[str, int] = {"guided": 72, "direct": 72}
"""The same for both: some models think without being asked to."""


def load(_: Path) -> Iterator[Item]:
    """The items of the test split, the same each time; no folder is looked at."""
    from safegrpo.microcosm.measure import item_of
    from safegrpo.microcosm.pairs import held_out

    for pair in held_out("test"):
        yield item_of(pair.tagged())


BENCHMARKS = (
    Benchmark(
        name="microcosm",
        title="Microcosm",
        measures="several",
        licence="Apache-2.0",
        source="drawn by safegrpo",
        load=load,
        headline=(
            *("safety", "compositional_safety", "twin_accuracy", "over_refusal", "usefulness"),
            "accuracy",
        ),
        max_tokens=MAX_TOKENS,
    ),
)
