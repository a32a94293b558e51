"""The reward as TRL calls it: two gated components, `tag` and `behavior`, scored once a batch.

With weights of a half their sum is the reward of `safegrpo.reward` exactly, so that TRL's
`sum_then_normalize` trains on the paper's reward and `normalize_then_sum` on each part by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

from safegrpo.behavior import classify
from safegrpo.models import special_token_ids
from safegrpo.reward import RewardBreakdown, Target, score, without_canned
from safegrpo.thinking import TAG_NAMES, Rules, SafetyTag, Tags
from safegrpo.training.link import refusals_behind

RewardFunction = Callable[..., list[float]]
MARKUP = ("think", "visual_safe", "text_safe", "combined_safe", "answer")


@dataclass(frozen=True)
class Scored:
    """One completion: its text, and what it earned against its target.

    `disputed` is whether the `paper` and the `strict` detector disagree on its being a refusal.
    """

    response: str
    target: Target
    breakdown: RewardBreakdown
    disputed: bool


class SafetyReward:
    """Scores a batch of completions for both of TRL's reward functions.

    `batches` counts the batches scored: whoever records rollouts sees by it that there are new
    ones. `gather` gives, of a list, the lists of all processes one behind the other, where there
    are others, and `process` is the number of this one: one answer to everything is seen whoever
    got it.
    """

    def __init__(
        self,
        tokenizer: Any,
        rules: Rules = "strict",
        guided: bool = True,
        pays_format: bool = False,
        reason_share: float = 0.0,
        gather: Callable[[list[Any]], list[Any]] = list,
        process: int = 0,
        format_gate: bool = True,
    ) -> None:
        self._tokenizer = tokenizer
        self._gather, self._process = gather, process
        self._pays_format = pays_format
        self._reason_share = reason_share
        self._format_gate = format_gate
        self._rules: Rules = rules
        self._guided = guided
        self._hidden = hidden_token_ids(tokenizer)
        self._last: tuple[Any, list[Scored]] | None = None
        self.batches = 0

    def functions(self) -> list[RewardFunction]:
        """The functions for GRPOTrainer, in the order of `reward_weights`: tag, behavior, and the
        format by itself where that pays, too."""

        def tag(completion_ids: Sequence[Sequence[int]], **columns: Any) -> list[float]:
            return [one.gated_tag for one in self._paid(completion_ids, columns)]

        def behavior(completion_ids: Sequence[Sequence[int]], **columns: Any) -> list[float]:
            return [one.gated_behavior for one in self._paid(completion_ids, columns)]

        def format(completion_ids: Sequence[Sequence[int]], **columns: Any) -> list[float]:
            return [float(one.breakdown.format) for one in self._scored(completion_ids, columns)]

        return [tag, behavior, format] if self._pays_format else [tag, behavior]

    def _paid(self, completion_ids: Any, columns: dict[str, Any]) -> list[RewardBreakdown]:
        found = [one.breakdown for one in self._scored(completion_ids, columns)]
        return found if self._format_gate else [replace(one, format=1) for one in found]

    def decode(self, ids: Sequence[int]) -> str:
        """A completion's text: control tokens left out, the protocol's tags always kept."""
        # From the ids, because TRL may have taken the thinking out of the message it hands over.
        shown = [token for token in ids if token not in self._hidden]
        return str(self._tokenizer.decode(shown, skip_special_tokens=False))

    def _scored(self, completion_ids: Any, columns: dict[str, Any]) -> list[Scored]:
        # TRL hands both functions the same list; holding it keeps its identity from being reused.
        if self._last is not None and self._last[0] is completion_ids:
            return self._last[1]
        scored = [
            self._score(self.decode(ids), target_of(columns, i))
            for i, ids in enumerate(completion_ids)
        ]
        scored = self._without_canned(scored)
        self._last = (completion_ids, scored)
        self.batches += 1
        _log(scored, columns)
        return scored

    def _without_canned(self, scored: list[Scored]) -> list[Scored]:
        if self._rules == "paper":
            return scored
        parts = self._gather([scored])
        before = sum(len(part) for part in parts[: self._process])
        everyone = [one for part in parts for one in part]
        breakdowns = without_canned(
            [one.breakdown for one in everyone], [one.target for one in everyone], self._rules
        )
        own = breakdowns[before : before + len(scored)]
        return [replace(one, breakdown=found) for one, found in zip(scored, own, strict=True)]

    def _score(self, response: str, target: Target) -> Scored:
        breakdown = score(
            response, target, self._rules, guided=self._guided, reason_share=self._reason_share
        )
        other: Rules = "paper" if self._rules == "strict" else "strict"
        refuses = classify(breakdown.answer or "", other, target.prompt).refuses
        disputed = refuses != (breakdown.behavior_label == "refusal")
        return Scored(response, target, breakdown, disputed)


def hidden_token_ids(tokenizer: Any) -> frozenset[int]:
    """Ids of control tokens, less those that are the protocol's own markup."""
    markup = {f"<{slash}{name}>" for name in MARKUP for slash in ("", "/")}
    special = special_token_ids(tokenizer)
    return frozenset(i for i in special if tokenizer.convert_ids_to_tokens(i) not in markup)


