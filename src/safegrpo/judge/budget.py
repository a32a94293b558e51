"""What judging has cost so far, and where it ends."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from safegrpo.errors import ConfigError
from safegrpo.judge.question import BudgetSpentError, Picture, Question, Reply

CHARACTERS_PER_TOKEN = 3.5
"""For estimates alone: English runs at about four, other scripts at fewer."""

TOKENS_PER_PICTURE = 1_100
"""For estimates alone: what common endpoints count for a picture of a megapixel."""

EXPECTED_REPLY_TOKENS = 250

_LOOK_AGAIN = 0.05  # seconds


@dataclass
class Budget:
    """Calls, tokens and cost; prices are for a million tokens, in whatever currency.

    `max_calls` bounds the requests sent, those that failed included; `max_cost` about what they
    cost, for which each call under way counts with the most it should come to. Raises ConfigError.
    """

    max_calls: int | None = None
    max_cost: float | None = None
    price_in: float | None = None
    price_out: float | None = None
    calls: int = 0
    answered: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    uncounted: int = 0
    """Calls without token counts; what they cost is estimated."""
    _under_way: float = 0.0
    _calls_under_way: int = 0
    _underestimated: float = 1.0  # the most tokens of a question, as a multiple of its estimate

    def __post_init__(self) -> None:
        if self.max_calls is not None and self.max_calls < 0:
            raise ConfigError("--max-calls is 0 or more")
        for name in ("price_in", "price_out", "max_cost"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < float("inf"):
                raise ConfigError(f"--{name.replace('_', '-')} is 0 or more")
        if (self.price_in is None) != (self.price_out is None):
            raise ConfigError("--price-in and --price-out go together, per million tokens")
        if self.max_cost is not None and self.price_in is None:
            raise ConfigError("--max-cost needs --price-in and --price-out, per million tokens")

    async def start(self, question: Question, max_tokens: int) -> float:
        """Count a call that is about to be sent; returns what is set aside for it.

        Waits while only what is under way stands in the way: most calls come to less than is set
        aside for them. Raises BudgetSpentError if it may not be sent.
        """
        while True:
            if self.max_calls is not None and self.calls >= self.max_calls:
                raise BudgetSpentError(f"--max-calls {self.max_calls} reached")
            asked = estimated_tokens(question) * self._underestimated
            aside = self._price(asked, max_tokens) or 0.0
            spent = (self.cost or 0.0) + self._under_way
            # The first call alone: what it comes to tells how good the estimates are.
            first = self._calls_under_way == 0 or self.answered > 0
            if self.max_cost is None or (first and spent + aside <= self.max_cost):
                break
            if self._calls_under_way == 0:
                raise BudgetSpentError(f"--max-cost {self.max_cost:g} reached")
            await asyncio.sleep(_LOOK_AGAIN)
        self.calls += 1
        self._calls_under_way += 1
        self._under_way += aside
        return aside

    def finish(
        self, aside: float, question: Question, reply: Reply | None, charged: bool = False
    ) -> None:
        """Count what came of a call; None if it failed.

        Failed calls cost nothing, but for those that may have been answered all the same: these
        are `charged` by what was asked.
        """
        self._calls_under_way -= 1
        self._under_way -= aside
        if reply is None:
            self.uncounted += charged
            self.prompt_tokens += estimated_tokens(question) if charged else 0
            return
        self.answered += 1
        if reply.prompt_tokens is None or reply.completion_tokens is None:
            self.uncounted += 1
        counted = reply.prompt_tokens
        estimated = estimated_tokens(question)
        self._underestimated = max(self._underestimated, (counted or 0) / max(estimated, 1))
        self.prompt_tokens += estimated if counted is None else counted
        counted = reply.completion_tokens
        self.completion_tokens += (
            round(len(reply.text or "") / CHARACTERS_PER_TOKEN) if counted is None else counted
        )

    @property
    def cost(self) -> float | None:
        """What the answered calls cost; None without prices."""
        return self._price(self.prompt_tokens, self.completion_tokens)

    def _price(self, prompt_tokens: float, completion_tokens: float) -> float | None:
        if self.price_in is None or self.price_out is None:
            return None
        return (prompt_tokens * self.price_in + completion_tokens * self.price_out) / 1e6

    def to_json(self) -> dict[str, Any]:
        """Calls, answers, tokens and cost (null without prices)."""
        cost = self.cost
        return {
            "calls": self.calls,
            "answered": self.answered,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "without_token_counts": self.uncounted,
            "cost": None if cost is None else round(cost, 6),
        }


def estimated_tokens(question: Question) -> int:
    """About how many tokens a question has."""
    texts = [question.system, *(part for part in question.parts if isinstance(part, str))]
    pictures = sum(isinstance(part, Picture) for part in question.parts)
    return round(sum(map(len, texts)) / CHARACTERS_PER_TOKEN) + TOKENS_PER_PICTURE * pictures
