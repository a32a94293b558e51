"""Any OpenAI-compatible endpoint as a judge, through the openai package.

What goes wrong on the way is dealt with here. Rate limits, server errors, cut connections and
bodies that never end are tried again; the time that an endpoint asks for is kept, by all calls
where many are told to wait. Structured output falls back from a JSON schema to a JSON object to
plain text; parameters that a model does not take are left out. The key leaves in one header; in
whatever an endpoint sends back it is blotted out before anything else sees it.
"""

from __future__ import annotations

import asyncio
import base64
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from safegrpo import __version__
from safegrpo.errors import MissingDependencyError
from safegrpo.judge.budget import Budget
from safegrpo.judge.question import CallError, JudgeError, Picture, Question, Reply

FORMATS = ("json_schema", "json_object", "text")
LONGEST_WAIT = 120.0
"""Seconds that one wait may take, whatever an endpoint asks for."""

_TRIES = 8
_UNREACHABLE_TRIES = 5  # of an endpoint that has never answered: most likely a wrong address
_RATE_LIMITED_TRIES = 40  # being told to wait is no failure; but an end there must be
# Share of calls told to wait above which all calls wait: below it each waits for itself.
_MANY_LIMITED = 0.25
_FIRST_WAIT, _LONGEST_BACKOFF = 0.5, 30.0
_SAID = 300  # characters of an endpoint's message that are passed on


@dataclass(frozen=True)
class Sampling:
    """How the judge samples; `max_tokens` bounds one reply, thinking included."""

    temperature: float = 0.0
    max_tokens: int = 2048


