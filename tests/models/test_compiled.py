"""Network, engine "torch-compiled" -> the same function; or what is lacking, before any work."""

import re
from functools import partial
from pathlib import Path

import pytest
import tiny
import torch
from adm.samplers.words import changed
from torch import Tensor, nn

from adm.generation.diffusion import DiffusionGenerator
from adm.models import compiled, engines
from adm.models.compiled import Compiled, check_compiles
from adm.models.load import load_classifier, load_diffusion
from adm.models.trained import ClassifierModel, DiffusionModel
from adm.store.files import user_cache

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> DiffusionModel:
    folder = tmp_path_factory.mktemp("models")
    return load_diffusion(tiny.model(folder / "d.safetensors", tiny.diffusion()))


@pytest.fixture(scope="module")
def guide(tmp_path_factory: pytest.TempPathFactory) -> ClassifierModel:
    folder = tmp_path_factory.mktemp("models")
    return load_classifier(tiny.model(folder / "c.safetensors", tiny.classifier()))


class Scaled(nn.Module):
    """Counts the traces of its function."""

    traced = 0

    def forward(self, x: Tensor, offset: Tensor | None = None) -> Tensor:
        self.traced += torch.compiler.is_compiling()
        return 2 * x if offset is None else 2 * x + offset


class Unruly(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if float(x.sum()) > 0 else -x


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Trace without generating code, which takes long."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")  # so that it is restored
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))


def test_a_form_of_inputs_is_compiled_once_and_said(
    traced: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Compiled(Scaled(), "network")
    x = torch.randn(2, 1, 4, 4)
    turned = x.permute(0, 1, 3, 2)  # of other strides
    for each in (x, turned, x.to(memory_format=torch.channels_last)):
        assert torch.equal(network(each), 2 * each)
    said = capsys.readouterr().err
    assert said.count("compiling the network; this takes minutes on a CPU the first time") == 1
    assert re.search(r"compiled the network in \d+ s\n$", said)
    wanted = x.clone().requires_grad_()
    assert torch.equal(
        torch.autograd.grad(network(wanted).sum(), wanted)[0], 2 * torch.ones_like(x)
    )
    assert torch.equal(network(x, x), 3 * x)
    assert capsys.readouterr().err.count("compiling the network") == 2


def test_compiled_code_is_kept_in_a_folder_of_the_user(
    traced: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    Compiled(Scaled(), "network")
    assert compiled.os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(user_cache("compiled"))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/elsewhere")
    Compiled(Scaled(), "network")
    assert compiled.os.environ["TORCHINDUCTOR_CACHE_DIR"] == "/elsewhere"


def test_a_network_that_torch_cannot_compile_is_one_line(traced: None) -> None:
    with pytest.raises(ValueError, match=r"cannot compile the network here .*engine='torch'$") as e:
        Compiled(Unruly(), "network")(torch.ones(2))
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("device", "lacking", "said"),
    [
        ("cpu", "g++", r"a C\+\+ compiler, and there is no 'none-such'; .*engine='torch'"),
        ("cpu", "Python.h", r"the headers of Python, .* apt install python3-dev"),
        ("cuda", "triton", r"the package triton .* pip install triton, or pass engine='torch'"),
        ("mps", None, r"on a CPU or a CUDA device, and the model is on mps; pass device='cpu'"),
    ],
)
def test_what_compiling_lacks_is_said(
    device: str, lacking: str | None, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "Python.h").touch()
    monkeypatch.setattr(compiled.shutil, "which", lambda name: None if "none" in name else name)
    monkeypatch.setattr(compiled.sysconfig, "get_path", lambda _: str(tmp_path))
    monkeypatch.setattr(compiled, "find_spec", lambda _: None)
    monkeypatch.setenv("CXX", "c++")
    check_compiles(CPU)
    if lacking == "g++":
        monkeypatch.setenv("CXX", "none-such")
    if lacking == "Python.h":
        (tmp_path / "Python.h").unlink()
    with pytest.raises(ValueError, match=said):
        check_compiles(torch.device(device))


def test_settings_that_need_a_compiler_are_refused_early(
    model: DiffusionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "none-such")
    with pytest.raises(ValueError, match="needs a C"):
        DiffusionGenerator(model, changed(model.recipe.sample, engine="torch-compiled"))


def test_the_classifier_is_compiled_by_this_engine_alone(
    traced: None, guide: ClassifierModel
) -> None:
    for engine in ("torch", "openvino"):
        assert engines.classified_by(engine, guide, "float32") is guide.prepared()
    made = [engines.classified_by("torch-compiled", guide, "float32") for _ in range(2)]
    assert isinstance(made[0], Compiled)
    assert made[0] is made[1]


@pytest.mark.slow
def test_compiled_networks_make_the_same_guided_images(
    model: DiffusionModel, guide: ClassifierModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The graphs alone: generating code for them takes minutes.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    labels, indices = torch.tensor([0, 1, 2]), [0, 1, 2]
    plain = changed(model.recipe.sample, scale=2.0)
    made = [
        DiffusionGenerator(model, changed(plain, engine=engine), guide)
        for engine in ("torch", "torch-compiled")
    ]
    images = [each.images(labels, indices).int() for each in made]
    assert (images[0] - images[1]).abs().max() <= 1
    assert made[1].manifest()["sampling"]["engine"] == "torch-compiled"
    engine = engines.classified_by("torch-compiled", guide, "float32")
    x, label = torch.randn(made[0].block, *model.shape), torch.arange(made[0].block) % 3
    found = [
        guide.gradient(label, network=network)(x, 2, None)  # type: ignore[arg-type]
        for network in (None, engine)
    ]
    assert torch.allclose(found[0], found[1], rtol=1e-3, atol=1e-6)


@pytest.mark.slow
def test_generated_code_computes_the_same_function(tmp_path: Path) -> None:
    smallest = tiny.diffusion("unet.multipliers=1", "unet.attention_factors=1", "unet.depth=1")
    model = load_diffusion(tiny.model(tmp_path / "d.safetensors", smallest))
    x, level, label = torch.randn(2, *model.shape), torch.tensor([3.0, 9.0]), torch.tensor([0, -1])
    with torch.no_grad():
        found, wanted = (
            engines.evaluated_by(engine, model, "float32")(x, level, label, None)
            for engine in ("torch-compiled", "torch")
        )
    assert torch.allclose(found, wanted, rtol=1e-4, atol=1e-6)


def test_the_network_without_its_innermost_attention_is_compiled_as_a_whole(
    traced: None, model: DiffusionModel
) -> None:
    found = engines.perturbed_by("torch-compiled", model, "float32")
    assert engines.perturbed_by("torch-compiled", model, "float32") is found
    given = (torch.randn(2, 1, 8, 8), torch.tensor([3.0, 9.0]), torch.tensor([0, 1]), None)
    with torch.no_grad():
        wanted, whole = model.perturbed()(*given), model.prepared()(*given)
        torch.testing.assert_close(found(*given), wanted)
    assert not torch.allclose(wanted, whole)
