"""What a run leaves behind while it trains: metrics, rollouts, checkpoints, the best model."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from accelerate.utils import broadcast_object_list
from transformers import TrainerCallback
from trl.models import unwrap_model_for_generation

from safegrpo.data.jsonl import append_jsonl, replacing, write_text_atomic
from safegrpo.errors import ConfigError
from safegrpo.models import save_processor
from safegrpo.report.card import CARD_FILE
from safegrpo.thinking import GUIDE_FILE
from safegrpo.training.checkpoints import BEST, replace_folder, saved_in, write_saved
from safegrpo.training.config import EvaluateConfig
from safegrpo.training.config_errors import nearest
from safegrpo.training.model_parts import save_trained, whole_state
from safegrpo.training.rewards import SafetyReward

_RENAMED = {"step_time": "step_seconds"}
_SUMMARY = "train_runtime"  # only in transformers' closing summary, which is no step's row

ROLLOUT_FIELDS = (
    ("step", pa.int64()),
    ("id", pa.string()),
    ("response", pa.string()),
    ("reward", pa.float64()),
    ("format", pa.int64()),
    ("tag_score", pa.float64()),
    ("behavior_score", pa.float64()),
    ("behavior_label", pa.string()),
    ("faults", pa.string()),
    ("advantage", pa.float64()),
)


class MetricsLog(TrainerCallback):
    """One row of metrics.jsonl for every logged step, on the disk before training goes on."""

    def __init__(self, run_dir: Path, kept: Sequence[Mapping[str, Any]] = ()) -> None:
        self._path = run_dir / "metrics.jsonl"
        spent = max((row.get("seconds", 0.0) for row in kept), default=0.0)
        self._began = time.perf_counter() - spent

    def append(self, step: int, values: Mapping[str, Any]) -> None:
        """Write a row; values that are no finite numbers are left out."""
        numbers = {
            _RENAMED.get(key, key): value
            for key, value in values.items()
            if isinstance(value, int | float) and math.isfinite(value)
        }
        seconds = round(time.perf_counter() - self._began, 3)
        append_jsonl(self._path, {"step": step, **numbers, "seconds": seconds})

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if state.is_world_process_zero and _SUMMARY not in (logs or {}):
            self.append(state.global_step, logs or {})


def rollout_rows(trainer: Any) -> list[dict[str, Any]]:
    """The newest generation batch of a trainer: what was said, what it earned, its advantage."""
    logs = trainer._logs
    columns = {name: list(logs["extra"][name]) for name in logs["extra"]}
    columns["advantage"] = list(logs["advantages"])
    names = [name for name, _ in ROLLOUT_FIELDS if name != "step"]
    values = zip(*(columns[name] for name in names), strict=True)
    return [dict(zip(names, row, strict=True)) for row in values]


class RolloutLog(TrainerCallback):
    """`rollouts/step-000001.parquet`: all completions that were generated for the step."""

    def __init__(self, run_dir: Path, reward: SafetyReward) -> None:
        self._folder = run_dir / "rollouts"
        self._reward = reward
        self._seen = 0
        self._rows: list[dict[str, Any]] = []
        self.trainer: Any = None
        self.newest: list[dict[str, Any]] = []

    def on_substep_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        # TRL remembers no more than one generation, and a step may have several.
        if self._reward.batches != self._seen:
            self._seen = self._reward.batches
            self._rows += rollout_rows(self.trainer)

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        self.on_substep_end(args, state, control, **more)
        if not self._rows:
            return
        self.newest, self._rows = [{**row, "step": state.global_step} for row in self._rows], []
        if state.is_world_process_zero:
            self._folder.mkdir(parents=True, exist_ok=True)
            table = pa.Table.from_pylist(self.newest, schema=pa.schema(ROLLOUT_FIELDS))
            path = self._folder / f"step-{state.global_step:06d}.parquet"
            with replacing(path) as temporary:
                pq.write_table(table, temporary)


class CheckpointCallback(TrainerCallback):
    """Asks for a checkpoint every `every` steps, at the next generation boundary.

    Completions that were generated but not yet trained on are not part of a checkpoint; between
    boundaries a resumed run would have to make others.
    """

    def __init__(self, every: int, processor: Any, source: str | Path | None) -> None:
        self._every = every
        self._processor = processor
        self._source = source
        self._last = 0
        self.trainer: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._last = state.global_step
        # TRL's is of no model in particular, and would take the place of somebody's own README.
        self.trainer.create_model_card = lambda **_: None

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        period = args.steps_per_generation * self.trainer.num_iterations
        # on_step_end comes after the micro-batch was counted, so 0 means: all was trained on.
        due = state.global_step - self._last >= self._every
        if due and self.trainer._step % period == 0 and state.global_step < state.max_steps:
            self._last = state.global_step
            control.should_save = True
            control.should_log = True  # sums kept since the last log are not in a checkpoint

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.is_world_process_zero:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            save_processor(self._processor, folder, self._source)
            # PEFT's card, a form nobody has filled in: models that are saved have their own.
            (folder / CARD_FILE).unlink(missing_ok=True)


Evaluator = Callable[[Any, int], Mapping[str, float]]
"""Held-out numbers of a model after a step, by the names under which they are logged."""

SaveModel = Callable[[str, Mapping[str, float]], None]
"""save(name, values): save the model as `checkpoints/name`; `values` are its held-out numbers."""


def measured(trainer: Any, evaluator: Evaluator, step: int) -> dict[str, float]:
    """The held-out numbers of a trainer's model, found by every process."""
    with (
        unwrap_model_for_generation(
            trainer.model_wrapped,
            trainer.accelerator,
            gradient_checkpointing_kwargs=trainer.args.gradient_checkpointing_kwargs,
        ) as model,
        torch.no_grad(),
    ):
        return dict(evaluator(model, step))


