"""upsampler, low-resolution images -> larger ones: each a function of its own small image."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from torch import Tensor

from adm.data.naming import ANIMATION, MANIFEST, SHEET
from adm.generation import blocks
from adm.generation import diffusion as generating
from adm.generation.cascade import cascade, translated
from adm.generation.diffusion import DiffusionGenerator
from adm.generation.folder import BASE, images_of, sample_into
from adm.generation.generate import check_low_res, generate
from adm.generation.job import Job, LowRes
from adm.models import engines
from adm.models.load import load_classifier, load_diffusion
from adm.models.trained import ClassifierModel, DiffusionModel
from adm.samplers import DDIM, Grid, ImageNoise, Sampling
from adm.samplers.words import changed

LABELS = torch.tensor([0, 1, 2, 0, 1])
SETTINGS = Sampling(sampler=DDIM(), grid=Grid(steps=3), seed=3)
LOW = torch.randint(0, 256, (5, 1, 4, 4), generator=torch.Generator().manual_seed(0)).byte()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


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


@pytest.fixture(scope="module")
def guide(folder: Path) -> ClassifierModel:
    return load_classifier(tiny.model(folder / "c.safetensors", tiny.classifier(), seed=1))


@pytest.fixture
def blocks_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "LARGEST", 2)


def last(
    model: DiffusionModel,
    sampling: Sampling,
    guide: ClassifierModel | None,
    images: Sequence[int] = range(5),
    low: Tensor = LOW,
) -> Tensor:
    rows = list(images)
    generator = DiffusionGenerator(model, sampling, guide)
    *_, state = generator.trajectory(LABELS[rows], images, low[rows])
    return state.x


@pytest.mark.parametrize("sampler", ["ddim", "ancestral"])
@pytest.mark.parametrize("scale", [0.0, 2.0])
def test_an_image_is_the_same_in_whatever_company(
    model: DiffusionModel, guide: ClassifierModel, sampler: str, scale: float
) -> None:
    settings = changed(SETTINGS, sampler=sampler, scale=scale)
    together = last(model, settings, guide)
    for images in ([0], [4, 2]):
        apart = last(model, settings, guide, images)
        torch.testing.assert_close(apart, together[images], rtol=0, atol=1e-4)


def test_an_image_depends_on_its_own_small_image_and_on_no_other(model: DiffusionModel) -> None:
    other = LOW.clone()
    other[2] = 255 - other[2]
    differing = (last(model, SETTINGS, None, low=other) - last(model, SETTINGS, None)).abs()
    assert (differing.amax(dim=(1, 2, 3)) > 1e-3).tolist() == [False, False, True, False, False]


def test_batches_keep_images_and_small_images_together(model: DiffusionModel) -> None:
    def made(size: int) -> Tensor:
        generator = DiffusionGenerator(model, SETTINGS)
        batches = generate(generator, LABELS, range(5), batch_size=size, low_res=LOW)
        return torch.cat(list(batches)).int()

    for size in (1, 2):
        assert (made(size) - made(5)).abs().max() <= 1


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
    ("shape", "message"),
    [
        (None, "up.safetensors is an upsampler and starts from images of 4x4 with 1 channel; give"),
        ((1, 4, 5), "starts from images of 4x4 with 1 channel and got 4x5 with 1 channel"),
        ((3, 4, 4), "got 4x4 with 3 channels"),
    ],
)
def test_images_that_are_not_what_it_starts_from_are_refused(
    model: DiffusionModel, shape: tuple[int, ...] | None, message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        check_low_res(DiffusionGenerator(model, SETTINGS), shape)
    low = None if shape is None else torch.zeros(5, *shape, dtype=torch.uint8)
    with pytest.raises(ValueError, match=re.escape(message)):
        next(generate(DiffusionGenerator(model, SETTINGS), LABELS, range(5), low_res=low))


@pytest.mark.parametrize("low", [LOW[:3], LOW.float()])
def test_there_is_one_small_image_of_bytes_for_each(model: DiffusionModel, low: Tensor) -> None:
    with pytest.raises(ValueError, match="expected uint8 of 5"):
        next(generate(DiffusionGenerator(model, SETTINGS), LABELS, range(5), low_res=low))


def test_no_other_model_takes_small_images(plain: DiffusionModel) -> None:
    assert plain.low_shape is None
    with pytest.raises(
        ValueError, match=r"plain\.safetensors is not an upsampler and takes no low_res"
    ):
        check_low_res(DiffusionGenerator(plain, SETTINGS), (1, 4, 4))


def contents(out: Path) -> dict[str, bytes]:
    files = sorted(path for path in out.rglob("*") if path.is_file())
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


def job_of(model: DiffusionModel, low_res: LowRes | Job | None = None) -> Job:
    return Job(DiffusionGenerator(model, SETTINGS), LABELS.tolist(), 5, low_res)


def test_the_manifest_says_where_the_small_images_came_from(
    tmp_path: Path, model: DiffusionModel
) -> None:
    found = []
    last_differs = torch.cat([LOW[:-1], 255 - LOW[-1:]])
    lows = {"one": LOW, "two": LOW, "three": 255 - LOW, "four": last_differs}
    for name, low in lows.items():
        sample_into(tmp_path / name, job_of(model, LowRes(low, "small.npz")))
        found.append(json.loads((tmp_path / name / MANIFEST).read_text())["low_res"])
    assert (found[0]["source"], found[0]["shape"]) == ("small.npz", [5, 1, 4, 4])
    assert found[0] == found[1]
    assert len({held["sha256"] for held in found}) == 3, "every image counts"


def test_base_and_upsampler_together_are_one_after_the_other(
    tmp_path: Path, base: DiffusionModel, model: DiffusionModel
) -> None:
    first = job_of(base)
    job = job_of(model, first)
    told: list[int] = []
    images = sample_into(tmp_path / "both", job, batch_size=2, on_step=told.append)
    assert sum(told) == job.evaluations == 2 * 5 * SETTINGS.grid.steps
    low = sample_into(tmp_path / "low", first, batch_size=2)
    assert contents(tmp_path / "both" / BASE) == contents(tmp_path / "low")
    high = sample_into(tmp_path / "high", job_of(model, LowRes(low, "low")), batch_size=2)
    assert torch.equal(images, high)
    manifest = json.loads((tmp_path / "both" / MANIFEST).read_text())
    assert manifest["low_res"]["model"]["file"] == "base.safetensors"


def test_a_cascade_has_a_sheet_of_each_job_and_the_last_one_is_animated(
    tmp_path: Path, base: DiffusionModel, model: DiffusionModel
) -> None:
    job, out = job_of(model, job_of(base)), tmp_path / "out"
    images = sample_into(out, job, batch_size=2, animate=True)
    files = {name: (out / name).read_bytes() for name in (SHEET, f"{BASE}/{SHEET}", ANIMATION)}
    assert not (out / BASE / ANIMATION).exists()
    alone = job_of(model, LowRes(images_of(out / BASE), "low"))
    sample_into(tmp_path / "alone", alone, batch_size=2, animate=True)
    assert (tmp_path / "alone" / ANIMATION).read_bytes() == files[ANIMATION]
    for name in files:
        (out / name).unlink()
    assert torch.equal(sample_into(out, job, batch_size=2, animate=True), images)
    assert {name: (out / name).read_bytes() for name in files} == files


@pytest.mark.usefixtures("blocks_of_two")
@pytest.mark.parametrize(("steps", "kept"), [(4, 0), (11, 2), (20, 5), (29, 9)])
def test_an_interrupted_call_goes_on_where_it_was(
    tmp_path: Path,
    base: DiffusionModel,
    model: DiffusionModel,
    monkeypatch: pytest.MonkeyPatch,
    steps: int,
    kept: int,
) -> None:
    job = job_of(model, job_of(base))
    left = [steps]

    def stopping(images: int) -> None:
        left[0] -= images
        if left[0] < 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample_into(tmp_path / "out", job, batch_size=2, on_step=stopping)
    assert not (tmp_path / "out").exists()
    sampled: list[int] = []
    whole = DiffusionGenerator.trajectory

    def listening(self: Any, labels: Any, indices: Any, *rest: Any) -> Any:
        sampled.append(len(set(indices)))
        return whole(self, labels, indices, *rest)

    monkeypatch.setattr(DiffusionGenerator, "trajectory", listening)
    sample_into(tmp_path / "out", job, batch_size=2)
    assert sum(sampled) == 10 - kept
    monkeypatch.undo()
    sample_into(tmp_path / "whole", job, batch_size=2)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.mark.usefixtures("blocks_of_two")
def test_leavings_of_a_call_with_other_small_images_are_not_used(
    tmp_path: Path, model: DiffusionModel
) -> None:
    def stopping(images: int) -> None:
        stopped.append(images)
        if len(stopped) > 4:
            raise KeyboardInterrupt

    stopped: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        sample_into(
            tmp_path / "out", job_of(model, LowRes(LOW, "a")), batch_size=2, on_step=stopping
        )
    other = job_of(model, LowRes(255 - LOW, "a"))
    images = sample_into(tmp_path / "out", other, batch_size=2)
    assert torch.equal(images, sample_into(tmp_path / "fresh", other, batch_size=2))


def test_a_base_that_makes_other_sizes_is_refused_before_any_work(
    plain: DiffusionModel, model: DiffusionModel
) -> None:
    said = (
        f"the upsampler {model.path} starts from images of 4x4 with 1 channel and {plain.path} "
        "makes 8x8 with 1 channel; pass an upsampler=... that starts from images of 8x8"
    )
    with pytest.raises(ValueError, match=re.escape(said)):
        job_of(model, job_of(plain))
    said = f"{plain.path} is not an upsampler; pass an upsampler=... that starts from images of 8x8"
    with pytest.raises(ValueError, match=re.escape(said)):
        job_of(plain, job_of(plain))
    with pytest.raises(ValueError, match="low_res has 3 images, expected 5"):
        job_of(model, LowRes(LOW[:3], "three"))


def test_an_upsampler_keeps_its_recipe_and_takes_what_must_be_one_from_the_base(
    base: DiffusionModel, model: DiffusionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seed, rounding, precision, engine and use of labels are the base's, and all else its own."""
    monkeypatch.setattr(engines, "find_spec", lambda _: True)
    like = Sampling(
        sampler=DDIM(eta=0.5),
        grid=Grid(steps=5, start=15),
        use_labels=False,
        precision="bfloat16",
        engine="openvino",
        seed=9,
        rounding="truncated",
    )
    own = model.recipe.sample
    assert own.sampler != like.sampler
    assert own.grid != like.grid
    first = Job(DiffusionGenerator(base, like), None, 5)
    for steps, grid in ((None, own.grid), (3, replace(own.grid, steps=3))):
        made = cascade(first, model, steps).generator
        assert isinstance(made, DiffusionGenerator)
        assert made.sampling == replace(like, sampler=own.sampler, grid=grid, guidance=own.guidance)


def test_an_upsampler_is_told_the_base_s_classes_by_name(
    base: DiffusionModel, model: DiffusionModel, folder: Path
) -> None:
    def told(*classes: str) -> list[int] | None:
        path = tiny.model(folder / "named.safetensors", tiny.upsampler(), classes=classes)
        return cascade(job_of(base), load_diffusion(path)).labels

    assert cascade(job_of(base), model).labels == LABELS.tolist()
    assert told("Ankle Boot", "bag", "SNEAKER") == [2, 1, 0, 2, 1]
    assert told("cat", "dog", "cow") is None, "it knows none of them"
    with pytest.raises(ValueError, match="the model has no class ankle boot; rename it to one of"):
        told("sneaker", "bag", "cat")


def test_a_class_that_no_image_has_need_not_be_known() -> None:
    assert translated([1, 0, 1], ["bag", "boot", "cat"], ["dog", "boot", "bag"]) == [1, 2, 1]
    assert translated([2], ["bag", "boot", "cat"], ["dog", "boot", "bag"]) is None
