"""Any OpenAI-compatible endpoint as a judge.

What goes wrong on the way is dealt with here. Rate limits, server errors, cut connections and
bodies that never end are tried again; the time that an endpoint asks for is kept, by all calls
where many are told to wait. Structured output falls back from a JSON schema to a JSON object to
plain text; parameters that a model does not take are left out.
"""

from __future__ import annotations

import asyncio
import math
import random
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from safegrpo.errors import ConfigError, MissingDependencyError
from safegrpo.judge.budget import Budget
from safegrpo.judge.completion import FORMATS, reply_in, request_body
from safegrpo.judge.question import CallError, JudgeError, Question, Reply, WireError

if TYPE_CHECKING:
    from safegrpo.judge.wire import Wire

LONGEST_WAIT = 120.0
"""Seconds that one wait may take, whatever an endpoint asks for."""

_TRIES = 8
_DEAD_AFTER = 20  # calls in a row that were tried in vain, after which the endpoint counts as gone
_UNREACHABLE_TRIES = 5  # of an endpoint that has never answered: most likely a wrong address
_RATE_LIMITED_TRIES = 40  # being told to wait is no failure; but an end there must be
# Share of calls told to wait above which all calls wait: below it each waits for itself.
_MANY_LIMITED = 0.25
_FIRST_WAIT, _LONGEST_BACKOFF = 0.5, 30.0


@dataclass(frozen=True)
class Sampling:
    """How the judge samples; `max_tokens` bounds one reply, thinking included."""

    temperature: float = 0.0
    max_tokens: int = 2048


