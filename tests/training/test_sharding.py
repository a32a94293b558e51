"""What would go wrong with a divided model, said before it does."""

from types import SimpleNamespace

import pytest

from safegrpo.errors import ConfigError, ModelError
from safegrpo.training.run import _check_hints, train
from safegrpo.training.sharding import check_head, check_saves_whole
from tests.shared_prefix.tiny import build


def under(model, fsdp=2, processes=2):
    accelerator = SimpleNamespace(num_processes=processes, unwrap_model=lambda wrapped: wrapped)
    dist = SimpleNamespace(fsdp_version=fsdp)
    return SimpleNamespace(model=model, accelerator=accelerator, _dist=dist)


def test_a_head_of_its_own_is_refused_where_trl_reads_past_fsdp() -> None:
    model = build("llava").model
    with pytest.raises(ModelError, match="keep shared_prefix on"):
        check_head(under(model))
    check_head(under(model, fsdp=None))
    check_head(under(model, processes=1))
    model.get_output_embeddings().weight.requires_grad_(False)
    check_head(under(model))


def test_a_head_that_is_the_embeddings_is_right_there() -> None:
    model = build("llava").model
    model.lm_head.weight = model.get_input_embeddings().weight
    check_head(under(model))


@pytest.mark.parametrize(
    "stage, gathers, fine", [(2, False, True), (3, False, False), (3, True, True)]
)
def test_zero_3_has_to_give_its_weights(stage, gathers, fine) -> None:
    zero = {"stage": stage, "stage3_gather_16bit_weights_on_model_save": gathers}
    plugin = SimpleNamespace(deepspeed_config={"zero_optimization": zero})
    accelerator = SimpleNamespace(state=SimpleNamespace(deepspeed_plugin=plugin))
    trainer = SimpleNamespace(is_deepspeed_enabled=True, accelerator=accelerator)
    if fine:
        check_saves_whole(trainer)
        return
    with pytest.raises(ConfigError, match="zero3_save_16bit_model"):
        check_saves_whole(trainer)


def test_supervised_steps_of_a_divided_model_are_refused(recipe, pairs, monkeypatch) -> None:
    monkeypatch.setattr("safegrpo.training.session.divided_launch", lambda: True)
    with pytest.raises(ConfigError, match="cold_start trains a model that is not divided"):
        train(recipe(cold_start={"steps": 1}), train_pairs=pairs)
    with pytest.raises(ConfigError, match="internalise trains a model that is not divided"):
        train(recipe(internalise={"steps": 1}), train_pairs=pairs)


def test_hints_need_whole_groups_in_a_process(recipe) -> None:
    """TRL wants whole groups of all processes together only."""
    parted = SimpleNamespace(
        per_device_train_batch_size=6, steps_per_generation=1, num_generations=4
    )
    _check_hints(recipe(), parted)
    with pytest.raises(ConfigError, match="no whole groups of 4"):
        _check_hints(recipe(credit={"hints": 1}), parted)
