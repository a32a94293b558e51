"""Two processes on one machine (gloo, data parallel) give what one does."""

import json
import os
import subprocess
import sys

import pytest

TRAIN = "tests.training.two_processes"


@pytest.mark.slow
@pytest.mark.parametrize("shared", [True, False], ids=["shared", "dense"])
def test_two_processes_train_as_one(repository, tmp_path, shared) -> None:
    def log(processes: int) -> list[list[float]]:
        launch = [sys.executable, "-m"]
        if processes > 1:
            launch += ["torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m"]
        command = [*launch, TRAIN, str(tmp_path), str(2 // processes), str(shared).lower()]
        traced = {**os.environ, "PYTHONFAULTHANDLER": "1"}  # says where a process was aborted
        found = subprocess.run(command, cwd=repository, capture_output=True, text=True, env=traced)
        assert found.returncode == 0, found.stderr
        result = json.loads(next(x for x in found.stdout.splitlines() if x.startswith('{"log"')))
        assert result["shared"] == shared
        return result["log"]

    one, two = log(1), log(2)
    assert len(one) == 4
    for alone, together in zip(one, two, strict=True):
        assert together == pytest.approx(alone, rel=1e-4, abs=1e-4)
