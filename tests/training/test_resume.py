"""A run killed in its midst goes on and ends where the unbroken run ends."""

import json
import signal
import subprocess
import sys
import time

import pyarrow.parquet as pq
import pytest
import torch
import yaml
from safetensors.torch import load_file

from safegrpo.data.schema import save_tagged
from safegrpo.microcosm import SHIPPED

from .conftest import GUIDE_PATH

TIMES = ("seconds", "step_seconds", "num_tokens_per_second")
STEPS = 10


def command(folder, name, *more):
    output = str(folder / name)
    words = [sys.executable, "-m", "safegrpo", "train", str(folder / "recipe.yaml")]
    return [*words, "--output", output, *more]


def options(**grpo):
    return {
        "model": str(SHIPPED),
        "guide": GUIDE_PATH,
        "evaluate": {"every": 3, "max_new_tokens": 72, "batch_size": 64},
        "checkpoint": {"every": 2, "keep": 2},
        "grpo": {
            "per_device_train_batch_size": 8,
            "num_generations": 4,
            "max_completion_length": 72,
            "max_steps": STEPS,
            "learning_rate": 1e-3,
            "use_cpu": True,
            "beta": 0.04,
            **grpo,
        },
    }


# Twelve prompts, two a step: ten steps reach into the second epoch. With two updates to a
# generation, checkpoints fall on every second step only.
KINDS = [
    pytest.param(options(), id="full"),
    pytest.param(
        {**options(), "lora": {"r": 4, "alpha": 8, "dropout": 0.1}},
        id="lora",
        marks=pytest.mark.slow,
    ),
    pytest.param(
        options(steps_per_generation=2, per_device_train_batch_size=4),
        id="two updates a generation",
        marks=pytest.mark.slow,
    ),
]


def steps_done(run_dir):
    try:
        lines = (run_dir / "metrics.jsonl").read_text().splitlines()
        return max((json.loads(line)["step"] for line in lines), default=0)
    except (OSError, ValueError):
        return 0


def kill_after(words, run_dir, step):
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while steps_done(run_dir) < step:
        assert process.poll() is None, process.stderr.read().decode()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def told(run_dir):
    """metrics.jsonl without what a clock put there."""
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key not in TIMES} for row in rows]


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_run_ends_where_the_unbroken_one_does(kind, tmp_path, speaking_pairs):
    save_tagged(speaking_pairs, tmp_path / "train.jsonl")
    save_tagged(speaking_pairs[:4], tmp_path / "eval.jsonl")
    data = {"train": str(tmp_path / "train.jsonl"), "eval": str(tmp_path / "eval.jsonl")}
    recipe = {**kind, "data": data}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    subprocess.run(command(tmp_path, "whole"), check=True, capture_output=True)
    # Once before the first checkpoint, once past several, with rows to forget on either side.
    broken = tmp_path / "broken"
    kill_after(command(tmp_path, "broken"), broken, 1)
    kill_after(command(tmp_path, "broken", "--resume"), broken, 7)
    subprocess.run(command(tmp_path, "broken", "--resume"), check=True, capture_output=True)

    whole = tmp_path / "whole"
    assert told(broken) == told(whole) and steps_done(whole) == STEPS
    for name in ("last", "best"):
        found, wanted = (
            load_file(run / "checkpoints" / name / "model.safetensors") for run in (broken, whole)
        )
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[key], wanted[key]) for key in wanted)
    files = [sorted(p.name for p in (run / "rollouts").iterdir()) for run in (broken, whole)]
    assert files[0] == files[1]
    for name in files[0]:
        assert pq.read_table(broken / "rollouts" / name) == pq.read_table(whole / "rollouts" / name)
