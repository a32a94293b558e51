"""Checkpoints a run can go on from: which are whole, and what a resumed run must forget."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

from safegrpo.data.jsonl import read_jsonl, write_text_atomic

_NAME = re.compile(r"checkpoint-(\d+)")
_WEIGHTS = (
    *("model.safetensors", "model.safetensors.index.json", "adapter_model.safetensors"),
    *("pytorch_model_fsdp*", "global_step*"),  # FSDP and DeepSpeed keep shards
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
