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
    body: dict[str, Any] = {
        "messages": [
            {"role": "system", "content": question.system},
            {"role": "user", "content": [_content(part) for part in question.parts]},
        ]
    }
    if form == "json_schema":
        schema = {"name": "verdict", "strict": True, "schema": question.schema}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif form == "json_object":
        body["response_format"] = {"type": "json_object"}
    return body


def reply_in(answer: object, form: str, blot: Callable[[str], str]) -> Reply | None:
    """The reply in an answer, its texts blotted; None if it is no chat completion.

    The choice with index 0 counts, wherever it stands.
    """
    choice = _first_choice(answer)
    if choice is None or not isinstance(answer, Mapping):
        return None

    def text(value: object) -> str | None:
        # The end of a reply is what is read of it.
        return blot(value[-READ_CHARACTERS:]) if isinstance(value, str) and value else None

    message, usage = _mapping(choice.get("message")), _mapping(answer.get("usage"))
    content = message.get("content")
    return Reply(
        text=text(_joined(content, "text") if isinstance(content, list) else content),
        refusal=text(message.get("refusal") or _joined(content, "refusal")),
        finish=text(choice.get("finish_reason")),
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
        format=form,
    )


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
