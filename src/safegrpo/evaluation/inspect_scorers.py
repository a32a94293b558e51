"""Scorers and metrics for Inspect (inspect_ai): judgements and fractions as everywhere here.

A scorer of Inspect is one of ours (`rules`, `official`, `rubric`). Its score holds the judgement
whole, so that a log can be measured by our metrics, and judged anew by `inspect score`.
"""

from __future__ import annotations

import base64
import math
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from typing import Any, Literal

from inspect_ai.model import (
    ChatMessage,
    ChatMessageSystem,
    ChatMessageUser,
    Content,
    ContentImage,
    ContentReasoning,
    ContentText,
    Model,
    ModelOutput,
    get_model,
)
from inspect_ai.scorer import Metric, SampleScore, Score, Scorer, Target, Value, metric, scorer
from inspect_ai.solver import TaskState

from safegrpo.data.images import ImageRef, image_as_sent
from safegrpo.errors import DataError
from safegrpo.evaluation import metrics
from safegrpo.evaluation.benchmarks import BENCHMARKS
from safegrpo.evaluation.item import Item
from safegrpo.evaluation.judging import JUDGED_SIDE, rubric_of
from safegrpo.evaluation.rows import Generation, Judgement
from safegrpo.evaluation.rules import FILTERED, answer_of, judge_by_rules, key_of
from safegrpo.judge.cache import ReplyCache
from safegrpo.judge.question import Picture, Question, Reply
from safegrpo.judge.verdict import verdict

GRADER = "grader"
"""The role of the model that judges, as `--model-role grader=...` names it."""

_REASONS = {"scored": None, "skipped": "scoring_failed"}
_SAID = ("safe", "refused", "useful", "correct", "score")


def image_content(picture: Picture) -> ContentImage:
    """A picture as Inspect sends it: a data URL, so that nothing is read from a path later."""
    encoded = base64.b64encode(picture.data).decode("ascii")
    return ContentImage(image=f"data:{picture.mime};base64,{encoded}")


@metric(scores="unreduced")
def measured() -> Metric:
    """Our metrics of one scorer's judgements, each with its interval, n and coverage.

    An epoch is a further sample of an item. What is not judged is missing, and never a value.
    """

    def compute(scores: list[SampleScore]) -> Value:
        seen: Counter[str] = Counter()
        rows = []
        for one in scores:
            known = one.sample_metadata or {}
            key = (known["benchmark"], str(one.sample_id), known["mode"], seen[str(one.sample_id)])
            seen[str(one.sample_id)] += 1
            made = Generation(*key, status="done", item=known)
            rows.append(metrics.Joined(made, _judgement(one.score)))
        found: dict[str, float] = {}
        for name, said in metrics.measured(rows).items():
            found[name] = math.nan if said["value"] is None else said["value"]
            found |= {f"{name}/{part}": said[part] for part in ("low", "high", "n", "coverage")}
        return found

    return compute


def _score(judgement: Judgement) -> Score:
    """A judgement as a score: NaN, which no mean of Inspect's counts, where it says nothing."""
    given = {name: getattr(judgement, name) for name in _SAID}
    return Score(
        value={name: math.nan if value is None else value for name, value in given.items()},
        answer=judgement.answer,
        explanation=judgement.problem or judgement.reason or judgement.label,
        reason=_REASONS.get(judgement.status, "grader_failed"),
        metadata=judgement.to_json(),
    )


def _judgement(score: Score) -> Judgement:
    """The judgement in a score; its value prevails, for people may have changed it."""
    value = score.as_dict()
    said = {
        name: float(one) if name == "score" else bool(one)
        for name in _SAID
        if (one := value.get(name)) is not None and not math.isnan(float(one))
    }
    held = score.metadata or {}
    status = "scored" if said else held.get("status")
    return Judgement.from_json({**held, **dict.fromkeys(_SAID), **said, "status": status})


@scorer(metrics=[measured()])
def rules() -> Scorer:
    """What an answer did by rules alone, the answer's key included."""

    async def score(state: TaskState, target: Target) -> Score:
        return _score(judge_by_rules(_generation(state)))

    return score


