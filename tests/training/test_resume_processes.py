"""A run of N processes that was killed goes on with M, and ends as the unbroken one does.

Completions are fixed here. Those that are sampled differ, since each process draws its own.
"""

import json
import os
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file

from safegrpo.data.schema import save_tagged
from safegrpo.microcosm import SHIPPED

from .conftest import GUIDE_PATH

STEPS, KILLED = 8, 5
# Not TRL's kl and entropy, which it logs as means of means over what is computed at a time.
NUMBERS = ("loss", "grad_norm", "reward", "completions/mean_length")
WITHIN = {"rel": 1e-4, "abs": 1e-4}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def start(tmp_path_factory, speaking_pairs):
    """start(name, processes, ...) runs in the folder `name`; gives exit code, errors and folder."""
    folder = tmp_path_factory.mktemp("resumed")
    save_tagged(speaking_pairs, folder / "train.jsonl")
    save_tagged(speaking_pairs[:4], folder / "eval.jsonl")

    def go(name, processes, lora=False, torchrun=False, **options):
        recipe = {
            "model": str(SHIPPED),
            "guide": GUIDE_PATH,
            "output": str(folder / name),
            "data": {name: str(folder / f"{name}.jsonl") for name in ("train", "eval")},
            "lora": {"r": 4, "alpha": 8} if lora else None,
            "evaluate": {"every": 3, "max_new_tokens": 72, "batch_size": 8},
            "checkpoint": {"every": 2},
            "grpo": {
                "per_device_train_batch_size": 4,
                "gradient_accumulation_steps": 4 // processes,
                "num_generations": 4,
                "max_steps": STEPS,
                "learning_rate": 1e-4,
                "beta": 0.04,
                "use_cpu": True,
            },
        }
        launch = [sys.executable, "-m"]
        if processes > 1 or torchrun:
            launch += ["torch.distributed.run", "--standalone", "--nproc_per_node"]
            launch += [str(processes), "-m"]
        done = subprocess.run(
            [*launch, "tests.training.resume_processes", json.dumps({"recipe": recipe, **options})],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONFAULTHANDLER": "1"},
        )
        return done.returncode, done.stderr, folder / name

    return go


def rows_of(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def check_same(broken, whole):
    """The same steps, rollouts, numbers and weights, each once."""
    found, wanted = rows_of(broken), rows_of(whole)
    assert [row["step"] for row in found] == [row["step"] for row in wanted]
    for one, other in zip(found, wanted, strict=True):
        assert one.keys() == other.keys()
        for name in {*NUMBERS, *(key for key in one if key.startswith("eval/"))} & one.keys():
            assert one[name] == pytest.approx(other[name], **WITHIN), (one["step"], name)
    files = [sorted(path.name for path in (run / "rollouts").iterdir()) for run in (broken, whole)]
    assert files[0] == files[1] == [f"step-{step:06d}.parquet" for step in range(1, STEPS + 1)]
    for name in files[0]:
        one, other = (pq.read_table(run / "rollouts" / name) for run in (broken, whole))
        for column in ("id", "response", "reward"):
            assert one[column].equals(other[column])
    one, other = (load_file(run / "checkpoints/last/model.safetensors") for run in (broken, whole))
    assert one.keys() == other.keys()
    assert all((one[name] - other[name]).abs().max() < 1e-4 for name in other)


@pytest.fixture(scope="module")
def whole(start):
    """whole(lora) is the folder of the unbroken run of one process."""
    made = {}

    def get(lora):
        if lora not in made:
            code, errors, made[lora] = start(f"whole-{lora}", 1, lora)
            assert code == 0, errors
        return made[lora]

    return get


@pytest.mark.parametrize("before, after", [(1, 2), (2, 1)])
def test_it_goes_on_with_another_number(start, whole, before, after) -> None:
    code, errors, broken = start(f"{before}-{after}", before, kill=KILLED)
    assert code != 0 and (broken / "checkpoints" / "checkpoint-4").is_dir(), errors
    code, errors, broken = start(f"{before}-{after}", after, resume=True)
    assert code == 0, errors
    check_same(broken, whole(False))
    manifest = json.loads((broken / "manifest.json").read_text())
    assert [split["processes"] for split in manifest["splits"]] == [before, after]


def test_an_adapter_goes_on_with_another_number(start, whole) -> None:
    start("lora", 1, lora=True, kill=KILLED)
    code, errors, broken = start("lora", 2, lora=True, resume=True)
    assert code == 0, errors
    check_same(broken, whole(True))


SHARDED = [
    ("SHARDED_STATE_DICT", False, 2, 1),
    ("SHARDED_STATE_DICT", True, 1, 2),
    ("FULL_STATE_DICT", False, 1, 2),
]


@pytest.mark.parametrize("sharding, lora, before, after", SHARDED)
def test_shards_are_parted_anew(start, whole, sharding, lora, before, after) -> None:
    name = f"{sharding}-{lora}"
    way = {"lora": lora, "sharding": sharding, "torchrun": True}
    code, errors, broken = start(name, before, kill=KILLED, **way)
    assert code != 0 and (broken / "checkpoints" / "checkpoint-4").is_dir(), errors
    code, errors, broken = start(name, after, resume=True, **way)
    assert code == 0, errors
    check_same(broken, whole(lora))


def test_shards_are_not_taken_for_whole_weights(start) -> None:
    start("shards", 2, kill=3, sharding="SHARDED_STATE_DICT")
    code, errors, broken = start("shards", 1, resume=True)
    assert code != 0 and "saved under FSDP (SHARDED_STATE_DICT), and this run goes" in errors
    manifest = json.loads((broken / "manifest.json").read_text())
    assert [split["processes"] for split in manifest["splits"]] == [2]
