"""The metrics of one model in one mode as `summary.json` has them: plain fractions, and their n."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from safegrpo.evaluation.metrics import TWINS, Joined, units
from safegrpo.thinking import TAG_NAMES

_NAMES: Mapping[str, str] = {
    "safety": "safety",
    "compositional_safety": "compositional_safety",
    "twin_accuracy": TWINS,
    "over_refusal": "over_refusal",
    "usefulness": "usefulness",
    "vqa_accuracy": "accuracy",
    "format_rate": "format_rate",
}
"""name in a summary -> metric"""


def summarise(rows: Sequence[Joined]) -> dict[str, Any]:
    """The contract's metrics of one mode, null where nothing was counted, with `n` behind each.

    General questions count in `vqa_accuracy` alone: they would flatter over-refusal and usefulness.
    """
    result: dict[str, Any] = {}
    n: dict[str, Any] = {}
    for name, metric in _NAMES.items():
        result[name], n[name] = _mean(units(metric, rows))
    shares = {name: _mean(units(f"tag_accuracy/{name}", rows)) for name in TAG_NAMES}
    n["tag_accuracy"] = shares["combined"][1]
    tagged = n["tag_accuracy"] > 0
    result["tag_accuracy"] = (
        {name: share for name, (share, _) in shares.items()} if tagged else None
    )
    return {**result, "n": n}


def flatten(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of `summarise` in one level ("tag_accuracy/visual"), without n and nulls."""
    flat: dict[str, float] = {}
    for name, value in metrics.items():
        if isinstance(value, Mapping) and name != "n":
            flat |= {f"{name}/{part}": v for part, v in value.items() if v is not None}
        elif isinstance(value, float | int):
            flat[name] = value
    return flat


def _mean(values: Mapping[str, float | None]) -> tuple[float | None, int]:
    known = [value for value in values.values() if value is not None]
    return (sum(known) / len(known) if known else None), len(known)
