"""Job -> sample folder: it appears whole, says how it was made, and resumes."""

import hashlib
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

from adm.cached import Cached
from adm.generation import folder
from adm.generation.animation import cost
from adm.generation.folder import MANIFEST, read_manifest, sample_into
from adm.generation.generate import DiffusionGenerator
from adm.generation.job import Job
from adm.models.load import load_classifier, load_diffusion
from adm.recipes import recipe
from adm.samplers import Sampling
from adm.samplers.words import changed, to_json

SETTINGS = changed(Sampling(), sampler="ddim:eta=0.5", steps=3, scale=1.5, seed=11)
NAMES = [
    "sneaker_seed11_000000.png",
    "bag_seed11_000001.png",
    "ankle-boot_seed11_000002.png",
    "sneaker_seed11_000003.png",
    "bag_seed11_000004.png",
]


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    models = tmp_path_factory.mktemp("models")
    model = load_diffusion(tiny.model(models / "d.safetensors", tiny.diffusion()))
    guide = load_classifier(tiny.model(models / "c.safetensors", tiny.classifier(), seed=1))
    return Job(DiffusionGenerator(model, SETTINGS, guide), [0, 1, 2, 0, 1], 5)


def with_settings(job: Job, **changes: Any) -> Job:
    generator = job.generator
    assert isinstance(generator, DiffusionGenerator)
    changed_ = replace(generator, sampling=changed(generator.sampling, **changes))
    return replace(job, generator=changed_)


def contents(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.iterdir())}


def stop_after(steps: int) -> Callable[[int], None]:
    """What a user who loses patience does."""
    seen = 0

    def on_step(images: int) -> None:
        nonlocal seen
        seen += 1
        if seen > steps:
            raise KeyboardInterrupt

    return on_step


def test_files_are_named_by_class_seed_and_number_and_hold_the_images(
    tmp_path: Path, job: Job
) -> None:
    out = tmp_path / "out"
    images = sample_into(out, job, batch_size=2)
    assert set(contents(out)) == {*NAMES, "samples.npz", "grid.png", MANIFEST}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    for name, image in zip(NAMES, images, strict=True):
        with Image.open(out / name) as picture:
            assert np.array_equal(np.asarray(picture), image[0].numpy())


def test_the_archive_has_the_released_layout(tmp_path: Path, job: Job) -> None:
    images = sample_into(tmp_path / "out", job)
    with np.load(tmp_path / "out" / "samples.npz", allow_pickle=False) as archive:
        assert archive.files == ["arr_0", "arr_1"]
        assert archive["arr_0"].dtype == np.uint8
        assert np.array_equal(archive["arr_0"], images.permute(0, 2, 3, 1).numpy())
        assert archive["arr_1"].tolist() == [0, 1, 2, 0, 1]


def test_the_manifest_says_everything_that_the_images_follow_from(tmp_path: Path, job: Job) -> None:
    sample_into(tmp_path / "out", job, batch_size=3)

    def identity(path: Path, name: str) -> dict[str, Any]:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return {
            "recipe": name,
            "file": path.name,
            "sha256": digest,
            "trained_steps": 0,
            "ema_decay": recipe(name).train.ema_decay,
        }

    generator = job.generator
    assert isinstance(generator, DiffusionGenerator)
    assert generator.classifier is not None
    assert json.loads((tmp_path / "out" / MANIFEST).read_text()) == {
        "model": identity(generator.model.path, "digits"),
        "classifier": identity(generator.classifier.path, "digits-classifier"),
        "sampling": to_json(SETTINGS),
        "count": 5,
        "labels": [0, 1, 2, 0, 1],
        "classes": list(tiny.CLASSES),
        "low_res": None,
        "batch_size": 3,
    }


def test_a_classifier_that_had_no_part_is_not_named(tmp_path: Path, job: Job) -> None:
    sample_into(tmp_path / "out", with_settings(job, scale=0.0))
    assert json.loads((tmp_path / "out" / MANIFEST).read_text())["classifier"] is None


def test_a_model_without_classes_leaves_no_labels(tmp_path: Path) -> None:
    path = tiny.model(tmp_path / "u.safetensors", tiny.diffusion("unet.classes=null"), ())
    generator = DiffusionGenerator(load_diffusion(path), changed(SETTINGS, scale=0.0))
    sample_into(tmp_path / "out", Job(generator, None, 2))
    assert set(contents(tmp_path / "out")) == {
        "image_seed11_000000.png",
        "image_seed11_000001.png",
        "samples.npz",
        "grid.png",
        MANIFEST,
    }
    with np.load(tmp_path / "out" / "samples.npz", allow_pickle=False) as archive:
        assert archive.files == ["arr_0"]


