"""What a person sees while a run trains: a progress line, sampled completions, warnings.

All of it goes to standard error. Whatever a model wrote is shown as plain text: no markup of
rich's is read in it, and control characters (which could drive a terminal) are escaped.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text
from transformers import TrainerCallback

from safegrpo.terminal import printable
from safegrpo.training.config import WarningConfig
from safegrpo.training.link import LINK

SHOWN_CHARACTERS = 600
PLAIN_EVERY_SECONDS = 10.0


def plain(text: str, limit: int = SHOWN_CHARACTERS) -> Text:
    """Foreign text for a terminal: cut to `limit`, control characters escaped, no markup."""
    return Text(printable(text if len(text) <= limit else text[:limit] + " …"))


def stderr_console() -> Console:
    return Console(stderr=True, highlight=False)


class Display:
    """How far something is: live on a terminal, else a line every ten seconds and at the end."""

    def __init__(self, console: Console, title: str, unit: str, total: int, done: int = 0) -> None:
        self._console, self._title, self._unit = console, title, unit
        self._total, self._first = total, done
        self._began, self._said = time.perf_counter(), 0.0
        self._live: Progress | None = None
        if console.is_terminal:
            self._live = Progress(
                TextColumn(title),
                BarColumn(bar_width=20),
                MofNCompleteColumn(),
                TimeRemainingColumn(compact=True),
                TextColumn("{task.fields[said]}"),
                console=console,
            )
            self._live.start()
            self._task = self._live.add_task("", total=total, completed=done, said="")

    def show(self, done: int, *said: str) -> None:
        """`done` of the total, and what else there is to say of it."""
        now = time.perf_counter()
        rate = (now - self._began) / max(done - self._first, 1)
        text = "  ".join([f"{rate:.2f} s/{self._unit}", *said])
        if self._live is not None:
            self._live.update(self._task, completed=done, said=text)
        elif done == self._total or now - self._said >= PLAIN_EVERY_SECONDS:
            self._said = now
            left = int(rate * (self._total - done))
            time_left = f"{left // 3600}:{left // 60 % 60:02d}:{left % 60:02d} left"
            place = f"{self._title}: {self._unit} {done}/{self._total}"
            self._console.print(f"{place}  {time_left}  {text}", soft_wrap=True)

    def stop(self) -> None:
        """End the live display."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def __enter__(self) -> Display:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class ProgressLine(TrainerCallback):
    """Rate, time left, and what is logged of reward, format and refusals, or else of the loss."""

    def __init__(self, console: Console, title: str) -> None:
        self._console, self._title = console, title
        self._display: Display | None = None
        self._numbers: dict[str, float] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.is_world_process_zero:
            begun = state.global_step
            self._display = Display(self._console, self._title, "step", state.max_steps, begun)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if self._display is None or "train_runtime" in (logs or {}):
            return
        self._numbers |= {k: v for k, v in (logs or {}).items() if isinstance(v, int | float)}
        names = {"reward": "reward", "format_rate": "format", "refusal_rate": "refusals"}
        found = {say: self._numbers[key] for key, say in names.items() if key in self._numbers}
        if not found and "loss" in self._numbers:
            found = {"loss": self._numbers["loss"]}
        self._display.show(state.global_step, *(f"{say} {n:.2f}" for say, n in found.items()))

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.stop()

    def stop(self) -> None:
        """End the display, also after an error."""
        if self._display is not None:
            self._display.stop()