class Endpoint:
    """A model behind an endpoint's chat completions.

    `key` is the secret itself (None: none is sent, for servers of one's own). `concurrency` bounds
    the requests under way, `timeout` the seconds of one, its body included.
    """

    def __init__(
        self,
        url: str,
        model: str,
        key: str | None = None,
        sampling: Sampling | None = None,
        budget: Budget | None = None,
        concurrency: int = 16,
        timeout: float = 120.0,
    ) -> None:
        try:
            import openai
        except ImportError as error:
            raise MissingDependencyError(
                "asking an endpoint needs openai: pip install 'safegrpo[judge]'"
            ) from error
        self.name = model
        self.budget = budget or Budget()
        self._sampling = sampling or Sampling()
        self._openai, self._url, self._key, self._timeout = openai, url, key, timeout
        # Retries are ours, for the client's own would be neither counted nor held back together.
        # What it would pick up from the environment for OpenAI itself must not reach others.
        omitted: Any = {"OpenAI-Organization": openai.Omit(), "OpenAI-Project": openai.Omit()}
        self._client = openai.AsyncOpenAI(
            base_url=url,
            api_key=key or "none",
            max_retries=0,
            timeout=timeout,
            default_headers={"User-Agent": f"safegrpo/{__version__}", **omitted},
        )
        self._slots = asyncio.Semaphore(concurrency)
        self._open_from = 0.0  # monotonic seconds before which nothing is sent
        self._limited = 0.0  # running share of calls that were told to wait
        self._format = FORMATS[0]
        self._worked: set[str] = set()  # formats that an answer has come back in
        self._refused: set[str] = set()  # parameters that the model does not take
        self._answered = False
        self._rng = random.Random()

    @property
    def identity(self) -> Mapping[str, Any]:
        """URL, model and sampling."""
        return {"url": self._url.rstrip("/"), "model": self.name, **vars(self._sampling)}

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def ask(self, question: Question, again: int = 0, room: int = 1) -> Reply:
        """One reply, after as many tries as it takes; see `Judge.ask`."""
        failures = limited = 0
        form = self._format
        while True:
            # Another call may have found meanwhile what the endpoint takes.
            form = max(form, self._format, key=FORMATS.index)
            try:
                return await self._once(question, again, room, form)
            except _Transient as trouble:
                self._note_limit(trouble.rate_limit)
                failures += not trouble.rate_limit
                limited += trouble.rate_limit
                if trouble.unreachable and not self._answered and failures >= _UNREACHABLE_TRIES:
                    raise JudgeError(f"nobody answers at {self._url} ({trouble})") from None
                if failures >= _TRIES or limited >= _RATE_LIMITED_TRIES:
                    raise CallError(f"{trouble} ({failures + limited} tries)") from None
                await self._wait(trouble, failures + limited)
            except _NotTaken as refused:
                form = refused.instead

    async def _once(self, question: Question, again: int, room: int, form: str) -> Reply:
        async with self._slots:
            while (wait := self._open_from - time.monotonic()) > 0:
                # All are let through within a moment, not at one and the same.
                await asyncio.sleep(wait + self._rng.uniform(0, 0.05))
            body = self._body(question, again, room, form)
            aside = self.budget.start(question, self._sampling.max_tokens * room)
            reply: Reply | None = None
            try:
                # The client's own timeout starts again with every byte.
                async with asyncio.timeout(self._timeout):
                    answer = await self._client.post(
                        "/chat/completions",
                        body=body,
                        cast_to=object,
                        options={"follow_redirects": False},
                    )
                reply = self._reply(answer, form)
            except TimeoutError:
                raise _Transient(f"no answer within {self._timeout:g} s") from None
            except (self._openai.OpenAIError, ValueError) as error:
                reply = self._failed(error, body, form)
            finally:
                self.budget.finish(aside, question, reply)
            self._answered = True
            self._note_limit(False)
            if reply.refusal is None:
                self._worked.add(form)
                if self._format not in self._worked:
                    self._format = form
            return reply

    async def _wait(self, trouble: _Transient, failures: int) -> None:
        wait = trouble.retry_after
        if wait is None:
            backoff = min(_FIRST_WAIT * 2 ** min(failures - 1, 10), _LONGEST_BACKOFF)
            wait = backoff * self._rng.uniform(0.5, 1.0)
        wait = min(wait, LONGEST_WAIT)
        if trouble.rate_limit and self._limited > _MANY_LIMITED:
            self._open_from = max(self._open_from, time.monotonic() + wait)
        else:
            await asyncio.sleep(wait)

    def _note_limit(self, limited: bool) -> None:
        self._limited += 0.1 * (limited - self._limited)

    def _body(self, question: Question, again: int, room: int, form: str) -> dict[str, Any]:
        sampling = self._sampling
        limit = "max_completion_tokens" if "max_tokens" in self._refused else "max_tokens"
        body: dict[str, Any] = {
            "model": self.name,
            "messages": [
                {"role": "system", "content": question.system},
                {"role": "user", "content": [_content(part) for part in question.parts]},
            ],
            limit: sampling.max_tokens * room,
        }
        if "temperature" not in self._refused:
            # The same question at temperature 0 would only get the same reply again.
            body["temperature"] = max(sampling.temperature, 0.5 if again else 0.0)
        if form == "json_schema":
            schema = {"name": "verdict", "strict": True, "schema": question.schema}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        elif form == "json_object":
            body["response_format"] = {"type": "json_object"}
        return body

    def _reply(self, answer: object, form: str) -> Reply:
        """The reply in a body that came with status 200."""
        choice = _first_choice(answer)
        if choice is None or not isinstance(answer, Mapping):
            raise _Transient(f"an answer that is no chat completion: {self._said(answer)}")
        message = choice.get("message")
        message = message if isinstance(message, Mapping) else {}
        usage = answer.get("usage")
        usage = usage if isinstance(usage, Mapping) else {}
        return Reply(
            text=self._text(message.get("content")),
            refusal=self._text(message.get("refusal")),
            finish=self._text(choice.get("finish_reason")),
            prompt_tokens=_count(usage.get("prompt_tokens")),
            completion_tokens=_count(usage.get("completion_tokens")),
            format=form,
        )

    def _failed(self, error: Exception, body: Mapping[str, Any], form: str) -> Reply:
        """What a failed call amounts to: a refusal, if the endpoint says so; else it raises.

        Nothing is raised `from` the client's error, whose text may hold an echo of the key.
        """
        status = getattr(error, "status_code", None)
        detail = getattr(error, "body", None)
        said = self._said(detail if detail else error)
        if status is None:
            cause = type(error.__cause__ or error).__name__
            unreachable = cause == "ConnectError"
            raise _Transient(f"no answer: {cause}: {said}", unreachable=unreachable) from None
        said = f"HTTP {status}: {said}"
        if status == 429:
            if isinstance(detail, Mapping) and detail.get("code") == "insufficient_quota":
                raise JudgeError(f"{self.name}: {said}") from None
            raise _Transient(said, _retry_after(error), rate_limit=True) from None
        if (status >= 500 and status != 501) or status in (408, 409, 425):
            raise _Transient(said, _retry_after(error)) from None
        if status in (401, 403, 404) and not self._answered:
            raise JudgeError(f"{self.name} at {self._url}: {said}") from None
        code = detail.get("code") if isinstance(detail, Mapping) else None
        if code in ("content_filter", "content_policy_violation"):
            return Reply(text=None, refusal=said, finish="content_filter", format=form)
        if status in (400, 422, 501):
            self._give_way(said, body, form)
        raise CallError(said) from None

    def _give_way(self, said: str, body: Mapping[str, Any], form: str) -> None:
        """Raises _NotTaken if there is something that the next request can do without."""
        for name in ("max_tokens", "temperature"):
            if name in body and name in said:
                self._refused.add(name)
                raise _NotTaken(form) from None
        about_format = any(word in said.lower() for word in ("response_format", "schema"))
        # A format that has worked is not at fault, unless it is named: the question is.
        if form != FORMATS[-1] and (about_format or form not in self._worked):
            raise _NotTaken(FORMATS[FORMATS.index(form) + 1]) from None

    def _text(self, value: object) -> str | None:
        if isinstance(value, list):  # content in parts, as some servers give it
            texts = [part.get("text") for part in value if isinstance(part, Mapping)]
            value = "".join(text for text in texts if isinstance(text, str))
        return self._blotted(value) if isinstance(value, str) and value else None

    def _said(self, value: object) -> str:
        if isinstance(value, Mapping):
            value = value.get("message") or value
        return " ".join(self._blotted(str(value)).split())[:_SAID]

    def _blotted(self, text: str) -> str:
        # A short key is a stand-in such as EMPTY, and may be a word of any reply.
        secret = self._key if self._key and len(self._key) >= 8 else None
        return text.replace(secret, "[key]") if secret else text


