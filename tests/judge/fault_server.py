"""A chat completions server that goes wrong on purpose, and keeps count.

As a process: `python tests/judge/fault_server.py --faults '{"rate_limit": 0.05}' --log FILE`; the
first line on stdout says where it listens: {"url": "http://127.0.0.1:PORT/v1"}. From a test:
`with running_server(...)` (that process) or `async with FaultServer(...)` (in this loop).

Left out: streaming, TLS, checking the key, more than one answer a request.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import http.client
import json
import math
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

# What a request meets before a model would see it: said whatever the request asks for.
ERRORS = (
    "rate_limit",
    "rate_limit_date",
    "rate_limit_bare",
    "server_error",
    "bad_gateway",
    "unauthorized",
    "not_found",
    "content_filter_error",
    "bad_request",
    "echo_key",
)
# A right answer that does not arrive, or hardly.
WIRE = ("cut_before", "cut_headers", "cut_body", "hang", "slow_body")
# A whole reply that is no chat completion, or one without an answer in it.
ENVELOPE = ("bad_envelope", "empty_body", "no_choices")
# A chat completion whose message or choices are odd.
CONTENT = (
    "bad_json",
    "truncated",
    "empty_content",
    "null_content",
    "refusal",
    "refusal_text",
    "content_filter",
    "two_objects",
    "duplicate_choices",
    "reordered_keys",
    "fenced",
    "thinking",
    "echo_key_content",
)
FAULTS = ERRORS + WIRE + ENVELOPE + CONTENT
LOSES_CONNECTION = ("cut_before", "cut_headers", "cut_body", "hang")

HANG_SECONDS = 60.0
SENTENCES = (
    "Nothing harmful is shown.",
    "The picture alone is harmless.",
    "It asks how to hurt somebody.",
    'The text says "do it", {as if} harmless.',
    "Together they plan a crime – clearly.",
)

RESPONSES = (
    "Sure. Hold it level, turn it slowly, and stop when it clicks.",
    "It is a square, and it is well suited to what you have in mind.",
    "I'm sorry, but I can't help with that.",
    "Put it down and step back first; then let somebody who knows it have a look.",
)

Part = dict[str, Any]
Answer = Callable[[dict[str, Any]], "str | dict[str, Any]"]


_NUMBER = {"type": "integer", "minimum": 0, "maximum": 10}
_PART = {
    "type": "object",
    "properties": {"reason": {"type": "string"}, "score": _NUMBER, "confidence": _NUMBER},
}
DEFAULT_SCHEMA: Part = {
    "type": "object",
    "properties": {"visual": _PART, "text": _PART, "combined": _PART},
}


# --- answers --------------------------------------------------------------------------------------


def pick(rng: random.Random, low: int, high: int, name: str) -> int:
    """A whole number in low..high: a score mostly at either end, a confidence at the top."""
    if rng.random() < 0.1:
        return rng.randint(low, high)
    edge = round(0.3 * (high - low))
    if "confidence" in name:
        return rng.randint(high - edge, high)
    if "score" in name:
        return rng.choice([rng.randint(low, low + edge), rng.randint(high - edge, high)])
    return rng.randint(low, high)


def fill(
    schema: Part, rng: random.Random, root: Part, name: str = "", sentence: str | None = None
) -> Any:
    """A value that `schema` allows; `sentence`, if given, stands for every free string.

    Knows what structured outputs use: no patterns, formats or conditions.
    """

    def inner(part: Part, key: str = name) -> Any:
        return fill(part, rng, root, key, sentence)

    if "$ref" in schema:
        found: Any = root
        for step in schema["$ref"].removeprefix("#").strip("/").split("/"):
            found = found[step] if step else found
        return inner(found)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][pick(rng, 0, len(schema["enum"]) - 1, name)]
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return inner(rng.choice(schema[several]))
    if "allOf" in schema:
        return inner({key: value for part in schema["allOf"] for key, value in part.items()})
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if isinstance(kind, list):
        kind = kind[0]
    if kind == "object":
        return {key: inner(part, key) for key, part in schema.get("properties", {}).items()}
    if kind == "array":
        least = schema.get("minItems", 1)
        length = rng.randint(least, min(schema.get("maxItems", least + 2), least + 2))
        return [inner(schema.get("items", {})) for _ in range(length)]
    if kind in ("integer", "number"):
        low = math.ceil(schema.get("minimum", schema.get("exclusiveMinimum", -1) + 1))
        high = schema.get("maximum", schema.get("exclusiveMaximum", max(low, 10) + 1) - 1)
        return pick(rng, low, math.floor(high), name)
    if kind == "boolean":
        return rng.random() < 0.5
    if kind == "null":
        return None
    text = sentence or rng.choice(SENTENCES)
    return text.ljust(schema.get("minLength", 0), ".")[: schema.get("maxLength")]


def right_answer(payload: dict[str, Any], seed: int = 0, sentence: str | None = None) -> str:
    """The JSON that the server answers `payload` with, the same for the same messages and seed."""
    form = payload.get("response_format") or {}
    schema = form.get("json_schema", {}).get("schema") or DEFAULT_SCHEMA
    rng = random.Random(f"{seed}:{message_key(payload)}")
    return json.dumps(fill(schema, rng, schema, sentence=sentence), ensure_ascii=False)


def other_answer(payload: dict[str, Any], content: str) -> str:
    """An answer to `payload` that is not `content`, or `{}` where no other is allowed."""
    tries = (right_answer(payload, seed=-number) for number in range(1, 50))
    return next((text for text in tries if text != content), "{}")


def right_response(payload: dict[str, Any], seed: int = 0) -> str:
    """What a model under evaluation says to `payload`, the same for the same messages and seed;
    where tags are asked for, with thinking and tags before the answer."""
    rng = random.Random(f"{seed}:{message_key(payload)}")
    answer = rng.choice(RESPONSES)
    if "<think>" not in user_text(payload):
        return answer
    tags = " ".join(
        f"<{name}_safe>{rng.choice(('safe', 'unsafe'))}</{name}_safe>"
        for name in ("visual", "text", "combined")
    )
    return f"<think>A square. {tags} So it is.</think><answer>{answer}</answer>"


def reversed_keys(value: Any) -> Any:
    """The same JSON value with the keys of every object back to front."""
    if isinstance(value, dict):
        return {key: reversed_keys(value[key]) for key in reversed(value)}
    return [reversed_keys(item) for item in value] if isinstance(value, list) else value


# --- what is asked --------------------------------------------------------------------------------


class BadRequestError(Exception):
    """What was sent cannot be read as a request."""


@dataclass(frozen=True)
class Head:
    """The first lines of an HTTP request; header names in lower case."""

    method: str
    path: str
    keep_alive: bool
    headers: Mapping[str, str]


def message_key(payload: dict[str, Any]) -> str:
    """The sha256 of everything in the request's messages, hexadecimal."""
    return hashlib.sha256(json.dumps(payload["messages"], sort_keys=True).encode()).hexdigest()


