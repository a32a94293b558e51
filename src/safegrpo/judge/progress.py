"""How far it is, how fast, at what cost, and how long it will take: one line on standard error."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence

from safegrpo.judge.budget import Budget
from safegrpo.judge.question import Judge
from safegrpo.terminal import printable

_EVERY_SECONDS = {True: 0.2, False: 15.0}  # on a terminal, where the line is drawn anew; in a log


class Progress:
    """The way through `total` items."""

    def __init__(
        self,
        total: int,
        budget: Budget,
        judges: Sequence[Judge] = (),
    ) -> None:
        self._judges = judges
        self._total, self._done, self._before = total, 0, 0
        self._budget, self._stream = budget, sys.stderr
        self._live = self._stream.isatty()
        self._start = self._shown = time.monotonic()
        self._counts: dict[str, int] = {}

    def expect(self, total: int) -> None:
        """There are `total` items after all."""
        self._total = total

    def add(self, status: str, before: bool = False) -> None:
        """One more item has ended, with `status`; if `before` this run, it tells no speed."""
        self._done += 1
        self._before += before
        self._counts[status] = self._counts.get(status, 0) + 1
        self._show_if_due()

    async def tick(self) -> None:
        """Show it now and then even if nothing ends, until cancelled."""
        while True:
            await asyncio.sleep(1)
            self._show_if_due()

    def _show_if_due(self) -> None:
        now = time.monotonic()
        if now - self._shown >= _EVERY_SECONDS[self._live]:
            self._shown = now
            self._show(self.line(), "\r" if self._live else "\n")

    def close(self) -> None:
        """Show where it ended."""
        self._show(self.line(), "\n")

    def line(self) -> str:
        """What is shown, such as `120/2000 scored 118 error 2 · 9.8/s · 1.20 · 3 min 12 s left`."""
        seconds = max(time.monotonic() - self._start, 1e-9)
        rate = (self._done - self._before) / seconds
        parts = [f"{self._done}/{self._total}"]
        parts += [f"{status} {count}" for status, count in sorted(self._counts.items())]
        line = " ".join(parts) + f" · {rate:.1f}/s · {self._budget.answered} calls answered"
        if self._budget.cost is not None:
            line += f" · cost {self._budget.cost:.4g}"
        if rate > 0 and self._done < self._total:
            line += f" · {_span((self._total - self._done) / rate)} left"
        for judge in self._judges:
            if judge.trouble:
                line += f" · waiting: {printable(judge.trouble)[:100]}"
        return line

    def _show(self, line: str, end: str) -> None:
        clear = "\x1b[K" if self._live else ""
        print(f"{line}{clear}", end=end, file=self._stream, flush=True)


def _span(seconds: float) -> str:
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {left} s"
