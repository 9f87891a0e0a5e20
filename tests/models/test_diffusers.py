"""Model <-> folder of diffusers: the installed diffusers makes our images, guided and not."""

import json
import logging
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from models.test_unet2d import INEXACT, UNETS
from nets import filled
from safetensors.torch import load_file, save_file
from torch import Tensor

from adm.guidance import scaled
from adm.models.convert import diffusers as converted
from adm.models.convert.diffusers import export, read
from adm.models.convert.scheduler import whole_levels
from adm.models.convert.unet2d import export_state, unet2d_of
from adm.models.load import load_classifier, load_diffusion
from adm.models.trained import ClassifierModel, DiffusionModel
from adm.networks import UNetConfig, on_meta, shapes_of
from adm.samplers import DDIM, Ancestral, DPMSolver, ImageNoise, Sampler
from adm.store.parsed import read_json

diffusers = pytest.importorskip("diffusers")
AXES: dict[str, tuple[str, ...]] = {
    "as it is": (),
    "no attention": ("unet.attention_factors=",),
    "one head": ("unet.heads.heads=1",),
    "convolutions and attention": ("unet.resampling=convolution", "unet.attention_factors=1,2"),
    "one resolution": ("unet.multipliers=1", "unet.attention_factors=1"),
    "three resolutions": ("unet.multipliers=1,2,3", "unet.attention_factors=2"),
    "addition": ("unet.adaptive_norm=false",),
    "not square": ("data.size=8,12",),
    "colour": ("data.channels=3", "unet.in_channels=3", "unet.out_channels=6"),
    "without labels": ("unet.classes=null", "train.label_dropout=0"),
    "noise": ("process.prediction=noise", "process.schedule=linear"),
    "x_0": ("process.prediction=x_0",),
    "fixed small": ("process.variance=fixed_small", "unet.out_channels=1"),
    "rescaled": ("process.rescale_steps=true", "process.steps=4000"),
    "upsampler": ("unet.super_resolution=true", "data.low_res=4,4"),
}


def build_model(folder: Path, *settings: str) -> DiffusionModel:
    """A model of random weights, none of them zero."""
    classes = tiny.CLASSES if "unet.classes=null" not in settings else ("digits",)
    model = load_diffusion(
        tiny.model(folder / "model.safetensors", tiny.diffusion(*settings), classes)
    )
    filled(model.network)
    return model


def build_classifier(folder: Path, *settings: str) -> ClassifierModel:
    path = tiny.model(folder / "classifier.safetensors", tiny.classifier(*settings))
    return load_classifier(path)


