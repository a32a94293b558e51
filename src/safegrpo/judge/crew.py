"""Many at work on one stream: as many as calls may be under way, none lost when it is stopped."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from safegrpo.judge.progress import Progress
from safegrpo.judge.question import BudgetSpentError, Judge, JudgeError
from safegrpo.terminal import printable

T = TypeVar("T")

INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class Outcome:
    """How a run ended: items by status, why it stopped early (empty if it did not), and whether
    that was the doing of who was asked."""

    statuses: Mapping[str, int]
    stopped: str = ""
    broken: bool = False

    @property
    def interrupted(self) -> bool:
        return self.stopped == INTERRUPTED


class Crew:
    """Workers over a stream of items.

    `stopped` says why they ask for nothing more (empty: they do), `broken` whether that is the
    doing of somebody who is asked. `problems` counts what is told at the end.
    """

    def __init__(self, asked: Sequence[Judge], progress: Progress) -> None:
        self._asked, self._progress = asked, progress
        self.stopped = ""
        self.broken = False
        self.problems: Counter[str] = Counter()
        self._failure: BaseException | None = None

    @property
    def interrupted(self) -> bool:
        return self.stopped == INTERRUPTED

    def stop(self, error: BudgetSpentError | JudgeError) -> None:
        """Ask for nothing more, because of `error`."""
        if isinstance(error, JudgeError):
            self.broken = self.broken or not self.stopped
        self.stopped = self.stopped or str(error)

    async def over(
        self, items: Iterator[T], workers: int, work: Callable[[T], Awaitable[None]]
    ) -> None:
        """Do `work` for each item; whatever goes wrong, work under way is waited for.

        An interrupt (or SIGTERM) ends it once the calls under way are answered, a second one at
        once. What `work` raises is raised at the end.
        """
        loop = asyncio.get_running_loop()
        # Not in every thread, nor on every system.
        with suppress(NotImplementedError, RuntimeError, ValueError):
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, self._interrupt, loop)
        ticking = asyncio.create_task(self._progress.tick())
        try:
            await asyncio.gather(*(self._worker(items, work) for _ in range(workers)))
        finally:
            ticking.cancel()
            self._restore(loop)
        self._progress.close()
        for problem, count in self.problems.most_common(3):
            print(f"{count} times {printable(problem)}", file=sys.stderr)
        if self._failure is not None:
            raise self._failure

    async def _worker(self, items: Iterator[T], work: Callable[[T], Awaitable[None]]) -> None:
        while self._failure is None and not self.interrupted:
            try:
                item = next(items, None)
                if item is None:
                    return
                await work(item)
            except Exception as error:
                self._failure = self._failure or error

    def _interrupt(self, loop: asyncio.AbstractEventLoop) -> None:
        self.stopped = self.stopped or INTERRUPTED
        for one in self._asked:
            one.halt()
        said = "stopping when the calls under way are answered; interrupt again to stop now"
        print(f"\n{said}", file=sys.stderr)
        self._restore(loop)

    def _restore(self, loop: asyncio.AbstractEventLoop) -> None:
        with suppress(NotImplementedError, RuntimeError, ValueError):
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)
