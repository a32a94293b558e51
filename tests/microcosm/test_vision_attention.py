"""Attention over all images at once is attention over each."""

import pytest
import torch

from safegrpo.microcosm import SHIPPED
from safegrpo.microcosm.vision import features
from safegrpo.microcosm.vision_attention import NAME, attend_at_once
from safegrpo.models import load_model


@pytest.fixture
def model():
    return load_model(SHIPPED, dtype="float32").train()


def gradients(model) -> list[torch.Tensor]:
    model.zero_grad()
    images = torch.randint(0, 256, (5, 64, 64, 3), generator=torch.Generator().manual_seed(0))
    seen = features(model, images.to(torch.uint8))
    seen.square().sum().backward()
    return [seen.detach(), *(p.grad.clone() for p in model.model.visual.parameters())]


def test_features_and_gradients_are_the_same(model):
    apart = gradients(model)
    attend_at_once(model)
    for one, other in zip(gradients(model), apart, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_images_of_several_sizes_are_refused(model):
    attend_at_once(model)
    patches = torch.zeros(16 + 64, 3 * 16 * 16)
    with pytest.raises(ValueError, match="several sizes"):
        model.model.visual(patches, grid_thw=torch.tensor([[1, 4, 4], [1, 8, 8]]))


def test_nothing_of_it_is_saved(model, tmp_path):
    attend_at_once(model)
    model.save_pretrained(tmp_path)
    assert NAME not in (tmp_path / "config.json").read_text("utf-8")
