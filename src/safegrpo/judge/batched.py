"""A model in this process: questions that wait are answered in one batch."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from safegrpo.judge.budget import Budget
from safegrpo.judge.endpoint import Sampling
from safegrpo.judge.question import CallError, Question, Reply

_Waiting = tuple[Question, tuple[int, int, int], "asyncio.Future[Reply]"]
"""(question, (askings before, tokens allowed, vote), where the reply goes)"""


class Batched(ABC):
    """A `Judge` whose replies come in batches of at most `batch_size`.

    `name` is what it is called, `about` what of the model changes its answers beside the name.
    """

    def __init__(
        self,
        name: str,
        about: Mapping[str, Any],
        sampling: Sampling,
        budget: Budget,
        batch_size: int,
    ) -> None:
        self.name, self.trouble = name, ""
        self.budget, self._about, self._sampling = budget, about, sampling
        self._batch_size = batch_size
        self._waiting: list[_Waiting] = []
        self._busy: asyncio.Task[None] | None = None
        self._halted = False

    @abstractmethod
    def _generate(
        self, questions: Sequence[Question], again: int, limit: int, vote: int
    ) -> list[Reply]:
        """Replies of at most `limit` tokens, in order; called in a thread, one call at a time.

        Raises ValueError for what the model cannot take.
        """

    @property
    def identity(self) -> Mapping[str, Any]:
        """The model and its sampling."""
        return {"url": "local", "model": self.name, **self._about, **vars(self._sampling)}

    @property
    def adapted(self) -> Mapping[str, Any]:
        """It takes plain text."""
        return {"format": "text", "left_out": []}

    def temperature(self, again: int) -> float:
        """The same question at temperature 0 would only get the same reply again."""
        return max(self._sampling.temperature, 0.5 if again else 0.0)

    def halt(self) -> None:
        """Answer what is in the batch under way, and no more."""
        self._halted = True

    async def close(self) -> None:
        """Answer nothing more."""
        self._halted = True

    async def ask(self, question: Question, again: int = 0, room: int = 1, vote: int = 0) -> Reply:
        """The model's reply; see `Judge.ask`."""
        limit = (question.max_tokens or self._sampling.max_tokens) * room
        aside = await self.budget.start(question, limit)
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, (again, limit, vote), future))
        if self._busy is None or self._busy.done():
            self._busy = asyncio.create_task(self._work())
        reply: Reply | None = None
        try:
            reply = await future
        finally:
            self.budget.finish(aside, question, reply)
        return reply

    async def _work(self) -> None:
        while self._waiting:
            # Rows of a batch are sampled alike, so those asked again have batches of their own.
            kind = self._waiting[0][1]
            batch: list[_Waiting] = []
            rest: list[_Waiting] = []
            for one in self._waiting:
                fits = one[1] == kind and len(batch) < self._batch_size
                (batch if fits else rest).append(one)
            self._waiting = rest
            results: list[Reply | Exception]
            try:
                if self._halted:
                    raise CallError("not asked: interrupted")
                questions = [question for question, _, _ in batch]
                results = [*await asyncio.to_thread(self._generate, questions, *kind)]
            except ValueError as error:  # such as an image of a shape that it cannot cut up
                failure = CallError(f"the model's processor refuses it: {error}")
                results = [failure] * len(batch)
            except Exception as error:  # such as too little memory
                results = [error] * len(batch)
            for (*_, future), result in zip(batch, results, strict=True):
                if future.done():  # given up meanwhile
                    continue
                if isinstance(result, Exception):
                    future.set_exception(result)
                else:
                    future.set_result(result)
