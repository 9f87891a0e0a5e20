"""EDM's target -> every caller of a network scales its input, at one level or several."""

from contextlib import nullcontext
from pathlib import Path

import pytest
import tiny
import torch
from oracle import normal
from torch import Tensor

from adm.diffusion import EDM, Prediction
from adm.diffusion.process import diffuse
from adm.distillation import student_of
from adm.features.opening import open_features
from adm.images import to_float
from adm.models.load import load_diffusion
from adm.models.trained import DiffusionModel
from adm.networks.unet import embedded
from adm.samplers.noise import ImageNoise

X_T = normal((3, 1, 8, 8), 0).float()
LABELS = torch.tensor([0, 1, 2])
LEVELS: dict[str, int | Tensor] = {"one": 7, "several": torch.tensor([1, 7, 20])}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> DiffusionModel:
    chosen = tiny.diffusion("process.prediction=edm:sigma_data=0.3")
    return load_diffusion(tiny.model(tmp_path_factory.mktemp("model") / "edm.safetensors", chosen))


def factor(model: DiffusionModel, level: int | Tensor) -> Tensor:
    """1 / sqrt(sigma^2 + signal^2 sigma_data^2), to multiply a batch by."""
    alpha_bar = model.schedule.alpha_bar[torch.as_tensor(level)]
    return (1 / (1 - alpha_bar + 0.3**2 * alpha_bar).sqrt()).float().reshape(-1, 1, 1, 1)


def by_hand(model: DiffusionModel, level: int | Tensor) -> Prediction:
    step = model.schedule.timestep(level, X_T)
    raw = model.network(factor(model, level) * X_T, step, LABELS)
    return model.parameterization.predict(model.schedule, raw, X_T, level)


@pytest.mark.parametrize("level", LEVELS.values(), ids=LEVELS)
def test_a_denoiser_and_a_student_call_the_network_on_the_scaled_input(
    model: DiffusionModel, level: int | Tensor
) -> None:
    assert model.recipe.process.prediction == EDM(sigma_data=0.3)
    student = student_of((), model.parameterization, nullcontext)
    scales = torch.zeros(3)
    for prediction in (
        model.denoise(LABELS, threshold=None)(X_T, level),
        student(model.network, model.schedule, LABELS, scales)(X_T, level, level - 1),
    ):
        torch.testing.assert_close(prediction.x_0, by_hand(model, level).x_0, rtol=1e-4, atol=1e-4)


def test_features_are_those_of_the_scaled_input(model: DiffusionModel, tmp_path: Path) -> None:
    images = torch.randint(0, 256, (2, 1, 8, 8), dtype=torch.uint8)
    features = open_features(f"diffusion:{model.path}@level=7").extract(images)
    added = ImageNoise(0, [0, 0], (1, 8, 8))(7)
    x_t = factor(model, 7) * diffuse(model.schedule, to_float(images), added, 7)
    step = model.schedule.timestep(7, x_t)
    inner = model.network.encoder(x_t, embedded(model.network, step, None, None))[-1]
    torch.testing.assert_close(features.pool, inner.mean(dim=(2, 3)), rtol=1e-4, atol=1e-5)
    other = tiny.model(tmp_path / "b.safetensors", tiny.diffusion("process.prediction=velocity"))
    ours, theirs = (open_features(f"diffusion:{p}@level=7") for p in (model.path, other))
    assert ours.fingerprint != theirs.fingerprint  # of the same weights
