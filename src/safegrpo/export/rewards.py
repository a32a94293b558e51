"""The reward as verl and EasyR1 call it: the pure core of `safegrpo.reward`, in their terms.

verl asks for one response at a time, in whichever of its workers is free, so its reward cannot see
that one answer was given to many requests; EasyR1 hands over the whole batch, where `strict` looks
for that. What a response is scored against comes as the JSON that `safegrpo.export.rows` writes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from safegrpo.data.jsonl import parse_object
from safegrpo.errors import ConfigError, DataError
from safegrpo.reward import RewardBreakdown, Target, score, without_canned
from safegrpo.thinking import Rules

Mode = Literal["guided", "direct"]

COMPONENTS = ("gated_tag", "gated_behavior", "format")
"""What the reward is put together from, in the order of the weights."""


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: str,
    extra_info: Mapping[str, Any] | None = None,
    *,
    rules: Rules = "strict",
    mode: Mode = "guided",
    reason_share: float = 0.0,
    weights: Sequence[float] | None = None,
    **_: Any,
) -> dict[str, float]:
    """verl's reward of one response: `score`, and what it is made of, all floats.

    The same keys for every row: `score`, `format`, `tag` (NaN where a row has no tags), `behavior`,
    `refusal`, `gated_tag`, `gated_behavior`. Without `weights` the score is the reward exactly;
    they are those of `COMPONENTS`, the last of which may be left out. What else verl passes is not
    needed. Raises DataError if `ground_truth` is not what the export wrote, ConfigError for unknown
    rules, mode or weights.
    """
    found = _scored(solution_str, target_in(ground_truth), rules, mode, reason_share)
    return _values(found, weights)


def compute_scores(
    reward_inputs: Sequence[Mapping[str, Any]],
    *,
    rules: Rules = "strict",
    mode: Mode = "guided",
    reason_share: float = 0.0,
    weights: Sequence[float] | None = None,
) -> list[dict[str, float]]:
    """EasyR1's reward of a batch: as `compute_score`, and the score under `overall` too.

    Each input has `response` and `ground_truth`. `tag` is left out where a row has no tags: EasyR1
    takes the mean of what there is. Raises as `compute_score`.
    """
    targets = [target_in(one["ground_truth"]) for one in reward_inputs]
    found = [
        _scored(one["response"], target, rules, mode, reason_share)
        for one, target in zip(reward_inputs, targets, strict=True)
    ]
    values = [_values(one, weights) for one in without_canned(found, targets, rules)]
    return [
        {"overall": one["score"], **{k: v for k, v in one.items() if not math.isnan(v)}}
        for one in values
    ]


def target_in(ground_truth: str) -> Target:
    """What a response is scored against, from the JSON in a row's `ground_truth`.

    Raises DataError if it is none, such as the empty text of the published parquet.
    """
    place = "ground_truth (written by safegrpo export)"
    if not isinstance(ground_truth, str):
        raise DataError(f"{place}: not text but {type(ground_truth).__name__}")
    row = parse_object(ground_truth.encode("utf-8", "surrogatepass"), place)
    try:
        return Target.from_row(row)
    except DataError as error:
        raise DataError(f"{place}: {error}") from error


def _scored(
    response: str, target: Target, rules: Rules, mode: Mode, reason_share: float
) -> RewardBreakdown:
    if mode not in ("guided", "direct"):
        raise ConfigError(f'mode "{mode}" unknown: guided or direct')
    return score(response, target, rules, mode == "guided", reason_share=reason_share)


def _values(found: RewardBreakdown, weights: Sequence[float] | None) -> dict[str, float]:
    values = {
        "format": float(found.format),
        "tag": math.nan if found.tag is None else found.tag,
        "behavior": found.behavior,
        "refusal": float(found.behavior_label == "refusal"),
        "gated_tag": found.gated_tag,
        "gated_behavior": found.gated_behavior,
    }
    if weights is None:
        return {"score": found.reward, **values}
    if not 2 <= len(weights) <= len(COMPONENTS):
        raise ConfigError(f"weights: 2 or 3 numbers, for {', '.join(COMPONENTS)}")
    parts = zip(weights, COMPONENTS, strict=False)
    return {"score": float(sum(w * values[name] for w, name in parts)), **values}
