"""One run in its folder: the model is made ready, trained, measured and saved."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from accelerate.utils import broadcast_object_list
from rich.console import Console

from safegrpo.data.jsonl import write_text_atomic
from safegrpo.data.pairs import TaggedPair
from safegrpo.errors import ConfigError
from safegrpo.report.card import CARD_FILE
from safegrpo.thinking import GUIDE_FILE
from safegrpo.training.callbacks import ProgressLine, RunWarnings, SampleTable
from safegrpo.training.checkpoints import (
    BEST,
    INTERNALISED,
    LAST,
    check_fits,
    forget_after,
    newest_checkpoint,
    seed_new_process,
)
from safegrpo.training.cold_start import cold_start, cold_started
from safegrpo.training.config import Recipe
from safegrpo.training.data import PreparedData
from safegrpo.training.grpo import grpo_trainer, safety_reward
from safegrpo.training.held_out import HeldOut
from safegrpo.training.internalise import internalise
from safegrpo.training.model_card import Training, training_card
from safegrpo.training.records import (
    CheckpointCallback,
    EvaluationCallback,
    MetricsLog,
    RolloutLog,
    SaveModel,
    measured,
    save_model_of,
)
from safegrpo.training.result import Best, ColdStarted, RunResult
from safegrpo.training.rewards import SafetyReward
from safegrpo.training.run_folder import (
    describe_data,
    open_run,
    split_of,
    with_split,
    write_manifest,
)
from safegrpo.training.sharding import check_saves_whole, divided_launch, how_it_runs
from safegrpo.training.trainer import SafeGRPOTrainer

_GRPO = "grpo"
"""What the manifest calls GRPO's end where more is to come; `finished` takes its place then."""


