"""The reference suite's network: its shape and its features, with random weights."""

import hashlib
from pathlib import Path

import pytest
import torch
from features.random_weights import inception_port, inception_state, noise
from torch import Tensor, nn

from adm.features import Features, inception, open_features
from adm.features.inception import inception_of


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return inception_state()


@pytest.fixture(scope="module")
def features(state: dict[str, Tensor]) -> Features:
    return inception_of(state)


def scaled_error(actual: Tensor, expected: Tensor) -> float:
    return float((actual - expected).abs().max() / expected.abs().max())


def test_pool_and_logits_are_torch_fidelitys(features: Features, state: dict[str, Tensor]) -> None:
    images = noise(2, 3, 40, 33)
    pool, logits = inception_port(state)(images)
    extracted = features.extract(images)
    assert scaled_error(extracted.pool, pool) < 1e-5
    assert scaled_error(extracted.logits, logits) < 1e-5


def test_spatial_features_are_mixed_6_conv_with_channels_fastest(state: dict[str, Tensor]) -> None:
    """The first 7 channels after normalization and ReLU: place (y, x), channel c is at
    (17 y + x) 7 + c."""
    images = noise(2, 3, 32, 32)
    port = inception_port(state)
    outputs: list[Tensor] = []
    port.Mixed_6d.branch1x1.bn.register_forward_hook(lambda _module, _in, out: outputs.append(out))
    port(images)
    conv = outputs[0].clamp_min(0)  # (B, 192, 17, 17)
    spatial = inception_of(state).extract(images).spatial
    assert spatial is not None
    assert (spatial == 0).float().mean() > 0.1
    for y, x, c in ((0, 0, 0), (0, 0, 6), (0, 1, 0), (3, 16, 2), (16, 16, 6)):
        index = (17 * y + x) * 7 + c
        assert torch.allclose(spatial[:, index], conv[:, c, y, x], atol=1e-5), (y, x, c)


def test_other_weights_are_refused(tmp_path: Path, state: dict[str, Tensor]) -> None:
    file = tmp_path / "weights.pth"
    torch.save({"weight": torch.zeros(3)}, file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()[:8]
    with pytest.raises(ValueError, match=f"begins {digest}, expected 6726825d"):
        open_features(f"inception:{file}")
    with pytest.raises(ValueError, match=r"Missing key.*inception\+download"):
        inception_of({key: weight for key, weight in state.items() if key != "fc.bias"})


def test_absent_weights_are_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(ValueError, match=rf"not been downloaded.*inception\+download.*{tmp_path}"):
        open_features("inception")
    with pytest.raises(ValueError, match=r"no weights in .*absent\.pth"):
        open_features(f"inception:{tmp_path}/absent.pth")


def test_a_weight_file_that_would_run_code_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "weights.pth"
    torch.save(nn.Linear(1, 1), file)  # a pickled object: opening it would import and build it
    monkeypatch.setattr(
        inception, "SHA256_BEGINS", hashlib.sha256(file.read_bytes()).hexdigest()[:8]
    )
    with pytest.raises(ValueError, match="could run code, so it was not loaded"):
        open_features(f"inception:{file}")
