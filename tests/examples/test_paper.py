"""examples/paper.py -> the library's images and losses, from its weights and its noise."""

import ast
import gzip
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import adm
from adm import losses
from adm.diffusion import LEARNED_RANGE, VELOCITY, Parameterization, cosine
from adm.samplers.noise import ImageNoise

EXAMPLE = Path(__file__).parents[2] / "examples" / "paper.py"
sys.path.insert(0, str(EXAMPLE.parent))
import paper  # noqa: E402

FASHION = paper.Size(32, (1, 2, 2), 2, (4,), 32)  # of the shipped models
CLASSES, SEED = {"ankle-boot": 1, "bag": 1, "trouser": 1}, 3


def given(net: nn.Module, shipped: nn.Module) -> nn.Module:
    """The same layers, made in the same order; only the pool's positions have another place."""
    theirs = {
        name.rpartition(".")[2] if "positions" in name else name: tensor.float()
        for name, tensor in shipped.state_dict().items()
    }
    ours = {name: theirs.pop(name) for name in net.state_dict() if name == "positions"}
    names = (name for name in net.state_dict() if name not in ours)
    net.load_state_dict(ours | dict(zip(names, theirs.values(), strict=True)))
    return net.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def pipeline() -> adm.Pipeline:
    return adm.load("fashion-unlabelled", "fashion-classifier", device="cpu")


@pytest.fixture(scope="module")
def model(pipeline: adm.Pipeline) -> nn.Module:
    return given(paper.UNet(FASHION), pipeline.model.network)


@pytest.mark.parametrize("scale", [0.0, 4.0])
@pytest.mark.parametrize("algorithm", ["ancestral", "ddim"])
def test_it_samples_the_images_of_the_library(
    pipeline: adm.Pipeline, model: nn.Module, algorithm: str, scale: float
) -> None:
    """Within 1 of 255: sums in float32 differ in their last digits, which may turn a rounding."""
    (guide,) = pipeline.classifiers
    classifier = given(paper.Classifier(FASHION._replace(depth=1)), guide.network)
    labels = torch.tensor([guide.classes.index(name) for name in CLASSES])
    process, noise = paper.PROCESS.respaced(13, 980), ImageNoise(SEED, range(3), (1, 28, 28))
    gradient = partial(paper.pull, classifier, process, labels, scale)
    if algorithm == "ancestral":
        x = paper.algorithm_1(model, process, gradient, noise)
    else:
        x = paper.algorithm_2(model, process, gradient, noise.start())
    grid = "even:steps=13,start=980"
    settings = {"sampler": algorithm, "grid": grid, "precision": "float32", "seed": SEED}
    theirs = pipeline.sample(CLASSES, guide=f"classifier:scale={scale}", **settings)
    difference = ((x + 1) * 127.5).round().clamp(0, 255) - theirs.images.float()
    assert difference.abs().max() <= 1
    assert (difference != 0).float().mean() < 0.001


def test_its_loss_is_the_library_s(model: nn.Module) -> None:
    level, generator = torch.tensor([2, 40, 500, 1000]), torch.Generator().manual_seed(0)
    x_0, noise = (torch.randn(4, 1, 28, 28, generator=generator).clamp(-1, 1) for _ in range(2))
    schedule = cosine(1000)
    example = losses.Example.of(schedule, x_0, noise, level)
    raw = model(example.x_t, schedule.timestep(level, x_0))
    parameterization = Parameterization(VELOCITY, LEARNED_RANGE)
    theirs = losses.hybrid(1.0)(parameterization, schedule, raw, example).loss.mean()
    ours = paper.diffusion_loss(model, x_0, noise, level.reshape(-1, 1, 1, 1), level)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=0)


def idx(path: Path, values: Tensor, header: int) -> None:
    path.write_bytes(gzip.compress(bytes(header) + bytes(values.flatten().tolist())))


def test_it_trains_and_draws(tmp_path: Path) -> None:
    idx(tmp_path / "train-images-idx3-ubyte.gz", torch.arange(4 * 784) % 256, 16)
    idx(tmp_path / "train-labels-idx1-ubyte.gz", torch.arange(4), 8)
    paper.main(tmp_path, tmp_path, steps=4, visited=2)
    with Image.open(tmp_path / "figure-3.png") as figure:
        figure.load()
        assert (figure.mode, figure.size) == ("L", (528, 176))


def test_it_is_one_short_file_on_torch_alone() -> None:
    source = EXAMPLE.read_text("utf-8")
    tree = ast.parse(source)
    names = {
        each.name for node in ast.walk(tree) if isinstance(node, ast.Import) for each in node.names
    }
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    others = {name.partition(".")[0] for name in names} - sys.stdlib_module_names
    assert others == {"torch"}
    assert len(source.splitlines()) <= 300
