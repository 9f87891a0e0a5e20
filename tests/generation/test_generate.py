"""model, classifier, labels, seed -> images: each a function of its own number and nothing else."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from torch import Tensor

from adm.diffusion import Schedule, clip
from adm.functions import Function
from adm.generation import blocks
from adm.generation.diffusion import DiffusionGenerator
from adm.guidance import Gradient, scaled, through_denoiser
from adm.models.load import load_classifier, load_diffusion
from adm.models.trained import ClassifierModel, DiffusionModel
from adm.samplers import DDIM, ClassifierGuide, Even, GradientGuide, ImageNoise, Sampling
from adm.spec import SettingError

LABELS = torch.tensor([0, 1, 2, 0, 1])
BASE = Sampling(sampler=DDIM(), grid=Even(steps=5), seed=3)
RUNS = {
    "ddim": BASE,
    "ddim, guided": BASE.change(scale=2.0),
    "ddim, eta 1": BASE.change(sampler="ddim:eta=1", scale=2.0),
    "ddim, clipped again": BASE.change(sampler="ddim:clip_again=true", scale=5.0),
    "ancestral": BASE.change(sampler="ancestral"),
    "ancestral, guided": BASE.change(sampler="ancestral", scale=2.0),
    "ancestral, at the mean": BASE.change(sampler="ancestral:at_mean=true", scale=2.0),
    "from level 12": BASE.change(grid="even:start=12", scale=1.0),
    "without labels": BASE.change(use_labels=False, scale=2.0),
    "guided in an interval, every second level": BASE.change(
        guide="classifier:scale=3,interval=2-18,every=2"
    ),
}


def last(
    model: DiffusionModel,
    sampling: Sampling,
    guide: ClassifierModel,
    images: Sequence[int] = range(5),
) -> Tensor:
    """The finished images as floats, before 8 bits hide small differences."""
    generator = DiffusionGenerator(model, sampling, [guide])
    *_, state = generator.trajectory(LABELS[list(images)], images)
    return state.x


def sampled(
    model: DiffusionModel,
    sampling: Sampling,
    guide: ClassifierModel | None,
    labels: Tensor | None = LABELS,
    **options: Any,
) -> Tensor:
    generator = DiffusionGenerator(model, sampling, [guide] if guide else [])
    return generator.images(labels, range(5), **options)


@pytest.mark.parametrize("name", RUNS)
def test_an_image_is_the_same_whatever_the_batch_size(
    model: DiffusionModel, guide: ClassifierModel, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(blocks, "CPU_PIXELS", 2 * 8 * 8)
    generator = DiffusionGenerator(model, RUNS[name], [guide])
    alone = [generator.images(LABELS[[i]], [i]) for i in range(5)]
    assert torch.equal(torch.cat(alone), generator.images(LABELS, range(5)))


@pytest.mark.parametrize("sampler", ["ddim", "ancestral"])
def test_an_unconditional_model_is_guided_by_the_classifier_alone(
    model: DiffusionModel, guide: ClassifierModel, sampler: str
) -> None:
    settings = BASE.change(sampler=sampler, use_labels=False)
    other = (LABELS + 1) % 3
    unguided = sampled(model, settings, guide)
    assert torch.equal(sampled(model, settings, guide, other), unguided)
    assert torch.equal(sampled(model, settings, None, None), unguided)
    assert not torch.equal(sampled(model, settings.change(use_labels=True), None), unguided)
    guided = settings.change(scale=3.0)
    assert not torch.equal(sampled(model, guided, guide), sampled(model, guided, guide, other))


@pytest.mark.parametrize("sampler", ["ddim", "ancestral"])
def test_a_gradient_of_ones_own_is_added_and_may_differentiate_the_denoiser(
    model: DiffusionModel, guide: ClassifierModel, sampler: str
) -> None:
    free = DiffusionGenerator(model, BASE.change(sampler=sampler, scale=1.0), [guide])
    levels: list[float] = []

    def dark(schedule: Schedule) -> Gradient:
        levels.extend(schedule.timesteps.tolist())
        return through_denoiser(lambda p, level: -0.5 * (p.x_0 + 1).square().flatten(1).sum(1))

    guides = (*free.sampling.guide, GradientGuide())
    pulled = replace(
        free, sampling=replace(free.sampling, guide=guides), gradients=[Function.of(dark)]
    )
    (*_, plain), (*_, last) = (
        generator.trajectory(LABELS, range(5)) for generator in (free, pulled)
    )
    assert (last.x + 1).square().mean() < 0.9 * (plain.x + 1).square().mean()
    assert not last.x.requires_grad
    visited = levels.copy()
    for mode in (torch.no_grad(), torch.inference_mode()):  # whatever the grad mode of the caller
        with mode:
            *_, same = pulled.trajectory(LABELS, range(5))
            assert torch.equal(same.x, last.x)
    assert visited == free.schedule.timesteps.tolist()
    images = pulled.images(LABELS, range(5))
    assert images.float().mean() < free.images(LABELS, range(5)).float().mean()
    ((name, sha256),) = pulled.manifest()["gradient"].items()
    assert name.endswith("dark")
    assert len(sha256) == 64


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"sampler": "dpm-solver:order=3", "steps": 2}, "steps"),
        ({"steps": 21}, "steps"),
        ({"steps": 1}, "steps"),
        ({"grid": "even:start=21"}, "grid.start"),
        ({"grid": "even:start=5", "steps": 6}, "steps"),
        ({"grid": "levels:3,20.5"}, "grid.levels"),
        ({"scale": 2.0}, "classifier"),
        ({"guide": "attention:scale=2,interval=3-21"}, "guide.interval"),
        ({"sampler": "unipc:eta=1,noise=3-21"}, "sampler.noise"),
        # Their scales cancel in the sum, and not in the images.
        (
            {"guide": ["classifier:scale=2,interval=10-20", "classifier:scale=-2,interval=1-9"]},
            "classifier",
        ),
    ],
)
def test_settings_that_the_model_cannot_be_sampled_with_are_refused_before_any_work(
    model: DiffusionModel, changes: dict[str, Any], field: str
) -> None:
    with pytest.raises(SettingError) as error:
        DiffusionGenerator(model, BASE.change(**changes)).schedule  # noqa: B018
    assert error.value.field == field


@pytest.mark.parametrize(
    ("settings", "classes"),
    [
        ((), ("sneaker", "bag", "boot")),
        (("data.size=16,16", "classifier.size=16,16"), tiny.CLASSES),
        (("process.schedule=linear",), tiny.CLASSES),
        (("process.rescale_steps=true",), tiny.CLASSES),
    ],
)
def test_a_classifier_of_other_things_is_refused(
    model: DiffusionModel, tmp_path: Path, settings: tuple[str, ...], classes: tuple[str, ...]
) -> None:
    path = tiny.model(tmp_path / "c.safetensors", tiny.classifier(*settings), classes)
    other = load_classifier(path)
    with pytest.raises(SettingError, match=r"^d has the .*, and c has .*; train a classifier"):
        DiffusionGenerator(model, BASE.change(scale=1.0), [other])


def test_a_classifier_of_clean_images_is_refused(model: DiffusionModel, tmp_path: Path) -> None:
    path = tiny.model(tmp_path / "c.safetensors", tiny.classifier("noised=false"))
    with pytest.raises(SettingError, match="trained on clean images, and cannot guide"):
        DiffusionGenerator(model, BASE.change(scale=1.0), [load_classifier(path)])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("sampler", ["ddim:eta=0.5", "ancestral:at_mean=true"])
def test_a_trajectory_is_the_sampler_on_the_denoiser_the_gradient_and_the_noise(
    model: DiffusionModel, guide: ClassifierModel, sampler: str, precision: str
) -> None:
    """Composed by hand, with the respaced process and the precision in every part."""
    sampling = BASE.change(sampler=sampler, precision=precision, scale=2.0, seed=11)
    generator = DiffusionGenerator(model, sampling, [guide])
    schedule = model.schedule.respaced(sampling.grid.visited(model.schedule))
    noise = ImageNoise(11, range(5), model.shape)
    with torch.no_grad():
        denoise = model.denoise(LABELS, schedule, clip, network=model.prepared(precision))
        gradient = scaled(guide.gradient(LABELS, schedule, network=guide.prepared(precision)), 2.0)
        *_, expected = sampling.sampler(denoise, noise.start(), schedule, noise, gradient)
    *_, actual = generator.trajectory(LABELS, range(5))
    assert torch.equal(actual.x, expected.x)


@pytest.mark.parametrize("sampler", ["ddim:eta=1", "dpm-solver:eta=1", "unipc:eta=1"])
def test_noise_in_an_interval_is_that_of_the_models_levels(
    model: DiffusionModel, sampler: str
) -> None:
    """Of 3, 9.5 and 17 those within 4-20 are the second and the third that are visited."""

    def images(spec: str) -> Tensor:
        return sampled(model, BASE.change(sampler=spec, grid="levels:3,9.5,17"), None)

    assert torch.equal(images(f"{sampler},noise=4-20"), images(f"{sampler},noise=9-17"))
    assert torch.equal(images(f"{sampler},noise=4-9"), images(sampler.partition(":")[0]))
    assert not torch.equal(images(f"{sampler},noise=4-10"), images(f"{sampler},noise=4-20"))


def test_several_terms_of_guidance_add_up(model: DiffusionModel, guide: ClassifierModel) -> None:
    def guided(*terms: ClassifierGuide) -> Tensor:
        return last(model, replace(BASE, guide=terms), guide)

    one, early = ClassifierGuide(scale=2.0), ClassifierGuide(scale=3.0, interval=(10, 20))
    late = replace(early, interval=(1, 9))
    torch.testing.assert_close(guided(early, late), guided(replace(early, interval=None)))
    torch.testing.assert_close(guided(one, one, one), guided(ClassifierGuide(scale=6.0)))
    assert not torch.allclose(guided(one, early), guided(one), atol=1e-3)


def test_guidance_by_a_classifier_records_no_graph_of_the_network(
    model: DiffusionModel, guide: ClassifierModel
) -> None:
    """Only a custom gradient, which may differentiate the network, needs its memory."""
    enabled: list[bool] = []
    hook = model.prepared().register_forward_hook(
        lambda *_: enabled.append(torch.is_grad_enabled())
    )
    try:
        for state in DiffusionGenerator(model, RUNS["ddim, guided"], [guide]).trajectory(
            LABELS, range(5)
        ):
            assert torch.is_grad_enabled(), "the caller's own mode"
            assert not state.x.requires_grad
    finally:
        hook.remove()
    assert enabled == [False] * BASE.grid.steps


@pytest.mark.parametrize(("sampler", "clipped"), [("ddim", True), ("ancestral", False)])
def test_x_0_of_a_network_that_predicts_the_mean_is_clipped_where_released(
    folder: Path, sampler: str, clipped: bool
) -> None:
    """Ancestral sampling takes the network's mean as it is; DDIM is computed from x_0."""
    chosen = tiny.diffusion("process.prediction=previous_mean")
    model = load_diffusion(tiny.model(folder / "mean.safetensors", chosen, std=1.0))
    states = DiffusionGenerator(model, BASE.change(sampler=sampler)).trajectory(LABELS, range(5))
    widest = max(state.prediction.x_0.abs().max().item() for state in states)
    assert (widest <= 1) == clipped


def test_dynamic_thresholding_is_a_setting(model: DiffusionModel, guide: ClassifierModel) -> None:
    """After guidance too, where it is applied again; the untrained model saturates the clip."""
    base = BASE.change(scale=50.0, sampler="ddim:clip_again=true")
    clipped, dynamic = (
        sampled(model, base.change(threshold=name), guide) for name in ("clip", "dynamic")
    )
    assert not torch.equal(clipped, dynamic)
    *_, state = DiffusionGenerator(model, base.change(threshold="dynamic"), [guide]).trajectory(
        LABELS, range(5)
    )
    assert state.x.abs().max() <= 1
