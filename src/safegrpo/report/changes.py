"""What changed against the baseline: on the same questions, or else from the numbers alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from safegrpo.evaluation.stats import holm, newcombe
from safegrpo.report.figures import Figure
from safegrpo.report.public import judge_name
from safegrpo.report.runs import Evaluation

if TYPE_CHECKING:
    from safegrpo.evaluation.metrics import Joined

Place = tuple[str, str, str]
"""Benchmark, mode and scorer."""

SIGNIFICANT = 0.05
"""The adjusted p below which a change is no chance."""


@dataclass(frozen=True)
class Delta:
    """A difference with its 95 % interval, as fractions.

    Where questions are paired, `p` is adjusted for all that are looked at together and `alone` is
    the one before that, `n` counts the questions known in both, and `of` those known in the
    baseline and in the run. `verdict` is `better`, `worse`, `changed` for a metric that is neither,
    or `unclear`.
    """

    difference: float
    low: float
    high: float
    verdict: str
    p: float | None = None
    alone: float | None = None
    n: int | None = None
    of: tuple[int, int] | None = None


@dataclass(frozen=True)
class NotCompared:
    """Why two numbers are not held against each other."""

    why: str


Change = Delta | NotCompared | None
_Key = tuple[str, Place, str]


@dataclass
class Changes:
    """Differences from one evaluation; joins each evaluation's rows once."""

    baseline: Evaluation
    _found: dict[_Key, Change] = field(default_factory=dict)
    _settled: dict[_Key, Change] = field(default_factory=dict)
    _joined: dict[str, dict[Place, list[Joined]]] = field(default_factory=dict)
    _shared: dict[tuple[str, Place], tuple[list[Joined], ...]] = field(default_factory=dict)

    def settle(self, wanted: Iterable[tuple[Evaluation, Place, str]]) -> None:
        """Compare these metrics of runs, which are shown together.

        Their p-values are adjusted together by Holm's method. What was settled before counts among
        them, and stays as it was: a page holds one p for one comparison.
        """
        keys = []
        for run, place, metric in wanted:
            key = run.name, place, metric
            keys.append(key)
            if key not in self._found:
                self._found[key] = self._change(run, place, metric)
        raw = {
            key: found
            for key in keys
            if isinstance(found := self._found[key], Delta) and found.p is not None
        }
        adjusted = dict(zip(raw, holm([found.p or 0.0 for found in raw.values()]), strict=True))
        for key in keys:
            settled = self._found[key]
            if key in adjusted and isinstance(settled, Delta):
                p = adjusted[key]
                verdict = settled.verdict if p < SIGNIFICANT else "unclear"
                settled = replace(settled, p=p, verdict=verdict)
            self._settled.setdefault(key, settled)

    def of(self, run: Evaluation, place: Place, metric: str) -> Change:
        """The change of a metric, as settled; None where one of the two has no value."""
        return self._settled.get((run.name, place, metric))

    def _change(self, run: Evaluation, place: Place, metric: str) -> Change:
        before, after = (_figure(one, place, metric) for one in (self.baseline, run))
        if run is self.baseline or before is None or after is None:
            return None
        theirs, ours = judge_of(self.baseline, place), judge_of(run, place)
        if theirs != ours:
            nobody = "a judge not named"
            return NotCompared(f"judged by {ours or nobody}, baseline by {theirs or nobody}")
        try:
            return self._by_question(run, place, metric, after.better) or _apart(before, after)
        except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError,
                ValueError):  # fmt: skip
            # Rows were checked for what they are, not field by field: a score may be a word here.
            return _apart(before, after)

    def _by_question(self, run: Evaluation, place: Place, metric: str, better: str) -> Change:
        """None where the rows of one of the two do not speak of this metric."""
        from safegrpo.evaluation.compare import change
        from safegrpo.evaluation.metrics import METRICS, TWINS, units

        rows = [self._rows(one, place) for one in (self.baseline, run)]
        if not all(rows):
            return None
        shared = self._same(run, place)
        if not all(shared):
            return NotCompared("no question is known to be the same in both")
        judges = {str(j.judge) for side in shared for row in side if (j := row.scored) and j.judge}
        if len(judges) > 1:
            return NotCompared("several judges: " + judge_name(", ".join(sorted(judges))))
        if metric not in METRICS and metric != TWINS:
            return None  # F1 is no mean of questions
        whole = [units(metric, side) for side in rows]
        if not all(whole):
            return None
        first, second = (units(metric, side) for side in shared)
        found = change(metric, first, second, "lower" if better == "lower" else "higher")
        if found is None:
            return NotCompared("no answers to the same questions are known in both")
        known = [sum(value is not None for value in side.values()) for side in whole]
        verdict: str = found.verdict
        if better == "neither" and verdict != "unclear":
            verdict = "changed"
        return Delta(
            *(found.difference, found.low, found.high, verdict),
            p=found.p,
            alone=found.p,
            n=found.n,
            of=(known[0], known[1]),
        )

    def _rows(self, run: Evaluation, place: Place) -> list[Joined]:
        from safegrpo.evaluation.metrics import joined

        if run.name not in self._joined:
            self._joined[run.name] = joined(run.generations, run.judgements)
        return self._joined[run.name].get(place, [])

    def _same(self, run: Evaluation, place: Place) -> tuple[list[Joined], ...]:
        """The rows, of the baseline and of `run`, of the items that both have.

        An id alone is none: another set, or another version of one, may use it for something else.
        """
        key = run.name, place
        if key not in self._shared:
            sides = [self._rows(one, place) for one in (self.baseline, run)]
            both = set.intersection(*({_item(row) for row in side} for side in sides))
            self._shared[key] = tuple([r for r in side if _item(r) in both] for side in sides)
        return self._shared[key]


def judge_of(run: Evaluation, place: Place) -> str:
    """Who judged, by name; empty for rules."""
    scored = run.figures.scored(*place)
    return judge_name(scored.judge) if scored else ""


def judges_of(runs: Sequence[Evaluation], place: Place) -> list[str]:
    """The judges of all runs, each once."""
    return list(dict.fromkeys(filter(None, (judge_of(run, place) for run in runs))))


def _item(row: Joined) -> tuple[str, str]:
    return row.generation.id, row.generation.content


def _figure(run: Evaluation, place: Place, metric: str) -> Figure | None:
    scored = run.figures.scored(*place)
    figure = scored.metrics.get(metric) if scored else None
    return figure if figure and figure.known else None


def _apart(before: Figure, after: Figure) -> Delta:
    """The two taken as independent: too wide rather than too narrow for the same questions."""
    assert before.value is not None and after.value is not None
    low, high = newcombe(before.value, before.n, after.value, after.n)
    difference = after.value - before.value
    if low <= 0 <= high:
        verdict = "unclear"
    elif after.better == "neither":
        verdict = "changed"
    else:
        verdict = "better" if (difference > 0) == (after.better == "higher") else "worse"
    return Delta(difference, low, high, verdict)
