"""A diffusion model, level, seed -> features of its encoder, and the models that have none."""

from pathlib import Path

import pytest
import tiny
import torch
from features.random_weights import noise

from adm.diffusion.process import diffuse
from adm.features import open_features
from adm.images import to_float
from adm.models.load import load_diffusion
from adm.networks import NO_LABEL
from adm.networks.unet import embedded
from adm.samplers.noise import ImageNoise

LEVEL, SEED = 7, 3
SHAPE = (1, 8, 8)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.model(tmp_path_factory.mktemp("models") / "a@b=c.safetensors", tiny.diffusion())


def test_features_are_those_of_an_unconditional_pass_through_the_encoder(model: Path) -> None:
    images = noise(5, *SHAPE)
    features = open_features(f"diffusion:{model}@level={LEVEL},seed={SEED}")
    extracted = features.extract(images)
    loaded = load_diffusion(model)
    x_0, unlabelled = to_float(images), torch.full((5,), NO_LABEL)
    added = ImageNoise(SEED, [0] * 5, SHAPE)(LEVEL)
    x_t = diffuse(loaded.schedule, x_0, added, LEVEL)
    step = loaded.schedule.timestep(LEVEL, x_0)
    *_, innermost = loaded.network.encoder(x_t, embedded(loaded.network, step, unlabelled, None))
    assert torch.allclose(extracted.pool, innermost.mean(dim=(2, 3)), atol=1e-6)
    assert extracted.pool.shape == (5, features.dim)
    assert extracted.spatial is None
    assert extracted.logits is None
    assert extracted.pool.std(dim=0).min() > 1e-3  # they distinguish images


def test_features_do_not_depend_on_the_batch(model: Path) -> None:
    images = noise(6, *SHAPE)
    features = open_features(f"diffusion:{model}@level={LEVEL}")
    whole = features.extract(images).pool
    alone = torch.cat([features.extract(image[None]).pool for image in images.flip(0)]).flip(0)
    assert torch.allclose(whole, alone, atol=1e-5)


def test_a_fingerprint_changes_with_level_seed_and_weights(model: Path, tmp_path: Path) -> None:
    other = tiny.model(tmp_path / "other.safetensors", tiny.diffusion(), seed=1)
    specs = [f"{model}@level=7", f"{model}@level=8", f"{model}@level=7,seed=1", f"{other}@level=7"]
    opened = [open_features(f"diffusion:{spec}") for spec in specs]
    assert len({each.fingerprint for each in opened}) == 4
    assert opened[0].fingerprint == open_features(f"diffusion:{model}@seed=0,level=7").fingerprint
    images = noise(2, *SHAPE)
    pools = [each.extract(images).pool for each in opened]
    assert all(not torch.allclose(pools[0], pool) for pool in pools[1:])
    names = [each.name for each in opened]
    assert names[:3] == [f"diffusion:digits@level={t}" for t in ("7", "8", "7,seed=1")]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("level=21", r"level must be in 1\.\.20, the levels of .*, got 21"),
        ("level=0", "features.level must be at least 1, got '0'"),
        ("levels=3", "noise has the parameters level, seed, and not 'levels=3'"),
    ],
)
def test_settings_out_of_range_are_refused(model: Path, settings: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_features(f"diffusion:{model}@{settings}")


def test_models_without_such_features_are_refused(tmp_path: Path) -> None:
    guide = tiny.model(tmp_path / "guide.safetensors", tiny.classifier())
    larger = tiny.model(tmp_path / "larger.safetensors", tiny.upsampler())
    with pytest.raises(ValueError, match="is a classifier, whose features are opened by its path"):
        open_features(f"diffusion:{guide}")
    with pytest.raises(ValueError, match="starts from another image; give a model that starts"):
        open_features(f"diffusion:{larger}@level=2")
    with pytest.raises(ValueError, match="no model 'none'; give a path of a model"):
        open_features("diffusion:none")
