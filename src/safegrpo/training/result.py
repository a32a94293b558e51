"""What a run measures by, and what it comes to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Measure = Callable[[Any, Any, int], Mapping[str, float]]
"""measure(model, processor, step): numbers to log as held-out ones, under the names it gives."""


@dataclass(frozen=True)
class Best:
    """The checkpoint that scored best on held-out pairs."""

    path: Path
    step: int
    value: float


@dataclass(frozen=True)
class RunResult:
    """What a run came to; `metrics` are the last held-out ones, by the names in metrics.jsonl."""

    output: Path
    steps: int
    seconds: float
    metrics: dict[str, float] = field(default_factory=dict)
    best: Best | None = None

    @property
    def model(self) -> Path:
        """The folder of the model as it was after the last step."""
        return self.output / "checkpoints" / "last"
