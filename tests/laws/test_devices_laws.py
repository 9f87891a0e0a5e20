"""Whole models on another device -> what they compute on the CPU, without waiting in a step.

`gpu` stands in for the device. What a registry has is here by its name: a new entry is tested as
its spec without parameters, or by an example in `EXAMPLES`.
"""

import copy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
import tiny
import torch
from features.random_weights import inception_state
from gpu import GPU
from nets import error, filled
from torch import Tensor
from torch.nn import functional as F

import adm
from adm.app.study.bounds import BOUNDS
from adm.app.study.likelihood import Task
from adm.distillation.settings import METHODS as DISTILLATIONS
from adm.features import Features, opening
from adm.features.inception import inception_of
from adm.generation.edit import EDITS
from adm.generation.pipeline import Pipeline
from adm.metrics import METRICS, Sets, statistics
from adm.models.load import load_any, load_classifier, load_diffusion
from adm.models.paths import SHIPPED
from adm.models.teacher import Teacher
from adm.models.trained import DiffusionModel
from adm.networks import Classifier, ClassifierConfig, HeadWidth, UNet, UNetConfig, prepared
from adm.recipes.paper import released_recipe
from adm.recipes.released import RELEASED
from adm.restoration import METHODS, OPERATORS
from adm.runs.run import TrainOptions, train_steps
from adm.runs.watch import quality
from adm.samplers import SAMPLERS
from adm.samplers.grid import GRIDS
from adm.samplers.guide import GUIDES
from adm.samplers.threshold import THRESHOLDS
from adm.spec import parse
from adm.training.log import read_columns
from adm.training.optimizers import OPTIMIZERS

SIDE = 64  # of the images of released networks
FILES = {file.stem: file for file in sorted(SHIPPED.glob("*.safetensors"))}
DISTILLED = {
    "consistency": (
        *("distillation.method=consistency", "distillation.method.stage_steps=1"),
        *("unet.conditions=scale", "sample.sampler=consistency"),
    )
}
TEACHER = {"d.safetensors": tiny.diffusion(), "c.safetensors": tiny.classifier()}
Two: TypeAlias = tuple[Pipeline, Pipeline]  # on the CPU, on the device
EXAMPLES = {
    each.partition(":")[0]: each
    for each in (
        *("gradient:scale=1", "classifier:scale=1", "free:scale=2", "weak:scale=2"),
        *("attention:scale=1", "levels:3,9,15", "inpaint:random=0.4", "blur:gaussian=1"),
        *("downsample:factor=2", "motion:size=3", "mmps:iterations=2", "repaint:jump=2,times=2"),
        *("noise:strength=0.2", "invert:strength=0.2", "interpolate:strength=0.2,count=2"),
        "ode:steps=3",
    )
}
COLOURS = ("data.channels=3", "unet.in_channels=3", "unet.out_channels=6")
SOURCE = tiny.stripes(30, channels=3)
IMAGES = SOURCE.batch(range(4))[0]


def spec(name: str) -> str:
    return EXAMPLES.get(name, name)


@pytest.fixture(scope="module", params=["cuda:0", "mps:0"])
def gpu(request: pytest.FixtureRequest) -> GPU:
    return GPU(request.param)


@pytest.fixture(scope="module")
def cuda() -> GPU:
    return GPU("cuda:0")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    kinds = {
        "own": tiny.diffusion(*COLOURS, "train.label_dropout=0.1"),
        "weak": tiny.diffusion(*COLOURS),
        "guide": tiny.classifier("data.channels=3", "classifier.in_channels=3"),
        "large": tiny.upsampler(*COLOURS, "data.size=16,16", "data.low_res=8,8"),
    }
    return {name: tiny.model(folder / f"{name}.safetensors", kind) for name, kind in kinds.items()}


@pytest.fixture(scope="module")
def both(files: dict[str, Path], gpu: GPU) -> Two:
    """The models on the CPU, and on the device."""
    own, weak, guide, large = map(load_any, files.values())
    cpu = Pipeline(own, (guide,), large, weak)  # type: ignore[arg-type]
    with gpu:
        return cpu, cpu.to(gpu.device)


