"""model, images, edit -> edits: each a function of its own image, its class and its index."""

from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from torch import nn

import adm
from adm.generation.diffusion import DiffusionGenerator
from adm.generation.sheet import contact_sheet
from adm.generation.start import FROM_IMAGE
from adm.spec import SettingError

IMAGES = torch.randint(0, 256, (3, 1, 8, 8), generator=torch.Generator().manual_seed(0)).byte()
QUICK: dict[str, Any] = {"sampler": "ddim", "steps": 4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    kinds = {
        "d": tiny.diffusion("train.label_dropout=0.1"),
        "conditional": tiny.diffusion("train.label_dropout=0"),
        "unlabelled": tiny.diffusion("unet.classes=null"),
        "up": tiny.upsampler(),
        "s": tiny.student(),
    }
    for name, recipe in kinds.items():
        tiny.model(folder / f"{name}.safetensors", recipe)
    tiny.model(folder / "c.safetensors", tiny.classifier(), seed=1)
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> adm.Pipeline:
    return adm.load(folder / "d.safetensors", folder / "c.safetensors")


def test_at_full_strength_edits_are_samples(model: adm.Pipeline) -> None:
    """With other noise than the samples of this seed, which may themselves be edited."""
    edits = model.edit(IMAGES, "noise:strength=1", "bag", scale=2, **QUICK)
    places = [FROM_IMAGE + i for i in range(3)]
    plain = model.generator(scale=2, **QUICK).images(edits.labels, places)
    assert torch.equal(edits.images, plain)
    weaker = model.edit(IMAGES, "noise:strength=0.9", "bag", scale=2, **QUICK)
    assert not torch.equal(weaker.images, plain)


@pytest.mark.parametrize(
    "edit", ["noise:strength=0.6", "invert:steps=4", "interpolate:count=3,steps=4"]
)
def test_an_edit_depends_on_its_own_image_and_index_alone(model: adm.Pipeline, edit: str) -> None:
    job = model.edit_job(IMAGES, edit, "all", 2, **QUICK)
    whole = job.images(range(job.count))
    mixed = torch.randperm(job.count, generator=torch.Generator().manual_seed(1)).tolist()[:7]
    assert torch.equal(job.images(mixed), whole[mixed])
    other = IMAGES.clone()
    other[2] = 255 - other[2]
    changed = (model.edit_job(other, edit, "all", 2, **QUICK).images(mixed) != whole[mixed]).any()
    assert changed
    each = job.count // (2 if "inter" in edit else 3)
    first = [i for i in mixed if i < each]
    assert torch.equal(model.edit_job(other, edit, "all", 2, **QUICK).images(first), whole[first])


def test_the_place_between_two_images_is_that_of_the_index(model: adm.Pipeline) -> None:
    job = model.edit_job(IMAGES, "interpolate:count=3,steps=4", **QUICK)
    assert isinstance(job.generator, DiffusionGenerator)
    whole = job.generator.x_start(range(6), job.inputs)
    some = [1, 5, 3]
    torch.testing.assert_close(job.generator.x_start(some, job.inputs_of(some)), whole[some])
    codes = model.edit_job(IMAGES, "invert:strength=1,steps=4", **QUICK)
    assert isinstance(codes.generator, DiffusionGenerator)
    ends = codes.generator.x_start(range(3), codes.inputs)
    torch.testing.assert_close(whole[[0, 2, 3, 5]], ends[[0, 1, 1, 2]])


def test_each_image_has_the_edits_of_each_class_in_sequence(model: adm.Pipeline) -> None:
    edits = model.edit(IMAGES[:2], "noise", "bag,sneaker:2", samples=2, **QUICK)
    one = [1, 1, 0, 0, 0, 0]
    assert edits.job.labels == one * 2
    assert torch.equal(edits.job.inputs, IMAGES[:2].repeat_interleave(6, dim=0))
    assert edits.images[:2].unique(dim=0).shape[0] == 2, "two of one class have their own noise"


def test_codes_are_unconditional(model: adm.Pipeline) -> None:
    generator = model.edit_job(IMAGES, "invert:steps=5", "bag", scale=2, **QUICK).generator
    plain = model.edit_job(IMAGES, "invert:steps=5", **QUICK).generator
    assert isinstance(generator, DiffusionGenerator)
    assert isinstance(plain, DiffusionGenerator)
    assert torch.equal(generator.x_start(range(3), IMAGES), plain.x_start(range(3), IMAGES))
    assert (plain.sampling.use_labels, plain.sampling.guide, plain.classes) == (False, (), ())


@pytest.mark.parametrize("sampler", ["unipc:eta=1", "ancestral"])
def test_codes_are_sampled_without_noise_by_default(tmp_path: Path, sampler: str) -> None:
    recipe = tiny.diffusion("train.label_dropout=0.1", f"sample.sampler={sampler}")
    noisy = adm.load(tiny.model(tmp_path / "d.safetensors", recipe))
    for edit, random in (("invert:steps=4", False), ("noise", True)):
        generator = noisy.edit_job(IMAGES, edit).generator
        assert isinstance(generator, DiffusionGenerator)
        assert generator.sampling.sampler.random == random


@pytest.mark.parametrize(
    ("edit", "calls"),
    [("noise", 4), ("invert:steps=5", 4 + 4), ("interpolate:steps=5,count=2", 4 + 2 * 4)],
)
def test_the_cost_is_the_number_of_calls(model: adm.Pipeline, edit: str, calls: int) -> None:
    job = model.edit_job(IMAGES[:2], edit, **QUICK)
    network, called = model.model.prepared(), list[int]()
    assert isinstance(network, nn.Module)
    hook = network.register_forward_hook(lambda *_: called.append(1))
    progress: list[int] = []
    job.images([0], progress.append)
    hook.remove()
    assert len(called) == sum(progress) == job.cost.network == job.generator.evaluations == calls


@pytest.mark.parametrize(
    ("edit", "rows"),
    [
        ("noise", [[50, 1, 2], [100, 3, 4], [150, 5, 6]]),
        ("interpolate:steps=3,count=2", [[50, 1, 2, 100], [100, 3, 4, 150]]),
    ],
)
def test_the_sheet_shows_edits_beside_their_sources(
    model: adm.Pipeline, edit: str, rows: list[list[int]]
) -> None:
    flat = torch.tensor([50, 100, 150], dtype=torch.uint8).reshape(3, 1, 1, 1).expand(-1, 1, 8, 8)
    job = model.edit_job(flat, edit, samples=2 if edit == "noise" else 1, **QUICK)
    edits = torch.arange(1, job.count + 1, dtype=torch.uint8).reshape(-1, 1, 1, 1)
    sheet = np.asarray(contact_sheet(job, edits.expand(-1, 1, 8, 8)).convert("L"))
    lines = [[value for value, _ in groupby(line) if value != 255] for line in sheet.tolist()]
    tiles = [line for line, _ in groupby(lines) if line and line[0] in (50, 100, 150)]
    assert tiles == rows


def refused(
    folder: Path, name: str, images: Any = IMAGES, edit: str = "noise", **other: Any
) -> str:
    model = adm.load(folder / f"{name}.safetensors", other.pop("classifier", None))
    with pytest.raises(SettingError) as error:
        model.edit(images, edit, **other)
    return str(error.value)


def test_what_cannot_be_edited_is_refused_with_the_cure(folder: Path) -> None:
    expected = "images must be a tensor of uint8 (N, 1, 8, 8), got "
    larger, colour = torch.zeros(2, 1, 9, 8).byte(), torch.zeros(2, 3, 8, 8).byte()
    assert f"{expected}'a tensor of uint8 (2, 1, 9, 8)'; resize" in refused(folder, "d", larger)
    assert "convert their channels" in refused(folder, "d", colour)
    assert f"{expected}'a tensor of float32" in refused(folder, "d", IMAGES.float())
    assert "images must be a path, PIL images" in refused(folder, "d", 3)
    assert "by `adm sample --condition`" in refused(folder, "up")
    assert "give its teacher" in refused(folder, "s")
    for strength in ("0", "-1", "1.01", "nan"):
        message = refused(folder, "d", edit=f"noise:strength={strength}")
        assert message.startswith("edit.strength must be "), message
    assert "one of noise, invert, interpolate" in refused(folder, "d", edit="erase")
    assert "edit=interpolate needs at least 2 images" in refused(
        folder, "d", IMAGES[:1], "interpolate", **QUICK
    )
    assert "sampler=ddim" in refused(folder, "d", edit="invert", sampler="ancestral")
    assert "sampler=ddim" in refused(folder, "d", edit="invert", sampler="ddim:eta=1")
    assert "without label dropout" in refused(folder, "conditional", edit="invert", **QUICK)
    assert "sampling is unconditional" in refused(folder, "unlabelled", classes="bag", **QUICK)
    guided = {"classifier": folder / "c.safetensors", "scale": 2}
    assert "conditioned on a class; give classes" in refused(folder, "d", **guided, **QUICK)
    assert "conditioned on a class; give classes" in refused(
        folder, "unlabelled", **guided, **QUICK
    )
    assert "samples must be" in refused(folder, "d", samples=0)
