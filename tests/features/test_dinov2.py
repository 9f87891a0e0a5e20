"""DINOv2's shape and reading, with random weights: its own come from a hub."""

from pathlib import Path

import pytest
import torch
from features.random_weights import dinov2_network, noise
from safetensors.torch import save_file

from adm.features import open_features
from adm.features.dinov2 import dinov2_of

timm = pytest.importorskip("timm")


def test_it_gives_the_class_token_of_each_image() -> None:
    network = dinov2_network(timm)
    features = dinov2_of("dinov2-vits14", network)
    images = noise(3, 3, 32, 32)
    pool = features.extract(images).pool
    assert pool.shape == (3, features.dim) == (3, 384)
    with torch.no_grad():
        ready = torch.nn.functional.interpolate(
            images.float(), (224, 224), mode="bicubic", antialias=True
        ).clamp(0, 255)
        mean, deviation = (
            torch.tensor([[[123.675]], [[116.28]], [[103.53]]]),
            torch.tensor([[[58.395]], [[57.12]], [[57.375]]]),
        )
        tokens = network.forward_features((ready - mean) / deviation)
    assert tokens.shape == (3, 1 + 16 * 16, 384)
    assert (pool - tokens[:, 0]).abs().max() < 1e-4
    assert (pool[0] - pool[1]).abs().max() > 1e-2


def test_a_file_for_larger_images_is_read(tmp_path: Path) -> None:
    """The published weights are of 518 x 518 images: 37 x 37 positions, resampled to 16 x 16."""
    whole = timm.create_model("vit_small_patch14_dinov2.lvd142m", num_classes=0)
    state = {name: weight.contiguous() for name, weight in whole.state_dict().items()}
    assert state["pos_embed"].shape[1] == 1 + 37 * 37
    file = tmp_path / "model.safetensors"
    save_file(state, file)
    features = open_features(f"dinov2-vits14:{file}")
    assert features.extract(noise(1, 1, 8, 8)).pool.shape == (1, 384)
    with pytest.raises(ValueError, match="does not hold the weights of dinov2-vitb14"):
        open_features(f"dinov2-vitb14:{file}")