@dataclass(frozen=True)
class Session:
    """All that a run needs, loaded and checked."""

    recipe: Recipe
    args: Any
    processor: Any
    guide: str
    pairs: Sequence[TaggedPair]
    prepared: PreparedData
    held_out: HeldOut
    console: Console
    cold: ColdStarted | None = None

    @property
    def run_dir(self) -> Path:
        return Path(self.recipe.output)

    @property
    def checkpoints(self) -> Path:
        return self.run_dir / "checkpoints"

    @property
    def _cold_start(self) -> Path:
        return self.run_dir / "cold_start"

    def run(self, resume: bool, began: float) -> RunResult:
        """Train to the end and say what came of it."""
        data = {"train": describe_data(self.pairs, self.prepared.sha256)}
        if self.held_out.pairs:
            data["eval"] = describe_data(self.held_out.pairs, self.held_out.sha256)
        manifest = self._open(data, resume)
        if "finished" in manifest:
            return self._finished(manifest)
        if self.recipe.internalise is not None and divided_launch():
            raise ConfigError(
                "internalise trains a model that is not divided: start one process or DDP, or set "
                "internalise: null"
            )
        if _GRPO not in manifest:
            self._begin(manifest)
        # As the main process has it: others may have a disk of their own.
        [facts] = broadcast_object_list([cold_started(self._cold_start)])
        return replace(self, cold=facts)._go_on(manifest, resume, began)

    def _go_on(self, manifest: dict[str, Any], resume: bool, began: float) -> RunResult:
        """GRPO, if it has not finished already, and what comes after it."""
        if _GRPO in manifest:
            result = RunResult.from_manifest(self.run_dir, manifest[_GRPO])
            self._say(f"{self.run_dir}: GRPO already finished after {result.steps} steps")
        else:
            result, manifest = self._train(manifest, resume, began)
        if self.recipe.internalise is None:
            return result
        # By here GRPO's trainer is out of reach, so that its memory can be had.
        return self._internalise(manifest, result)

    def _train(
        self, manifest: dict[str, Any], resume: bool, began: float
    ) -> tuple[RunResult, dict[str, Any]]:
        """GRPO, and the manifest that says so."""
        source = self._start
        # Both remove what a killed run left: the main process does, the others then find it done.
        with self.args.main_process_first(desc="checkpoints"):
            checkpoint = newest_checkpoint(self.checkpoints, self.console)
            kept = forget_after(self.run_dir, checkpoint[1] if checkpoint else -1)
        if resume and checkpoint is None:
            self._say(f"no checkpoint in {self.run_dir}: the run begins at its first step")
        reward = safety_reward(self.recipe, self.args, self.processor.tokenizer)
        metrics = MetricsLog(self.run_dir, kept)
        trainer = grpo_trainer(
            self.recipe, self.args, self.processor, self.pairs, self.prepared, source, reward
        )
        check_saves_whole(trainer)
        self._say(how_it_runs(trainer))
        if checkpoint is not None:
            check_fits(checkpoint[0], trainer)
            seed_new_process(checkpoint[0], self.args, checkpoint[1])
        manifest = with_split(manifest, split_of(self.args), resumed=checkpoint is not None)
        if trainer.is_world_process_zero():
            write_manifest(self.run_dir, manifest)
        save = self._grpo_saver(trainer, manifest)
        evaluation = self._add_callbacks(trainer, reward, metrics, save, kept)
        progress = ProgressLine(self._console, "training")
        trainer.add_callback(progress)
        try:
            trainer.train(resume_from_checkpoint=str(checkpoint[0]) if checkpoint else None)
        finally:
            progress.stop()
        values = dict(evaluation.newest) if evaluation else {}
        save(LAST, values)
        result = RunResult(
            output=self.run_dir,
            steps=trainer.state.global_step,
            seconds=time.perf_counter() - began,
            metrics=values,
            best=self._best(evaluation),
            cold_started=self.cold,
        )
        name = "finished" if self.recipe.internalise is None else _GRPO
        manifest = {**manifest, name: result.to_manifest()}
        if trainer.is_world_process_zero():
            write_manifest(self.run_dir, manifest)
        return result, manifest

    def _internalise(self, manifest: Mapping[str, Any], grpo: RunResult) -> RunResult:
        """What comes after GRPO. A run killed in here does all of it again."""
        began = time.perf_counter()
        with self.args.main_process_first(desc="metrics"):
            rows = forget_after(self.run_dir, grpo.steps)
        trainer, made = internalise(
            self.recipe,
            self.pairs,
            self.processor,
            self.guide,
            grpo.model,
            self._start,
            self.args,
            self._console,
        )
        values = grpo.metrics
        if trainer is not None:
            after = grpo.steps + 1
            values = measured(trainer, self.held_out, after) if self.held_out else {}
            if self._main:
                counts = {
                    "internalise/kept": made.kept / made.sampled,
                    "internalise/loss": made.loss,
                }
                MetricsLog(self.run_dir, rows).append(after, {**values, **counts})
            learned = [row for row in rows if "reward" in row]
            card = Training(
                self.recipe,
                manifest,
                step=grpo.steps,
                steps=grpo.steps,
                row=learned[-1] if learned else {},
                values=values,
                counts=self.held_out.counts,
                cold_started=self.cold,
                internalised=made,
            )
            self._saver(trainer, lambda *_: card, after)(INTERNALISED, values)
        seconds = time.perf_counter() - began
        result = replace(
            grpo,
            seconds=grpo.seconds + seconds,
            metrics=values,
            parts={"grpo": grpo.seconds, "internalise": seconds},
            internalised=made,
        )
        if self._main:
            kept = {key: value for key, value in manifest.items() if key != _GRPO}
            write_manifest(self.run_dir, {**kept, "finished": result.to_manifest()})
        return result

    def _open(self, data: Mapping[str, Any], resume: bool) -> dict[str, Any]:
        # The main process writes the folder; where it refuses, all do, in its words.
        manifest, refused = {}, None
        if self._main:
            try:
                split = split_of(self.args)
                manifest = open_run(self.run_dir, self.recipe, data, split, resume)
            except ConfigError as error:
                refused = str(error)
        [(manifest, refused)] = broadcast_object_list([(manifest, refused)])
        if refused is not None:
            raise ConfigError(refused)
        return manifest

    @property
    def _main(self) -> bool:
        return bool(self.args.process_index == 0)

    @property
    def _console(self) -> Console:
        return self.console if self._main else Console(quiet=True)

    def _say(self, line: str) -> None:
        self._console.print(line)

    def _finished(self, manifest: Mapping[str, Any]) -> RunResult:
        said = manifest["finished"]
        self._say(f"{self.run_dir}: already finished after {said['steps']} steps")
        return RunResult.from_manifest(self.run_dir, said)

    def _begin(self, manifest: Mapping[str, Any]) -> None:
        """The cold start, if there is to be one and it is not there already."""
        path, config = self._cold_start, self.recipe.cold_start
        if config is None:
            return
        [there] = broadcast_object_list([path.is_dir()])
        if not there:
            if divided_launch():
                raise ConfigError(
                    "cold_start trains a model that is not divided: make it under one process or "
                    f"DDP, then set cold_start: null and, if it has left a model, model: {path}"
                )
            if config.when == "always":
                on = "right responses of the model's own" if self._learns_own else "the format"
                self._say(f"cold start: {config.steps} supervised steps on {on}")
            cold_start(
                self.recipe,
                self.pairs,
                self.processor,
                self.guide,
                path,
                self.args,
                self._console,
            )
        facts, card = cold_started(path), path / CARD_FILE
        if self._main and (facts is None or facts.trained) and not card.exists():
            write_text_atomic(path / GUIDE_FILE, self.guide + "\n")
            write_text_atomic(card, training_card(Training(self.recipe, manifest)))

    @property
    def _learns_own(self) -> bool:
        return self.recipe.cold_start is not None and self.recipe.cold_start.target == "own"

    @property
    def _start(self) -> str:
        """What GRPO starts from, once it is there: a folder in full, or a name on the hub."""
        path = Path(self._origin)
        return str(path.resolve()) if path.is_dir() else self._origin

    @property
    def _origin(self) -> str:
        """What GRPO starts from, as the recipe has it: not where that lies on this machine."""
        return str(self._cold_start) if self._from_cold_start else self.recipe.model

    @property
    def _from_cold_start(self) -> bool:
        """Whether GRPO starts from a cold start's model."""
        there = self.recipe.cold_start is not None
        return there and (self.cold is None or self.cold.trained)

    def _grpo_saver(self, trainer: SafeGRPOTrainer, manifest: Mapping[str, Any]) -> SaveModel:
        def made(name: str, values: Mapping[str, float]) -> Training:
            rows = [row for row in trainer.state.log_history if "reward" in row]
            return Training(
                self.recipe,
                manifest,
                step=trainer.state.global_step,
                steps=trainer.state.max_steps,
                row=rows[-1] if rows else {},
                values=values,
                counts=self.held_out.counts,
                cold_started=self.cold,
                chosen_by=self.recipe.evaluate.metric if name == BEST else None,
            )

        return self._saver(trainer, made)

    def _saver(
        self, trainer: Any, made: Callable[..., Training], step: int | None = None
    ) -> SaveModel:
        def card(name: str, values: Mapping[str, float]) -> str:
            return training_card(made(name, values))

        guide = self.guide if self.recipe.mode == "guided" else None
        return save_model_of(
            trainer, self.processor, self._origin, guide, self.checkpoints, card, step
        )

    def _add_callbacks(
        self,
        trainer: SafeGRPOTrainer,
        reward: SafetyReward,
        metrics: MetricsLog,
        save: SaveModel,
        kept: Sequence[Mapping[str, Any]],
    ) -> EvaluationCallback | None:
        recipe = self.recipe
        rollouts = RolloutLog(self.run_dir, reward)
        checkpoints = CheckpointCallback(recipe.checkpoint.every, self.processor, self._origin)
        evaluation = None
        if self.held_out:
            evaluation = EvaluationCallback(
                recipe.evaluate, self.held_out, metrics, save, self.checkpoints, kept
            )
        # Evaluation before checkpoints: a checkpoint must come after all rows of its step.
        for callback in (rollouts, metrics, evaluation, checkpoints):
            if callback is not None:
                trainer.add_callback(callback)
        for knows_trainer in (rollouts, evaluation, checkpoints):
            if knows_trainer is not None:
                knows_trainer.trainer = trainer
        heeds = recipe.mode == "guided" and not (self._from_cold_start and self._learns_own)
        trainer.add_callback(RunWarnings(self.console, recipe.warnings, heeds=heeds))
        if recipe.samples_every:
            trainer.add_callback(
                SampleTable(self.console, recipe.samples_every, lambda: rollouts.newest)
            )
        return evaluation

    def _best(self, evaluation: EvaluationCallback | None) -> Best | None:
        if evaluation is None or evaluation.best is None:
            return None
        return Best(self.checkpoints / BEST, *evaluation.best)