@scorer(metrics=[measured()])
def official(benchmark: str) -> Scorer:
    """What an answer did by the authors' rule, applied by the grader."""
    return _graded(benchmark, "official")


@scorer(metrics=[measured()])
def rubric(benchmark: str) -> Scorer:
    """What an answer did by our rubric, applied by the grader."""
    return _graded(benchmark, "rubric")


def _graded(benchmark: str, wanted: Literal["official", "rubric"]) -> Scorer:
    async def score(state: TaskState, target: Target) -> Score | None:
        row, one = _generation(state), BENCHMARKS[benchmark]
        named = rubric_of(one, _item(row), wanted)
        if named is None or named[0] != wanted:
            return None  # a key or the other scorer tells
        rule = named[1]
        answer, _ = answer_of(row.response, row.mode)
        if row.finish == FILTERED or not answer.strip():
            found_so = rule.filtered if row.finish == FILTERED else rule.empty
            return _score(Judgement(*row.key, wanted, "scored", **found_so._asdict()))
        try:
            pictures = _pictures(state) if rule.sees_image else []
        except DataError as error:
            return _score(Judgement(*row.key, wanted, "skipped", problem=str(error)))
        # No model judges itself unasked: the role must be given.
        judge = _Grader(get_model(role=GRADER, required=True))
        question = rule.question(row.item, answer, pictures)
        with closing(ReplyCache(None)) as cache:
            found = await verdict(
                judge, question, lambda value: rule.read(row.item, value), cache, row.id
            )
        said = {} if found.value is None else found.value._asdict()
        problem, asked = found.problem, found.asked
        return _score(
            Judgement(*row.key, wanted, found.status, **said, problem=problem, asked=asked)
        )

    return score


class _Grader:
    """A model of Inspect as a judge. Inspect sees to retries and limits; its errors are its own."""

    trouble = ""
    adapted: Mapping[str, Any] = {}

    def __init__(self, model: Model) -> None:
        self._model, self.name = model, str(model)
        self.identity: Mapping[str, Any] = {"model": self.name}

    async def ask(self, question: Question, again: int = 0, room: int = 1, vote: int = 0) -> Reply:
        parts: list[Content] = [
            ContentText(text=part) if isinstance(part, str) else image_content(part)
            for part in question.parts
        ]
        asked: list[ChatMessage] = [
            ChatMessageSystem(content=question.system),
            ChatMessageUser(content=parts),
        ]
        output = await self._model.generate(asked)
        return Reply(text=output.completion, finish=_finish(output))

    def halt(self) -> None: ...

    async def close(self) -> None: ...


def _generation(state: TaskState) -> Generation:
    known = state.metadata
    key = (known["benchmark"], str(state.sample_id), known["mode"], state.epoch - 1)
    response, finish = _said(state.output), _finish(state.output)
    return Generation(*key, status="done", item=known, response=response, finish=finish)


def _said(output: ModelOutput) -> str:
    """The response with its thinking, which Inspect takes out of the text of many models."""
    content = output.message.content if output.choices else ""
    if isinstance(content, str):
        return content
    return "".join(one.text for one in content if isinstance(one, ContentReasoning | ContentText))


def _finish(output: ModelOutput) -> str | None:
    return None if output.stop_reason == "unknown" else output.stop_reason


def _item(row: Generation) -> Item:
    known = row.item
    return Item(
        row.benchmark, row.id, known["prompt"], expected=known["expected"], answer=key_of(known)
    )


def _pictures(state: TaskState) -> list[Picture]:
    """The images of the question; DataError if the log that is judged anew does not hold them."""
    messages = [] if isinstance(state.input, str) else state.input
    found = []
    for message in messages:
        for one in [] if isinstance(message.content, str) else message.content:
            if not isinstance(one, ContentImage):
                continue
            head, _, encoded = one.image.partition(",")
            if not head.startswith("data:image/"):
                raise DataError("the log does not hold the image; run with --log-images")
            try:
                ref = ImageRef(data=base64.b64decode(encoded), name="image of the log")
            except ValueError as error:
                raise DataError(f"the image in the log is broken: {error}") from error
            found.append(Picture(*image_as_sent(ref, JUDGED_SIDE)))
    return found
