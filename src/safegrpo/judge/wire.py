"""The way to an endpoint: one request, one decoded body, or one error that is safe to show.

The openai package does the talking; nothing beyond this module sees its errors, the key, or a body
of unbounded size. What it would pick up from the environment for OpenAI itself (headers, projects)
is kept from reaching others; proxies named in the environment are used, as everywhere.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2
import openai

from safegrpo import __version__
from safegrpo.errors import ConfigError
from safegrpo.judge.question import WireError
from safegrpo.judge.secret import Secret

LARGEST_BODY = 4 * 2**20
"""Bytes of a reply as it comes over the wire; one of text has some kilobytes."""

_LARGEST_PACKED = 256 * 2**10  # of one that is compressed, and may unpack to a thousand times that
_CONNECT_SECONDS = 15.0
_SAID = 300  # characters of an endpoint's message that are passed on


class Wire:
    """Connections to one endpoint. Raises ConfigError for a URL that is none."""

    def __init__(self, url: str, key: str | None, timeout: float) -> None:
        self._timeout = timeout
        self.secret = Secret(key)
        self._options: Any = {"follow_redirects": False}
        if key is None:
            self._options["headers"] = {"Authorization": openai.Omit()}
        try:
            with _without("OPENAI_"):
                self._client = openai.AsyncOpenAI(
                    base_url=url,
                    api_key=key or "none",
                    max_retries=0,  # they are the caller's, who counts them
                    timeout=openai.Timeout(timeout, connect=min(timeout, _CONNECT_SECONDS)),
                    default_headers={"User-Agent": f"safegrpo/{__version__}"},
                    http_client=openai.DefaultAsyncHttpxClient(event_hooks={"response": [_bound]}),
                )
        except Exception as error:  # what the client thinks of a URL is of several kinds
            raise ConfigError(f"the endpoint {url!r:.200} cannot be used: {error}") from error

    async def post(self, body: Mapping[str, Any]) -> object:
        """The decoded body that comes for a chat completion request. Raises WireError."""
        try:
            # The client's own timeout starts again with every byte.
            async with asyncio.timeout(self._timeout):
                answer = await self._client.post(
                    "/chat/completions", body=body, cast_to=object, options=self._options
                )
            # A body that does not call itself JSON comes as text.
            return json.loads(answer) if isinstance(answer, str) else answer
        except TimeoutError:
            raise WireError(f"no answer within {self._timeout:g} s", sent=True) from None
        except (ValueError, RecursionError) as error:
            raise WireError(
                f"an answer that cannot be read: {self.said(error)}", sent=True
            ) from None
        except openai.APIStatusError as error:
            raise self._status_error(error) from None
        except openai.OpenAIError as error:
            cause = error.__cause__ or error
            kind = type(cause).__name__
            message = f"no answer: {kind}: {self.said(cause)}"
            raise WireError(
                message, unreachable=kind in ("ConnectError", "ConnectTimeout")
            ) from None

    async def models(self) -> list[str]:
        """The names that the endpoint gives its models. Raises WireError."""
        try:
            async with asyncio.timeout(self._timeout):
                answer = await self._client.get("/models", cast_to=object, options=self._options)
            listed = answer["data"] if isinstance(answer, Mapping) else []
            return [str(one["id"]) for one in listed]
        except openai.APIStatusError as error:
            raise self._status_error(error) from None
        except (TimeoutError, openai.OpenAIError, LookupError, TypeError, ValueError) as error:
            raise WireError(f"no list of models: {self.said(error)}") from None

    def _status_error(self, error: Any) -> WireError:
        # Nothing is raised from the client's error, whose text may hold an echo of the key.
        detail = error.body if isinstance(error.body, Mapping) else {}
        said = self.said(detail.get("message") or error.body or error)
        known = {k: self.said(detail[k]) for k in ("code", "param", "type") if detail.get(k)}
        retry = _retry_after(error.response.headers.get("retry-after"))
        return WireError(f"HTTP {error.status_code}: {said}", error.status_code, known, retry)

    def said(self, value: object) -> str:
        """A foreign text on one line, short, and without the key."""
        return self.secret.blot(" ".join(str(value).split()))[:_SAID]

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()


@contextmanager
def _without(prefix: str) -> Iterator[None]:
    """The environment without the variables of that prefix."""
    hidden = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith(prefix)}
    try:
        yield
    finally:
        os.environ.update(hidden)


async def _bound(response: Any) -> None:
    """See to it that a body which is read after this has an end."""
    packed = response.headers.get("content-encoding", "identity").lower() != "identity"
    response.stream = _Bounded(response.stream, _LARGEST_PACKED if packed else LARGEST_BODY)


class _Bounded(httpx2.AsyncByteStream):
    def __init__(self, stream: Any, limit: int) -> None:
        self._stream, self._limit = stream, limit

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._stream:
            size += len(chunk)
            if size > self._limit:
                raise ValueError(f"its body is larger than {self._limit >> 10} KiB")
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


def _retry_after(value: str | None) -> float | None:
    """Seconds, of a header that holds them or a date."""
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
