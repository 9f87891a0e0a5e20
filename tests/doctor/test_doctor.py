"""A healthy model is healthy, and each check finds the model that is broken in its way."""

import shutil
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from torch import Tensor

from adm.app.runs.run import TrainOptions
from adm.app.study import doctor
from adm.app.study.doctor import RAW, Finding, examine
from adm.app.study.patient import Patient, Skipped, admit, labelled
from adm.data import Source, open_source
from adm.diffusion import Level, Schedule
from adm.diffusion.targets import Velocity
from adm.models import gan
from adm.models.load import load_any, load_classifier, load_diffusion
from adm.models.trained import ClassifierModel, DiffusionModel
from adm.recipes import build
from adm.spec import assign
from adm.store.hashes import seal
from adm.training.checkpoint import latest
from adm.training.model_file import entries_of, save_model

pytestmark = pytest.mark.xdist_group("doctor")  # one worker measures for all tests
COUNT = 24
HEAD, LABELS = "head.2", "label_embedding.weight"


@pytest.fixture(scope="module")
def fashion() -> Patient:
    """The shipped model with its classifier and data."""
    try:
        open_source("fashion-mnist")
    except ValueError as error:
        pytest.skip(f"no data: {error}")
    return admit("fashion", device="cpu", count=COUNT)


def other(patient: Patient, **changes: object) -> Patient:
    """Another patient, of which nothing is measured yet."""
    return replace(patient, **changes)


def with_weights(
    model: DiffusionModel | ClassifierModel, change: Callable[[dict[str, Tensor]], None]
) -> DiffusionModel | ClassifierModel:
    """The same model with weights that are changed in place."""
    network = deepcopy(model.network)
    with torch.no_grad():
        change(network.state_dict())
    return replace(model, network=network)


def times(name: str, by: float) -> Callable[[dict[str, Tensor]], None]:
    def change(weights: dict[str, Tensor]) -> None:
        for kind in ("weight", "bias"):
            weights[f"{name}.{kind}"].mul_(by)

    return change


def plus(name: str, channels: slice, by: float) -> Callable[[dict[str, Tensor]], None]:
    return lambda weights: weights[f"{name}.bias"][channels].add_(by)


def rolled(weights: dict[str, Tensor]) -> None:
    """Every class is taken for the next one."""
    own = weights[LABELS]
    own[:10] = own[:10].roll(1, 0).clone()


def in_another_process(patient: Patient) -> Patient:
    """The recipe says linear, and the network was trained with cosine."""
    model = patient.diffusion
    process = replace(model.recipe.process, schedule="linear")
    recipe = replace(model.recipe, process=process)
    return other(patient, model=replace(model, recipe=recipe, schedule=build.schedule(process)))


def sampled(patient: Patient, grid: str) -> Patient:
    recipe = patient.diffusion.recipe
    recipe = replace(recipe, sample=recipe.sample.change(grid=grid))
    return other(patient, model=replace(patient.diffusion, recipe=recipe))


def weights_of(change: Callable[[dict[str, Tensor]], None]) -> Callable[[Patient], Patient]:
    return lambda patient: other(patient, model=with_weights(patient.diffusion, change))


def judged_by(
    change: Callable[[ClassifierModel], ClassifierModel],
) -> Callable[[Patient], Patient]:
    return lambda patient: other(patient, classifier=change(patient.judge))


def turned(classifier: ClassifierModel) -> ClassifierModel:
    return replace(classifier, classes=classifier.classes[::-1])


def trained_on_clean(classifier: ClassifierModel) -> ClassifierModel:
    """It says that it was trained on noisy images."""
    return replace(classifier, network=load_classifier("fashion-judge").network)


def with_wrong_timesteps(classifier: ClassifierModel) -> ClassifierModel:
    """Its timesteps are wrong: they count from the noisiest level."""
    schedule = classifier.schedule
    return replace(classifier, schedule=replace(schedule, timesteps=999 - schedule.timesteps))


def in_another_order(classifier: ClassifierModel) -> ClassifierModel:
    """It was trained on classes in another order than it names."""
    changed = with_weights(classifier, lambda w: [_roll(w, kind) for kind in ("weight", "bias")])
    assert isinstance(changed, ClassifierModel)
    return changed


def _roll(weights: dict[str, Tensor], kind: str) -> None:
    own = weights[f"head.pool.out.{kind}"]
    own.copy_(own.roll(1, 0).clone())


