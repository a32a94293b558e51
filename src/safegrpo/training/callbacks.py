"""What a person sees while a run trains: a progress line, sampled completions, warnings.

All of it goes to standard error. Whatever a model wrote is shown as plain text: no markup of
rich's is read in it, and control characters (which could drive a terminal) are escaped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text
from transformers import TrainerCallback

from safegrpo.terminal import printable
from safegrpo.training.config import WarningConfig

SHOWN_CHARACTERS = 600
PLAIN_EVERY_SECONDS = 10.0


def plain(text: str, limit: int = SHOWN_CHARACTERS) -> Text:
    """Foreign text for a terminal: cut to `limit`, control characters escaped, no markup."""
    return Text(printable(text if len(text) <= limit else text[:limit] + " …"))


def stderr_console() -> Console:
    return Console(stderr=True, highlight=False)


class ProgressLine(TrainerCallback):
    """Rate, time left, reward, format and refusals: live on a terminal, else a line at a time."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Progress | None = None
        self._task: Any = None
        self._numbers: dict[str, float] = {}
        self._began = self._said = 0.0
        self._first = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if not state.is_world_process_zero:
            return
        self._began = time.perf_counter()
        self._first = state.global_step
        if self._console.is_terminal:
            self._live = Progress(
                TextColumn("training"),
                BarColumn(bar_width=20),
                MofNCompleteColumn(),
                TimeRemainingColumn(compact=True),
                TextColumn("{task.fields[said]}"),
                console=self._console,
            )
            self._live.start()
            self._task = self._live.add_task(
                "", total=state.max_steps, completed=state.global_step, said=""
            )

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if not state.is_world_process_zero or "train_runtime" in (logs or {}):
            return
        self._numbers |= {k: v for k, v in (logs or {}).items() if isinstance(v, int | float)}
        said = self._describe(state)
        if self._live is not None:
            self._live.update(self._task, completed=state.global_step, said=said)
            return
        now = time.perf_counter()
        last = state.global_step == state.max_steps
        if last or now - self._said >= PLAIN_EVERY_SECONDS:
            self._said = now
            self._console.print(
                f"step {state.global_step}/{state.max_steps}  {self._left(state, now)}{said}"
            )

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.stop()

    def stop(self) -> None:
        """End the live display, also after an error."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _describe(self, state: Any) -> str:
        steps = state.global_step - self._first
        seconds = time.perf_counter() - self._began
        parts = [f"{seconds / steps:.2f} s/step"] if steps else []
        names = {"reward": "reward", "format_rate": "format", "refusal_rate": "refusals"}
        parts += [f"{say} {self._numbers[k]:.2f}" for k, say in names.items() if k in self._numbers]
        return "  ".join(parts)

    def _left(self, state: Any, now: float) -> str:
        steps = state.global_step - self._first
        if not steps:
            return ""
        left = int((now - self._began) / steps * (state.max_steps - state.global_step))
        return f"{left // 3600}:{left // 60 % 60:02d}:{left % 60:02d} left  "


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


class RunWarnings(TrainerCallback):
    """Says once when a run goes wrong in a known way, and again only after it had got better."""

    def __init__(self, console: Console, config: WarningConfig) -> None:
        self._console = console
        self._config = config
        self._zero_steps = 0
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
        return {"zero": zero, "clipping": clipping, "refusing": refusing}
