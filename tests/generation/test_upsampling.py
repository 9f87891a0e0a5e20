"""upsampler, low-resolution images -> larger ones: each a function of its own small image."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch
from samples import contents
from torch import Tensor

from adm.diffusion import process
from adm.generation import diffusion as generating
from adm.generation.animation import cost
from adm.generation.cascade import CascadeGenerator, cascade
from adm.generation.diffusion import DiffusionGenerator
from adm.generation.folder import add_animation, sample_into
from adm.generation.job import Job
from adm.generation.pipeline import Pipeline
from adm.images import to_float
from adm.models.load import load_diffusion
from adm.models.trained import ClassifierModel, DiffusionModel
from adm.recipes.schema import override
from adm.samplers import DDIM, Even, ImageNoise, Sampling
from adm.spec import SettingError
from adm.store.hashes import SUMS
from adm.store.samples import MANIFEST

LABELS = torch.tensor([0, 1, 2, 0, 1])
SETTINGS = Sampling(sampler=DDIM(), grid=Even(steps=3), seed=3)
LOW = torch.randint(0, 256, (5, 1, 4, 4), generator=torch.Generator().manual_seed(0)).byte()


@pytest.fixture(scope="module")
def model(folder: Path) -> DiffusionModel:
    return load_diffusion(tiny.model(folder / "up.safetensors", tiny.upsampler()))


@pytest.fixture(scope="module")
def plain(folder: Path) -> DiffusionModel:
    return load_diffusion(tiny.model(folder / "plain.safetensors", tiny.diffusion()))


@pytest.fixture(scope="module")
def base(folder: Path) -> DiffusionModel:
    """Makes the 4x4 images that the upsampler starts from."""
    chosen = tiny.diffusion("data.size=4,4")
    return load_diffusion(tiny.model(folder / "base.safetensors", chosen, seed=2))


def last(
    model: DiffusionModel,
    sampling: Sampling,
    guide: ClassifierModel | None,
    images: Sequence[int] = range(5),
    low: Tensor = LOW,
) -> Tensor:
    rows = list(images)
    generator = DiffusionGenerator(model, sampling, [guide] if guide else [])
    *_, state = generator.trajectory(LABELS[rows], images, low[rows])
    return state.x


def test_an_image_depends_on_its_own_small_image_and_on_no_other(model: DiffusionModel) -> None:
    other = LOW.clone()
    other[2] = 255 - other[2]
    differing = (last(model, SETTINGS, None, low=other) - last(model, SETTINGS, None)).abs()
    assert (differing.amax(dim=(1, 2, 3)) > 1e-3).tolist() == [False, False, True, False, False]


def test_the_noise_is_not_that_from_which_the_small_image_was_made(
    model: DiffusionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Tensor] = []

    class Listening(ImageNoise):
        def start(self) -> Tensor:
            drawn.append(super().start())
            return drawn[-1]

    monkeypatch.setattr(generating, "ImageNoise", Listening)
    last(model, SETTINGS, None)
    before = ImageNoise(SETTINGS.seed, range(5), (1, 4, 4)).start().flatten(1)
    assert not (drawn[0].flatten(1)[:, :16] == before).any()


@pytest.mark.parametrize(
    ("low", "message"),
    [
        (None, "starts from images of 4x4"),
        (torch.zeros(5, 1, 4, 5, dtype=torch.uint8), "got 'a tensor of uint8 (5, 1, 4, 5)'"),
        (
            torch.zeros(5, 3, 4, 4, dtype=torch.uint8),
            "inputs must be a tensor of uint8 (N, 1, 4, 4)",
        ),
        (LOW[:3], "5 images need as many inputs, got 3"),
    ],
)
def test_unfit_small_images_are_refused(
    model: DiffusionModel, low: Tensor | None, message: str
) -> None:
    with pytest.raises(SettingError, match=re.escape(message)):
        Job(DiffusionGenerator(model, SETTINGS), LABELS.tolist(), 5, low)


@pytest.fixture(scope="module")
def noisy(folder: Path) -> DiffusionModel:
    """An upsampler whose input had noise of up to level 9 in training."""
    chosen = tiny.upsampler("data.low_res_noise=9", "unet.conditions=low_res")
    return load_diffusion(tiny.model(folder / "noisy.safetensors", chosen))


def network_inputs(
    model: DiffusionModel, level: int, images: Sequence[int], patch: pytest.MonkeyPatch
) -> tuple[Tensor, Tensor]:
    """The low-resolution images and the timestep of their noise that the network receives."""
    received: list[tuple[Tensor, Tensor]] = []
    network = model.prepared()

    def listening(x: Tensor, t: Tensor, label: Tensor, low: Tensor, level_input: Tensor) -> Tensor:
        received.append((low, level_input))
        return network(x, t, label, low, level_input)

    patch.setattr(DiffusionModel, "prepared", lambda *_: listening)
    last(model, replace(SETTINGS, low_res_noise=level), None, images)
    patch.undo()
    assert all(torch.equal(low, received[0][0]) for low, _ in received)  # at every step the same
    assert len({level_input.flatten().tolist()[0] for _, level_input in received}) == 1
    return received[0]


def test_small_images_get_the_noise_of_training_and_the_network_its_level(
    noisy: DiffusionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean, timestep = network_inputs(noisy, 0, range(5), monkeypatch)
    assert torch.equal(clean, to_float(LOW))
    assert (timestep == -1).all()
    low, timestep = network_inputs(noisy, 6, range(5), monkeypatch)
    assert (timestep == 5).all()  # the timestep of level 6, whatever levels are visited
    added = (low - noisy.schedule.signal[6].float() * clean) / noisy.schedule.sigma[6].float()
    again = process.diffuse(noisy.schedule, clean, added, torch.full((5,), 6))
    torch.testing.assert_close(again, low)
    start = ImageNoise(SETTINGS.seed, [2**48 + i for i in range(5)], (1, 8, 8)).start()
    assert not torch.isclose(added.flatten(1), start.flatten(1)[:, :16], atol=1e-4).any()
    assert 0.7 < float(added.std()) < 1.3
    some, _ = network_inputs(noisy, 6, [3, 1], monkeypatch)
    assert torch.equal(some, low[[3, 1]])
    lower, _ = network_inputs(noisy, 2, range(5), monkeypatch)
    same = (lower - noisy.schedule.signal[2].float() * clean) / noisy.schedule.sigma[2].float()
    torch.testing.assert_close(same, added, atol=1e-4, rtol=1e-4)  # one draw for all levels


def test_noise_that_an_upsampler_was_not_trained_on_is_refused(
    model: DiffusionModel, noisy: DiffusionModel
) -> None:
    assert DiffusionGenerator(noisy, replace(SETTINGS, low_res_noise=9))
    with pytest.raises(SettingError, match="low_res_noise must be at most 9"):
        DiffusionGenerator(noisy, replace(SETTINGS, low_res_noise=10))
    with pytest.raises(SettingError, match=r"up was not trained on noise"):
        DiffusionGenerator(model, replace(SETTINGS, low_res_noise=1))


def test_a_cascade_takes_the_noise_of_the_upsampler_or_another(
    base: DiffusionModel, noisy: DiffusionModel
) -> None:
    known = replace(noisy, recipe=override(noisy.recipe, ["sample.low_res_noise=4"]))
    small = DiffusionGenerator(base, SETTINGS)
    assert cascade(small, known, None).upsampler.sampling.low_res_noise == 4
    assert cascade(small, known, None, noise=7).upsampler.sampling.low_res_noise == 7
    with pytest.raises(SettingError, match="upsampler_noise must be at most 9"):
        cascade(small, known, None, noise=10)
    samples = [
        Pipeline(base, upsampler=noisy).sample("bag:2", seed=1, steps=3, upsampler_noise=noise)
        for noise in (0, 8, 8)
    ]
    assert torch.equal(samples[1].images, samples[2].images)
    assert not torch.equal(samples[0].images, samples[1].images)


def test_no_other_model_takes_small_images(plain: DiffusionModel) -> None:
    assert plain.low_shape is None
    with pytest.raises(SettingError, match="starts from noise alone; leave inputs out"):
        Job(DiffusionGenerator(plain, SETTINGS), LABELS.tolist(), 5, LOW)


def job_of(model: DiffusionModel, low: Tensor | None = None) -> Job:
    return Job(DiffusionGenerator(model, SETTINGS), LABELS.tolist(), 5, low, "small.npz")


def test_the_manifest_says_where_the_small_images_came_from(
    tmp_path: Path, model: DiffusionModel
) -> None:
    inputs = []
    last_differs = torch.cat([LOW[:-1], 255 - LOW[-1:]])
    lows = {"one": LOW, "two": LOW, "three": 255 - LOW, "four": last_differs}
    for name, low in lows.items():
        sample_into(tmp_path / name, job_of(model, low))
        inputs.append(json.loads((tmp_path / name / MANIFEST).read_text())["inputs"])
    assert (inputs[0]["source"], inputs[0]["shape"]) == ("small.npz", [5, 1, 4, 4])
    assert inputs[0] == inputs[1]
    assert len({entry["sha256"] for entry in inputs}) == 3, "every image counts"


def cascaded(base: DiffusionModel, model: DiffusionModel) -> Job:
    generator = DiffusionGenerator(base, SETTINGS)
    larger = cascade(generator, model, LABELS.tolist(), steps=3)
    return Job(larger, LABELS.tolist(), 5)


def test_a_cascade_is_one_model_after_the_other(
    tmp_path: Path, base: DiffusionModel, model: DiffusionModel
) -> None:
    job, progress = cascaded(base, model), list[int]()
    images = sample_into(tmp_path / "both", job, on_step=progress.append)
    add_animation(tmp_path / "both", job, progress.append)
    assert sum(progress) - cost(job) == job.evaluations == 2 * 5 * SETTINGS.grid.steps
    assert isinstance(job.generator, CascadeGenerator)
    low = sample_into(tmp_path / "low", job_of(base))
    alone = Job(job.generator.upsampler, LABELS.tolist(), 5, low, "low")
    high = sample_into(tmp_path / "high", alone)
    add_animation(tmp_path / "high", alone)
    assert torch.equal(images, high)
    both, after = contents(tmp_path / "both"), contents(tmp_path / "high")
    assert {name for name in both if both[name] != after[name]} == {MANIFEST, SUMS}
    manifest = json.loads(both[MANIFEST])
    assert manifest["base"]["model"]["file"] == "base.safetensors"
    assert manifest["model"]["file"] == "up.safetensors"


def test_an_upsampler_uses_its_recipe_and_takes_common_settings_from_the_base(
    base: DiffusionModel, model: DiffusionModel
) -> None:
    """Seed, rounding, precision and use of labels are the base's, and all else its own."""
    like = Sampling(
        sampler=DDIM(eta=0.5),
        grid=Even(steps=5, start=15),
        use_labels=False,
        precision="bfloat16",
        seed=9,
        rounding="truncated",
    )
    own = model.recipe.sample
    assert own.sampler != like.sampler
    assert own.grid != like.grid
    first = DiffusionGenerator(base, like)
    for steps, grid in ((None, own.grid), (3, replace(own.grid, steps=3))):
        generator = cascade(first, model, None, steps)
        assert generator.upsampler.sampling == replace(
            like, sampler=own.sampler, grid=grid, guide=own.guide
        )


def test_an_upsampler_receives_the_base_s_classes_by_name(
    base: DiffusionModel, model: DiffusionModel, folder: Path
) -> None:
    first, labels = DiffusionGenerator(base, SETTINGS), LABELS.tolist()

    def translation(*classes: str) -> dict[int, int] | None:
        path = tiny.model(folder / "named.safetensors", tiny.upsampler(), classes=classes)
        indices = cascade(first, load_diffusion(path), labels).translation
        return None if indices is None else dict(indices)

    assert cascade(first, model, labels).translation == {0: 0, 1: 1, 2: 2}
    assert translation("Ankle Boot", "bag", "SNEAKER") == {0: 2, 1: 1, 2: 0}
    assert translation("cat", "dog", "cow") is None, "it knows none of them"
    with pytest.raises(ValueError, match=r"other model does not know ankle boot"):
        translation("sneaker", "bag", "cat")