class _Transient(Exception):
    """Worth another try, after `retry_after` seconds if the endpoint named them."""

    def __init__(
        self,
        message: str,
        retry_after: float | None = None,
        rate_limit: bool = False,
        unreachable: bool = False,
    ) -> None:
        super().__init__(message)
        self.retry_after, self.rate_limit = retry_after, rate_limit
        self.unreachable = unreachable


class _NotTaken(Exception):
    """The endpoint does not take something of the request; `instead` is the format of the next."""

    def __init__(self, instead: str) -> None:
        super().__init__(instead)
        self.instead = instead


def _content(part: str | Picture) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    url = f"data:{part.mime};base64,{base64.b64encode(part.data).decode('ascii')}"
    return {"type": "image_url", "image_url": {"url": url}}


def _first_choice(answer: object) -> Mapping[str, Any] | None:
    """The choice with index 0; servers need not keep to the order."""
    choices = answer.get("choices") if isinstance(answer, Mapping) else None
    listed = choices if isinstance(choices, list) else []
    found = [one for one in listed if isinstance(one, Mapping)]
    return min(found, key=lambda one: _count(one.get("index")) or 0, default=None)


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _retry_after(error: Exception) -> float | None:
    """Seconds that the endpoint asks to wait, from its Retry-After (seconds or a date)."""
    headers = getattr(getattr(error, "response", None), "headers", {})
    value = headers.get("retry-after")
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return max(0.0, seconds) if seconds == seconds else None
