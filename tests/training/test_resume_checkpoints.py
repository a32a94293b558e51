"""From which checkpoint a run goes on, what it removes, and which model it keeps as the best."""

import io
import json
import shutil
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file, save_file

from safegrpo.errors import ConfigError
from safegrpo.training.checkpoints import (
    forget_after,
    newest_checkpoint,
    replace_folder,
    saved_in,
    write_saved,
)
from safegrpo.training.run import train

TENSORS = {"a": torch.zeros(10)}
PLAIN = ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth")
FSDP = ("pytorch_model_fsdp_0/x", "optimizer_0/x", "scheduler.pt", "rng_state_0.pth")
DEEPSPEED = ("global_step2/x", "rng_state_0.pth", "rng_state_1.pth")


def checkpoint(folder: Path, step: int, names=PLAIN) -> Path:
    """A checkpoint as transformers leaves one, of next to nothing."""
    path = folder / f"checkpoint-{step}"
    for name in names:
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file(TENSORS, file) if file.suffix == ".safetensors" else torch.save(TENSORS, file)
    (path / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    return path


def newest(folder: Path):
    """(checkpoint, step, what was said)."""
    console = Console(file=io.StringIO(), width=200)
    found = newest_checkpoint(folder, console)
    return (*(found or (None, None)), console.file.getvalue())


def model(folder: Path, name: str, step: int) -> Path:
    """A model as a run saves it."""
    path = folder / name
    path.mkdir(parents=True)
    write_saved(path, step, {"eval/guided/balance": 0.5})
    return path


@pytest.mark.parametrize("names", [PLAIN, FSDP, DEEPSPEED])
def test_the_newest_is_taken_however_it_was_sharded(tmp_path, names) -> None:
    checkpoint(tmp_path, 2, names)
    last = checkpoint(tmp_path, 10, names)
    assert newest(tmp_path) == (last, 10, "")


@pytest.mark.parametrize("name", [*PLAIN, "trainer_state.json"])
@pytest.mark.parametrize("kept", [None, 0, 0.6])
def test_one_that_lacks_a_file_or_its_end_is_left_for_the_one_before(tmp_path, name, kept) -> None:
    before, last = checkpoint(tmp_path, 2), checkpoint(tmp_path, 4)
    whole = (last / name).read_bytes()
    (last / name).unlink()
    if kept is not None:
        (last / name).write_bytes(whole[: int(kept * len(whole))])
    path, step, said = newest(tmp_path)
    assert (path, step, last.exists()) == (before, 2, False)
    assert said == "checkpoint-4: cut short or damaged, and removed; going on from step 2\n"


def test_a_run_that_begins_again_says_so(tmp_path) -> None:
    for step in (2, 4):
        (checkpoint(tmp_path, step) / "optimizer.pt").unlink()
    assert newest(tmp_path)[2].endswith("no other is there: beginning at step 0\n")
    assert newest(tmp_path) == (None, None, "")


def test_one_that_cannot_be_read_now_is_kept(tmp_path) -> None:
    path = checkpoint(tmp_path, 2)
    (path / "trainer_state.json").unlink()
    (path / "trainer_state.json").symlink_to("trainer_state.json")  # a ring: an error of reading
    with pytest.raises(OSError, match="symbolic links"):
        newest(tmp_path)
    assert (path / "optimizer.pt").is_file()


def test_of_a_link_only_the_link_is_removed(tmp_path) -> None:
    path = checkpoint(tmp_path / "elsewhere", 2)
    (path / "optimizer.pt").unlink()
    run = tmp_path / "run"
    run.mkdir()
    (run / path.name).symlink_to(path)
    assert newest(run)[:2] == (None, None)
    assert not (run / path.name).is_symlink() and (path / "scheduler.pt").is_file()


def test_what_is_not_the_runs_is_left_alone(tmp_path) -> None:
    for name in ("notes.old", "README.md", "checkpoint-7"):
        (tmp_path / name).write_text("mine")
    for name in ("my_best.old", "x.part", "checkpoint-2-copy"):
        model(tmp_path, name, 1)
    before = sorted(tmp_path.rglob("*"))
    newest(tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "there, step",
    [
        ({"best.old": 2, "best.part": 4}, 4),  # killed between the two renames
        ({"best.old": 2}, 2),
        ({"best": 4, "best.old": 2}, 4),
        ({"best": 2, "best.part": 4}, 2),
    ],
)
def test_a_model_that_was_being_replaced_is_not_lost(tmp_path, there, step) -> None:
    for name, saved in there.items():
        model(tmp_path, name, saved)
    newest(tmp_path)
    assert saved_in(tmp_path / "best") == (step, {"eval/guided/balance": 0.5})
    assert [path.name for path in tmp_path.iterdir()] == ["best"]


def test_a_model_that_was_not_saved_to_its_end_is_removed(tmp_path) -> None:
    (tmp_path / "last.part").mkdir()
    newest(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_replacing_leaves_the_new_one_alone(tmp_path) -> None:
    model(tmp_path, "best", 2)
    replace_folder(model(tmp_path, "best.part", 4), tmp_path / "best")
    assert [(path.name, saved_in(path)[0]) for path in tmp_path.iterdir()] == [("best", 4)]


def test_files_of_ones_own_beside_the_rollouts_stay(tmp_path) -> None:
    (tmp_path / "rollouts").mkdir()
    for name in ("step-copy.parquet", "step-000002.parquet", "step-000003.parquet"):
        (tmp_path / "rollouts" / name).touch()
    forget_after(tmp_path, 2)
    left = sorted(path.name for path in (tmp_path / "rollouts").iterdir())
    assert left == ["step-000002.parquet", "step-copy.parquet"]


@pytest.mark.parametrize("row", ['{"note": 1}', '{"step": null}', '{"step": 2, "loss": "x"}'])
def test_a_row_of_metrics_that_is_none_is_named(tmp_path, row) -> None:
    (tmp_path / "metrics.jsonl").write_text(f'{{"step": 1}}\n{row}\n')
    with pytest.raises(ConfigError, match=r"metrics\.jsonl.* line 2 is no row"):
        forget_after(tmp_path, 2)


class Killed(BaseException):
    pass


@pytest.fixture
def broken(recipe, pairs, tmp_path):
    """A function that goes on, with these numbers, with a run that was killed at step 4 after it
    had measured 0.8 after step 3; its newest checkpoint is that of step 2."""

    def go(values: dict[int, float], resume: bool = True):
        def measure(model, processor, step):
            if step not in values:
                raise Killed
            return {"mine": values[step]}

        made = recipe(
            {"max_steps": 5, "max_completion_length": 4},
            evaluate={"every": 1, "metric": "mine"},
            checkpoint={"every": 2},
        )
        return train(made, train_pairs=pairs, measure=measure, resume=resume)

    with pytest.raises(Killed):
        go({0: 0.1, 1: 0.7, 2: 0.2, 3: 0.8}, resume=False)
    go.checkpoints = tmp_path / "run" / "checkpoints"
    return go


@pytest.mark.parametrize("metrics", [True, False])
def test_the_best_model_stays_where_its_step_comes_out_otherwise(broken, metrics) -> None:
    best = broken.checkpoints / "best"
    weights = load_file(best / "model.safetensors")
    (broken.checkpoints / "README.md").write_text("mine")
    if not metrics:
        (broken.checkpoints.parent / "metrics.jsonl").unlink()
    result = broken({3: 0.75, 4: 0.3, 5: 0.4})
    assert (result.best.step, result.best.value) == (3, 0.8)
    assert saved_in(best) == (3, {"mine": 0.8})
    found = load_file(best / "model.safetensors")
    assert all(torch.equal(found[name], weights[name]) for name in weights)
    assert (broken.checkpoints / "README.md").read_text() == "mine"


def test_without_the_best_model_a_lesser_one_is_kept(broken) -> None:
    shutil.rmtree(broken.checkpoints / "best")
    result = broken({3: 0.3, 4: 0.2, 5: 0.1})
    assert (result.best.step, result.best.value) == (3, 0.3)
    assert saved_in(broken.checkpoints / "best") == (3, {"mine": 0.3})


def test_a_best_model_of_an_earlier_version_is_known_by_its_row(broken) -> None:
    (broken.checkpoints / "best" / "safegrpo_step.json").write_text('{"step": 1}')
    result = broken({3: 0.3, 4: 0.2, 5: 0.1})
    assert (result.best.step, result.best.value) == (1, 0.7)
