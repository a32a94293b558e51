"""What the trainer overrides of TRL, pinned: an upgrade that changes any of it fails here first."""

import inspect

import pytest
import trl.models
import trl.trainer.utils
from transformers import GenerationMixin
from trl import GRPOTrainer
from trl.trainer.utils import RepeatSampler

from safegrpo.training.trainer import SafeGRPOTrainer
from safegrpo.training.vision import VISION_INPUTS

PINNED = {
    (GRPOTrainer, "_get_train_sampler"): ["self", "dataset"],
    (GRPOTrainer, "_generate_and_score_completions"): ["self", "inputs"],
    (GRPOTrainer, "_prepare_inputs"): ["self", "generation_batch"],
    (GRPOTrainer, "_tokenize_prompts"): ["self", "prompts"],
    (GRPOTrainer, "_generate_single_turn"): [
        *("self", "prompt_ids", "images", "multimodal_fields"),
        *("num_generations", "has_tool_images"),
    ],
    (GRPOTrainer, "_get_per_token_logps_and_entropies"): [
        *("self", "model", "input_ids", "attention_mask", "logits_to_keep", "batch_size"),
        *("compute_entropy", "compute_aux_loss", "pixel_values", "image_grid_thw", "num_images"),
        *("pixel_attention_mask", "spatial_shapes", "num_tiles", "image_sizes"),
        *("token_type_ids", "mm_token_type_ids", "image_position_ids"),
    ],
    (RepeatSampler, "__init__"): [
        *("self", "data_source", "mini_repeat_count", "batch_size", "repeat_count"),
        *("shuffle", "seed"),
    ],
    # Not overridden, but called: by sampling of our own (shared_prefix/sampling.py), and to part
    # batches as TRL does.
    (GenerationMixin, "_prepare_generation_config"): ["self", "generation_config", "kwargs"],
    (GenerationMixin, "_prepare_special_tokens"): [
        *("self", "generation_config", "kwargs_has_attention_mask", "device", "batch_size"),
    ],
    (GenerationMixin, "_get_logits_processor"): [
        *("self", "generation_config", "input_ids_seq_length", "encoder_input_ids"),
        *("prefix_allowed_tokens_fn", "logits_processor", "device", "model_kwargs"),
        *("negative_prompt_ids", "negative_prompt_attention_mask"),
    ],
    (trl.models, "unwrap_model_for_generation"): [
        *("model", "accelerator", "gather_deepspeed3_params", "generation_kwargs"),
        "gradient_checkpointing_kwargs",
    ],
    (trl.trainer.utils, "split_pixel_values_by_grid"): ["batch"],
    (trl.trainer.utils, "unsplit_pixel_values_by_grid"): ["batch"],
    (trl.trainer.utils, "split_tensor_dict"): ["tensor_dict", "num_chunks"],
}


@pytest.mark.parametrize("owner, name", PINNED)
def test_signatures_are_those_we_were_written_for(owner, name):
    assert list(inspect.signature(getattr(owner, name)).parameters) == PINNED[owner, name]


def test_nothing_else_of_trl_is_overridden():
    ours = {name for name in vars(SafeGRPOTrainer) if hasattr(GRPOTrainer, name)}
    ours -= {"__module__", "__doc__", "__init__", "__annotations__", "_tag_names"}
    assert ours == {name for owner, name in PINNED if owner is GRPOTrainer}


def test_vision_inputs_are_arguments_of_the_forward_pass():
    known = set(inspect.signature(GRPOTrainer._get_per_token_logps_and_entropies).parameters)
    assert set(VISION_INPUTS) <= known


@pytest.mark.parametrize("place", ["advantages", "extra"])
def test_the_log_that_rollouts_are_read_from_is_there(place):
    assert f'self._logs["{place}"]' in inspect.getsource(GRPOTrainer)