def user_text(payload: dict[str, Any]) -> str:
    """The text of the user's messages, one part a line."""
    parts: list[str] = []
    for message in payload["messages"]:
        content = message.get("content") if message.get("role") == "user" else None
        if isinstance(content, str):
            parts.append(content)
        elif content:
            parts += [part["text"] for part in content if part.get("type") == "text"]
    return "\n".join(parts)


def read_payload(body: bytes) -> dict[str, Any]:
    """The request's JSON object, with a list of messages in it."""
    try:
        payload = json.loads(body)
    except ValueError as error:
        raise BadRequestError(f"the body is no JSON: {error}") from error
    if not isinstance(payload, dict) or not isinstance(payload.get("messages"), list):
        raise BadRequestError("the body is no object with a list of messages")
    return payload


class WatchedReader(asyncio.StreamReader):
    """A stream reader that tells when the client has gone, while nobody reads from it."""

    def __init__(self) -> None:
        super().__init__(limit=2**20)
        self.gone = asyncio.Event()

    def feed_eof(self) -> None:
        super().feed_eof()
        self.gone.set()

    def set_exception(self, exc: Exception) -> None:
        super().set_exception(exc)
        self.gone.set()

    async def wait(self, seconds: float) -> None:
        """Return after `seconds`; raise as soon as the client has gone."""
        if seconds > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self.gone.wait()
        for _ in range(2):  # what the loop finds in one round, it handles at the end of the next
            await asyncio.sleep(0)
        if self.gone.is_set():
            raise ConnectionResetError("the client has gone")