def towards_black(schedule: Any) -> Any:
    return lambda x_t, level, prediction: -x_t


@pytest.fixture(scope="module")
def base(both: Two) -> Two:
    """Without the upsampler."""
    one, other = (replace(each, upsampler=None) for each in both)
    return one, other


def agree(gpu: GPU, both: Two, verb: str = "sample", models: int = 1, **settings: Any) -> None:
    """Images are the same on the device, for which the host waits once a block, in no step."""
    waited = list[int]()
    steps = lambda _: waited.append(gpu.waits.total())  # noqa: E731
    settings = {"steps": 4, "guide": None} | settings
    expected = getattr(both[0], verb)(progress=False, **settings).images
    with gpu:
        images = getattr(both[1], verb)(on_step=steps, **settings).images
    assert images.device.type == "cpu"
    assert (images.int() - expected.int()).abs().max() <= 1
    if gpu.device.type == "cuda":  # elsewhere noise cannot be pinned
        assert len(set(waited)) == models, gpu.waits


MISTAKES = {
    "a buffer left behind": lambda x: x + torch.ones(2, 3),
    "a label on the host": lambda x: F.embedding(torch.tensor([0, 1]), x),
    "NumPy": lambda x: np.asarray(x),
    "another generator": lambda x: x.bernoulli(generator=torch.Generator()),
}
WAITS = {
    "a copy back": lambda x: x.cpu(),
    "a copy that is not pinned": lambda x: torch.ones(2).to(x.device, non_blocking=True),
    "a decision": lambda x: bool((x > 0).all()),
    "a number": lambda x: x.sum().item(),
    "a list": lambda x: x.tolist(),
    "a mask": lambda x: x[x > 0],
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_stand_in_refuses_what_a_device_refuses(gpu: GPU, mistake: str) -> None:
    with gpu, pytest.raises((RuntimeError, TypeError), match=r"same device|generator|numpy"):
        MISTAKES[mistake](torch.ones(2, 3, device=gpu.device))


@pytest.mark.parametrize("wait", WAITS)
def test_the_stand_in_counts_waits(gpu: GPU, wait: str) -> None:
    with gpu:
        x, before = torch.ones(2, 3, device=gpu.device), gpu.waits.total()
        assert (x * 2 + torch.tensor(1.0)).sum().device == gpu.device
        assert gpu.waits.total() == before
        WAITS[wait](x)
        assert gpu.waits.total() > before


PAIRS = [*((each, "classifier") for each in SAMPLERS), *(("ddim", each) for each in GUIDES)]


@pytest.mark.parametrize(("sampler", "guide"), [*PAIRS, ("ancestral:at_mean=true", "classifier")])
def test_each_sampler_and_each_guide(gpu: GPU, base: Two, sampler: str, guide: str) -> None:
    given: dict[str, Any] = {"gradient": towards_black} if guide == "gradient" else {}
    agree(gpu, base, count=3, sampler=spec(sampler), guide=spec(guide), **given)


@pytest.mark.parametrize("grid", sorted(GRIDS.keys() - {"distilled"}))
def test_each_grid(gpu: GPU, base: Two, grid: str) -> None:
    steps = None if grid == "levels" else 4
    agree(gpu, base, count=3, sampler="ddim", grid=spec(grid), steps=steps)


@pytest.mark.parametrize("threshold", THRESHOLDS)
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16", "auto"])
def test_each_threshold_in_each_precision(
    gpu: GPU, base: Two, threshold: str, precision: str
) -> None:
    how: dict[str, Any] = {"threshold": threshold, "precision": precision}
    agree(gpu, base, count=3, guide="classifier:scale=1", **how)


def test_several_guides_another_class_on_the_way_and_a_cascade(gpu: GPU, both: Two) -> None:
    guides = ["classifier:scale=1,every=2", "free:scale=2,interval=5-15", "weak:scale=2"]
    agree(gpu, both, count=3, models=2, guide=guides, then="at:level=9,scale=2,classes=bag")


PROBLEMS = [*((each, "inpaint") for each in METHODS), *(("dps", each) for each in OPERATORS)]


@pytest.mark.parametrize(("method", "operator"), PROBLEMS)
def test_each_method_and_each_operator(gpu: GPU, base: Two, method: str, operator: str) -> None:
    given = (lambda x: x * 0.5) if operator == "function" else spec(operator)
    y = base[0].measure(IMAGES, given, sigma=0.1)
    settings = {"operator": given, "method": spec(method), "sigma": 0.1, "classes": "bag"}
    agree(gpu, base, "restore", y=y, guide="classifier:scale=1", **settings)


@pytest.mark.parametrize("edit", EDITS)
def test_each_edit(gpu: GPU, base: Two, edit: str) -> None:
    agree(gpu, base, "edit", images=IMAGES[:2], edit=spec(edit), classes="bag")


@pytest.mark.parametrize("bound", BOUNDS)
def test_each_bound_of_the_likelihood(gpu: GPU, base: Two, bound: str) -> None:
    def bits(model: DiffusionModel) -> Tensor:
        task = Task(model, SOURCE, range(3), torch.tensor([0, 1, 2]), 0, 3)
        arrays = task.measure(parse(BOUNDS, spec(bound), "bound"), range(3), IMAGES[:3], print)
        return torch.from_numpy(arrays["total"])

    expected = bits(base[0].model)
    with gpu:
        assert error(bits(base[1].model), expected) < 1e-4


def narrow(name: str) -> UNetConfig | ClassifierConfig:
    """The network of a released file with few channels."""
    whole = released_recipe(name).config
    heads = {"heads": HeadWidth(8)} if isinstance(whole.heads, HeadWidth) else {}
    size = {} if isinstance(whole, UNetConfig) else {"size": (SIDE, SIDE)}
    return replace(whole, channels=16, depth=1, norm_groups=8, **heads, **size)


FAMILIES = {narrow(name): name for name in RELEASED}


def there(inputs: list[Any], gpu: GPU) -> list[Any]:
    return [None if each is None else each.to(gpu.device) for each in inputs]


@pytest.mark.parametrize("config", FAMILIES, ids=FAMILIES.values())
def test_each_released_family_in_each_precision(
    cuda: GPU, config: UNetConfig | ClassifierConfig
) -> None:
    inputs: list[Any] = [torch.randn(2, 3, SIDE, SIDE), torch.tensor([5.0, 900.0])]
    network: UNet | Classifier
    if isinstance(config, UNetConfig):
        network = UNet(config)
        inputs += [torch.tensor([1, 2]) if config.classes else None]
        inputs += [inputs[0][:, :, ::4, ::4]] if config.super_resolution else []
    else:
        network = Classifier(config)
    expected = filled(network)(*inputs)
    with cuda:
        moved, (x, *others) = copy.deepcopy(network).to(cuda.device), there(inputs, cuda)
        assert error(moved(x, *others).cpu(), expected) < 1e-5
        for dtype, most in ((torch.float32, 1e-5), (torch.bfloat16, 0.05), (torch.float16, 0.01)):
            leaf = x.detach().requires_grad_()
            output = prepared(moved, dtype)(leaf, *others)
            assert output.dtype == torch.float32
            assert error(output.cpu(), expected) < most
            (gradient,) = torch.autograd.grad(output.square().sum(), leaf)
            assert gradient.device == cuda.device


@pytest.mark.parametrize("name", FILES)
def test_each_shipped_network(cuda: GPU, name: str) -> None:
    cpu = load_any(name)
    inputs: list[Any] = [torch.randn(2, *cpu.shape), torch.tensor([5.0, 900.0])]
    if isinstance(cpu, DiffusionModel):
        config, count = cpu.network.config, len(cpu.network.config.conditions)
        inputs += [torch.tensor([1, 2]) if config.classes else None]
        inputs += [None if cpu.low_shape is None else torch.randn(2, *cpu.low_shape)]
        inputs += [torch.full((2, count), 3.0) if count else None]
    expected = cpu.network(*inputs)
    with cuda:
        assert error(cpu.to(cuda.device).prepared()(*there(inputs, cuda)).cpu(), expected) < 1e-4


TRAINED = {
    "diffusion": tiny.diffusion,
    "classifier": tiny.classifier,
    "upsampler": partial(tiny.upsampler, "data.low_res_noise=5", "unet.conditions=low_res"),
    "pairs": tiny.paired,
    **{name: partial(tiny.student, *DISTILLED.get(name, ())) for name in DISTILLATIONS},
}
WHOLE = [*((each, "adamw", "bfloat16") for each in TRAINED if each not in DISTILLATIONS)]
WHOLE += [(each, "adamw", "float32") for each in ("classifier", *DISTILLATIONS)]
WHOLE += [*(("diffusion", each, "float32") for each in OPTIMIZERS), ("pairs", "adamw", "float16")]


@pytest.mark.parametrize(("kind", "optimizer", "precision"), WHOLE)
def test_each_objective_and_each_optimizer_trains(
    gpu: GPU, tmp_path: Path, kind: str, optimizer: str, precision: str
) -> None:
    settings = ["train.steps=3", f"train.precision={precision}", f"train.optimizer={optimizer}"]
    settings += ["train.gradient_clip=0.5", "train.ema_others=0.5"]
    dropped = [] if kind == "classifier" else ["unet.dropout=0.1"]
    recipe = TRAINED[kind](*settings, *dropped)
    source = tiny.pairs() if kind == "pairs" else tiny.stripes()
    files = [tiny.model(tmp_path / name, each) for name, each in TEACHER.items()]
    waited = list[int]()

    def losses(device: torch.device) -> list[float]:
        teacher, shown = None, list[float]()
        if kind in DISTILLATIONS:
            teacher = Teacher(load_diffusion(files[0], device), load_classifier(files[1], device))
        options = TrainOptions(micro_batch=2, teacher=teacher)
        for step in train_steps(recipe, source, tmp_path / device.type, device, options):
            shown.append(step.shown["loss"])
            waited.append(gpu.waits.total())
        return shown

    expected = losses(torch.device("cpu"))
    most = 1e-4 if precision == "float32" else 0.1
    with gpu:
        assert losses(gpu.device) == pytest.approx(expected, rel=most)
    if gpu.device.type == "cuda":  # of which the last step also saves
        assert waited[4] - waited[3] == 2, "the figures of a step, and the norm of its gradient"


def test_a_run_with_previews_and_scores(
    cuda: GPU, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quality, "STEPS", 2)
    settings = ["data.size=28,28", "train.steps=2", "watch.images=2", "watch.score_every_steps=2"]
    settings += ["watch.score_images=200", "watch.features=fashion-judge"]
    source, out = tiny.stripes(60, (28, 28)), tmp_path / "run"
    with cuda:
        adm.train(tiny.diffusion(*settings), data=source, out=out, device=str(cuda.device))
    assert [*out.glob("previews/*.png")]
    assert "scores/frechet_at_infinity" in read_columns(out)


def opened(name: str, device: torch.device) -> Features:
    if name == "inception":  # whose weights nothing installs
        return inception_of(inception_state(), device)
    return opening.table()[name](device)


@pytest.mark.parametrize("name", opening.table())
def test_each_kind_of_features(cuda: GPU, name: str) -> None:
    shape = load_any(name).shape if name in FILES else (3, 28, 28)
    images = torch.randint(0, 256, (2, *shape), dtype=torch.uint8)
    try:
        expected = opened(name, torch.device("cpu")).extract(images).pool
    except ValueError as missing:
        pytest.skip(str(missing))
    with cuda:
        assert error(opened(name, cuda.device).extract(images).pool, expected) < 1e-4


@pytest.mark.parametrize("metric", METRICS)
def test_each_metric(cuda: GPU, metric: str) -> None:
    drawn = np.random.default_rng(0)
    given: dict[str, Any] = {"resamples": 20}
    for name in ("fake", "real"):
        given[name] = drawn.normal(size=(200, 4)).astype(np.float32)
        given[f"{name}_spatial"] = given[f"{name}_statistics"] = statistics(given[name])
    given["spatial"] = given["logits"] = given["fake"]
    expected = METRICS[metric].score(Sets(**given))
    assert expected is not None
    with cuda:
        there = METRICS[metric].score(Sets(**given, device=str(cuda.device)))
    assert there == pytest.approx(expected, nan_ok=True)
