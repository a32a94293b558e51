"""A vision-language model in this process as a judge.

Questions that wait are answered in one batch, by the sampling that evaluation uses.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Mapping
from typing import Any

from safegrpo.errors import MissingDependencyError
from safegrpo.judge.budget import Budget
from safegrpo.judge.endpoint import Sampling
from safegrpo.judge.question import CallError, Picture, Question, Reply

_Waiting = tuple[Question, tuple[int, int, int], "asyncio.Future[Reply]"]
"""(question, (askings before, room for tokens, vote), where the reply goes)"""


class LocalJudge:
    """A model's folder or hub name, loaded once; on the GPU if there is one.

    Raises InputFileError, ModelError as loading does, MissingDependencyError without torch.
    """

    def __init__(
        self,
        model: str,
        sampling: Sampling | None = None,
        budget: Budget | None = None,
        batch_size: int = 8,
    ) -> None:
        try:
            import torch

            from safegrpo.models import load_model, load_processor
        except ImportError as error:
            raise MissingDependencyError(
                f"a judge in this process needs {error.name}: pip install 'safegrpo[train]'"
            ) from error
        self.name, self.trouble = model, ""
        self.budget = budget or Budget()
        self._sampling = sampling or Sampling()
        self._batch_size = batch_size
        self._processor = load_processor(model)
        on_gpu = torch.cuda.is_available()
        loaded = load_model(model, dtype="auto" if on_gpu else "float32")
        self._model = (loaded.to("cuda") if on_gpu else loaded).eval()
        self._waiting: list[_Waiting] = []
        self._busy: asyncio.Task[None] | None = None
        self._halted = False

    @property
    def identity(self) -> Mapping[str, Any]:
        """The model and its sampling."""
        return {"url": "local", "model": self.name, **vars(self._sampling)}

    @property
    def adapted(self) -> Mapping[str, Any]:
        """It takes plain text."""
        return {"format": "text", "left_out": []}

    def halt(self) -> None:
        """Answer what is in the batch under way, and no more."""
        self._halted = True

    async def close(self) -> None:
        """Nothing to let go of."""

    async def ask(self, question: Question, again: int = 0, room: int = 1, vote: int = 0) -> Reply:
        """The model's reply; see `Judge.ask`."""
        aside = await self.budget.start(question, self._sampling.max_tokens * room)
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, (again, room, vote), future))
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

    def _generate(self, questions: list[Question], again: int, room: int, vote: int) -> list[Reply]:
        from safegrpo.evaluation.generate import generate_responses

        limit = self._sampling.max_tokens * room
        texts = generate_responses(
            self._model,
            self._processor,
            [(_images(question), _text(question)) for question in questions],
            max_new_tokens=limit,
            batch_size=len(questions),
            temperature=max(self._sampling.temperature, 0.5 if again else 0.0),
            seed=1000 * vote + again,
        )
        replies = []
        for text in texts:
            # Decoded text does not say whether an end was reached: as long as allowed is cut.
            length = len(self._processor.tokenizer(text, add_special_tokens=False).input_ids)
            finish = "length" if length >= limit - 1 else "stop"
            replies.append(Reply(text, finish=finish, completion_tokens=length))
        return replies


def _images(question: Question) -> list[Any]:
    from PIL import Image

    pictures = [part for part in question.parts if isinstance(part, Picture)]
    return [Image.open(io.BytesIO(picture.data)).convert("RGB") for picture in pictures]


def _text(question: Question) -> str:
    """One turn: not every model has a system turn, and images come before the text of a turn."""
    texts = [part for part in question.parts if isinstance(part, str)]
    return "\n\n".join([question.system, *texts])
