"""states -> the same states; NaN and infinity end sampling, with the step, the image and a cure."""

import math
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny
import torch

from adm.diffusion import Prediction
from adm.generation.diffusion import DiffusionGenerator, finite
from adm.models.load import load_classifier, load_diffusion
from adm.models.trained import DiffusionModel
from adm.samplers import Sampling, State

BASE = Sampling().change(sampler="ddim", steps=4, seed=2)
LABELS = torch.tensor([0, 1, 2])


@pytest.fixture
def model(tmp_path: Path) -> DiffusionModel:
    return load_diffusion(tiny.model(tmp_path / "d.safetensors", tiny.diffusion()))


def states(values: list[list[float]], device: str = "cpu") -> Iterator[State]:
    for row in values:
        x = torch.tensor(row, device=device)[:, None, None, None]
        yield State(x, 0, Prediction(x, x, None))  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_cpu_stops_at_the_first_step_that_is_not_finite(value: float) -> None:
    checked = finite(
        states([[0.0, 1.0], [0.0, value], [value, value]]),
        lambda step, place: FloatingPointError(f"step {step}, place {place}"),
    )
    next(checked)
    with pytest.raises(FloatingPointError, match="step 2, place 1"):
        next(checked)


def test_weights_that_are_not_finite_are_named_with_image_and_step(
    model: DiffusionModel,
) -> None:
    next(model.network.parameters()).data.fill_(math.nan)
    message = "sampling d.safetensors gave NaN or infinity in image 7 at step 1 of 4; use another"
    with pytest.raises(FloatingPointError, match=re.escape(message)):
        DiffusionGenerator(model, BASE).images(LABELS, [7, 8, 9])


def test_a_scale_that_is_too_large_is_named_as_the_cause(
    model: DiffusionModel, tmp_path: Path
) -> None:
    guide = load_classifier(tiny.model(tmp_path / "c.safetensors", tiny.classifier(), seed=1))
    sampling = BASE.change(scale=1e38, precision="float16")
    message = "in bfloat16 or float32, or guide with a smaller scale"
    with pytest.raises(FloatingPointError, match=message):
        DiffusionGenerator(model, sampling, [guide]).images(LABELS, range(3))