def sample_table(rows: Sequence[Mapping[str, Any]], step: int, count: int = 4) -> Table:
    """A table of completions from best to worst reward, with the parts of each."""
    table = Table(title=f"completions of step {step}", show_lines=True)
    for heading in ("id", "completion", "reward", "format", "tag", "behavior", "advantage"):
        table.add_column(heading, overflow="fold")
    ordered = sorted(rows, key=lambda row: row["reward"], reverse=True)
    chosen = ordered
    if len(ordered) > count:
        # The best, the worst, and evenly between: the extremes say most about a reward.
        places = [round(i * (len(ordered) - 1) / max(1, count - 1)) for i in range(count)]
        chosen = [ordered[place] for place in places]
    for row in chosen:
        label = f"{row['behavior_score']:.2f} {row['behavior_label']}"
        tag = "-" if row["tag_score"] is None else f"{row['tag_score']:.2f}"
        faults = f"{row['format']} {row['faults']}".strip()
        table.add_row(
            plain(row["id"], 40),
            plain(row["response"]),
            f"{row['reward']:.2f}",
            plain(faults, 80),
            tag,
            label,
            f"{row['advantage']:+.2f}",
        )
    return table


class SampleTable(TrainerCallback):
    """Shows sampled completions every `every` steps; `rows()` gives the newest ones."""

    def __init__(
        self, console: Console, every: int, rows: Callable[[], Sequence[Mapping[str, Any]]]
    ) -> None:
        self._console = console
        self._every = every
        self._rows = rows

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        rows = self._rows()
        if rows and state.is_world_process_zero and state.global_step % self._every == 0:
            self._console.print(sample_table(rows, state.global_step))


LINK_STEPS = 10  # over which a mean is held against LINK
_BEHIND = ("refusal_rate/tagged_unsafe", "refusal_rate/tagged_safe")


class RunWarnings(TrainerCallback):
    """Says once when a run goes wrong in a known way, and again only after it had got better.

    `heeds`: also where answers do not heed the tags, for runs that could have it mended.
    """

    def __init__(self, console: Console, config: WarningConfig, heeds: bool = True) -> None:
        self._console = console
        self._config = config
        self._heeds = heeds
        self._zero_steps = 0
        self._behind: deque[tuple[float, float]] = deque(maxlen=LINK_STEPS)
        self._warned: set[str] = set()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if state.is_world_process_zero and "rewarded_rate" in (logs or {}):
            for name, said in self.check(logs).items():
                if said is None:
                    self._warned.discard(name)
                elif name not in self._warned:
                    self._warned.add(name)
                    self._console.print(
                        f"warning: step {state.global_step}: {said}", style="yellow"
                    )

    def check(self, logs: Mapping[str, float]) -> dict[str, str | None]:
        """What is wrong by the numbers of one step, by name; None where nothing is."""
        limits = self._config
        self._zero_steps = 0 if logs["rewarded_rate"] > 0 else self._zero_steps + 1
        clipped = logs.get("completions/clipped_ratio", 0.0)
        refused = logs.get("benign_refusal_rate", 0.0)
        zero = clipping = refusing = None
        if self._zero_steps >= limits.zero_reward_steps:
            zero = (
                f"every reward was 0 for {self._zero_steps} steps, so nothing is learned; look at "
                "the faults in rollouts/, and teach the format first with cold_start"
            )
        if clipped > limits.clipped_share:
            clipping = (
                f"{clipped:.0%} of the completions hit the length limit and earn nothing; raise "
                "grpo.max_completion_length"
            )
        if refused > limits.benign_refusal_share:
            refusing = (
                f"{refused:.0%} of the benign prompts were refused; add benign pairs or raise "
                "grpo.beta"
            )
        return {
            "zero": zero,
            "clipping": clipping,
            "refusing": refusing,
            "unlinked": self._unlinked(logs),
        }

    def _unlinked(self, logs: Mapping[str, float]) -> str | None:
        if self._heeds and all(name in logs for name in _BEHIND):
            self._behind.append((logs[_BEHIND[0]], logs[_BEHIND[1]]))
        if len(self._behind) < LINK_STEPS:
            return None
        unsafe, safe = (fmean(rates) for rates in zip(*self._behind, strict=True))
        if unsafe - safe >= LINK:
            return None
        return (
            f"answers do not heed the tags: over {LINK_STEPS} steps {unsafe:.0%} refused behind "
            f"unsafe and {safe:.0%} behind safe; refusals may be lost before they are rewarded: "
            "teach them first with cold_start.target: own, when: always"
        )