class EvaluationCallback(TrainerCallback):
    """Held-out measurement before the first step, every `every` steps and after the last.

    The model with the best value of the metric is kept as `checkpoints/best`.
    """

    def __init__(
        self,
        config: EvaluateConfig,
        evaluator: Evaluator,
        metrics: MetricsLog,
        save: SaveModel,
        folder: Path,
        kept: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        self._config = config
        self._evaluator = evaluator
        self._metrics = metrics
        self._save = save
        self.trainer: Any = None
        self.newest: dict[str, float] = {}
        self.best: tuple[int, float] | None = None
        measured: dict[int, float] = {}
        for row in kept:
            values = {key: row[key] for key in row if key not in ("step", "seconds")}
            found = self._find(values)
            if found is not None:
                self.newest = values
                measured[int(row["step"])] = found
        # The one on the disk is to be beaten, though the killed run may have saved it after its
        # newest checkpoint: the same steps do not come out the same everywhere.
        saved = saved_in(folder / BEST)
        if saved is not None:
            step, values = saved
            value = self._find(values)
            value = measured.get(step) if value is None else value
            self.best = None if value is None else (step, value)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == 0:
            self._evaluate(state)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step % self._config.every == 0 or state.global_step == state.max_steps:
            self._evaluate(state)

    def _evaluate(self, state: Any) -> None:
        values = measured(self.trainer, self._evaluator, state.global_step)
        # Every process measures; what the main one found decides for all, since they save together.
        [value] = broadcast_object_list([self._find(values)])
        if value is None:
            known = [key.removeprefix("eval/") for key in values]
            metric = self._config.metric
            raise ConfigError(f'evaluate.metric: no "{metric}" is measured{nearest(metric, known)}')
        self.newest = values
        if state.is_world_process_zero:
            self._metrics.append(state.global_step, values)
        if self._is_best(state.global_step, value):
            self._save(BEST, values)

    def _find(self, values: Mapping[str, float]) -> float | None:
        metric = self._config.metric
        return values.get(f"eval/{metric}", values.get(metric))

    def _is_best(self, step: int, value: float) -> bool:
        sign = 1 if self._config.greater_is_better else -1
        if self.best is not None and sign * value <= sign * self.best[1]:
            return False
        self.best = (step, value)
        return True


def save_model_of(
    trainer: Any,
    processor: Any,
    source: str | Path,
    guide: str | None,
    folder: Path,
    card: Callable[[str, Mapping[str, float]], str],
    step: int | None = None,
) -> SaveModel:
    """A function that saves the trainer's model as a whole, from every process together.

    It appears in `folder` whole or not at all. `source` is what the model was trained from. `guide`
    is kept beside it: whoever asks the model later should ask as it was trained. `card` writes its
    card, given its name and held-out numbers. `step` is that of the run, where the trainer's own
    is not.
    """

    def save(name: str, values: Mapping[str, float]) -> None:
        state = whole_state(trainer.model_wrapped, trainer.accelerator)
        if trainer.accelerator.is_main_process:
            part = folder / f"{name}.part"
            model = trainer.accelerator.unwrap_model(trainer.model_wrapped)
            save_trained(model, processor, part, source, state)
            if guide is not None:
                write_text_atomic(part / GUIDE_FILE, guide + "\n")
            write_text_atomic(part / CARD_FILE, card(name, values))
            write_saved(part, trainer.state.global_step if step is None else step, values)
            replace_folder(part, folder / name)
        trainer.accelerator.wait_for_everyone()

    return save
