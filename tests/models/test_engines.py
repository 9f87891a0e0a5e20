"""DiffusionModel, engine -> the same images to rounding, or nearly, from 8-bit integers."""

from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch
from torch import nn

from adm.generation.diffusion import DiffusionGenerator
from adm.models import engines
from adm.models.int8 import Rounded, calibrated, quantized
from adm.models.load import load_diffusion
from adm.models.trained import DiffusionModel
from adm.networks import on_meta
from adm.samplers.settings import Engine
from adm.samplers.words import changed

INPUTS = torch.randn(4, 1, 8, 8), torch.tensor([3.0, 9.0, 14.0, 20.0]), torch.tensor([0, 1, 2, -1])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> DiffusionModel:
    folder = tmp_path_factory.mktemp("models")
    return load_diffusion(tiny.model(folder / "d.safetensors", tiny.diffusion()))


def test_torch_evaluates_the_prepared_network(model: DiffusionModel) -> None:
    assert engines.evaluated_by("torch", model, "float32") is model.prepared("float32")


def test_what_an_engine_lacks_is_said_before_any_work(
    tmp_path: Path, model: DiffusionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    larger = load_diffusion(tiny.model(tmp_path / "u.safetensors", tiny.upsampler()))
    away = replace(model, network=on_meta(model.recipe.config))
    by_openvino = changed(model.recipe.sample, engine="openvino")
    monkeypatch.setattr(engines, "find_spec", lambda _: None)
    with pytest.raises(ValueError, match="openvino, which is not installed; pip install"):
        DiffusionGenerator(model, by_openvino)
    monkeypatch.setattr(engines, "find_spec", lambda _: True)
    with pytest.raises(ValueError, match=r"the model is on meta; pass engine='torch', or"):
        DiffusionGenerator(away, by_openvino)
    with pytest.raises(ValueError, match=r"an upsampler does not make; pass engine='openvino'"):
        DiffusionGenerator(larger, changed(larger.recipe.sample, engine="openvino-int8"))
    DiffusionGenerator(larger, changed(larger.recipe.sample, engine="openvino"))


def test_rounding_keeps_numbers_of_its_grid_and_clips_others() -> None:
    conv = nn.Conv2d(2, 3, 3, padding=1)
    generator = torch.Generator().manual_seed(0)
    kernel = torch.randint(-127, 128, (3, 2, 3, 3), generator=generator).float()
    kernel[:, 0, 0, 0] = 127
    scales = torch.tensor([0.25, 1.0, 8.0])[:, None, None, None]
    conv.weight = nn.Parameter(kernel * scales, requires_grad=False)
    x = torch.randint(-8, 248, (1, 2, 5, 5), generator=generator) / 16
    rounded = Rounded(conv, -0.5, 255 / 16 - 0.5)
    assert torch.allclose(rounded(x), conv(x), rtol=1e-6)
    assert torch.allclose(rounded(x * 100), conv((x * 100).clamp(-0.5, 255 / 16 - 0.5)), rtol=1e-6)


def test_convolutions_of_residual_blocks_are_rounded(model: DiffusionModel) -> None:
    rounded = quantized(model)
    names = {name for name, each in rounded.named_modules() if isinstance(each, Rounded)}
    assert names == {
        name for name, _ in model.network.named_modules() if name.endswith(("conv_in", "conv_out"))
    }
    with torch.no_grad():
        exact, near = model.network(*INPUTS), rounded(*INPUTS)
    assert 0 < (near - exact).pow(2).mean().sqrt() < 0.05 * exact.pow(2).mean().sqrt()


def test_calibration_is_repeatable_and_leaves_the_network_alone(model: DiffusionModel) -> None:
    first = calibrated(model)
    assert first == calibrated(model)
    assert all(low <= 0 < high for low, high in first.values())  # after SiLU, whose least is -0.28
    assert not any(module._forward_pre_hooks for module in model.network.modules())


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "error"), [("openvino", 1), ("openvino-int8", 40)])
def test_openvino_makes_the_same_images(model: DiffusionModel, engine: Engine, error: int) -> None:
    pytest.importorskip("openvino")
    labels, indices = torch.tensor([0, 1, 2]), [0, 1, 2]
    made = DiffusionGenerator(model, changed(model.recipe.sample, engine=engine))
    plain = DiffusionGenerator(model, model.recipe.sample).images(labels, indices)
    images = made.images(labels, indices)
    assert (images.int() - plain.int()).abs().max() <= error
    assert torch.equal(images, made.images(labels, indices))
    compiled = [engines.evaluated_by(engine, model, "float32") for _ in range(2)]
    assert compiled[0] is compiled[1]
    assert made.manifest()["sampling"]["engine"] == engine


@pytest.mark.slow
def test_torch_computes_gradients_of_what_openvino_evaluates(model: DiffusionModel) -> None:
    pytest.importorskip("openvino")
    x_t, timestep, label = INPUTS
    found = []
    for engine in ("torch", "openvino"):
        network = engines.evaluated_by(engine, model, "float32")
        x = x_t.clone().requires_grad_()
        found.append(torch.autograd.grad(network(x, timestep, label, None).square().sum(), x)[0])
        with torch.no_grad():
            found.append(network(x_t, timestep, label, None))
    assert torch.equal(found[0], found[2])
    assert torch.allclose(found[1], found[3], atol=1e-4)