def test_the_same_call_twice_gives_the_same_files(tmp_path: Path, job: Job) -> None:
    for out in ("one", "two"):
        sample_into(tmp_path / out, job, batch_size=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


@pytest.mark.parametrize("steps", [0, 1, 3, 4, 8])
def test_an_interrupted_call_goes_on_where_it_was(
    tmp_path: Path, job: Job, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        sample_into(out, job, batch_size=2, on_step=stop_after(steps))
    assert not out.exists()
    sampled: list[list[int]] = []
    trajectory = DiffusionGenerator.trajectory

    def listening(self: Any, labels: Any, indices: Any, *rest: Any) -> Any:
        sampled.append(list(indices))
        return trajectory(self, labels, indices, *rest)

    monkeypatch.setattr(DiffusionGenerator, "trajectory", listening)
    told: list[int] = []
    sample_into(out, job, batch_size=2, on_step=told.append)
    assert sampled == [[0, 1], [2, 3], [4]][steps // 3 :]  # a batch takes three steps
    assert sum(told) == 5 * 3  # a progress bar still comes to its end
    finished = 2 * (steps // 3)  # images; their steps are told apart from those of this call
    assert sum(each for each in told if isinstance(each, Cached)) == finished * 3
    monkeypatch.undo()
    sample_into(tmp_path / "whole", job, batch_size=2)
    assert contents(out) == contents(tmp_path / "whole")
    assert {path.name for path in tmp_path.iterdir()} == {"out", "whole"}


@pytest.mark.parametrize("channels", [2, 5])
def test_images_that_no_png_holds_are_in_the_archive_only(tmp_path: Path, channels: int) -> None:
    unet = (f"unet.in_channels={channels}", f"unet.out_channels={2 * channels}")
    recipe = tiny.diffusion(f"data.channels={channels}", *unet)
    model = load_diffusion(tiny.model(tmp_path / "d.safetensors", recipe))
    job = Job(DiffusionGenerator(model, changed(SETTINGS, scale=0.0)), [0, 1, 2], 3)
    images = sample_into(tmp_path / "out", job)
    assert set(contents(tmp_path / "out")) == {"samples.npz", "grid.png", MANIFEST}
    with np.load(tmp_path / "out" / "samples.npz", allow_pickle=False) as archive:
        assert archive["arr_0"].shape == (3, 8, 8, channels)
        assert np.array_equal(archive["arr_0"], images.permute(0, 2, 3, 1).numpy())
        assert archive["arr_1"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("left", ["", "[1, 2", "\xff"])
def test_leavings_that_say_nothing_whole_are_another_call_s(
    tmp_path: Path, job: Job, left: str
) -> None:
    part = tmp_path / ".out.part"
    part.mkdir()
    (part / MANIFEST).write_bytes(left.encode("latin-1"))
    (part / "00000000.npz").write_bytes(b"of whom nobody knows")
    images = sample_into(tmp_path / "out", job, batch_size=2)
    assert torch.equal(images, sample_into(tmp_path / "fresh", job, batch_size=2))


def test_a_call_that_is_killed_leaves_no_half_a_manifest_with_its_batches(
    tmp_path: Path, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(path: Path, content: bytes) -> int:
        with path.open("wb") as file:
            file.write(content[:10])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", killed)
        with pytest.raises(KeyboardInterrupt):
            sample_into(tmp_path / "out", job)
    assert not (tmp_path / ".out.part" / MANIFEST).exists()


def test_batches_of_another_size_are_not_taken_for_this_call_s(tmp_path: Path, job: Job) -> None:
    with pytest.raises(KeyboardInterrupt):
        sample_into(tmp_path / "out", job, batch_size=2, on_step=stop_after(4))
    images = sample_into(tmp_path / "out", job, batch_size=3)
    assert torch.equal(images, sample_into(tmp_path / "fresh", job, batch_size=3))


@pytest.mark.parametrize("change", [{"seed": 12}, {"scale": 3.0}, {"steps": 4}])
def test_leavings_of_a_call_with_other_settings_are_not_used(
    tmp_path: Path, job: Job, change: dict[str, Any]
) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        sample_into(out, job, batch_size=2, on_step=stop_after(4))
    other = with_settings(job, **change)
    images = sample_into(out, other, batch_size=2)
    assert torch.equal(images, sample_into(tmp_path / "fresh", other, batch_size=2))


def test_a_batch_that_was_half_written_is_sampled_again(tmp_path: Path, job: Job) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        sample_into(out, job, batch_size=2, on_step=stop_after(4))
    (tmp_path / ".out.part" / "00000002.part").write_bytes(b"PK\x03\x04 and no more")
    images = sample_into(out, job, batch_size=2)
    assert torch.equal(images, sample_into(tmp_path / "fresh", job, batch_size=2))


def test_the_manifest_is_part_of_what_appears_whole(
    tmp_path: Path, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"

    def killed(*args: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(folder, "_save", killed)
        with pytest.raises(KeyboardInterrupt):
            sample_into(out, job)
    assert [path.name for path in tmp_path.iterdir()] == [".out.part"]
    sample_into(out, job, on_step=lambda images: None)
    assert (out / MANIFEST).exists()


def test_a_folder_that_holds_something_else_is_refused_and_left_alone(
    tmp_path: Path, job: Job
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(FileExistsError, match="choose another folder"):
            sample_into(out, job, overwrite=overwrite)
    assert contents(out) == {"thesis.txt": b"years of work"}
    file = tmp_path / "file"
    file.write_text("not a folder")
    for overwrite in (False, True):
        with pytest.raises(FileExistsError, match="choose another folder"):
            sample_into(file, job, overwrite=overwrite)
    assert file.read_text() == "not a folder"


@pytest.mark.parametrize(
    ("change", "size", "told"),
    [
        ({"seed": 12}, 2, "sampling.seed is 11 there and 12 here"),
        ({"scale": 3.0}, 2, r"sampling.guidance\[0\].scale is 1.5 there and 3.0 here"),
        ({}, 3, "batch_size is 2 there and 3 here"),
    ],
)
def test_the_samples_of_another_job_are_named_by_the_first_difference(
    tmp_path: Path, job: Job, change: dict[str, Any], size: int, told: str
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    sample_into(out, job, batch_size=2)  # an empty folder is free
    before = contents(out)
    with pytest.raises(FileExistsError, match=f"holds other samples: {told}; .*overwrite=True"):
        sample_into(out, with_settings(job, **change), batch_size=size)
    assert contents(out) == before


def never(*args: Any, **options: Any) -> Any:
    raise AssertionError("sampled again")


def test_a_finished_call_is_done_and_adds_the_pictures_that_are_missing(
    tmp_path: Path, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    images = sample_into(out, job, batch_size=2, animate=True)
    before = contents(out)
    assert {"grid.png", "denoising.gif"} < set(before)
    with monkeypatch.context() as patch:
        patch.setattr(DiffusionGenerator, "trajectory", never)
        assert torch.equal(sample_into(out, job, batch_size=2, animate=True), images)
        assert contents(out) == before
        (out / "grid.png").unlink()
        (out / "denoising.gif").unlink()
        sample_into(out, job, batch_size=2)
    assert contents(out) == {name: b for name, b in before.items() if name != "denoising.gif"}
    told: list[int] = []
    sample_into(out, job, batch_size=2, animate=True, on_step=told.append)
    assert contents(out) == before
    assert sum(told) == cost(job)


def test_samples_without_their_archive_are_not_complete(tmp_path: Path, job: Job) -> None:
    sample_into(tmp_path / "out", job)
    (tmp_path / "out" / "samples.npz").unlink()
    with pytest.raises(FileExistsError, match=r"samples\.npz is missing there"):
        sample_into(tmp_path / "out", job)


def test_a_folder_may_be_replaced_where_that_is_asked_for(tmp_path: Path, job: Job) -> None:
    sample_into(tmp_path / "out", job)
    other = with_settings(job, seed=1)
    sample_into(tmp_path / "out", other, overwrite=True)
    sample_into(tmp_path / "fresh", other)
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


def test_a_manifest_of_the_earlier_form_is_read_as_the_same_settings(
    tmp_path: Path, job: Job
) -> None:
    """Flat settings, whose zero scale meant no guidance."""
    sample_into(tmp_path / "out", job)
    now = read_manifest(tmp_path / "out")
    assert now is not None
    before = now | {
        "settings": {
            "sampler": "ddim",
            "steps": 3,
            "spacing": "even",
            "start": None,
            "eta": 0.5,
            "clip_again": False,
            "at_mean": False,
            "scale": 1.5,
            "use_labels": True,
            "seed": 11,
            "rounding": "nearest",
        }
    }
    del before["sampling"]
    (tmp_path / "out" / MANIFEST).write_text(json.dumps(before))
    assert read_manifest(tmp_path / "out") == now
