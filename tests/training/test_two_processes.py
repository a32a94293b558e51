"""Two processes on one machine (gloo) give what one does: data parallel, and sharded by FSDP2 or
DeepSpeed."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest
import torch

from safegrpo.microcosm import SHIPPED
from safegrpo.models import load_model

TRAIN, RUN = "tests.training.two_processes", "tests.training.sharded_run"
MIXED = (0, 0, 1, 2, 0, 0, 1, 1)
"""Images of each row: in every batch one process has none at all, the other some."""

KINDS = {
    "ddp-shared": {},
    "ddp-dense": {"shared": False, "checkpointing": True},
    "ddp-lora": {"lora": True},
    "fsdp-shared": {"fsdp": True, "checkpointing": True},
    "fsdp-dense": {"fsdp": True, "shared": False},
    "fsdp-lora": {"fsdp": True, "lora": True},
    "fsdp-frozen": {"fsdp": True, "freeze": True},
    "fsdp-untied": {"fsdp": True, "untied": True},
    "zero2-shared": {"zero": 2},
    "zero3-shared": {"zero": 3, "checkpointing": True},
    "zero3-dense": {"zero": 3, "shared": False},
    "zero3-lora": {"zero": 3, "lora": True, "checkpointing": True},
}


def need_deepspeed() -> None:
    if importlib.util.find_spec("deepspeed") is None:
        pytest.skip("no DeepSpeed: make deepspeed-test installs it")


def launch(repository, processes: int, *arguments: str) -> str:
    """What a script prints; `arguments` are its module and what it is given."""
    command = [sys.executable, "-m"]
    if processes > 1:
        command += ["torch.distributed.run", "--standalone", f"--nproc_per_node={processes}", "-m"]
    # PYTHONFAULTHANDLER says where a process was aborted.
    env = {**os.environ, "PYTHONFAULTHANDLER": "1", "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}
    done = subprocess.run(
        [*command, *arguments],
        **{"cwd": repository, "env": env, "capture_output": True, "text": True, "timeout": 240},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_train_as_one(repository, tmp_path, kind) -> None:
    if "zero" in kind:
        need_deepspeed()
    options = json.dumps({"images": MIXED, **KINDS[kind]})

    def run(processes: int) -> dict:
        given = (str(tmp_path / str(processes)), str(2 // processes), options)
        printed = launch(repository, processes, TRAIN, *given)
        return json.loads(next(x for x in printed.splitlines() if x.startswith('{"log"')))

    one, two = run(1), run(2)
    wrapper = {"ddp": "DistributedDataParallel", "fsdp": "FSDP"}.get(kind.split("-")[0])
    assert two["wrapped"].startswith(wrapper or "DeepSpeedEngine")
    assert one["shared"] == two["shared"] == KINDS[kind].get("shared", True)
    assert len(one["log"]) == 10
    for alone, together in zip(one["log"], two["log"], strict=True):
        assert together == pytest.approx(alone, rel=1e-4, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["full", "lora"])
@pytest.mark.parametrize("by", ["fsdp", "zero3"])
def test_a_sharded_run_samples_measures_and_saves(repository, tmp_path, kind, by) -> None:
    if by == "zero3":
        need_deepspeed()
    printed = launch(repository, 2, RUN, str(tmp_path / "run"), kind, by)
    said = [json.loads(line) for line in printed.splitlines() if line.startswith('{"steps"')]
    assert len(said) == 2 and said[0] == said[1]
    assert said[0]["steps"] == 2 and "eval/direct/over_refusal" in said[0]["metrics"]
    saved = load_model(tmp_path / "run" / "checkpoints" / "last", dtype="float32").state_dict()
    before = load_model(SHIPPED, dtype="float32").state_dict()
    assert saved.keys() == before.keys()
    assert any(not torch.equal(saved[name], before[name]) for name in saved)
    assert all((saved[name] - before[name]).abs().max() < 1e-2 for name in saved)