async def read_head(reader: WatchedReader) -> Head | None:
    """The next request's head; None when the client sends no more."""
    try:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    except asyncio.IncompleteReadError:
        return None
    try:
        method, target, version = lines[0].split(" ")
        pairs = [line.split(":", 1) for line in lines[1:] if line]
        headers = {name.strip().lower(): value.strip() for name, value in pairs}
    except ValueError as error:
        raise BadRequestError(f"not HTTP: {lines[0][:100]!r}") from error
    keep_alive = version == "HTTP/1.1" and headers.get("connection", "").lower() != "close"
    return Head(method, target.partition("?")[0], keep_alive, headers)


async def read_body(head: Head, reader: WatchedReader, writer: asyncio.StreamWriter) -> bytes:
    """The body of the request that `head` begins, chunked or of a told length."""
    if head.headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    try:
        if head.headers.get("transfer-encoding", "").lower() != "chunked":
            return await reader.readexactly(int(head.headers.get("content-length", 0)))
        chunks = []
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            chunks.append(await reader.readexactly(size))
            await reader.readexactly(2)
    except ValueError as error:
        raise BadRequestError("the length of the body is no number") from error
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass  # trailers
    return b"".join(chunks)


# --- what is replied ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reply:
    """One HTTP reply; `completion` where it is a whole chat completion."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"
    completion: bool = False

    def head(self, keep_alive: bool) -> bytes:
        """The status line and the headers, as they are sent."""
        headers = {
            "Content-Type": self.content_type,
            "Content-Length": str(len(self.body)),
            "Connection": "keep-alive" if keep_alive else "close",
            **self.headers,
        }
        lines = [f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def error_reply(
    status: int,
    message: str,
    code: str | None = None,
    param: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """A reply in the shape of OpenAI's errors."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    error = {"message": message, "type": kind, "param": param, "code": code}
    return Reply(status, json.dumps({"error": error}).encode(), headers or {})


def error_fault(fault: str, model: str, key: str, rng: random.Random) -> Reply:
    """The reply of one of ERRORS; `key` is the Authorization header."""
    if fault.startswith("rate_limit"):
        headers = {
            "rate_limit": {"Retry-After": rng.choice(["1", f"{rng.uniform(0.05, 1):.2f}"])},
            "rate_limit_date": {"Retry-After": formatdate(time.time() + 1, usegmt=True)},
        }
        text = "Rate limit reached for requests. Please try again later."
        return error_reply(429, text, "rate_limit_exceeded", headers=headers.get(fault))
    if fault == "bad_gateway":
        page = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"
        return Reply(502, page, content_type="text/html")
    if fault == "bad_request":
        return error_reply(400, "Failed to process the image.", "invalid_value")
    if fault == "unauthorized":
        return error_reply(401, "Incorrect API key provided.", "invalid_api_key")
    if fault == "not_found":
        return error_reply(404, f"The model '{model}' does not exist.", "model_not_found", "model")
    if fault == "content_filter_error":
        text = "The prompt triggered the content management policy. Please modify it and retry."
        return error_reply(400, text, "content_filter", "prompt")
    if fault == "echo_key":
        return error_reply(500, f"upstream refused the header 'Authorization: {key}'")
    return error_reply(500, "The server had an error while processing your request.")


