"""What changed against the baseline: on the same questions, or else from the numbers alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from safegrpo.evaluation.stats import newcombe
from safegrpo.report.figures import Figure
from safegrpo.report.runs import Evaluation

if TYPE_CHECKING:
    from safegrpo.evaluation.metrics import Joined


@dataclass(frozen=True)
class Delta:
    """A difference with its 95 % interval, as fractions; `p` and `n` where questions are paired.

    `verdict` is `better`, `worse`, `unclear`, or empty for a metric that is neither.
    """

    difference: float
    low: float
    high: float
    verdict: str
    p: float | None = None
    n: int | None = None


@dataclass
class Changes:
    """Differences from one evaluation; joins each evaluation's rows once."""

    baseline: Evaluation
    _joined: dict[str, dict[tuple[str, str, str], list[Joined]]] = field(default_factory=dict)

    def of(self, run: Evaluation, place: tuple[str, str, str], metric: str) -> Delta | None:
        """The change of a metric at (benchmark, mode, scorer); None where one has no value.

        Also None where both runs hold answers but none to the same question.
        """
        before, after = (_figure(one, place, metric) for one in (self.baseline, run))
        if run is self.baseline or before is None or after is None:
            return None
        from safegrpo.evaluation.compare import change

        try:
            units = [self._units(one, place, metric) for one in (self.baseline, run)]
            if not all(units):
                return _apart(before, after)
            way = "higher" if after.better == "neither" else after.better
            found = change(metric, units[0], units[1], way)
        except (ValueError, TypeError, LookupError, AttributeError):
            # Rows were checked for what they are, not field by field: a score may be a word here.
            return _apart(before, after)
        if found is None:
            return None
        verdict = "" if after.better == "neither" else found.verdict
        return Delta(found.difference, found.low, found.high, verdict, found.p, found.n)

    def _units(
        self, run: Evaluation, place: tuple[str, str, str], metric: str
    ) -> Mapping[str, float | None]:
        from safegrpo.evaluation.metrics import METRICS, TWINS, joined, units

        if metric not in METRICS and metric != TWINS:
            return {}  # F1 is no mean of questions
        if run.name not in self._joined:
            self._joined[run.name] = joined(run.generations, run.judgements)
        return units(metric, self._joined[run.name].get(place, []))


def _figure(run: Evaluation, place: tuple[str, str, str], metric: str) -> Figure | None:
    scored = run.figures.scored(*place)
    figure = scored.metrics.get(metric) if scored else None
    return figure if figure and figure.known else None


def _apart(before: Figure, after: Figure) -> Delta:
    """The two taken as independent: too wide rather than too narrow for the same questions."""
    assert before.value is not None and after.value is not None
    low, high = newcombe(before.value, before.n, after.value, after.n)
    difference = after.value - before.value
    verdict = "" if after.better == "neither" else "unclear"
    if verdict and not low <= 0 <= high:
        verdict = "better" if (difference > 0) == (after.better == "higher") else "worse"
    return Delta(difference, low, high, verdict)
