"""What a run measures by, and what it comes to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
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
class Internalised:
    """What there was to learn after GRPO: of `sampled` rollouts, `kept` earned the full reward.

    `loss` is the mean over its steps, in nats a token; None where too few were kept to train on.
    """

    sampled: int
    kept: int
    loss: float | None

    @property
    def trained(self) -> bool:
        """Whether there is a model of its own."""
        return self.loss is not None


@dataclass(frozen=True)
class ColdStarted:
    """What a cold start took: its seconds, and of `sampled` rollouts those `kept` to learn from.

    `link` is how much oftener the model refused behind an unsafe tag of its own than behind a safe
    one, where that was asked; None also where there were too few to tell. `trained` says whether
    there is a model of its own.
    """

    seconds: float
    sampled: int
    kept: int
    link: float | None = None
    trained: bool = True


@dataclass(frozen=True)
class RunResult:
    """What a run came to; `metrics` are the last held-out ones, by the names in metrics.jsonl.

    `seconds` has all of it. `parts` are the seconds of GRPO (and what came before it) and of what
    came after it, and `internalised` what that was, if anything was to come; `cold_started` is what
    came before, if anything did.
    """

    output: Path
    steps: int
    seconds: float
    metrics: dict[str, float] = field(default_factory=dict)
    best: Best | None = None
    parts: dict[str, float] = field(default_factory=dict)
    internalised: Internalised | None = None
    cold_started: ColdStarted | None = None

    @property
    def model(self) -> Path:
        """The folder of the model that the run has come to."""
        made = self.internalised is not None and self.internalised.trained
        return self.output / "checkpoints" / ("internalised" if made else "last")

    def to_manifest(self) -> dict[str, Any]:
        """What the manifest keeps of it."""
        said = {
            "steps": self.steps,
            "seconds": self.seconds,
            "metrics": self.metrics,
            "best": [self.best.step, self.best.value] if self.best else None,
        }
        if self.internalised is not None:
            said |= {"parts": self.parts, "internalised": asdict(self.internalised)}
        if self.cold_started is not None:
            said["cold_started"] = asdict(self.cold_started)
        return said

    @classmethod
    def from_manifest(cls, output: Path, said: Mapping[str, Any]) -> RunResult:
        """The result that the manifest in `output` has kept."""
        made, before = said.get("internalised"), said.get("cold_started")
        return cls(
            output=output,
            steps=said["steps"],
            seconds=said["seconds"],
            metrics=said["metrics"],
            best=Best(output / "checkpoints" / "best", *said["best"]) if said["best"] else None,
            parts=said.get("parts", {}),
            internalised=Internalised(**made) if made else None,
            cold_started=ColdStarted(**before) if before else None,
        )
