"""Chat completions as endpoints speak them: a question's request, and the reply in an answer."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any

from safegrpo.judge.question import READ_CHARACTERS, Picture, Question, Reply

FORMATS = ("json_schema", "json_object", "text")
"""Kinds of structured output, the strictest first."""

_MOST_TOKENS = 10**9  # that a count can mean


def request_body(question: Question, form: str) -> dict[str, Any]:
    """The messages of a request and its `response_format`, images as data URLs."""
    user = {"role": "user", "content": [_content(part) for part in question.parts]}
    # A system turn that says nothing is not the same as none.
    system = [{"role": "system", "content": question.system}] if question.system else []
    body: dict[str, Any] = {"messages": [*system, user]}
    if form == "json_schema":
        schema = {"name": "verdict", "strict": True, "schema": question.schema}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif form == "json_object":
        body["response_format"] = {"type": "json_object"}
    return body


def reply_in(
    answer: object, form: str, blot: Callable[[str], str], whole: bool = False
) -> Reply | None:
    """The reply in an answer, its texts blotted; None if it is no chat completion.

    The choice with index 0 counts, wherever it stands. `whole` wants all of it, with the thinking
    that some endpoints give apart put before it, as the model wrote it.
    """
    choice = _first_choice(answer)
    if choice is None or not isinstance(answer, Mapping):
        return None

    def text(value: object) -> str | None:
        # The end of a verdict is what is read of it.
        kept = value if whole or not isinstance(value, str) else value[-READ_CHARACTERS:]
        return blot(kept) if isinstance(kept, str) and kept else None

    message, usage = _mapping(choice.get("message")), _mapping(answer.get("usage"))
    content = message.get("content")
    said = _joined(content, "text") if isinstance(content, list) else content
    if whole:
        said = _with_thinking(message, said)
    return Reply(
        text=text(said),
        refusal=text(message.get("refusal") or _joined(content, "refusal")),
        finish=text(choice.get("finish_reason")),
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
        format=form,
    )


def _with_thinking(message: Mapping[str, Any], said: object) -> object:
    thought = message.get("reasoning_content") or message.get("reasoning")
    if not isinstance(thought, str) or not thought:
        return said
    answer = said if isinstance(said, str) else ""
    # Without an answer the thinking has not come to its end.
    return f"<think>{thought}</think>{answer}" if answer else f"<think>{thought}"


def _content(part: str | Picture) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    url = f"data:{part.mime};base64,{base64.b64encode(part.data).decode('ascii')}"
    return {"type": "image_url", "image_url": {"url": url}}


def _joined(content: object, kind: str) -> str:
    """The texts of one kind in content that comes in parts, as some servers give it."""
    parts = content if isinstance(content, list) else []
    texts = [part.get(kind) for part in parts if isinstance(part, Mapping)]
    return "".join(text for text in texts if isinstance(text, str))


def _first_choice(answer: object) -> Mapping[str, Any] | None:
    choices = _mapping(answer).get("choices")
    listed = choices if isinstance(choices, list) else []
    found = [one for one in listed if isinstance(one, Mapping)]
    return min(found, key=lambda one: _count(one.get("index")) or 0, default=None)


def _count(value: object) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_TOKENS:
        return value
    return None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
