"""`metrics.json` as a report reads it: checked one benchmark at a time, since others wrote it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from safegrpo.data.jsonl import read_text
from safegrpo.errors import DataError
from safegrpo.report.names import MANY
from safegrpo.report.reading import check_depth

LIMIT = 64 * 2**20
"""Bytes of a metrics.json above which it is not read."""

Rate = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=10**15)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)


class Figure(_Model):
    """One metric: a share in [0, 1] with its 95 % interval, over `n` of `items` items.

    `value` is None where n is 0. `least` and `most` are its bounds over all that could be missing.
    """

    value: Rate | None
    n: Count
    low: Rate | None = None
    high: Rate | None = None
    items: Count = 0
    coverage: Rate | None = None
    least: Rate | None = None
    most: Rate | None = None
    better: Literal["higher", "lower", "neither"] = "neither"

    @property
    def known(self) -> bool:
        """Whether there is something to show."""
        return self.value is not None and self.n > 0


Figures = dict[str, Figure]


class Scored(_Model):
    """What one scorer made of one mode; `confusion` is tag name → true tag → stated → count."""

    statuses: dict[str, Count] = {}
    judge: Any = None
    metrics: Figures = {}
    categories: dict[str, Figures] = {}
    subsets: dict[str, Figures] = {}
    confusion: dict[str, dict[str, dict[str, Count]]] | None = None


class Tokens(_Model):
    """Tokens of all responses, and their mean; None where nobody counted."""

    prompt: Count | None = None
    completion: Count | None = None
    mean_completion: Annotated[float, Field(ge=0, le=1e15)] | None = None


class ModeFigures(_Model):
    """One mode of one benchmark.

    Of the responses, `cut` ended at the token limit and `empty` say nothing; None where nobody
    counted.
    """

    generated: Count = 0
    errors: Count = 0
    cut: Count | None = None
    empty: Count | None = None
    tokens: Tokens = Tokens()
    scorers: dict[str, Scored] = {}

    @property
    def silent(self) -> list[str]:
        """What is to be said where many responses were cut or are empty; nothing if few were."""
        said = (
            (self.cut, "cut at the limit: their answers end early or never came"),
            (self.empty, "empty: they say nothing"),
        )
        return [
            f"{count:,} of {self.generated:,} responses {what}"
            for count, what in said
            if count is not None and count > MANY * self.generated
        ]


class BenchmarkFigures(_Model):
    """One benchmark of a run; `size` is how many items the whole set has, where that is known."""

    title: str = ""
    measures: str = ""
    licence: str = ""
    headline: list[str] = []
    items: Count = 0
    size: Count | None = None
    skipped: dict[str, Count] = {}
    modes: dict[str, ModeFigures] = {}

    @property
    def partial(self) -> bool:
        """Whether these are known to be fewer items than the set has."""
        return self.size is not None and self.items < self.size

    @property
    def extent(self) -> str:
        """How many items there are, and of how many: `500 items`, `40 of 500 items of the set`."""
        if self.partial:
            return f"{self.items:,} of {self.size:,} items of the set"
        return f"{self.items:,} items"


@dataclass(frozen=True)
class RunFigures:
    """All of a metrics.json that can be used."""

    model: str = ""
    modes: tuple[str, ...] = ()
    benchmarks: dict[str, BenchmarkFigures] = field(default_factory=dict)

    def scored(self, benchmark: str, mode: str, scorer: str) -> Scored | None:
        """What a scorer made of a mode, if it did."""
        found = self.benchmarks.get(benchmark)
        answers = found.modes.get(mode) if found else None
        return answers.scorers.get(scorer) if answers else None


def read_figures(path: Path, notes: list[str]) -> RunFigures:
    """The figures of a file; a benchmark that cannot be read is left out and named in `notes`.

    Raises DataError where the whole of it is unreadable.
    """
    try:
        data = json.loads(read_text(path, LIMIT))
    except (ValueError, RecursionError) as error:
        raise DataError(f"it is no JSON: {error}") from error
    if not isinstance(data, dict) or not isinstance(data.get("benchmarks"), Mapping):
        raise DataError('an object with "benchmarks" is wanted')
    check_depth({"format": data.get("format")})
    if data.get("format") != 1:
        raise DataError(f"its format is {data.get('format')!r:.40}, and this safegrpo reads 1")
    benchmarks: dict[str, BenchmarkFigures] = {}
    for name, value in data["benchmarks"].items():
        try:
            check_depth({name: value})
            benchmarks[name] = BenchmarkFigures.model_validate(value)
        except (DataError, ValidationError, ArithmeticError, RecursionError) as error:
            notes.append(f"{path.name}: benchmark {name} is left out: {_first(error)}"[:400])
    model, modes = data.get("model"), data.get("modes")
    return RunFigures(
        model=model if isinstance(model, str) else "",
        modes=tuple(m for m in modes if isinstance(m, str)) if isinstance(modes, list) else (),
        benchmarks=benchmarks,
    )


def _first(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    fault = error.errors(include_url=False, include_context=False)[0]
    return f"{'/'.join(map(str, fault['loc']))}: {fault['msg']} (it is {fault['input']!r:.60})"
