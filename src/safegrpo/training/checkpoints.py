"""Checkpoints a run can go on from: which are whole, who can load them, and what a resumed run
must forget.

A checkpoint of data-parallel processes holds whole weights and optimizer states: any number can
load it. So can one of FSDP's, whose shards are put together, or parted anew, as they are loaded;
but only under FSDP. DeepSpeed's holds a part of the optimizer for each process that there was.
"""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from rich.console import Console
from safetensors import SafetensorError, safe_open
from transformers import set_seed

from safegrpo.data.jsonl import read_jsonl, read_text, write_text_atomic
from safegrpo.errors import ConfigError, DataError, InputFileError

BEST, LAST, INTERNALISED = "best", "last", "internalised"
"""The folders of the model that measured best, of the model after the last step, and of what was
made of that one by `internalise`."""
_SAVED = "safegrpo_step.json"

_NAME = re.compile(r"checkpoint-(\d+)")
_ROLLOUTS = re.compile(r"step-(\d+)\.parquet")
_FSDP = "pytorch_model_fsdp"
_NEEDED = (
    (
        *("model.safetensors", "model.safetensors.index.json", "adapter_model.safetensors"),
        *(f"{_FSDP}*", "global_step*"),  # FSDP and DeepSpeed keep shards
    ),
    ("optimizer.pt", "optimizer.bin", "optimizer_*", "global_step*"),
    ("scheduler.pt", "global_step*"),  # DeepSpeed's own is in its shards
    ("rng_state*.pth",),
)
"""What a checkpoint must hold: one of the names of each line."""
_TORCH = ("*.pt", "*.pth", "optimizer.bin", f"{_FSDP}*.bin")
_ZIP_END = b"PK\x05\x06", 22  # with what, and how long before the end, torch closes a file


def newest_checkpoint(folder: Path, console: Console) -> tuple[Path, int] | None:
    """(folder, step) of the newest whole checkpoint; those cut short by a crash are removed.

    What is removed is told on `console`. A model that was being replaced is put in its place.
    Nothing is touched but what a run makes. Raises OSError where something cannot be read.
    """
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    for name in (BEST, LAST):
        if {name, f"{name}.part", f"{name}.old"} & set(names):
            _finish_replacing(folder / name)
    found: list[tuple[int, Path]] = []
    cut: list[str] = []
    for name in names:
        match, path = _NAME.fullmatch(name), folder / name
        if match is None or not path.is_dir():
            continue
        if _is_whole(path, int(match[1])):
            found.append((int(match[1]), path))
        else:
            _remove(path)
            cut.append(name)
    step, newest = max(found, default=(0, None))
    if cut:
        on = f"going on from step {step}" if newest else "no other is there: beginning at step 0"
        console.print(f"{', '.join(cut)}: cut short or damaged, and removed; {on}")
    return None if newest is None else (newest, step)


def _finish_replacing(target: Path) -> None:
    """End what a kill has cut short in `replace_folder`."""
    part, old = (target.with_name(f"{target.name}.{end}") for end in ("part", "old"))
    for kept in (part, old):
        if not target.exists() and saved_in(kept) is not None:
            kept.rename(target)
    for left in (part, old):
        if left.is_symlink() or left.exists():
            _remove(left)


