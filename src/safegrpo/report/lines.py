"""What an evaluation measured, for a terminal: one metric a line, and what to be wary of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from safegrpo.evaluation.metrics import TITLES
from safegrpo.report.names import MANY
from safegrpo.terminal import printable


def lines(metrics: Mapping[str, Any]) -> Iterator[str]:
    """The headline metrics of each benchmark, mode and scorer, in columns."""
    rows = [("benchmark", "mode", "scorer", "metric", "%", "95 % interval", "n")]
    for name, one in metrics["benchmarks"].items():
        for mode, measured in one["modes"].items():
            for scorer, scored in measured["scorers"].items():
                judge = scored["judge"]
                said = f"{scorer} ({judge})" if judge else scorer
                wanted = [m for m in one["headline"] if m in scored["metrics"]]
                for metric in wanted or scored["metrics"]:
                    title = TITLES.get(metric, metric)
                    rows.append((name, mode, said, title, *_figures(scored["metrics"][metric])))
    wide = [max(len(printable(row[i])) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = zip(row, wide, range(len(row)), strict=True)
        yield "  ".join(
            printable(cell).rjust(width) if place in (4, 5) else printable(cell).ljust(width)
            for cell, width, place in cells
        ).rstrip()


def _figures(found: Mapping[str, Any]) -> tuple[str, str, str]:
    if found["value"] is None:
        return "-", "", f"0 of {found['items']}"
    span = f"{100 * found['low']:.1f} to {100 * found['high']:.1f}"
    n = str(found["n"])
    if found["coverage"] < 1:
        bounds = f"{100 * found['least']:.1f} to {100 * found['most']:.1f}"
        n += f" of {found['items']}; with the others {bounds}"
    return f"{100 * found['value']:.1f}", span, n


def warnings(metrics: Mapping[str, Any]) -> Iterator[str]:
    """What makes numbers look other than they are: cut and empty answers, parts of sets."""
    for name, one in metrics["benchmarks"].items():
        if one["size"] and one["items"] < one["size"]:
            yield f"{name}: {one['items']:,} of the set's {one['size']:,} items"
        for mode, measured in one["modes"].items():
            done = measured["generated"]
            for what, said in (("cut", "were cut at --max-tokens"), ("empty", "say nothing")):
                if done and measured[what] > MANY * done:
                    yield f"{name}, {mode}: {measured[what]} of {done} responses {said}"
