"""Checkpoints a run can go on from: which are whole, who can load them, and what a resumed run
must forget.

A checkpoint of data-parallel processes holds whole weights and optimizer states: any number can
load it. So can one of FSDP's, whose shards are put together, or parted anew, as they are loaded;
but only under FSDP. DeepSpeed's holds a part of the optimizer for each process that there was.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

from transformers import set_seed

from safegrpo.data.jsonl import read_jsonl, write_text_atomic
from safegrpo.errors import ConfigError

_NAME = re.compile(r"checkpoint-(\d+)")
_FSDP = "pytorch_model_fsdp"
_WEIGHTS = (
    *("model.safetensors", "model.safetensors.index.json", "adapter_model.safetensors"),
    *(f"{_FSDP}*", "global_step*"),  # FSDP and DeepSpeed keep shards
)
_OPTIMIZER = ("optimizer.pt", "optimizer.bin", "optimizer_*", "global_step*")


def newest_checkpoint(folder: Path) -> tuple[Path, int] | None:
    """(folder, step) of the newest whole checkpoint; those cut short by a crash are removed."""
    for left in (*folder.glob("*.part"), *folder.glob("*.old")):
        shutil.rmtree(left)
    found: list[tuple[int, Path]] = []
    for path in folder.glob("checkpoint-*"):
        match = _NAME.fullmatch(path.name)
        if match is None or not path.is_dir():
            continue
        if _is_whole(path, int(match[1])):
            found.append((int(match[1]), path))
        else:
            shutil.rmtree(path)
    if not found:
        return None
    step, path = max(found)
    return path, step


def _is_whole(path: Path, step: int) -> bool:
    # transformers writes trainer_state.json last, and rotation may have been cut short too: so
    # both that file and all the others must be there.
    try:
        state = json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return (
        isinstance(state, dict)
        and state.get("global_step") == step
        and all(
            any(any(path.glob(pattern)) for pattern in patterns)
            for patterns in (_WEIGHTS, _OPTIMIZER, ("rng_state*.pth",))
        )
    )


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
    """Drop what a killed run recorded after `step`, which will happen again; the rows kept."""
    metrics = run_dir / "metrics.jsonl"
    rows: list[dict[str, Any]] = []
    if metrics.is_file():
        rows = [row for _, row in read_jsonl(metrics, torn_tail=True) if row["step"] <= step]
        write_text_atomic(metrics, "".join(json.dumps(row) + "\n" for row in rows))
    for path in (run_dir / "rollouts").glob("step-*.parquet"):
        if int(path.stem.removeprefix("step-")) > step:
            path.unlink()
    return rows


def replace_folder(part: Path, target: Path) -> None:
    """Put the finished folder `part` in the place of `target`."""
    old = target.with_name(f"{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    part.rename(target)
    shutil.rmtree(old, ignore_errors=True)