def target_of(columns: dict[str, Any], i: int) -> Target:
    """What completion `i` is scored against, from the columns of `data.build_dataset`."""
    visual = columns["image_tag"][i]
    tags = None
    if visual is not None:
        tags = Tags(visual, columns["text_tag"][i], columns["combine_tag"][i])
    return Target(tags, columns["question"][i], columns["answer"][i])


def _log(scored: Sequence[Scored], columns: dict[str, Any]) -> None:
    log_metric, log_extra = columns.get("log_metric"), columns.get("log_extra")
    if log_metric is not None:
        for name, value in batch_metrics(scored).items():
            log_metric(name, value)
    if log_extra is not None:
        log_extra("id", list(columns["id"]))
        log_extra("response", [one.response for one in scored])
        for name in ("reward", "format", "behavior_label"):
            log_extra(name, [getattr(one.breakdown, name) for one in scored])
        log_extra("tag_score", [one.breakdown.tag for one in scored])
        log_extra("behavior_score", [one.breakdown.behavior for one in scored])
        log_extra("faults", [" ".join(one.breakdown.faults) for one in scored])


def batch_metrics(scored: Sequence[Scored]) -> dict[str, float]:
    """Rates of a batch in 0..1; a rate with nothing behind it is left out."""
    found: dict[str, list[float]] = {
        "format_rate": [float(one.breakdown.format) for one in scored],
        "tag_score": [one.breakdown.tag for one in scored if one.breakdown.tag is not None],
        "behavior_score": [one.breakdown.behavior for one in scored],
        "refusal_rate": [_refuses(one) for one in scored],
        "benign_refusal_rate": [_refuses(one) for one in scored if not _harmful(one)],
        "harmful_refusal_rate": [_refuses(one) for one in scored if _harmful(one)],
        "detectors_disagree": [float(one.disputed) for one in scored],
        "rewarded_rate": [float(one.breakdown.reward > 0) for one in scored],
    }
    for word in get_args(SafetyTag):
        behind = refusals_behind((one.breakdown for one in scored), word)
        found[f"refusal_rate/tagged_{word}"] = behind
    for name in TAG_NAMES:
        found[f"tag_accuracy/{name}"] = [
            float(one.breakdown.stated[name] == getattr(one.target.tags, name))
            for one in scored
            if one.breakdown.tag is not None
        ]
    return {name: sum(values) / len(values) for name, values in found.items() if values}


def _refuses(one: Scored) -> float:
    return float(one.breakdown.behavior_label == "refusal")


def _harmful(one: Scored) -> bool:
    return one.target.tags is not None and one.target.tags.combined == "unsafe"
