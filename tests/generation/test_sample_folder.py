"""Job -> sample folder: it appears whole, records how it was made, and resumes."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from PIL import Image
from samples import contents, never

from adm.generation import blocks
from adm.generation.animation import cost
from adm.generation.diffusion import DiffusionGenerator
from adm.generation.folder import add_animation, check, sample_into
from adm.generation.generator import identity
from adm.generation.job import Job
from adm.models.load import load_diffusion
from adm.models.trained import ClassifierModel, DiffusionModel
from adm.samplers import Sampling
from adm.spec import SettingError, to_json
from adm.store.hashes import SUMS, damaged_parts
from adm.store.locks import InUse, locked
from adm.store.samples import MANIFEST, read_manifest

SETTINGS = Sampling().change(sampler="ddim:eta=0.5", steps=3, scale=1.5, seed=11)
NAMES = [
    "sneaker_seed11_000000.png",
    "bag_seed11_000001.png",
    "ankle-boot_seed11_000002.png",
    "sneaker_seed11_000003.png",
    "bag_seed11_000004.png",
]


@pytest.fixture(scope="module")
def job(model: DiffusionModel, guide: ClassifierModel) -> Job:
    return Job(DiffusionGenerator(model, SETTINGS, [guide]), [0, 1, 2, 0, 1], 5)


@pytest.fixture(autouse=True)
def _blocks_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "CPU_PIXELS", 2 * 8 * 8)


def with_settings(job: Job, **changes: Any) -> Job:
    generator = job.generator
    assert isinstance(generator, DiffusionGenerator)
    changed = replace(generator, sampling=generator.sampling.change(**changes))
    return replace(job, generator=changed)


def stop_after(steps: int) -> Callable[[int], None]:
    """An `on_step` that interrupts, as an impatient user does."""
    calls = -1  # without the first one, of what was there

    def on_step(images: int) -> None:
        nonlocal calls
        calls += 1
        if calls > steps:
            raise KeyboardInterrupt

    return on_step


def test_files_are_named_by_class_seed_and_number_and_hold_the_images(
    tmp_path: Path, job: Job
) -> None:
    out = tmp_path / "out"
    images = sample_into(out, job)
    assert set(contents(out)) == {*NAMES, "samples.npz", "grid.png", MANIFEST, SUMS}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    for name, image in zip(NAMES, images, strict=True):
        with Image.open(out / name) as picture:
            assert np.array_equal(np.asarray(picture), image[0].numpy())


def test_the_manifest_says_everything_that_the_images_follow_from(tmp_path: Path, job: Job) -> None:
    sample_into(tmp_path / "out", job)

    generator = job.generator
    assert isinstance(generator, DiffusionGenerator)
    assert json.loads((tmp_path / "out" / MANIFEST).read_text()) == {
        "model": identity(generator.model),
        "classifier": identity(generator.classifiers[0]),
        "sampling": to_json(SETTINGS),
        "count": 5,
        "labels": [0, 1, 2, 0, 1],
        "classes": list(tiny.CLASSES),
        "inputs": None,
    }


def test_a_model_without_classes_leaves_no_labels(tmp_path: Path) -> None:
    path = tiny.model(tmp_path / "u.safetensors", tiny.diffusion("unet.classes=null"), ())
    generator = DiffusionGenerator(load_diffusion(path), SETTINGS.change(scale=0.0))
    sample_into(tmp_path / "out", Job(generator, None, 2))
    assert set(contents(tmp_path / "out")) == {
        "image_seed11_000000.png",
        "image_seed11_000001.png",
        "samples.npz",
        "grid.png",
        MANIFEST,
        SUMS,
    }
    with np.load(tmp_path / "out" / "samples.npz", allow_pickle=False) as archive:
        assert archive.files == ["arr_0"]


@pytest.mark.parametrize("steps", [0, 1, 3, 4, 8])
def test_an_interrupted_call_goes_on_where_it_was(
    tmp_path: Path, job: Job, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        sample_into(out, job, on_step=stop_after(steps))
    assert not out.exists()
    sampled: list[list[int]] = []
    trajectory = DiffusionGenerator.trajectory

    def listening(self: Any, labels: Any, indices: Any, *rest: Any) -> Any:
        sampled.append(list(indices))
        return trajectory(self, labels, indices, *rest)

    monkeypatch.setattr(DiffusionGenerator, "trajectory", listening)
    progress: list[int] = []
    sample_into(out, job, on_step=progress.append)
    assert sampled == [[0, 1], [2, 3], [4, 4]][steps // 3 :]  # a block takes three steps
    assert sum(progress) == 5 * 3  # a progress bar still ends
    assert progress[0] == 2 * (steps // 3) * 3  # of images that were finished
    monkeypatch.undo()
    sample_into(tmp_path / "whole", job)
    assert contents(out) == contents(tmp_path / "whole")
    assert {path.name for path in tmp_path.iterdir()} == {"out", "whole"}


@pytest.mark.parametrize("channels", [2, 5])
def test_images_that_no_png_holds_are_in_the_archive_only(tmp_path: Path, channels: int) -> None:
    unet = (f"unet.in_channels={channels}", f"unet.out_channels={2 * channels}")
    recipe = tiny.diffusion(f"data.channels={channels}", *unet)
    model = load_diffusion(tiny.model(tmp_path / "d.safetensors", recipe))
    job = Job(DiffusionGenerator(model, SETTINGS.change(scale=0.0)), [0, 1, 2], 3)
    images = sample_into(tmp_path / "out", job)
    assert set(contents(tmp_path / "out")) == {"samples.npz", "grid.png", MANIFEST, SUMS}
    with np.load(tmp_path / "out" / "samples.npz", allow_pickle=False) as archive:
        assert archive["arr_0"].shape == (3, 8, 8, channels)
        assert np.array_equal(archive["arr_0"], images.permute(0, 2, 3, 1).numpy())
        assert archive["arr_1"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("change", [{"seed": 12}, {"scale": 3.0}, {"steps": 4}])
def test_parts_of_a_call_with_other_settings_are_not_used(
    tmp_path: Path, job: Job, change: dict[str, Any]
) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        sample_into(out, job, on_step=stop_after(4))
    other = with_settings(job, **change)
    images = sample_into(out, other)
    assert torch.equal(images, sample_into(tmp_path / "fresh", other))


def test_a_folder_that_holds_something_else_is_refused_and_left_alone(
    tmp_path: Path, job: Job
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(SettingError, match="choose another folder"):
            sample_into(out, job, overwrite=overwrite)
    assert contents(out) == {"thesis.txt": b"years of work"}
    file = tmp_path / "file"
    file.write_text("not a folder")
    for overwrite in (False, True):
        with pytest.raises(SettingError, match="choose another folder"):
            sample_into(file, job, overwrite=overwrite)
    assert file.read_text() == "not a folder"


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"seed": 12}, "sampling.seed is 11 there and 12 here"),
        ({"scale": 3.0}, r"sampling.guide.* is .*scale=1.5.* there and .*scale=3.* here"),
    ],
)
def test_the_samples_of_another_job_are_named_by_the_first_difference(
    tmp_path: Path, job: Job, change: dict[str, Any], difference: str
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    sample_into(out, job)  # an empty folder is free
    before = contents(out)
    with pytest.raises(SettingError, match=f"holds other samples: {difference}; .*overwrite=True"):
        sample_into(out, with_settings(job, **change))
    assert contents(out) == before


def test_a_finished_call_is_done_and_adds_an_animation(
    tmp_path: Path, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    images = sample_into(out, job)
    before = contents(out)
    with monkeypatch.context() as patch:
        patch.setattr(DiffusionGenerator, "trajectory", never)
        assert torch.equal(sample_into(out, job), images)
    assert contents(out) == before
    progress: list[int] = []
    add_animation(out, job, progress.append)
    assert sum(progress) == cost(job)
    assert damaged_parts(out) == []
    sample_into(tmp_path / "fresh", job)
    add_animation(tmp_path / "fresh", job)
    add_animation(tmp_path / "fresh", job, never)
    assert contents(out) == contents(tmp_path / "fresh")


def test_what_is_refused_leaves_nothing_beside_the_folder(
    tmp_path: Path, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(DiffusionGenerator, "images", lambda *_: 1 / 0)  # before the first batch
        with pytest.raises(ZeroDivisionError):
            sample_into(out, job)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["samples.npz", MANIFEST])
def test_images_and_manifest_that_are_damaged_are_refused(
    tmp_path: Path, job: Job, name: str
) -> None:
    out = tmp_path / "out"
    sample_into(out, job)
    check(out)
    text = (out / name).read_bytes()
    (out / name).write_bytes(
        text[:-1] + bytes([text[-1] ^ 42]) if name != MANIFEST else text + b" "
    )
    with pytest.raises(SettingError, match=f"{name} is missing or damaged there.*overwrite=True"):
        sample_into(out, job)
    with pytest.raises(ValueError, match=f"{name} is not as it was written"):
        check(out)
    sample_into(out, job, overwrite=True)
    check(out)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"count": -1}, "count must be at least 1, got -1"),
        ({"labels": "012"}, "labels must be a list"),
        ({"labels": [0, 9, 0, 0, 0]}, "label 9 has no name among 3 classes"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(
    tmp_path: Path, job: Job, entries: dict[str, Any], message: str
) -> None:
    (tmp_path / MANIFEST).write_text(json.dumps(job.manifest() | entries))
    with pytest.raises(ValueError, match=rf"samples\.json is damaged .*{message}"):
        read_manifest(tmp_path)


def test_only_one_process_samples_into_a_folder(tmp_path: Path, job: Job) -> None:
    with locked(tmp_path / ".out.parts"), pytest.raises(InUse, match="is in use"):
        sample_into(tmp_path / "out", job, on_step=stop_after(0))
    sample_into(tmp_path / "out", job)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
