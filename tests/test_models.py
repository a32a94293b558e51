"""Loading: what is a vision-language model, and what is told of what is not."""

import json

import pytest
import torch

from safegrpo.errors import InputFileError, ModelError
from safegrpo.microcosm import text
from safegrpo.microcosm.model import build_model, build_processor, save_model, train_tokenizer
from safegrpo.models import load_model, load_processor, model_type, vision_token_ids


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    path = tmp_path_factory.mktemp("vlm")
    processor = build_processor(train_tokenizer(text.corpus()))
    save_model(build_model(processor.tokenizer), processor, path, torch.float32)
    return path


def test_a_saved_processor_names_the_stock_class(directory):
    config = json.loads((directory / "processor_config.json").read_text())
    assert config["processor_class"] == "Qwen3VLProcessor"
    assert (directory / "video_preprocessor_config.json").is_file()


def test_a_saved_directory_loads_with_left_padding(directory):
    processor = load_processor(directory)
    assert processor.tokenizer.padding_side == "left"
    assert model_type(directory) == "qwen3_vl"


def test_vision_placeholders_are_found(directory):
    processor = load_processor(directory)
    tokens = processor.tokenizer.convert_ids_to_tokens(vision_token_ids(processor))
    assert set(tokens) == {
        "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"
    }  # fmt: skip


def test_an_empty_directory_is_no_model(tmp_path):
    with pytest.raises(ModelError, match=r"holds no config\.json"):
        load_model(tmp_path)


def test_a_missing_directory_is_named_without_asking_a_hub(tmp_path):
    with pytest.raises(InputFileError, match="is no directory here"):
        load_model(tmp_path / "nowhere")


def test_a_text_model_is_no_vision_language_model(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(ModelError, match="is a llama model, not a vision-language model"):
        load_model(tmp_path)


def test_an_unknown_architecture_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "no_such_thing"}))
    with pytest.raises(ModelError, match=r"config\.json is not understood"):
        model_type(tmp_path)


def test_pickled_weights_are_not_loaded(directory, tmp_path):
    for name in ("config.json", "generation_config.json"):
        (tmp_path / name).write_text((directory / name).read_text())
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="weights"):
        load_model(tmp_path)


def test_a_model_without_its_processor_is_told(directory, tmp_path):
    (tmp_path / "config.json").write_text((directory / "config.json").read_text())
    with pytest.raises(ModelError, match="processor"):
        load_processor(tmp_path)
