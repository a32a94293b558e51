"""What recipes took to reach a target; a run that did not reach it gives a lower bound."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from safegrpo.data.jsonl import parse_object, read_text
from safegrpo.errors import DataError
from safegrpo.microcosm.study.results import LIMIT
from safegrpo.microcosm.study.tables import table
from safegrpo.report.tables import code, in_cell

AMOUNTS = ("rollouts", "tokens", "seconds", "step")

_Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Text = Annotated[str, StringConstraints(max_length=300)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class CostRun(_Part):
    """A run up to the target, or, if it was not `reached`, to the run's end."""

    recipe: _Text
    base: _Text = ""  # the base model, if it is not the shipped one
    seed: Annotated[int, Field(ge=0)]
    reached: bool
    rollouts: _Amount
    tokens: _Amount
    seconds: _Amount
    step: _Amount
    hash: _Text = ""
    machine: _Text = ""


class Cost(_Part):
    """All runs towards one target, which is measured on so many `items`; its keys and values are
    shown as they are. There is a race from each base model."""

    runs: list[CostRun]
    target: dict[str, Any]
    items: Annotated[int, Field(ge=0)] = 0
    command: str

    def races(self) -> dict[str, Cost]:
        """The runs from each base model, those from the shipped one first."""
        return {
            base: self.model_copy(update={"runs": [run for run in self.runs if run.base == base]})
            for base in sorted({run.base for run in self.runs})
        }

    def recipes(self) -> dict[str, list[CostRun]]:
        """The runs by recipe, in the order in which recipes come up: ours is the first."""
        found: dict[str, list[CostRun]] = {}
        for run in self.runs:
            found.setdefault(run.recipe, []).append(run)
        return found


def read_cost(path: Path) -> Cost | None:
    """What a file holds, None if there is none; DataError naming file and key if it is wrong."""
    if not path.exists():
        return None
    where = f'file "{path}"'
    try:
        return Cost.model_validate(parse_object(read_text(path, LIMIT).encode(), where))
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False)[0]
        key = ".".join(map(str, fault["loc"]))
        raise DataError(f'{where}: "{key}": {fault["msg"]}') from error


def cost_table(cost: Cost) -> str:
    """Median and range of each amount by recipe, and what it was made of and on; lower bounds are
    marked with ≥."""
    lines = []
    for recipe, runs in cost.recipes().items():
        reached = sum(run.reached for run in runs)
        cells = [spread(runs, amount) for amount in AMOUNTS]
        made = [_all({getattr(run, key) for run in runs}) for key in ("hash", "machine")]
        lines.append([in_cell(recipe), f"{reached} of {len(runs)}", *cells, *made])
    return table(["recipe", "reached", *AMOUNTS, "hash", "machine"], lines)


def ratio_table(cost: Cost) -> str:
    """How many times what the first recipe took each other one took: ratios of medians, and the
    range over the seeds that both have. Empty if there is but one recipe."""
    (name, own), *others = cost.recipes().items()
    lines = []
    for recipe, runs in others:
        cells = [ratio(runs, own, amount) for amount in AMOUNTS]
        lines.append([in_cell(recipe), *cells])
    head = [f"times {in_cell(name)}", *AMOUNTS]
    return table(head, lines) if lines else ""


def target_text(cost: Cost) -> str:
    """The target's keys and values in words."""
    said = (f"{in_cell(str(k))} {code(str(v))}" for k, v in cost.target.items())
    return ", ".join(said)


def _all(said: set[str]) -> str:
    return ", ".join(code(one) for one in sorted(said) if one) or "–"


def median_ratio(runs: Sequence[CostRun], own: Sequence[CostRun], amount: str) -> float:
    """The ratio of the medians, bounds or not; infinite if `own` took nothing."""
    below = _median(own, amount)[0]
    return _median(runs, amount)[0] / below if below else math.inf


def _median(runs: Sequence[CostRun], amount: str) -> tuple[float, bool]:
    """The median, and whether it is but a lower bound: a run without end could lie higher."""
    values = [float(getattr(run, amount)) for run in runs]
    upper = sorted(values)[len(values) // 2]
    bound = any(not run.reached and value <= upper for run, value in zip(runs, values, strict=True))
    return median(values), bound


def spread(runs: Sequence[CostRun], amount: str) -> str:
    """`384 (192–960)`, the median and the range; lower bounds are marked with ≥."""
    middle, bound = _median(runs, amount)
    ends = sorted((float(getattr(run, amount)), not run.reached) for run in runs)
    text = _bound(middle, bound)
    alike = len({value for value, _ in ends}) == 1
    return text if alike else f"{text} ({_bound(*ends[0])}–{_bound(*ends[-1])})"


def _bound(value: float, bound: bool) -> str:
    return f"{'≥ ' if bound else ''}{value:,.{0 if value >= 10 or value == int(value) else 1}f}"


def ratio(runs: Sequence[CostRun], own: Sequence[CostRun], amount: str) -> str:
    """`4.2 (3.1–6.0)`; ≥ where only `runs` are lower bounds, ≤ where only `own` are, else a dash
    for what is both, or was nothing."""
    (above, more), (below, less) = _median(runs, amount), _median(own, amount)
    text = _times(above, below, not more, not less)
    by_seed = {run.seed: run for run in own}
    both = [
        (getattr(run, amount), getattr(mate, amount), run.reached, mate.reached)
        for run in runs
        if (mate := by_seed.get(run.seed)) is not None and getattr(mate, amount)
    ]
    both.sort(key=lambda pair: pair[0] / pair[1])
    if text == "–" or len(both) < 2:
        return text
    return f"{text} ({_times(*both[0])}–{_times(*both[-1])})"


def _times(above: float, below: float, above_reached: bool, below_reached: bool) -> str:
    if not below or not (above_reached or below_reached):
        return "–"
    mark = "" if above_reached and below_reached else "≤ " if above_reached else "≥ "
    return f"{mark}{above / below:.2g}" if above < 100 * below else f"{mark}{above / below:.0f}"
