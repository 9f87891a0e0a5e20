"""A healthy model is healthy, and each check finds the model that is broken in its way."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from samples import archive
from torch import Tensor

from adm.app.study.doctor import (
    Examined,
    check_settings,
    check_start,
    examine,
    open_examined,
)
from adm.data import open_source
from adm.diffusion import Level, Schedule
from adm.diffusion.targets import Velocity
from adm.models.load import load_classifier, load_diffusion
from adm.models.trained import ClassifierModel, DiffusionModel
from adm.recipes.photos import photos
from adm.spec import assign
from adm.training.model_file import entries_of, save_model

pytestmark = pytest.mark.xdist_group("doctor")  # one worker measures for all tests
COUNT = 24
HEAD, LABELS, LOGITS = "head.2", "label_embedding.weight", "head.pool.out"


@pytest.fixture(scope="module")
def fashion() -> Examined:
    """The shipped model with its classifier and data."""
    try:
        open_source("fashion-mnist")
    except ValueError as error:
        pytest.skip(f"no data: {error}")
    return open_examined("fashion", device="cpu", count=COUNT)


def changed(
    model: DiffusionModel | ClassifierModel, change: Callable[[dict[str, Tensor]], object]
) -> DiffusionModel | ClassifierModel:
    """The same model with weights that are changed in place."""
    network = deepcopy(model.network)
    with torch.no_grad():
        change(network.state_dict())
    return replace(model, network=network)


def times(name: str, by: float, weights: dict[str, Tensor]) -> None:
    for kind in ("weight", "bias"):
        weights[f"{name}.{kind}"].mul_(by)


def brighter(weights: dict[str, Tensor]) -> None:
    weights[f"{HEAD}.bias"][:1].sub_(0.25)


def next_class(weights: dict[str, Tensor]) -> None:
    for kind in ("weight", "bias"):
        own = weights[f"{LOGITS}.{kind}"]
        own.copy_(own.roll(1, 0).clone())


def in_another_process(model: DiffusionModel) -> DiffusionModel:
    """The recipe says linear, and the network was trained with cosine."""
    return with_process(model, schedule="linear")


def with_process(model: DiffusionModel, **settings: Any) -> DiffusionModel:
    process = replace(model.recipe.process, **settings)
    return replace(model, recipe=replace(model.recipe, process=process))


def starting(model: DiffusionModel, grid: str) -> DiffusionModel:
    recipe = model.recipe
    return replace(model, recipe=replace(recipe, sample=recipe.sample.change(grid=grid)))


def of_clean_images(classifier: ClassifierModel) -> ClassifierModel:
    """It says that it was trained on noisy images."""
    return replace(classifier, network=load_classifier("fashion-judge").network)


def with_wrong_timesteps(classifier: ClassifierModel) -> ClassifierModel:
    """Its timesteps count from the noisiest level."""
    wrong, schedule = replace(classifier), classifier.schedule
    vars(wrong)["schedule"] = replace(schedule, timesteps=999 - schedule.timesteps)  # cached
    return wrong


@dataclass(frozen=True)
class Bright(Velocity):
    """A network of images in a wider range."""

    def to_x_0(self, schedule: Schedule, x_t: Tensor, output: Tensor, level: Level) -> Tensor:
        return 1.5 * super().to_x_0(schedule, x_t, output, level)


def with_larger_estimates(model: DiffusionModel) -> DiffusionModel:
    return with_process(model, prediction=Bright())


MODELS: dict[str, tuple[str, Callable, str]] = {
    "starts where much is left of the image": (
        "start",
        lambda model: starting(model, "karras:steps=10,start=600"),
        "--grid karras:start=9",
    ),
    "has another schedule": ("error", in_another_process, "process.schedule"),
    "has too large an output": ("error", lambda m: changed(m, partial(times, HEAD, 1.5)), "worst"),
    "has too small an output": ("error", lambda m: changed(m, partial(times, HEAD, 0.7)), "worst"),
    "has too large an estimate": ("error", with_larger_estimates, "worst"),
    "learned nothing": ("error", lambda m: changed(m, partial(times, HEAD, 0)), "train longer"),
    "is tinted": ("colours", lambda model: changed(model, brighter), "more steps"),
}
CLASSIFIERS: dict[str, tuple[Callable, str]] = {
    "names other classes": (lambda c: replace(c, classes=c.classes[::-1]), "Train a classifier"),
    "is blind to noise": (of_clean_images, "trained on noisy images"),
    "receives other timesteps": (with_wrong_timesteps, "process"),
    "has another order": (lambda c: changed(c, next_class), "order of its classes"),
    "is never sure": (lambda c: changed(c, partial(times, LOGITS, 0.1)), "less sure than"),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_broken_model_is_found_and_its_cure_named(fashion: Examined, name: str) -> None:
    check, breaks, cure = MODELS[name]
    finding = replace(fashion, model=breaks(fashion.model)).checks[check]()
    assert cure in " ".join(finding.cures), finding.says


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_broken_classifier_is_found_and_its_cure_named(fashion: Examined, name: str) -> None:
    breaks, cure = CLASSIFIERS[name]
    finding = replace(fashion, classifier=breaks(fashion.classifier)).checks["classifier"]()
    assert cure in " ".join(finding.cures), finding.says


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fashion", "fashion-fast", "fashion-classifier", "fashion-judge"])
def test_a_shipped_model_is_healthy(fashion: Examined, name: str) -> None:
    findings = dict(examine(open_examined(name, device="cpu", count=COUNT)))
    assert not any(each.cures for each in findings.values()), findings


def test_settings_that_are_amiss_are_named(tmp_path: Path) -> None:
    recipe = tiny.diffusion("process.steps=1000")
    path = tiny.model(tmp_path / "model.safetensors", recipe)

    def cures() -> str:
        return " ".join(check_settings(load_diffusion(path, "cpu")).cures)

    assert "0 steps" in cures()
    entries = entries_of(path) | {"step": 4, "weights": "raw"}
    save_model(path, load_diffusion(path, "cpu").network.state_dict(), entries)
    assert "raw weights" in cures()
    del entries["recipe"]["sample"]
    save_model(path, load_diffusion(path, "cpu").network.state_dict(), entries)
    assert "no settings of sampling" in cures()
    twice = replace(load_diffusion(path, "cpu"), classes=("bag", "bag", "boot"))
    assert "same name" in " ".join(check_settings(twice).cures)


def test_without_the_models_classes_what_needs_them_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tiny.model(tmp_path / "model.safetensors", tiny.diffusion())
    images, labels = tiny.stripes().batch(range(30))
    archive(tmp_path / "data.npz", images, labels, ("cat", "dog", "emu"))
    examined = open_examined(path, data=str(tmp_path / "data.npz"), device="cpu")
    assert dict(examine(examined)).keys() == {"settings", "start", "colours"}
    assert "has none of the classes" in caplog.text


def test_data_that_a_model_file_names_are_not_opened(tmp_path: Path) -> None:
    path = tiny.model(tmp_path / "model.safetensors", tiny.diffusion("data.source=photos/"))
    with pytest.raises(ValueError, match="was trained on as data"):
        open_examined(path, device="cpu")


def test_the_start_reports_the_shift_of_the_estimated_brightness() -> None:
    """By drawing: the best estimate of a brightness that pure noise was taken for."""
    model = starting(load_diffusion("fashion"), "karras:steps=10,start=900")
    generator = torch.Generator().manual_seed(0)
    brightness = (-0.5 + 0.2 * torch.randn(20_000, generator=generator)).clamp(-1, 1)
    images = brightness[:, None, None, None].expand(-1, *model.shape)
    finding = check_start(model, images)
    signal, sigma = model.schedule.signal[900], model.schedule.sigma[900]
    observed = signal * brightness + sigma / 28 * torch.randn(20_000, generator=generator).double()
    slope = torch.cov(torch.stack([brightness.double(), observed]))[0, 1] / observed.var()
    guessed = brightness.mean() + slope * (0 - observed.mean())
    assert guessed > brightness.mean()  # towards grey, from black
    shift = 127.5 * float(guessed - brightness.mean())
    stated = float(finding.says.partition("by about ")[2].split()[0])
    assert stated == pytest.approx(shift, rel=0.05)
    noisier = int(finding.cures[0].rpartition("=")[2].strip("."))
    assert not check_start(starting(model, f"karras:steps=10,start={noisier}"), images).cures


def test_photographs_are_sampled_from_where_no_brightness_is_left() -> None:
    """Of bright ones: the mean is 0.4, the deviation over images that of photographs, 0.3."""
    model = load_diffusion("emoji")
    model = replace(model, recipe=replace(model.recipe, sample=photos().sample))
    brightness = 0.4 + 0.3 * torch.randn(1000, generator=torch.Generator().manual_seed(0))
    images = brightness[:, None, None, None].expand(-1, *model.shape)
    assert model.shape == (3, 32, 32)
    assert not check_start(model, images).cures


def test_a_student_is_distilled_again_to_start_at_a_noisier_level(fashion: Examined) -> None:
    """It has learned the levels of its own grid, and refuses another one."""
    model = load_diffusion("fashion-fast", device="cpu")
    early = replace(model, recipe=assign(model.recipe, "distillation.grid.start", "600"))
    images, _ = fashion.images(480)
    [cure] = check_start(early, images).cures
    _, _, setting = cure.strip(".").partition("--set ")
    cured = replace(early, recipe=assign(early.recipe, *setting.split("=")))
    assert not check_start(cured, images).cures
