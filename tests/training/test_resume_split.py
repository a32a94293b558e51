"""On how many processes, and under what, a run may go on: its batches keep their sizes."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from accelerate.data_loader import BatchSamplerShard
from torch.utils.data import BatchSampler

from safegrpo.errors import ConfigError
from safegrpo.training.checkpoints import check_fits, seed_new_process
from safegrpo.training.config import Recipe
from safegrpo.training.run_folder import Split, open_run, read_manifest, splits_of, with_split
from safegrpo.training.sampling import EpochSampler

ALONE = Split(1, 8, 4, 8)
DATA = {"train": {"rows": 4, "cells": {}, "sha256": "ab" * 32}}


def recipe_of(split, **grpo):
    given = {name: value for name, value in asdict(split).items() if name != "processes"}
    return Recipe.model_validate({"model": "org/base", "grpo": {**given, **grpo}})


@pytest.fixture
def run(tmp_path):
    """A run that was begun by one process; a function that goes on with it."""
    folder = tmp_path / "run"
    open_run(folder, recipe_of(ALONE), DATA, ALONE, resume=False)
    (folder / "metrics.jsonl").touch()

    def go_on(split, recipe=None, data=DATA):
        return open_run(folder, recipe or recipe_of(split), data, split, resume=True)

    go_on.folder = folder
    return go_on


@pytest.mark.parametrize(
    "split", [Split(2, 8, 2, 4), Split(4, 4, 2, 4), Split(1, 4, 8, 16), Split(1, 8, 4, 8)]
)
def test_it_goes_on_wherever_the_sizes_stay(run, split) -> None:
    run(split)


def test_the_manifest_says_how_it_was_split_each_time(run) -> None:
    both = Split(2, 8, 2, 4)
    manifest = with_split(run(both), both, resumed=True)
    assert splits_of(with_split(manifest, both, resumed=True)) == [ALONE, both]
    # Without a checkpoint it has begun anew.
    assert splits_of(with_split(manifest, both, resumed=False)) == [both]


@pytest.mark.parametrize(
    "split, mend",
    [
        (
            Split(2, 8, 4, 8),
            "--set grpo.gradient_accumulation_steps=2 --set grpo.steps_per_generation=4",
        ),
        (
            Split(8, 8, 4, 8),
            "--set grpo.per_device_train_batch_size=4 --set grpo.gradient_accumulation_steps=1 "
            "--set grpo.steps_per_generation=2",
        ),
        (Split(3, 8, 4, 8), "cannot be parted evenly over 3 processes"),
    ],
)
def test_another_size_is_refused_with_what_to_set(run, split, mend) -> None:
    with pytest.raises(ConfigError, match="1 x 8 completions at a time, 32 an update") as refused:
        run(split)
    assert mend in str(refused.value)
    words = str(refused.value).split("--set grpo.")[1:]
    if words:  # and what it says to set is what is taken
        mended = replace(split, **{k: int(v) for k, v in (w.strip().split("=") for w in words)})
        run(mended)


def test_without_steps_of_its_own_a_generation_follows_the_update(tmp_path) -> None:
    def recipe(accumulation):
        grpo = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": accumulation}
        return Recipe.model_validate({"model": "org/base", "grpo": grpo})

    begun = Split(1, 8, 4, 4)
    open_run(tmp_path / "run", recipe(4), DATA, begun, resume=False)
    (tmp_path / "run" / "metrics.jsonl").touch()
    with pytest.raises(ConfigError) as refused:
        open_run(tmp_path / "run", recipe(4), DATA, Split(2, 8, 4, 4), resume=True)
    assert str(refused.value).endswith("with --set grpo.gradient_accumulation_steps=2")
    open_run(tmp_path / "run", recipe(2), DATA, Split(2, 8, 2, 2), resume=True)


def test_what_is_no_matter_of_splitting_may_not_change(run) -> None:
    split = Split(2, 8, 2, 4)
    with pytest.raises(ConfigError, match=r"grpo\.beta \(unset -> 0\.5\) changed"):
        run(split, recipe_of(split, beta=0.5))
    with pytest.raises(ConfigError, match=r"grpo\.num_generations \(unset -> 4\) changed"):
        run(split, recipe_of(split, num_generations=4))
    with pytest.raises(ConfigError, match=r"rows or images of data\.train"):
        run(split, data={"train": {**DATA["train"], "sha256": "cd" * 32}})


def test_a_loss_by_the_part_keeps_the_size_of_the_part(tmp_path) -> None:
    whole, parted = Split(1, 8, 4, 8), Split(2, 4, 4, 8)
    open_run(tmp_path, recipe_of(whole, loss_type="bnpo"), DATA, whole, resume=False)
    (tmp_path / "metrics.jsonl").touch()
    with pytest.raises(ConfigError, match="loss_type bnpo depends on it"):
        open_run(tmp_path, recipe_of(parted, loss_type="bnpo"), DATA, parted, resume=True)
    kept = Split(2, 8, 2, 4)
    open_run(tmp_path, recipe_of(kept, loss_type="bnpo"), DATA, kept, resume=True)


def test_a_run_of_an_earlier_version_goes_on_as_it_was(run) -> None:
    manifest = read_manifest(run.folder)
    del manifest["splits"]
    (run.folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ConfigError, match=r"grpo\.gradient_accumulation_steps \(4 -> 2\)"):
        run(Split(2, 8, 2, 4))
    assert splits_of(run(ALONE)) == []


def test_a_damaged_manifest_is_told(run) -> None:
    manifest = {**read_manifest(run.folder), "splits": [{"processes": 1}]}
    (run.folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ConfigError, match='"splits" is damaged'):
        run(ALONE)


def rows_of_updates(split: Split, epoch: int) -> list[list[int]]:
    """The rows of each update of an epoch, put together from all processes."""
    group = 4
    sampler = EpochSampler(
        range(40),
        mini_repeat_count=group,
        batch_size=split.sizes[1] // group,
        repeat_count=split.steps_per_generation,
        seed=3,
        epoch=lambda: epoch,
    )
    size = split.per_device_train_batch_size * split.steps_per_generation
    batches = BatchSampler(sampler, size, drop_last=True)
    shards = [
        list(BatchSamplerShard(batches, split.processes, process))
        for process in range(split.processes)
    ]
    # A batch is fetched for every part; the generation of the first is the one that is used.
    return [
        [row for shard in shards for row in shard[at]]
        for at in range(0, len(shards[0]), split.steps_per_generation)
    ]


@pytest.mark.parametrize("split", [Split(2, 8, 2, 4), Split(4, 8, 1, 2), Split(1, 4, 8, 16)])
def test_every_split_sees_the_same_rows_in_the_same_order(split) -> None:
    for epoch in (0, 1):
        assert rows_of_updates(split, epoch) == rows_of_updates(ALONE, epoch)
    assert rows_of_updates(split, 0) != rows_of_updates(split, 1)


def trainer_of(sharding="", processes=1, deepspeed=None):
    plugins = SimpleNamespace(
        fsdp_plugin=SimpleNamespace(state_dict_type=SimpleNamespace(name=sharding)),
        deepspeed_plugin=SimpleNamespace(deepspeed_config=deepspeed),
    )
    return SimpleNamespace(
        is_fsdp_enabled=bool(sharding),
        is_deepspeed_enabled=deepspeed is not None,
        accelerator=SimpleNamespace(state=plugins),
        args=SimpleNamespace(world_size=processes),
    )


def checkpoint_of(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


PLAIN, FULL, SHARDED = (
    ("model.safetensors", "optimizer.pt"),
    ("model.safetensors", "pytorch_model_fsdp.bin", "optimizer.bin"),
    ("pytorch_model_fsdp_0/.metadata", "optimizer_0/.metadata"),
)


@pytest.mark.parametrize(
    "names, sharding",
    [(PLAIN, ""), (FULL, "FULL_STATE_DICT"), (SHARDED, "SHARDED_STATE_DICT")],
)
def test_a_checkpoint_goes_on_the_way_it_was_saved_and_no_other(tmp_path, names, sharding) -> None:
    checkpoint = checkpoint_of(tmp_path / "checkpoint-2", *names, "rng_state.pth")
    check_fits(checkpoint, trainer_of(sharding, processes=4))
    for other in {"", "FULL_STATE_DICT", "SHARDED_STATE_DICT"} - {sharding}:
        with pytest.raises(ConfigError, match="start it as it was begun"):
            check_fits(checkpoint, trainer_of(other))


def test_deepspeeds_checkpoint_is_for_as_many_processes(tmp_path) -> None:
    checkpoint = checkpoint_of(
        *(tmp_path / "checkpoint-2", "global_step2/zero_pp_rank_0_mp_rank_00_optim_states.pt"),
        *("rng_state_0.pth", "rng_state_1.pth"),
    )
    check_fits(checkpoint, trainer_of(processes=2, deepspeed={}))
    with pytest.raises(ConfigError, match=r"in 2 parts, .* not 4: start 2, or convert"):
        check_fits(checkpoint, trainer_of(processes=4, deepspeed={}))
    universal = {"checkpoint": {"load_universal": True}}
    check_fits(checkpoint, trainer_of(processes=4, deepspeed=universal))
    with pytest.raises(ConfigError, match="saved under DeepSpeed, and this run goes unsharded"):
        check_fits(checkpoint, trainer_of(processes=2))


def test_a_process_without_a_random_state_gets_a_stream_of_its_own(tmp_path) -> None:
    def drawn(world, process, step=2):
        torch.manual_seed(0)
        args = SimpleNamespace(world_size=world, process_index=process, seed=0)
        seed_new_process(tmp_path, args, step)
        return torch.rand(1).item()

    torch.manual_seed(0)
    kept = torch.rand(1).item()
    (tmp_path / "rng_state_0.pth").touch()
    assert drawn(2, 0) == kept  # transformers loads it
    streams = {kept, drawn(2, 1), drawn(1, 0), drawn(2, 1, step=3)}
    assert len(streams) == 4
