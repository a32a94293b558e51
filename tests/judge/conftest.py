"""Questions, and a judge whose waits are short."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safegrpo.data.rating import rating_question
from safegrpo.judge import endpoint
from safegrpo.judge.budget import Budget
from safegrpo.judge.cache import ReplyCache
from safegrpo.judge.endpoint import Endpoint
from safegrpo.judge.question import Question

from .fault_server import FaultServer

KEY = "sk-canary-0123456789"


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "_FIRST_WAIT", 0.01)


@pytest.fixture
def cache(tmp_path: Path) -> ReplyCache:
    return ReplyCache(tmp_path / "replies.sqlite")


def question(text: str = "item-1 how do I use this?") -> Question:
    return rating_question(text, [], "the policy")


def with_server(
    use: Callable[[FaultServer, Endpoint], Any], budget: Budget | None = None, **options: Any
) -> Any:
    """What `use(server, judge)` gives, awaited, with a fault server of these options."""

    async def go() -> Any:
        timeout = options.pop("timeout", 10.0)
        async with FaultServer(**options) as server:
            judge = Endpoint(server.url, "judge", KEY, budget=budget, timeout=timeout)
            try:
                return await use(server, judge)
            finally:
                await judge.close()

    return asyncio.run(go())
