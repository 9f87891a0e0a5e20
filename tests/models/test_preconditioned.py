"""EDM's target -> every caller of a network scales its input, at one level or several."""

from contextlib import nullcontext

import pytest
import tiny
import torch
from oracle import normal
from torch import Tensor

from adm.diffusion import EDM, Prediction
from adm.distillation import student_of
from adm.models.load import load_diffusion
from adm.models.trained import DiffusionModel

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
