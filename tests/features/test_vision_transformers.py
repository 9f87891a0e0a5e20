"""DINOv2's and CLIP's shape and reading, with random weights: published ones come from a hub."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from features.random_weights import dinov2_network, noise
from safetensors.torch import save_file
from torch import Tensor, nn

from adm.features import open_features
from adm.features.vision_transformers import NETWORKS, architecture, transformer_of

timm = pytest.importorskip("timm")


def test_dinov2_gives_the_class_token_of_each_image() -> None:
    network = dinov2_network(timm)
    features = transformer_of("dinov2-vits14", network)
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


CLIP = NETWORKS["clip"]
SHALLOW = replace(CLIP, settings={**CLIP.settings, "depth": 2})  # of 24 equal blocks


@pytest.fixture
def clip(monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """Two blocks of CLIP with random weights, of which the last layer has no bias."""
    monkeypatch.setitem(NETWORKS, "clip", SHALLOW)
    torch.manual_seed(0)
    network = architecture("clip", timm)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.02 * torch.randn_like(weight))
        network.get_parameter("head.bias").zero_()
    return network


def embedding(w: dict[str, Tensor], x: Tensor, heads: int = 16) -> Tensor:
    """Radford et al. 2021, figure 3 and section 2.4, with the activation x sigmoid(1.702 x)."""

    def normed(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"])

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    patches = F.conv2d(x, w["patch_embed.proj.weight"], stride=14).flatten(2).mT
    x = torch.cat([w["cls_token"].expand(len(x), 1, -1), patches], dim=1) + w["pos_embed"]
    x = normed(x, "norm_pre")
    for block in ("blocks.0", "blocks.1"):
        three = linear(normed(x, f"{block}.norm1"), f"{block}.attn.qkv")
        q, k, v = three.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
        attended = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1) @ v
        x = x + linear(attended.transpose(1, 2).flatten(2), f"{block}.attn.proj")
        wide = linear(normed(x, f"{block}.norm2"), f"{block}.mlp.fc1")
        x = x + linear(wide * (1.702 * wide).sigmoid(), f"{block}.mlp.fc2")
    return normed(x[:, 0], "norm") @ w["head.weight"].T


def test_clip_gives_the_embedding_of_each_image(clip: nn.Module) -> None:
    features = transformer_of("clip", clip)
    images = noise(2, 3, 32, 32)
    pool = features.extract(images).pool
    assert pool.shape == (2, features.dim) == (2, 768)
    ready = F.interpolate(images.float(), (336, 336), mode="bicubic", antialias=True)
    mean = torch.tensor([[[122.7709]], [[116.7460]], [[104.0937]]])
    deviation = torch.tensor([[[68.5005]], [[66.6322]], [[70.3232]]])
    with torch.no_grad():
        expected = embedding(clip.state_dict(), (ready.clamp(0, 255) - mean) / deviation)
    assert (pool - expected).abs().max() < 1e-4 * expected.abs().max()
    assert (pool[0] - pool[1]).abs().max() > 1e-2 * expected.abs().max()


def test_clip_is_read_from_a_file(clip: nn.Module, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    save_file({name: weight.contiguous() for name, weight in clip.state_dict().items()}, file)
    features, images = open_features(f"clip:{file}"), noise(1, 1, 8, 8)
    expected = transformer_of("clip", clip)
    assert torch.equal(features.extract(images).pool, expected.extract(images).pool)
    assert features.fingerprint == expected.fingerprint
    with pytest.raises(ValueError, match="does not hold the weights of dinov2-vits14"):
        open_features(f"dinov2-vits14:{file}")


def test_the_whole_of_clip_has_its_published_size() -> None:
    with torch.device("meta"):
        network = architecture("clip", timm)
    count = sum(weight.numel() for weight in network.parameters())
    assert (
        count == 304_293_888 + 768
    )  # Radford's, and the bias of 0 that timm adds to the last layer