class Endpoint:
    """A model behind an endpoint's chat completions.

    `key` is the secret itself (None: none is sent). `concurrency` bounds the requests under way,
    `timeout` the seconds of one, its body included. `alias` stands for the URL in the endpoint's
    identity, for one that moves. Raises ConfigError for a URL that is none,
    MissingDependencyError without the openai package.
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
        alias: str | None = None,
    ) -> None:
        self._wire = _wire(url, key, timeout)
        self.name = model
        self.budget = budget or Budget()
        self.trouble = ""
        self._sampling = sampling or Sampling()
        self._url, self._alias = url.rstrip("/"), alias
        self._slots = asyncio.Semaphore(concurrency)
        self._open_from = 0.0  # monotonic seconds before which nothing is sent
        self._limited = 0.0  # running share of calls that were told to wait
        self._format = FORMATS[0]
        self._taken: set[str] = set()  # formats and parameters that an answer has come back to
        self._refused: set[str] = set()  # parameters that the model does not take
        self._answered = False
        self._denied = self._in_vain = 0  # in a row
        self._halted = asyncio.Event()
        self._rng = random.Random()

    @property
    def identity(self) -> Mapping[str, Any]:
        """URL or alias, model and sampling."""
        return {"url": self._alias or self._url, "model": self.name, **vars(self._sampling)}

    @property
    def adapted(self) -> Mapping[str, Any]:
        """What the endpoint made of the requests: their format, and what was left out."""
        return {"format": self._format, "left_out": sorted(self._refused)}

    async def close(self) -> None:
        """Close the connections."""
        await self._wire.close()

    def halt(self) -> None:
        """Send nothing more; see `Judge.halt`."""
        self._halted.set()

    async def ask(self, question: Question, again: int = 0, room: int = 1, vote: int = 0) -> Reply:
        """One reply, after as many tries as it takes; see `Judge.ask`."""
        failures = limited = 0
        form = self._format if question.schema else FORMATS[-1]
        while True:
            if question.schema:
                # Another call may have found meanwhile what the endpoint takes.
                form = max(form, self._format, key=FORMATS.index)
            try:
                return await self._once(question, again, room, form)
            except _Transient as trouble:
                self.trouble = str(trouble)
                self._note_limit(trouble.rate_limit)
                failures += 0 if trouble.rate_limit else trouble.weight
                limited += trouble.rate_limit
                if trouble.unreachable and not self._answered and failures >= _UNREACHABLE_TRIES:
                    raise JudgeError(f"nobody answers at {self._url} ({trouble})") from None
                if failures >= _TRIES or limited >= _RATE_LIMITED_TRIES:
                    self._give_up(trouble)
                await self._wait(trouble, failures + limited)
            except _NotTaken as refused:
                form = refused.instead

    def _give_up(self, trouble: _Transient) -> None:
        self._in_vain += 1
        if self._in_vain >= _DEAD_AFTER:
            raise JudgeError(
                f"{self._in_vain} calls in a row were tried in vain, the last with: {trouble}"
            ) from None
        raise CallError(f"{trouble} (tried again in vain)") from None

    async def _once(self, question: Question, again: int, room: int, form: str) -> Reply:
        async with self._slots:
            while (wait := self._open_from - time.monotonic()) > 0 and not self._halted.is_set():
                # All are let through within a moment, not at one and the same.
                await self._pause(wait + self._rng.uniform(0, 0.05))
            if self._halted.is_set():
                raise CallError("not asked: interrupted")
            body = self._body(question, again, room, form)
            aside = await self.budget.start(question, self._bound(question, room))
            reply: Reply | None = None
            charged = False
            try:
                reply = self._reply(await self._wire.post(body), question, form)
            except WireError as error:
                charged = error.sent
                reply = self._failed(error, body, form)
            except _Transient:
                charged = True
                raise
            finally:
                self.budget.finish(aside, question, reply, charged)
            self._note_success(question, body, reply)
            return reply

    def _note_success(self, question: Question, body: Mapping[str, Any], reply: Reply) -> None:
        self._answered, self._denied, self._in_vain, self.trouble = True, 0, 0, ""
        self._note_limit(False)
        if reply.refusal is None:
            self._taken |= {*body, reply.format}
            if question.schema and self._format not in self._taken:
                self._format = reply.format

    async def _wait(self, trouble: _Transient, failures: int) -> None:
        backoff = min(_FIRST_WAIT * 2 ** min(failures - 1, 10), _LONGEST_BACKOFF)
        # Endpoints say 0, and clocks differ: what they ask for is the least, not the most.
        wait = max(trouble.retry_after or 0.0, backoff * self._rng.uniform(0.5, 1.0))
        wait = min(wait, LONGEST_WAIT)
        if trouble.rate_limit and self._limited > _MANY_LIMITED:
            self._open_from = max(self._open_from, time.monotonic() + wait)
        else:
            await self._pause(wait)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._halted.wait(), seconds)

    def _note_limit(self, limited: bool) -> None:
        self._limited += 0.1 * (limited - self._limited)

    def _body(self, question: Question, again: int, room: int, form: str) -> dict[str, Any]:
        sampling = self._sampling
        limit = "max_completion_tokens" if "max_tokens" in self._refused else "max_tokens"
        options: dict[str, Any] = {"model": self.name, limit: self._bound(question, room)}
        if "temperature" not in self._refused:
            # The same question at temperature 0 would only get the same reply again.
            options["temperature"] = max(sampling.temperature, 0.5 if again else 0.0)
        return {**options, **request_body(question, form)}

    def _bound(self, question: Question, room: int) -> int:
        return (question.max_tokens or self._sampling.max_tokens) * room

    def _reply(self, answer: object, question: Question, form: str) -> Reply:
        reply = reply_in(answer, form, self._wire.secret.blot, whole=not question.schema)
        if reply is None:
            said = f"an answer that is no chat completion: {self._wire.said(answer)}"
            raise _Transient(said, weight=3)  # it may well have been charged
        return reply

    def _failed(self, error: WireError, body: Mapping[str, Any], form: str) -> Reply:
        """What a failed call amounts to: a refusal, if the endpoint says so; else it raises."""
        status, code, said = error.status, error.detail.get("code"), str(error)
        if status is None:
            weight = 3 if error.sent else 1
            raise _Transient(said, unreachable=error.unreachable, weight=weight) from None
        if status == 429 and code == "insufficient_quota":
            raise JudgeError(f"{self.name}: {said}") from None
        if status == 429:
            raise _Transient(said, error.retry_after, rate_limit=True) from None
        if (status >= 500 and status != 501) or status in (408, 409, 425):
            raise _Transient(said, error.retry_after) from None
        moderated = status == 403 and _MODERATION.search(said)
        if moderated or code in ("content_filter", "content_policy_violation"):
            return Reply(None, refusal=said, finish="content_filter", format=form)
        if status in (400, 422, 501):
            self._give_way(error, body, form)
        self._denied += 1
        if self._denied >= self._patience(status):
            hint = "" if self._url.endswith("/v1") else "; most endpoints end in /v1"
            raise JudgeError(f"{self.name} at {self._url}: {said}{hint}") from None
        raise CallError(said) from None

    def _patience(self, status: int) -> float:
        """How many refusals of the endpoint in a row, the last with `status`, end the run."""
        if status == 402:  # the balance is spent
            return 1
        if self._answered:  # it may be that these questions only are forbidden or too large
            return _DEAD_AFTER if status in (401, 403, 404) else math.inf
        return {401: 1, 404: 1, 403: 3}.get(status, _DEAD_AFTER)

    def _give_way(self, error: WireError, body: Mapping[str, Any], form: str) -> None:
        """Raises _NotTaken if there is something that the next request can do without."""
        said = str(error)
        for name in ("max_tokens", "temperature"):
            named = error.detail.get("param") == name
            spoken = re.search(
                rf"(unsupported|unknown|not support)[^.]{{0,40}}\b{name}\b", said, re.I
            )
            # What it has taken before is not at fault, whatever its message quotes.
            if name in body and name not in self._taken and (named or spoken):
                self._refused.add(name)
                raise _NotTaken(form) from None
        if form != FORMATS[-1] and form not in self._taken:
            raise _NotTaken(FORMATS[FORMATS.index(form) + 1]) from None


async def served_model(url: str, key: str | None, timeout: float) -> str:
    """The name of the one model that an endpoint serves; ConfigError if that cannot be said."""
    wire = _wire(url, key, timeout)
    try:
        names = await wire.models()
    except WireError as error:
        raise ConfigError(f"{url} does not say what it serves ({error}); pass --model") from None
    finally:
        await wire.close()
    if len(names) != 1:
        shown = ", ".join(names[:5]) or "none"
        raise ConfigError(f"{url} serves {len(names)} models ({shown}); pass one as --model")
    return names[0]


def _wire(url: str, key: str | None, timeout: float) -> Wire:
    try:
        from safegrpo.judge.wire import Wire
    except ImportError as error:
        raise MissingDependencyError(
            "asking an endpoint needs openai: pip install 'safegrpo[judge]'"
        ) from error
    return Wire(url, key, timeout)


_MODERATION = re.compile(r"moderat|flagged|content policy|safety", re.IGNORECASE)


class _Transient(Exception):
    """Worth another try, after `retry_after` seconds at least; `weight` is how much it counts."""

    def __init__(
        self,
        message: str,
        retry_after: float | None = None,
        rate_limit: bool = False,
        unreachable: bool = False,
        weight: int = 1,
    ) -> None:
        super().__init__(message)
        self.retry_after, self.rate_limit = retry_after, rate_limit
        self.unreachable, self.weight = unreachable, weight


class _NotTaken(Exception):
    """The endpoint does not take something of the request; `instead` is the format of the next."""

    def __init__(self, instead: str) -> None:
        super().__init__(instead)
        self.instead = instead