def _remove(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
    else:
        shutil.rmtree(path)


def _is_whole(path: Path, step: int) -> bool:
    # transformers writes trainer_state.json last, and rotation may have been cut short too: so
    # both that file and all the others must be there. Errors of reading go up: they may pass, and
    # what is not whole is removed.
    try:
        state = json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return False
    files = list(path.iterdir())
    return (
        isinstance(state, dict)
        and state.get("global_step") == step
        and all(any(_is_one_of(file, names) for file in files) for names in _NEEDED)
        and not any(_is_cut(file) for file in files if file.is_file())
    )


def _is_one_of(file: Path, names: tuple[str, ...]) -> bool:
    return any(fnmatchcase(file.name, name) for name in names)


def _is_cut(file: Path) -> bool:
    """Whether the end of a file of tensors is missing, as after a crash or on a full disk."""
    with file.open("rb") as opened:
        if _is_one_of(file, _TORCH):
            sign, length = _ZIP_END
            opened.seek(max(0, file.stat().st_size - length))
            return opened.read(len(sign)) != sign
    if file.suffix == ".safetensors":
        try:
            with safe_open(file, "pt"):
                pass
        except SafetensorError:
            return True
    return False


def write_saved(folder: Path, step: int, values: Mapping[str, float]) -> None:
    """Say of the model in `folder` after which step it was saved, and its held-out numbers.

    Written last: where it stands, the model is whole.
    """
    numbers = {key: float(value) for key, value in values.items() if math.isfinite(value)}
    write_text_atomic(folder / _SAVED, json.dumps({"step": step, "values": numbers}))


def saved_in(folder: Path) -> tuple[int, dict[str, float]] | None:
    """What `write_saved` has said of the model in `folder`; None where there is no whole one.

    Versions before this one did not write the numbers.
    """
    try:
        said = json.loads(read_text(folder / _SAVED, 2**20))
        values = {str(key): float(value) for key, value in said.get("values", {}).items()}
        return int(said["step"]), values
    except (InputFileError, DataError, ValueError, KeyError, TypeError, AttributeError):
        return None


def check_fits(checkpoint: Path, trainer: Any) -> None:
    """ConfigError if `trainer`, sharded as its model is, cannot load `checkpoint`."""
    saved, wanted = _sharding_in(checkpoint), _sharding_of(trainer)
    if saved != wanted:
        raise ConfigError(
            f"{checkpoint} was saved {saved}, and this run goes {wanted}: start it as it was begun"
        )
    if saved == "under DeepSpeed":
        before, now = len(list(checkpoint.glob("rng_state*.pth"))), trainer.args.world_size
        config = trainer.accelerator.state.deepspeed_plugin.deepspeed_config
        if before != now and not config.get("checkpoint", {}).get("load_universal"):
            raise ConfigError(
                f"{checkpoint} holds DeepSpeed's optimizer in {before} parts, for as many "
                f"processes and not {now}: start {before}, or convert it by DeepSpeed's "
                "ds_to_universal and set checkpoint.load_universal in its configuration"
            )


def _sharding_in(checkpoint: Path) -> str:
    if any(checkpoint.glob("global_step*")):
        return "under DeepSpeed"
    if any(checkpoint.glob(f"{_FSDP}*.bin")):
        return "under FSDP (FULL_STATE_DICT)"
    if any(checkpoint.glob(f"{_FSDP}*")):
        return "under FSDP (SHARDED_STATE_DICT)"
    return "unsharded"


def _sharding_of(trainer: Any) -> str:
    if trainer.is_deepspeed_enabled:
        return "under DeepSpeed"
    if trainer.is_fsdp_enabled:
        return f"under FSDP ({trainer.accelerator.state.fsdp_plugin.state_dict_type.name})"
    return "unsharded"


def seed_new_process(checkpoint: Path, args: Any, step: int) -> None:
    """Start a random stream for a process that `checkpoint` holds no state of.

    There is none if the number of processes has changed. Left alone, the process would draw again
    what the run's first steps have drawn.
    """
    name = f"rng_state_{args.process_index}.pth" if args.world_size > 1 else "rng_state.pth"
    if not (checkpoint / name).is_file():
        set_seed((args.seed * 1_000_003 + step * 1_009 + args.process_index) % 2**32)


def forget_after(run_dir: Path, step: int) -> list[dict[str, Any]]:
    """Drop what a killed run recorded after `step`, which will happen again; the rows kept.

    Raises ConfigError or DataError naming the line of metrics.jsonl that is no row of a run.
    """
    metrics = run_dir / "metrics.jsonl"
    rows: list[dict[str, Any]] = []
    if metrics.is_file():
        rows = [row for row in _metric_rows(metrics) if row["step"] <= step]
        write_text_atomic(metrics, "".join(json.dumps(row) + "\n" for row in rows))
    for path in (run_dir / "rollouts").glob("step-*.parquet"):
        match = _ROLLOUTS.fullmatch(path.name)
        if match is not None and int(match[1]) > step:
            path.unlink()
    return rows


def _metric_rows(path: Path) -> Iterator[dict[str, Any]]:
    for number, row in read_jsonl(path, torn_tail=True):
        if "step" not in row or not all(isinstance(value, int | float) for value in row.values()):
            raise ConfigError(
                f'file "{path}" line {number} is no row of numbers with a "step"; take it out'
            )
        yield row


def replace_folder(part: Path, target: Path) -> None:
    """Put the finished folder `part` in the place of `target`."""
    old = target.with_name(f"{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    part.rename(target)
    shutil.rmtree(old, ignore_errors=True)
