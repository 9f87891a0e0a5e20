"""Samples -> a picture of them that is bounded, and an animation of how they were sampled."""

import io
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch
from numbered import Numbered
from PIL import Image
from torch import Tensor

from adm.data.registry import open_source
from adm.generation import blocks
from adm.generation.animation import MOST_FRAMES, MOST_IMAGES, animation, cost
from adm.generation.diffusion import DiffusionGenerator
from adm.generation.folder import add_animation, sample_into
from adm.generation.inputs import open_images
from adm.generation.job import Job
from adm.generation.samples import sample
from adm.generation.sheet import PIXELS, contact_sheet, draw, layout
from adm.images import to_uint8
from adm.models.load import load_diffusion
from adm.samplers import Sampling


def stub(labels: list[int] | None, count: int) -> Job:
    """A job whose generator serves only for its classes."""
    classes = tuple(f"class {i}" for i in range(max(labels or [0]) + 1))
    return Job(Numbered(shape=(1, 8, 8), classes=classes), labels, count)


def noise(count: int, channels: int, side: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (count, channels, side, side), generator=generator).byte()


def tiny_job(folder: Path, channels: int = 1, count: int = 4, steps: int = 3) -> Job:
    unet = (f"unet.in_channels={channels}", f"unet.out_channels={2 * channels}")
    recipe = tiny.diffusion(f"data.channels={channels}", f"process.steps={max(20, steps)}", *unet)
    model = load_diffusion(tiny.model(folder / "d.safetensors", recipe))
    settings = Sampling().change(sampler="ancestral", steps=steps, scale=0.0)
    return Job(DiffusionGenerator(model, settings), [i % 3 for i in range(count)], count)


def frames_of(content: bytes) -> list[Image.Image]:
    with Image.open(io.BytesIO(content)) as film:
        frames = []
        for number in range(film.n_frames):
            film.seek(number)
            frames.append(film.convert("RGB"))
    return frames


def test_a_small_set_is_shown_whole_class_by_class() -> None:
    plan = layout(stub([2, 0, 2, 0, 1], 5))
    assert plan.rows == [("class 0", [1, 3]), ("class 1", [4]), ("class 2", [0, 2])]
    assert plan.indices == [1, 3, 4, 0, 2]
    assert plan.note == ""


@pytest.mark.parametrize("side", [8, 28, 32, 64, 256, 300])
@pytest.mark.parametrize(("count", "classes"), [(1, 1), (40, 10), (600, 30)])
def test_a_sheet_enlarges_by_a_whole_factor_within_its_bound(
    side: int, count: int, classes: int
) -> None:
    labels = [i % classes for i in range(count)]
    job = stub(labels, count)
    images = noise(1, 1, side).expand(count, -1, -1, -1)
    picture = contact_sheet(job, images)
    plan = layout(job)
    tiles = len(plan.rows) * plan.columns
    margin = 300 * picture.height + 60 * picture.width + 2 * tiles * 300
    assert picture.width * picture.height <= PIXELS + margin
    if tiles <= 40 and side <= 64:
        zoom = -(-112 // side)
        assert picture.width >= plan.columns * side * zoom
    if side == 28:
        assert picture.height >= len(plan.rows) * 28 * 3


def test_an_animation_shows_the_noise_every_step_and_last_the_samples(tmp_path: Path) -> None:
    job = tiny_job(tmp_path)
    images = sample(job).images
    plan = layout(job)
    generator = job.generator
    assert isinstance(generator, DiffusionGenerator)
    xs = [generator.noise(range(4)).start()]
    xs += [state.x for state in generator.trajectory(job.label_tensor, range(4))][:-1]
    states = [to_uint8(x)[plan.indices] for x in xs] + [images[plan.indices]]
    actual = frames_of(animation(job, images))
    expected = [draw(plan, x, 1 << 18).convert("L").convert("RGB") for x in states]
    assert [frame.tobytes() for frame in actual] == [frame.tobytes() for frame in expected]


def test_an_animation_does_not_depend_on_the_order_of_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = sample(tiny_job(tmp_path, count=7))
    whole = samples.animate()
    monkeypatch.setattr(blocks, "LARGEST", 2)
    parts = samples.animate()
    assert len(frames_of(whole)) == len(frames_of(parts)) == 4
    for one, other in zip(frames_of(whole), frames_of(parts), strict=True):
        assert (difference(one, other) <= 1).all()


def difference(one: Image.Image, other: Image.Image) -> Tensor:
    a, b = (torch.frombuffer(bytearray(p.tobytes()), dtype=torch.uint8) for p in (one, other))
    return (a.int() - b.int()).abs()


def test_long_samplings_and_large_sets_are_shown_in_part(tmp_path: Path) -> None:
    job = tiny_job(tmp_path, count=70, steps=50)
    progress: list[int] = []
    assert len(frames_of(animation(job, noise(70, 1, 8), progress.append))) == MOST_FRAMES
    assert sum(progress) == cost(job) <= MOST_IMAGES * 50


def test_a_sample_folder_read_as_images_holds_the_samples_only(tmp_path: Path) -> None:
    job = replace(tiny_job(tmp_path), labels=[0] * 4)
    images = sample_into(tmp_path / "out", job)
    add_animation(tmp_path / "out", job)
    with zipfile.ZipFile(tmp_path / "out.zip", "w") as archive:
        for path in (tmp_path / "out").iterdir():
            archive.write(path, path.name)
    for source in (
        open_source(str(tmp_path / "out.zip"), channels=1),
        open_source(str(tmp_path / "out"), channels=1),
        open_images(str(tmp_path / "out")).source,
        open_images(str(tmp_path / "out"), labels="prefix", channels=1).source,
    ):
        assert len(source) == 4
        assert torch.equal(torch.stack([source.read(i) for i in range(4)]), images)