@pytest.fixture
def load_pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Load a folder as a user does; the code of pipelines is copied to a folder of the test."""
    cache = "diffusers.utils.dynamic_modules_utils.HF_MODULES_CACHE"
    monkeypatch.setattr(cache, str(tmp_path / "modules"))

    def load(folder: Path) -> Any:
        pipeline = diffusers.DiffusionPipeline.from_pretrained(str(folder), trust_remote_code=True)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    return load


SAMPLERS = {"DDIMScheduler": DDIM(), "DPMSolverMultistepScheduler": DPMSolver()}


@torch.no_grad()
def difference(model: DiffusionModel, pipeline: Any, scheduler: Any, sampler: Sampler) -> float:
    """The largest difference of images in [-1, 1] by a scheduler of diffusers and by ours."""
    pipeline.scheduler = scheduler.from_config(pipeline.scheduler.config)
    pipeline.scheduler.set_timesteps(4)
    levels = sorted(int(timestep) + 1 for timestep in pipeline.scheduler.timesteps)
    schedule = whole_levels(model.recipe.process).respaced(levels)
    noise = ImageNoise(0, (0, 1), model.shape)
    low = None if model.low_shape is None else ImageNoise(1, (0, 1), model.low_shape).start()
    labels = None if model.network.config.classes is None else torch.tensor([0, 2])
    *_, last = sampler(
        model.denoise(labels, schedule, low_res=low), noise.start(), schedule, noise, None
    )
    theirs = pipeline(
        None if labels is None else labels.tolist(),
        batch_size=2,
        num_inference_steps=4,
        latents=noise.start(),
        low_res=low,
        output_type="pt",
    ).images
    return float((2 * theirs - 1 - last.x.clamp(-1, 1)).abs().max())


@pytest.mark.parametrize("settings", AXES.values(), ids=AXES)
def test_every_axis_is_reproduced_and_comes_back(
    settings: tuple[str, ...], tmp_path: Path, load_pipeline: Callable[..., Any]
) -> None:
    model = build_model(tmp_path, *settings)
    error = export(model, tmp_path / "out")
    assert error is not None
    assert error < 1e-5
    pipeline = load_pipeline(tmp_path / "out")
    for scheduler, sampler in SAMPLERS.items():
        assert difference(model, pipeline, getattr(diffusers, scheduler), sampler) < 1e-4
    recipe, weights, classes = read(tmp_path / "out")
    state = model.network.state_dict()
    assert weights.keys() == state.keys()
    assert all(torch.equal(weights[name], state[name]) for name in weights)
    assert classes == model.classes
    assert recipe == model.recipe


def test_a_folder_without_our_recipe_gives_the_same_network_and_process(tmp_path: Path) -> None:
    model = build_model(tmp_path, "train.label_dropout=0")
    export(model, tmp_path / "out")
    (tmp_path / "out/recipe.json").unlink()
    recipe, weights, classes = read(tmp_path / "out")
    assert recipe.process == model.recipe.process
    assert recipe.unet == replace(model.recipe.unet, heads=recipe.unet.heads)
    assert classes == model.classes
    assert all(torch.equal(weights[n], t) for n, t in model.network.state_dict().items())


def _by_head(state: Any, config: UNetConfig, unlabelled: bool) -> dict[str, Tensor]:
    """The rows of qkv in the released order, grouped by head first."""
    order = {}
    for name, tensor in state.items():
        heads = 2 if ".qkv." in name else 1
        rows = (
            tensor.unflatten(0, (3, heads, -1)).transpose(0, 1).flatten(0, 2)
            if heads > 1
            else tensor
        )
        order[name] = rows
    return export_state(order, config, unlabelled)


def test_rows_in_another_order_are_detected_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build_model(tmp_path)
    monkeypatch.setattr(converted, "export_state", _by_head)
    with pytest.raises(ValueError, match="does not reproduce the model: outputs of the network"):
        export(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def ours(
    model: DiffusionModel, classifier: ClassifierModel, scale: float, labels: Tensor, steps: int
) -> Tensor:
    """Our guided DDIM at the released levels, in [-1, 1]."""
    last = model.schedule.last
    schedule = model.schedule.respaced(range(1, last + 1, last // steps))
    noise = ImageNoise(3, range(len(labels)), model.shape)
    denoise = model.denoise(labels, schedule)
    gradient = scaled(classifier.gradient(labels, schedule), scale)
    with torch.no_grad():
        *_, state = DDIM()(denoise, noise.start(), schedule, noise, gradient)
    return state.x.clamp(-1, 1)


def test_the_guided_pipeline_makes_our_guided_images(
    tmp_path: Path, load_pipeline: Callable[..., Any]
) -> None:
    model, classifier = load_diffusion("fashion"), load_classifier("fashion-classifier")
    out = tmp_path / "out"
    export(model, out, classifier)
    pipeline = load_pipeline(out)
    labels = torch.tensor([0, 5, 9])
    noise = ImageNoise(3, range(3), model.shape).start()
    arguments = {"num_inference_steps": 10, "latents": noise, "output_type": "pt"}
    unguided = ours(model, classifier, 0.0, labels, 10)
    config = pipeline.scheduler.config
    pipeline.scheduler = diffusers.DDIMScheduler.from_config(config)
    for scale in (0.5, 4.0):
        expected = ours(model, classifier, scale, labels, 10)
        assert (expected - unguided).abs().max() > 0.1
        actual = pipeline(labels.tolist(), guidance_scale=scale, **arguments).images
        assert (2 * actual - 1 - expected).abs().max() < 1e-4
    # Euler's method in sigma / signal is DDIM, whose x_t is scaled in another way.
    pipeline.scheduler = diffusers.EulerDiscreteScheduler.from_config(config)
    names = [model.classes[int(label)] for label in labels]
    actual = pipeline(names, guidance_scale=4.0, **arguments).images
    assert (2 * actual - 1 - expected).abs().max() < 1e-4


def test_ddpm_uses_the_learned_variance(tmp_path: Path, load_pipeline: Callable[..., Any]) -> None:
    model = build_model(tmp_path)
    export(model, tmp_path / "out")
    pipeline = load_pipeline(tmp_path / "out")
    schedule = model.schedule.respaced(range(1, 21, 4))
    draws = torch.Generator().manual_seed(0)
    start = ImageNoise(0, (0, 1), model.shape).start()

    def noise(level: int, draw: int = 0, /) -> Tensor:
        return torch.randn(start.shape, generator=draws)

    denoise = model.denoise(torch.tensor([0, 2]), schedule)
    with torch.no_grad():
        *_, state = Ancestral()(denoise, start, schedule, noise)
    actual = pipeline(
        [0, 2],
        num_inference_steps=5,
        latents=start,
        generator=torch.Generator().manual_seed(0),
        output_type="pt",
    ).images
    assert (2 * actual - 1 - state.x.clamp(-1, 1)).abs().max() < 1e-4


def test_the_pipeline_takes_labels_or_a_batch_size(
    tmp_path: Path, load_pipeline: Callable[..., Any]
) -> None:
    export(build_model(tmp_path), tmp_path / "out")
    pipeline = load_pipeline(tmp_path / "out")
    images = pipeline(["bag", "sneaker"], num_inference_steps=2).images
    assert [(image.size, image.mode) for image in images] == [((8, 8), "L")] * 2
    assert pipeline(batch_size=3, num_inference_steps=2, output_type="np").images.shape == (
        3,
        8,
        8,
        1,
    )
    for options, message in (
        ({"class_labels": "hat"}, "no class 'hat'; the classes are sneaker, bag"),
        ({"class_labels": [3]}, "from 0 to 2"),
        ({"class_labels": 0, "guidance_scale": 1.0}, "needs a classifier"),
    ):
        with pytest.raises(ValueError, match=message):
            pipeline(**options, num_inference_steps=2)


def test_a_model_without_unlabelled_training_requires_labels(
    tmp_path: Path, load_pipeline: Callable[..., Any]
) -> None:
    export(build_model(tmp_path, "train.label_dropout=0"), tmp_path / "out")
    with pytest.raises(ValueError, match="give class_labels"):
        load_pipeline(tmp_path / "out")(num_inference_steps=2)


def test_a_model_that_diffusers_has_trained_is_read(tmp_path: Path) -> None:
    unet = diffusers.UNet2DModel(
        sample_size=16,
        block_out_channels=(32, 32, 64),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    )
    filled(unet)
    scheduler = diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2")
    diffusers.DDPMPipeline(unet, scheduler).save_pretrained(tmp_path / "theirs")
    recipe, weights, classes = read(tmp_path / "theirs")
    process = recipe.process
    assert (process.schedule, process.steps, process.variance) == ("cosine", 1000, "fixed_small")
    assert classes == ()
    path = tiny.model(tmp_path / "model.safetensors", recipe, ("theirs",))
    model = load_diffusion(path)
    model.network.load_state_dict(weights)
    x, timestep = torch.randn(2, 3, 16, 16), torch.tensor([3, 999])
    with torch.no_grad():
        expected = unet(x, timestep).sample
        actual = model.network(x, timestep.float())
    assert (actual - expected).abs().max() < 1e-5 * expected.abs().max()
    assert export(model, tmp_path / "again") is not None
    theirs, again = (
        load_file(tmp_path / f"{name}/unet/{converted.WEIGHTS}") for name in ("theirs", "again")
    )
    assert theirs.keys() == again.keys()
    assert all(torch.equal(theirs[name], again[name]) for name in theirs)


@pytest.mark.parametrize("setting", ["process.variance=learned", "unet.resampling=plain"])
def test_what_is_not_exact_is_refused_and_not_written(setting: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=setting.partition("=")[0]):
        export(build_model(tmp_path, setting), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_student_and_a_classifier_of_another_process_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is a student"):
        export(load_diffusion("fashion-fast"), tmp_path / "out")
    with pytest.raises(ValueError, match="steps T"):
        export(
            build_model(tmp_path), tmp_path / "out", build_classifier(tmp_path, "process.steps=30")
        )
    assert not (tmp_path / "out").exists()


def test_without_diffusers_the_folder_is_written_and_not_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(converted, "find_spec", lambda name: None)
    with caplog.at_level(logging.WARNING, "adm"):
        assert export(build_model(tmp_path), tmp_path / "out") is None
    assert "was not compared with diffusers" in caplog.text
    assert read(tmp_path / "out")
    with pytest.raises(FileExistsError):
        export(build_model(tmp_path), tmp_path / "out")


def _edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**read_json(path), **changes}))


def _scheduler(**changes: Any) -> Callable[[Path], None]:
    return lambda out: _edit(out / "scheduler/scheduler_config.json", **changes)


def _weight(name: str, value: float) -> Callable[[Path], None]:
    def change(out: Path) -> None:
        path = out / "unet" / converted.WEIGHTS
        state = load_file(path)
        state[name].flatten()[-1] = value
        save_file(state, path)

    return change


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no U-Net": (lambda out: (out / "unet/config.json").unlink(), "config.json does not exist"),
    "half the weights": (
        lambda out: (out / "unet" / converted.WEIGHTS).write_bytes(b"\x08" + bytes(100)),
        "it is damaged",
    ),
    "not finite": (_weight("conv_in.bias", torch.nan), r"encoder\.stages\.0\.block\.bias in"),
    "no label that is trained": (_weight("class_embedding.weight", 1.0), "no label.*is not zero"),
    "another U-Net": (lambda out: _edit(out / "unet/config.json", norm_eps=1e-6), "norm_eps"),
    "another process": (_scheduler(num_train_timesteps=21), "another process"),
    "an index that is a list": (
        lambda out: (out / "model_index.json").write_text("[]"),
        "model_index.json: it is no JSON object",
    ),
    "no recipe": (lambda out: (out / "recipe.json").write_text("{}"), "recipe.json: kind must be"),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_folder_is_refused(
    damage: Callable[[Path], Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(converted, "find_spec", lambda name: None)
    export(build_model(tmp_path), tmp_path / "out")
    damage(tmp_path / "out")
    with pytest.raises(ValueError, match=message):
        read(tmp_path / "out")


@pytest.mark.parametrize("config", dict.fromkeys(UNETS[n] for n in sorted(UNETS.keys() - INEXACT)))
def test_the_published_networks_have_the_weights_of_unet2d_models(config: UNetConfig) -> None:
    settings = asdict(unet2d_of(config, (64, 64), False))
    with torch.device("meta"):
        theirs = diffusers.UNet2DModel(**settings)
    exported = export_state(on_meta(config).state_dict(), config, False)
    assert shapes_of(theirs.state_dict()) == shapes_of(exported)
