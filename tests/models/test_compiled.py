"""Network -> the same function, compiled by torch; or an early error without a compiler."""

import importlib
import logging
import re
from functools import partial
from pathlib import Path

import pytest
import tiny
import torch
from torch import Tensor, nn

from adm.generation.diffusion import DiffusionGenerator
from adm.models.compiled import Compiled
from adm.models.load import load_classifier, load_diffusion
from adm.models.trained import ClassifierModel, DiffusionModel
from adm.spec import SettingError


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> DiffusionModel:
    folder = tmp_path_factory.mktemp("models")
    return load_diffusion(tiny.model(folder / "d.safetensors", tiny.diffusion()))


@pytest.fixture(scope="module")
def guide(tmp_path_factory: pytest.TempPathFactory) -> ClassifierModel:
    folder = tmp_path_factory.mktemp("models")
    return load_classifier(tiny.model(folder / "c.safetensors", tiny.classifier()))


class Scaled(nn.Module):
    def forward(self, x: Tensor, offset: Tensor | None = None) -> Tensor:
        return 2 * x if offset is None else 2 * x + offset


class Unruly(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if float(x.sum()) > 0 else -x


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trace without generating code, which takes minutes."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))


@pytest.mark.usefixtures("traced")
def test_a_form_of_inputs_is_compiled_once_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "adm")
    network, x = Compiled(Scaled(), "network"), torch.randn(2, 1, 4, 4)
    turned = x.permute(0, 1, 3, 2)  # of other strides
    for inputs in (x, turned, x.to(memory_format=torch.channels_last)):
        assert torch.equal(network(inputs), 2 * inputs)
    assert caplog.text.count("compiling the network") == 1
    assert re.search(r"compiled the network in \d+ s\n$", caplog.text)
    leaf = x.clone().requires_grad_()
    assert torch.equal(torch.autograd.grad(network(leaf).sum(), leaf)[0], 2 * torch.ones_like(x))
    assert torch.equal(network(x, x), 3 * x)


@pytest.mark.parametrize(("capability", "bits"), [("AVX2", 256), ("AVX512", 512)])
def test_kept_code_is_of_one_width_of_registers(
    monkeypatch: pytest.MonkeyPatch, capability: str, bits: int
) -> None:
    """All settings of torch's compiler are part of the name of what it keeps."""
    widths = []

    def generate(graph: torch.fx.GraphModule, inputs: object) -> object:
        widths.append(importlib.import_module("torch._inductor.config").cpp.simdlen)
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=generate))
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    Compiled(Scaled(), "network")(torch.ones(2))
    assert widths == [bits]


@pytest.mark.usefixtures("traced")
def test_a_network_that_torch_cannot_compile_is_refused_in_one_line() -> None:
    with pytest.raises(SettingError, match=r"^torch cannot compile the network .*$") as error:
        Compiled(Unruly(), "network")(torch.ones(2))
    assert "\n" not in str(error.value)


def test_a_setting_that_needs_a_compiler_is_refused_before_any_work(
    model: DiffusionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "none-such")
    with pytest.raises(SettingError, match="compile"):
        DiffusionGenerator(model, model.recipe.sample.change(compile=True))


@pytest.mark.slow
@pytest.mark.usefixtures("traced")
def test_compiled_networks_make_the_same_guided_images(
    model: DiffusionModel, guide: ClassifierModel
) -> None:
    labels, indices = torch.tensor([0, 1, 2]), [0, 1, 2]
    plain = model.recipe.sample.change(guide=["classifier:scale=2", "attention:scale=1"], steps=2)
    generators = [
        DiffusionGenerator(model, plain.change(compile=compiles), [guide])
        for compiles in (False, True)
    ]
    images = [each.images(labels, indices).int() for each in generators]
    assert (images[0] - images[1]).abs().max() <= 1
    assert generators[1].manifest()["sampling"]["compile"]
    for each in (model.prepared, model.perturbed, guide.prepared):
        assert isinstance(each(compile=True), Compiled)
        assert each(compile=True) is each(compile=True) is not each()


@pytest.mark.slow
def test_generated_code_computes_the_same_function(tmp_path: Path) -> None:
    smallest = tiny.diffusion("unet.multipliers=1", "unet.attention_factors=1", "unet.depth=1")
    model = load_diffusion(tiny.model(tmp_path / "d.safetensors", smallest))
    x, level, label = torch.randn(2, *model.shape), torch.tensor([3.0, 9.0]), torch.tensor([0, -1])
    with torch.no_grad():
        actual, expected = (
            model.prepared(compile=compiles)(x, level, label, None) for compiles in (True, False)
        )
    assert torch.allclose(actual, expected, rtol=1e-4, atol=1e-6)