def stronger(by: float) -> Callable[[ClassifierModel], ClassifierModel]:
    def change(classifier: ClassifierModel) -> ClassifierModel:
        changed = with_weights(classifier, times("head.pool.out", by))
        assert isinstance(changed, ClassifierModel)
        return changed

    return change


@dataclass(frozen=True)
class Bright(Velocity):
    """A network of images in a wider range."""

    def to_x_0(self, schedule: Schedule, x_t: Tensor, output: Tensor, level: Level) -> Tensor:
        return 1.5 * super().to_x_0(schedule, x_t, output, level)


def brighter(patient: Patient) -> Patient:
    reading = replace(patient.diffusion.parameterization, target=Bright())
    return other(patient, model=replace(patient.diffusion, parameterization=reading))


BROKEN = {
    "it starts where much is left of the image": (
        "start",
        lambda patient: sampled(patient, "karras:steps=10,start=600"),
        "wrong",
        "--grid karras:start=9",
    ),
    "its schedule is another": ("estimate", in_another_process, "wrong", "process.schedule"),
    "its output is too large": ("estimate", weights_of(times(HEAD, 1.5)), "wrong", "worst at"),
    "it learned nothing": ("estimate", weights_of(times(HEAD, 0)), "wrong", "train longer"),
    "its variance is off": (
        "variance",
        weights_of(plus(HEAD, slice(1, 2), 4.0)),
        "wrong",
        "--sampler ddim",
    ),
    "its labels are in another order": ("labels", weights_of(rolled), "wrong", "order"),
    "its labels have no effect": (
        "labels",
        weights_of(lambda weights: weights[LABELS].zero_()),
        "look",
        "no effect",
    ),
    "it is tinted": ("colours", weights_of(plus(HEAD, slice(0, 1), -0.25)), "wrong", "steps"),
    "its estimate is too large": ("estimate", brighter, "wrong", "worst at"),
    "its samples are beyond the range": (
        "saturation",
        brighter,
        "wrong",
        "threshold=dynamic",
    ),
    "the classifier names other classes": ("pair", judged_by(turned), "wrong", "Train a"),
    "the classifier has another process": (
        "pair",
        judged_by(
            lambda c: replace(
                c, recipe=replace(c.recipe, process=replace(c.recipe.process, steps=500))
            )
        ),
        "wrong",
        "Train a",
    ),
    "the classifier is blind to noise": (
        "classifier",
        judged_by(trained_on_clean),
        "wrong",
        "trained on noisy images",
    ),
    "the classifier receives other timesteps": (
        "classifier",
        judged_by(with_wrong_timesteps),
        "wrong",
        "process",
    ),
    "the classifier has another order": (
        "classifier",
        judged_by(in_another_order),
        "wrong",
        "order of its classes",
    ),
    "the gradient is larger than the noise": (
        "gradient",
        judged_by(stronger(100.0)),
        "wrong",
        "--scale below",
    ),
    "the gradient is nothing": ("gradient", judged_by(stronger(1e-4)), "look", "hardly guides"),
    "samples are of other classes": ("agreement", weights_of(rolled), "wrong", "same order"),
}
SAMPLING = ("colours", "saturation", "agreement", "variety")  # take longer


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (check in SAMPLING))
        for name, (check, *_) in BROKEN.items()
    ],
)
def test_what_is_broken_is_found_and_its_cure_named(fashion: Patient, name: str) -> None:
    check, breaks, verdict, cure = BROKEN[name]
    finding = getattr(doctor, check)(breaks(other(fashion)))
    assert finding.verdict == verdict, finding.says
    assert cure in finding.change


def test_a_classifier_with_its_classes_in_another_order_is_right_about_them(
    fashion: Patient,
) -> None:
    def flip(weights: dict[str, Tensor]) -> None:
        for kind in ("weight", "bias"):
            own = weights[f"head.pool.out.{kind}"]
            own.copy_(own.flip(0).clone())

    flipped = with_weights(turned(fashion.judge), flip)
    patient = other(fashion, classifier=flipped)
    assert doctor.pair(patient).verdict == "wrong"
    assert doctor.classifier(patient).verdict == "ok"
    torch.testing.assert_close(patient.judged.accuracy, fashion.judged.accuracy)
    strange = replace(flipped, classes=("hat", *flipped.classes[1:]))
    with pytest.raises(Skipped, match="no class ankle-boot"):
        doctor.classifier(other(fashion, classifier=strange))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fashion", "fashion-fast"])