def make_choices(fault: str | None, message: Part, other: Callable[[str], str]) -> list[Part]:
    """The choices that carry `message`, spoilt by `fault`; `other` gives a wrong answer."""
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    text = message["content"] or ""
    match fault:
        case "bad_json":
            message["content"] = text.replace('"', "", 1)
        case "truncated":
            message["content"] = text[: len(text) // 2]
            choice["finish_reason"] = "length"
        case "empty_content":
            message["content"] = ""
        case "null_content":
            message["content"] = None
        case "refusal":
            message.update(content=None, refusal="I'm sorry, I can't assist with that request.")
        case "refusal_text":
            message["content"] = "I'm sorry, but I can't help with judging this content."
        case "content_filter":
            message["content"] = None
            choice["finish_reason"] = "content_filter"
        case "two_objects":
            message["content"] = f"{other(text)}\n\nOn second thought, I rate it so:\n\n{text}"
        case "duplicate_choices":
            wrong = {**message, "content": other(text)}
            return [{**choice, "index": 1, "message": wrong}, choice]
        case "reordered_keys":
            message["content"] = json.dumps(reversed_keys(json.loads(text)), ensure_ascii=False)
        case "fenced":
            message["content"] = f"Here is my rating:\n\n```json\n{text}\n```\n\nThat is all."
        case "thinking":
            message["content"] = f"<think>At first I say {other(text)}, but no.</think>\n\n{text}"
    return [choice]


def completion_reply(payload: dict[str, Any], choices: list[Part]) -> Reply:
    """A whole chat completion, with made-up counts of tokens: four characters each, 85 an image."""
    contents = [message.get("content") for message in payload["messages"]]
    parts = [part for content in contents if isinstance(content, list) for part in content]
    images = sum(part.get("type") == "image_url" for part in parts)
    asked = 85 * images + len(user_text(payload)) // 4 + 10
    said = sum(len(choice["message"]["content"] or "") // 4 + 1 for choice in choices)
    body = {
        "id": f"chatcmpl-{message_key(payload)[:24]}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": payload.get("model"),
        "choices": choices,
        "usage": {
            "prompt_tokens": asked,
            "completion_tokens": said,
            "total_tokens": asked + said,
        },
    }
    return Reply(200, json.dumps(body).encode(), completion=True)


# --- the server -----------------------------------------------------------------------------------


class FaultServer:
    """Serves /v1/chat/completions and /v1/models on 127.0.0.1 while entered.

    A request's fault is its item's (`fault_for`), else the next of `script` (None: no fault), else
    drawn from `faults` by the seed and the request's number. `script` gives one up each request,
    used or not. `answer` makes the content, or fields of the message, that CONTENT faults spoil;
    `echo_key_content` and the wrong ones among several answers never come from it. With
    `plain="response"` what asks for no format is answered as by a model under evaluation.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        delay: float = 0.0,
        faults: Mapping[str, float] | None = None,
        fault_for: Mapping[str, str] | None = None,
        script: Sequence[str | None] = (),
        answer: Answer | None = None,
        seed: int = 0,
        log: str | Path | None = None,
        supports: str = "schema",
        reject_parameter: Sequence[str] = (),
        slow: float = 1.0,
        max_concurrent: int | None = None,
        id_pattern: str = r"item-(\d+)",
        plain: str = "verdict",
    ) -> None:
        self.port, self.delay, self.seed, self.slow = port, delay, seed, slow
        self.faults, self.fault_for = dict(faults or {}), dict(fault_for or {})
        self.script, self.answer, self.supports = list(script), answer, supports
        self.reject_parameter, self.max_concurrent = tuple(reject_parameter), max_concurrent
        self.id_pattern, self.plain = re.compile(id_pattern), plain
        named = {*self.faults, *self.fault_for.values(), *self.script} - {None}
        if unknown := sorted(map(str, named - set(FAULTS))):
            raise ValueError(f"no such fault: {unknown}; there are {', '.join(FAULTS)}")
        if sum(self.faults.values()) > 1 + 1e-9:
            raise ValueError(f"the faults' probabilities sum to {sum(self.faults.values())}, not 1")
        if supports not in ("schema", "json_object", "text"):
            raise ValueError(f'supports is {supports!r}, not "schema", "json_object" or "text"')
        self.log_path = log
        self._numbers, self._in_flight = count(), 0
        self._rows: list[dict[str, Any]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._broken: list[Exception] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def calls(self) -> list[dict[str, Any]]:
        """The rows of the log so far, in the order in which requests finished."""
        return list(self._rows)

    async def __aenter__(self) -> FaultServer:
        loop = asyncio.get_running_loop()
        self._log = open(self.log_path, "a", encoding="utf-8") if self.log_path else None  # noqa: SIM115
        self._server = await loop.create_server(
            lambda: asyncio.StreamReaderProtocol(WatchedReader(), self._connected),
            "127.0.0.1",
            self.port,
            backlog=1024,
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()
        if self._log:
            self._log.close()
        if self._broken and error is None:
            raise self._broken[0]  # ours, or the script's `answer`

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert isinstance(reader, WatchedReader)
        # Then `drain` returns when the system has taken every byte, not when most are taken.
        writer.transport.set_write_buffer_limits(high=0)
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and isinstance(error := task.exception(), Exception):
            self._broken.append(error)
            print(f"fault server: {error!r}", file=sys.stderr)

    async def _serve(self, reader: WatchedReader, writer: asyncio.StreamWriter) -> None:
        """Answer what comes over one connection, until it ends."""
        try:
            keep = True
            while keep and (head := await read_head(reader)):
                if (head.method, head.path) == ("POST", "/v1/chat/completions"):
                    keep = await self._chat(head, reader, writer)
                else:
                    await read_body(head, reader, writer)
                    keep = head.keep_alive
                    writer.write(self._elsewhere(head, keep))
                    await writer.drain()
        except BadRequestError as error:
            reply = error_reply(400, str(error))
            writer.write(reply.head(False) + reply.body)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the client has gone, or talks no HTTP
        finally:
            writer.close()

    def _elsewhere(self, head: Head, keep: bool) -> bytes:
        if (head.method, head.path) == ("GET", "/v1/models"):
            models = [{"id": "fault-model", "object": "model", "created": 0, "owned_by": "tests"}]
            reply = Reply(200, json.dumps({"object": "list", "data": models}).encode())
        else:
            reply = error_reply(404, f"Unknown request URL: {head.method} {head.path}.")
        return reply.head(keep) + reply.body

    async def _chat(self, head: Head, reader: WatchedReader, writer: asyncio.StreamWriter) -> bool:
        """Serve one question and log it; returns whether the connection goes on."""
        self._in_flight += 1
        limit = self.max_concurrent
        row: dict[str, Any] = {
            "n": next(self._numbers),
            "key": None,
            "answered": False,
            "fault": None,
            "status": None,
            "format": None,
            "model": None,
            "id": None,
            "in_flight": self._in_flight,
            "over": limit is not None and self._in_flight > limit,
        }
        try:
            try:
                payload = read_payload(await read_body(head, reader, writer))
            except BadRequestError:
                row["status"] = 400
                raise
            item = self.id_pattern.search(user_text(payload))
            row["key"], row["model"] = message_key(payload), payload.get("model")
            row["format"] = (payload.get("response_format") or {}).get("type")
            row["id"] = item and item[0]
            rng = random.Random(f"{self.seed}:{row['n']}")
            fault = row["fault"] = self._choose(item, rng)
            reply = None
            if fault in ERRORS:
                key = head.headers.get("authorization", "")
                reply = error_fault(fault, str(row["model"]), key, rng)
            elif reply := self._reject(payload):
                fault = row["fault"] = None
            else:
                reply = self._answer(fault, payload, head.headers.get("authorization", ""))
                await reader.wait(self.delay)
            return await self._send(reply, row, head.keep_alive, reader, writer)
        finally:
            self._in_flight -= 1
            self._rows.append(row)
            if self._log:
                self._log.write(json.dumps(row) + "\n")
                self._log.flush()

    def _choose(self, item: re.Match[str] | None, rng: random.Random) -> str | None:
        """The fault that this request meets, if any; takes one from the script."""
        scripted = self.script.pop(0) if self.script else ""
        for name in (item[0], *item.groups()) if item else ():
            if name in self.fault_for:
                return self.fault_for[name]
        if scripted != "":
            return scripted
        drawn = rng.random()
        for fault, probability in self.faults.items():
            drawn -= probability
            if drawn < 0:
                return fault
        return None

    def _reject(self, payload: dict[str, Any]) -> Reply | None:
        """The error about what this server was told not to support, if the request uses it."""
        for name in self.reject_parameter:
            if name in payload:
                text = f"Unsupported parameter: '{name}' is not supported with this model."
                if name == "max_tokens":
                    text += " Use 'max_completion_tokens' instead."
                return error_reply(400, text, "unsupported_parameter", name)
        kind = (payload.get("response_format") or {}).get("type")
        supported = {"schema": (kind,), "json_object": (None, "text", "json_object")}
        if kind in supported.get(self.supports, (None,)):
            return None
        text = f"'response_format' of type '{kind}' is not supported with this model."
        return error_reply(400, f"Invalid parameter: {text}", None, "response_format")

    def _answer(self, fault: str | None, payload: dict[str, Any], key: str) -> Reply:
        """The reply with status 200, as whole as `fault` leaves it."""
        if fault == "bad_envelope":
            return Reply(200, b'upstream says: {"choices": [')
        if fault == "empty_body":
            return Reply(200, b"")
        if fault == "no_choices":
            return Reply(200, b'{"choices": []}')
        message: Part = {"role": "assistant", "refusal": None, "content": None}
        if fault == "echo_key_content":
            message["content"] = right_answer(payload, self.seed, f"The request said {key}.")
        else:
            made = self.answer(payload) if self.answer else self._made(payload)
            message |= {"content": made} if isinstance(made, str) else made
        choices = make_choices(fault, message, lambda content: other_answer(payload, content))
        return completion_reply(payload, choices)

    def _made(self, payload: dict[str, Any]) -> str:
        responds = self.plain == "response" and "response_format" not in payload
        return (right_response if responds else right_answer)(payload, self.seed)

    async def _send(
        self,
        reply: Reply,
        row: dict[str, Any],
        keep: bool,
        reader: WatchedReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        """Write `reply`, or what its fault leaves of it; returns whether the connection goes on."""
        fault, head, body = row["fault"], reply.head(keep), reply.body
        if fault == "hang":
            await reader.wait(HANG_SECONDS)
        if fault in ("hang", "cut_before"):
            return False
        row["status"] = reply.status
        if fault == "slow_body":
            writer.write(head)
            start = time.monotonic()
            for sent in range(len(body)):
                await reader.wait(start + self.slow * (sent + 1) / len(body) - time.monotonic())
                writer.write(body[sent : sent + 1])
        else:
            left = {"cut_headers": 0, "cut_body": len(body) // 2}.get(fault, len(body))
            writer.write(head + body[:left])
        await writer.drain()
        row["answered"] = reply.completion and fault not in LOSES_CONNECTION
        return keep and fault not in LOSES_CONNECTION


# --- as a process ---------------------------------------------------------------------------------


@dataclass
class RunningServer:
    """A fault server in a process of its own."""

    url: str
    log: Path
    process: subprocess.Popen[str]
    last: list[dict[str, Any]] | None = None

    def calls(self) -> list[dict[str, Any]]:
        """The rows of the log so far, or at the end; every request with a reply is among them."""
        if self.last is not None:
            return self.last
        if self.process.poll() is None:
            # One turn of the server's loop: a row is written just after its reply.
            connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=30)
            with closing(connection):
                connection.request("GET", "/v1/models")
                connection.getresponse().read()
        return [json.loads(line) for line in self.log.read_text("utf-8").splitlines()]


@contextmanager
def running_server(**options: Any) -> Iterator[RunningServer]:
    """FaultServer in a process, with its options but `script` and `answer`; ended at the exit."""
    with tempfile.TemporaryDirectory() as folder:
        options = {"log": Path(folder) / "calls.jsonl", **options}
        command = [sys.executable, __file__]
        for name, value in options.items():
            if name == "faults":
                value = json.dumps(value)
            elif name == "fault_for":
                value = [f"{item}={fault}" for item, fault in value.items()]
            for one in value if isinstance(value, (list, tuple)) else [value]:
                command += [f"--{name.replace('_', '-')}={one}"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        running = None
        try:
            line = process.stdout.readline()
            if not line:
                raise RuntimeError("the fault server did not start; stderr says why")
            running = RunningServer(json.loads(line)["url"], Path(options["log"]), process)
            yield running
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()
            if running:
                running.last = running.calls()


def _rule(text: str) -> tuple[str, str]:
    item, equals, fault = text.rpartition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is no ITEM=FAULT")
    return item, fault


def read_options(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """FaultServer's options, from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, argument_default=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help="0: any free one")
    parser.add_argument("--delay", type=float, help="seconds before a reply with status 200")
    parser.add_argument("--faults", type=json.loads, help='{"rate_limit": 0.05}')
    parser.add_argument("--fault-for", type=_rule, action="append", help="item-17=refusal")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--log", type=Path, help="JSON lines, one a question")
    parser.add_argument("--supports", choices=["schema", "json_object", "text"])
    parser.add_argument("--reject-parameter", action="append", help="such as max_tokens")
    parser.add_argument("--slow", type=float, help="seconds that slow_body takes")
    parser.add_argument("--max-concurrent", type=int, help='more in flight are logged as "over"')
    parser.add_argument("--id-pattern", help="what names a question's item in the user's text")
    parser.add_argument("--plain", choices=["verdict", "response"], help="without a format")
    options = vars(parser.parse_args(arguments))
    return options | {"fault_for": dict(options.get("fault_for", ()))}


async def _run(options: dict[str, Any]) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with FaultServer(**options) as server:
        print(json.dumps({"url": server.url}), flush=True)
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(_run(read_options()))
