"""A whole training run: data, optional cold start, GRPO, what is made of it, and what it leaves."""

from __future__ import annotations

import atexit
import importlib.util
import os
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from safegrpo.data.pairs import TaggedPair
from safegrpo.errors import ConfigError, DataError, MissingDependencyError
from safegrpo.training.config import Recipe
from safegrpo.training.grpo_options import INSTALL, grpo_config, notices
from safegrpo.training.inputs import guide_of, held_out_pairs, training_pairs
from safegrpo.training.result import Measure, RunResult


def train(
    recipe: Recipe,
    *,
    train_pairs: Sequence[TaggedPair] | None = None,
    eval_pairs: Sequence[TaggedPair] | None = None,
    measure: Measure | None = None,
    resume: bool = False,
    console: Console | None = None,
) -> RunResult:
    """Run a recipe to its end, from the beginning or (`resume`) from its newest checkpoint.

    Pairs given here take the place of the recipe's files. The run folder is `recipe.output`; a
    finished run that is resumed returns at once. Messages go to `console`, by default standard
    error.

    Raises ConfigError, DataError, InputFileError or ModelError before anything is trained,
    MissingDependencyError without TRL.
    """
    quiet()
    try:
        import trl  # noqa: F401 - asked for early, to say what to install
    except ImportError as error:
        raise MissingDependencyError(f"training needs trl: {INSTALL}") from error
    from safegrpo.training.callbacks import stderr_console
    from safegrpo.training.data import PreparedData, build_dataset
    from safegrpo.training.held_out import HeldOut
    from safegrpo.training.session import Session

    _check_installed(recipe)
    began = time.perf_counter()
    console = console or stderr_console()
    for notice in notices(recipe):
        console.print(notice)
    run_dir = Path(recipe.output)
    args = grpo_config(recipe, str(run_dir / "checkpoints"))
    guide = guide_of(recipe)
    pairs = training_pairs(recipe, train_pairs)
    held_out = held_out_pairs(recipe) if eval_pairs is None else list(eval_pairs)
    _check_size(pairs, args)
    _check_hints(recipe, args)

    from safegrpo.models import load_processor

    processor = load_processor(recipe.model)

    def prepare(rows: Sequence[TaggedPair], guided: bool) -> PreparedData:
        return build_dataset(
            rows,
            processor,
            guide=guide if guided else None,
            max_prompt_length=recipe.data.max_prompt_length,
            max_pixels=recipe.data.max_pixels,
            chat_template_kwargs=args.chat_template_kwargs,
        )

    prepared = prepare(pairs, recipe.mode == "guided")
    try:
        # Only to check it: what is wrong with held-out rows should not come to light mid-run.
        checked = prepare(held_out, "guided" in recipe.evaluate.modes)
    except DataError as error:
        raise DataError(f"data.eval: {error}") from error
    session = Session(
        recipe=recipe,
        args=args,
        processor=processor,
        guide=guide,
        pairs=pairs,
        prepared=prepared,
        held_out=HeldOut(recipe, args, processor, guide, held_out, checked.sha256, measure),
        console=console,
    )
    return session.run(resume, began)


def quiet() -> None:
    """No telemetry, also where huggingface_hub was imported before us; no notes on old names."""
    import huggingface_hub.constants
    from transformers.utils import logging

    huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY = True
    logging.disable_progress_bar()  # bars of loading and saving would tear the progress line
    # TRL still calls these by the names that transformers has begun to rename.
    for name in ("gradient_checkpointing", "is_gradient_checkpointing"):
        warnings.filterwarnings("ignore", f"`{name}` is deprecated", FutureWarning)


def _check_installed(recipe: Recipe) -> None:
    if recipe.grpo.get("use_vllm") and importlib.util.find_spec("vllm") is None:
        raise MissingDependencyError(
            "the recipe generates by vLLM: pip install 'trl[vllm]', or set grpo.use_vllm: false"
        )


def _check_size(pairs: Sequence[TaggedPair], args: Any) -> None:
    needed = args.generation_batch_size // args.num_generations
    if len(pairs) < needed:
        raise ConfigError(
            f"the training set has {len(pairs)} rows, but a generation batch needs {needed} "
            f"prompts ({args.generation_batch_size} completions, {args.num_generations} each); "
            "lower grpo.per_device_train_batch_size, grpo.gradient_accumulation_steps or "
            "grpo.steps_per_generation"
        )


def _check_hints(recipe: Recipe, args: Any) -> None:
    at_once = args.per_device_train_batch_size * args.steps_per_generation
    if recipe.credit.hints and at_once % args.num_generations:
        raise ConfigError(
            f"credit.hints look at whole groups, but a process generates {at_once} completions at "
            f"a time, which are no whole groups of {args.num_generations}; make "
            "grpo.per_device_train_batch_size a multiple of grpo.num_generations"
        )


def leave_processes() -> None:
    """Part from the other processes of a run and end this one; returns where there are no others.

    At the very end, once all is saved and said. Threads of the process group outlive it, and now
    and then abort an interpreter that is taken down around them; the launcher then calls a run
    failed that has saved everything. So the process ends without being taken down.
    """
    import torch.distributed

    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
    atexit._run_exitfuncs()  # trackers close their runs there
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