def test_a_shipped_model_is_healthy(fashion: Patient, name: str) -> None:
    findings = dict(examine(admit(name, device="cpu", count=COUNT)))
    assert {each.verdict for each in findings.values()} <= {"ok", "skipped"}, findings
    assert all(not each.change for each in findings.values())
    if name == "fashion":
        assert [n for n, each in findings.items() if each.verdict == "skipped"] == ["average"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fashion-classifier", "fashion-judge"])
def test_a_shipped_classifier_is_healthy(fashion: Patient, name: str) -> None:
    findings = dict(examine(admit(name, device="cpu", count=COUNT)))
    assert {each.verdict for each in findings.values()} <= {"ok", "skipped"}, findings
    assert findings["classifier"].verdict == findings["overfitting"].verdict == "ok"


@pytest.mark.slow
def test_a_gan_that_makes_one_image_of_a_class_lacks_variety(
    fashion: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gan, "IMAGES", 512)  # of its statistics, for time
    healthy = admit("fashion-biggan", device="cpu", count=COUNT)
    assert doctor.variety(healthy).verdict == "ok"
    recipe = healthy.model.recipe
    sample = replace(recipe.sample, truncation=0.02)
    model = replace(healthy.model, recipe=replace(recipe, sample=sample), settled=[])
    finding = doctor.variety(other(healthy, model=model))
    assert finding.verdict == "wrong", finding.says


def random_labels(count: int, seed: int) -> Source:
    source = tiny.stripes(count)
    generator = torch.Generator().manual_seed(seed)
    return replace(source, labels=source.labels[torch.randperm(count, generator=generator)])


def test_a_classifier_that_knows_its_images_by_heart_overfits(tmp_path: Path) -> None:
    recipe = tiny.classifier("noised=false", "train.steps=150", "train.ema_decay=0.5")
    training, held_out = random_labels(12, 0), random_labels(30, 1)
    tiny.steps(recipe, training, tmp_path / "run")
    model = load_any(tmp_path / "run", "cpu")
    finding = doctor.overfitting(Patient(model, None, training, held_out, count=COUNT))
    assert finding.verdict == "wrong", finding.says
    assert "training images" in finding.change
    same = doctor.overfitting(Patient(model, None, training, training, count=COUNT))
    assert same.verdict == "ok"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of a model whose average follows its weights."""
    folder = tmp_path_factory.mktemp("doctor") / "run"
    tiny.steps(tiny.diffusion("train.steps=60", "train.ema_decay=0.9"), tiny.stripes(), folder)
    return folder


def average_of(run: Path, weights: str | None, tmp_path: Path) -> Finding:
    """The finding on the average, once it is replaced by the initial or the raw weights."""
    copy = tmp_path / "run"
    shutil.copytree(run, copy, symlinks=True)
    folder = latest(copy)
    assert folder is not None
    model = load_diffusion(copy, "cpu")
    if weights == "initial":
        named = dict(build.network(model.recipe).named_parameters())
        save_model(folder / "model.safetensors", named, entries_of(model.path))
        seal(folder)
    patient = Patient(load_any(copy, "cpu"), None, tiny.stripes(), tiny.stripes(), count=COUNT)
    return doctor.average(patient)


def test_an_average_that_follows_is_healthy_and_one_that_never_moved_is_not(
    run: Path, tmp_path: Path
) -> None:
    healthy = average_of(run, None, tmp_path / "healthy")
    assert healthy.verdict == "ok", healthy.says
    assert 0.5 < healthy.figures["way"] <= 1.1
    assert "loss" in healthy.figures
    stuck = average_of(run, "initial", tmp_path / "stuck")
    assert stuck.verdict == "wrong"
    assert stuck.figures["way"] == pytest.approx(0, abs=1e-6)
    assert RAW in stuck.change


def test_settings_that_are_amiss_are_named(tmp_path: Path) -> None:
    path = tiny.model(tmp_path / "model.safetensors", tiny.diffusion())
    fresh = doctor.settings(Patient(load_any(path, "cpu")))
    assert fresh.verdict == "look"
    assert "0 steps" in fresh.change
    entries = entries_of(path) | {"step": 4, "weights": "raw", "classes": ["bag", "bag", "boot"]}
    del entries["recipe"]["sample"]
    save_model(path, load_any(path, "cpu").network.state_dict(), entries)
    finding = doctor.settings(Patient(load_any(path, "cpu")))
    assert finding.verdict == "wrong"
    for words in ("raw weights", "same name", "no settings of sampling"):
        assert words in finding.change.lower()


def test_data_have_the_labels_of_the_model_by_name_or_by_number() -> None:
    source = tiny.stripes(9)
    other_way = labelled(source, ("bag", "hat", "SNEAKER"))
    assert other_way is not None
    assert len(other_way) == 6  # no ankle boots
    assert other_way.labels.tolist() == [2, 0] * 3
    images, labels = other_way.batch([0, 1])
    assert torch.equal(images, source.batch([0, 1])[0])
    assert labels.tolist() == [2, 0]
    numbered = labelled(source, ("0", "1", "2"))
    assert numbered is not None
    assert torch.equal(numbered.labels, source.labels)
    assert labelled(source, ("cluster-0", "cluster-1", "cluster-2")) is None


def test_without_data_the_checks_that_need_them_say_why(tmp_path: Path) -> None:
    path = tiny.model(tmp_path / "model.safetensors", tiny.diffusion("data.source=photos/"))
    findings = dict(examine(admit(path, device="cpu")))
    done = [name for name, each in findings.items() if each.verdict != "skipped"]
    assert done == ["settings", "start"]
    assert "give --data" in findings["estimate"].says


def test_the_start_reports_the_shift_of_the_estimated_brightness(fashion: Patient) -> None:
    """By drawing: the best estimate of a brightness that pure noise was taken for."""
    model = fashion.diffusion
    patient = sampled(fashion, "karras:steps=10,start=900")
    finding = doctor.start(patient)
    noisier = int(finding.change.rpartition("=")[2].strip("."))
    better = doctor.start(sampled(fashion, f"karras:steps=10,start={noisier}"))
    assert better.verdict == "ok"
    assert better.figures["shift"] < 3 < finding.figures["shift"]
    mean, spread, _ = patient.brightness
    signal, sigma = model.schedule.signal[900], model.schedule.sigma[900]
    generator = torch.Generator().manual_seed(0)
    truth = mean + spread[0, 0].sqrt() * torch.randn(200_000, generator=generator).double()
    error = sigma / 28 * torch.randn(200_000, generator=generator).double()
    observed = signal * truth + error
    slope = torch.cov(torch.stack([truth, observed]))[0, 1] / observed.var()
    guessed = truth.mean() + slope * (0 - observed.mean())
    assert finding.figures["shift"] == pytest.approx(
        127.5 * float((guessed - mean).abs()), rel=0.02
    )
    assert np.sign(float(guessed - mean)) > 0  # towards grey, from black


def test_a_student_is_distilled_again_to_start_at_a_noisier_level(fashion: Patient) -> None:
    """It has learned the levels of its own grid, and refuses another one."""
    model = load_diffusion("fashion-fast", device="cpu")
    early = replace(model, recipe=assign(model.recipe, "distillation.grid.start", "600"))
    finding = doctor.start(other(fashion, model=early))
    assert finding.verdict == "wrong"
    _, _, setting = finding.change.strip(".").partition("--set ")
    cured = replace(early, recipe=assign(early.recipe, *setting.split("=")))
    assert doctor.start(other(fashion, model=cured)).verdict == "ok"


def test_a_run_that_started_from_another_model_says_so(run: Path, tmp_path: Path) -> None:
    options = TrainOptions(pretrained=load_any(run, "cpu").path)
    recipe = tiny.diffusion("train.steps=4")
    tiny.steps(recipe, tiny.stripes(), tmp_path / "next", options=options)
    with pytest.raises(Skipped, match="started from another model"):
        doctor.average(Patient(load_any(tmp_path / "next", "cpu"), count=COUNT))


def test_raw_weights_of_another_network_are_not_compared(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run", symlinks=True)
    folder = latest(tmp_path / "run")
    assert folder is not None
    tiny.model(folder / RAW, tiny.diffusion("unet.channels=16"))
    with pytest.raises(Skipped, match="another network"):
        doctor.average(Patient(load_any(tmp_path / "run", "cpu"), count=COUNT))
