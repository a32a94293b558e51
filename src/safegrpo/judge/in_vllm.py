"""A vision-language model in this process by vLLM, where that is installed. It needs a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from safegrpo.errors import MissingDependencyError
from safegrpo.judge.batched import Batched
from safegrpo.judge.budget import Budget
from safegrpo.judge.completion import request_body
from safegrpo.judge.endpoint import Sampling
from safegrpo.judge.local import fingerprint
from safegrpo.judge.question import Question, Reply

_MOST_IMAGES = 8  # of one question


class VllmModel(Batched):
    """A model's folder or hub name, loaded by vLLM; see `LocalJudge`.

    Raises MissingDependencyError without vLLM, ModelError as `check_merged`.
    """

    def __init__(
        self,
        model: str,
        sampling: Sampling,
        budget: Budget,
        batch_size: int,
        name: str | None = None,
    ) -> None:
        try:
            from vllm import LLM  # type: ignore[import-not-found]
        except ImportError as error:
            raise MissingDependencyError(
                "--vllm needs vllm, which wants an environment of its own: pip install vllm"
            ) from error
        from safegrpo.models import check_merged

        check_merged(model)
        self._engine = LLM(model=model, limit_mm_per_prompt={"image": _MOST_IMAGES})
        super().__init__(name or model, fingerprint(Path(model)), sampling, budget, batch_size)

    def _generate(
        self, questions: Sequence[Question], again: int, limit: int, vote: int
    ) -> list[Reply]:
        from vllm import SamplingParams

        params = SamplingParams(
            temperature=self.temperature(again), max_tokens=limit, seed=1000 * vote + again
        )
        turns = [request_body(question, "text")["messages"] for question in questions]
        outputs = self._engine.chat(turns, params, use_tqdm=False)
        return [
            Reply(
                output.outputs[0].text,
                finish=output.outputs[0].finish_reason,
                prompt_tokens=len(output.prompt_token_ids),
                completion_tokens=len(output.outputs[0].token_ids),
            )
            for output in outputs
        ]
