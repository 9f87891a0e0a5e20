"""models, settings, labels -> a folder that says how it was made: whole, and resumable."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from PIL import Image

from adm.generation import generate
from adm.generation.folder import MANIFEST, SampleRun, sample_into
from adm.generation.generate import SamplingSettings
from adm.models.load import load_classifier, load_diffusion
from adm.recipes import recipe

SETTINGS = SamplingSettings(sampler="ddim", steps=3, scale=1.5, eta=0.5, seed=11)
NAMES = [
    "sneaker_seed11_000000.png",
    "bag_seed11_000001.png",
    "ankle-boot_seed11_000002.png",
    "sneaker_seed11_000003.png",
    "bag_seed11_000004.png",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> SampleRun:
    folder = tmp_path_factory.mktemp("models")
    model = load_diffusion(tiny.model(folder / "d.safetensors", tiny.diffusion()))
    guide = load_classifier(tiny.model(folder / "c.safetensors", tiny.classifier(), seed=1))
    return SampleRun(model, guide, SETTINGS, [0, 1, 2, 0, 1], 5)


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
    tmp_path: Path, run: SampleRun
) -> None:
    out = tmp_path / "out"
    images = sample_into(out, run, batch_size=2)
    assert set(contents(out)) == {*NAMES, "samples.npz", MANIFEST}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    for name, image in zip(NAMES, images, strict=True):
        with Image.open(out / name) as picture:
            assert np.array_equal(np.asarray(picture), image[0].numpy())


def test_the_archive_has_the_released_layout(tmp_path: Path, run: SampleRun) -> None:
    images = sample_into(tmp_path / "out", run)
    with np.load(tmp_path / "out" / "samples.npz", allow_pickle=False) as archive:
        assert archive.files == ["arr_0", "arr_1"]
        assert archive["arr_0"].dtype == np.uint8
        assert np.array_equal(archive["arr_0"], images.permute(0, 2, 3, 1).numpy())
        assert archive["arr_1"].tolist() == [0, 1, 2, 0, 1]


def test_the_manifest_says_everything_that_the_images_follow_from(
    tmp_path: Path, run: SampleRun
) -> None:
    sample_into(tmp_path / "out", run, batch_size=3)

    def identity(path: Path, name: str) -> dict[str, Any]:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return {
            "recipe": name,
            "file": path.name,
            "sha256": digest,
            "trained_steps": 0,
            "ema_decay": recipe(name).train.ema_decay,
        }

    assert run.guide is not None
    assert json.loads((tmp_path / "out" / MANIFEST).read_text()) == {
        "model": identity(run.model.path, "digits"),
        "classifier": identity(run.guide.path, "digits-classifier"),
        "settings": asdict(SETTINGS),
        "count": 5,
        "labels": [0, 1, 2, 0, 1],
        "classes": list(tiny.CLASSES),
        "low_res": None,
        "batch_size": 3,
    }


def test_a_classifier_that_had_no_part_is_not_named(tmp_path: Path, run: SampleRun) -> None:
    sample_into(tmp_path / "out", replace(run, settings=replace(SETTINGS, scale=0.0)))
    assert json.loads((tmp_path / "out" / MANIFEST).read_text())["classifier"] is None


def test_a_model_without_classes_leaves_no_labels(tmp_path: Path) -> None:
    path = tiny.model(tmp_path / "u.safetensors", tiny.diffusion("unet.classes=null"), ())
    settings = replace(SETTINGS, scale=0.0)
    sample_into(tmp_path / "out", SampleRun(load_diffusion(path), None, settings, None, 2))
    assert set(contents(tmp_path / "out")) == {
        "image_seed11_000000.png",
        "image_seed11_000001.png",
        "samples.npz",
        MANIFEST,
    }
    with np.load(tmp_path / "out" / "samples.npz", allow_pickle=False) as archive:
        assert archive.files == ["arr_0"]


def test_the_same_call_twice_gives_the_same_files(tmp_path: Path, run: SampleRun) -> None:
    for out in ("one", "two"):
        sample_into(tmp_path / out, run, batch_size=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


@pytest.mark.parametrize("steps", [0, 1, 3, 4, 8])
def test_an_interrupted_call_goes_on_where_it_was(
    tmp_path: Path, run: SampleRun, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        sample_into(out, run, batch_size=2, on_step=stop_after(steps))
    assert not out.exists()
    sampled: list[list[int]] = []
    trajectory = generate.trajectory

    def listening(model: Any, labels: Any, images: Any, *rest: Any) -> Any:
        sampled.append(list(images))
        return trajectory(model, labels, images, *rest)

    monkeypatch.setattr(generate, "trajectory", listening)
    told: list[int] = []
    sample_into(out, run, batch_size=2, on_step=told.append)
    assert sampled == [[0, 1], [2, 3], [4]][steps // 3 :]  # a batch takes three steps
    assert sum(told) == 5 * 3  # a progress bar still comes to its end
    monkeypatch.undo()
    sample_into(tmp_path / "whole", run, batch_size=2)
    assert contents(out) == contents(tmp_path / "whole")
    assert {path.name for path in tmp_path.iterdir()} == {"out", "whole"}


@pytest.mark.parametrize("channels", [2, 5])
def test_images_that_no_png_holds_are_in_the_archive_only(tmp_path: Path, channels: int) -> None:
    unet = (f"unet.in_channels={channels}", f"unet.out_channels={2 * channels}")
    recipe = tiny.diffusion(f"data.channels={channels}", *unet)
    model = load_diffusion(tiny.model(tmp_path / "d.safetensors", recipe))
    run = SampleRun(model, None, replace(SETTINGS, scale=0.0), [0, 1, 2], 3)
    images = sample_into(tmp_path / "out", run)
    assert set(contents(tmp_path / "out")) == {"samples.npz", MANIFEST}
    with np.load(tmp_path / "out" / "samples.npz", allow_pickle=False) as archive:
        assert archive["arr_0"].shape == (3, 8, 8, channels)
        assert np.array_equal(archive["arr_0"], images.permute(0, 2, 3, 1).numpy())
        assert archive["arr_1"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("left", ["", "[1, 2", "\xff"])
def test_leavings_that_say_nothing_whole_are_another_call_s(
    tmp_path: Path, run: SampleRun, left: str
) -> None:
    part = tmp_path / ".out.part"
    part.mkdir()
    (part / MANIFEST).write_bytes(left.encode("latin-1"))
    (part / "00000000.npz").write_bytes(b"of whom nobody knows")
    images = sample_into(tmp_path / "out", run, batch_size=2)
    assert torch.equal(images, sample_into(tmp_path / "fresh", run, batch_size=2))


def test_a_call_that_is_killed_leaves_no_half_a_manifest_with_its_batches(
    tmp_path: Path, run: SampleRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(path: Path, text: str, *rest: Any) -> int:
        path.write_bytes(text.encode()[:10])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", killed)
        with pytest.raises(KeyboardInterrupt):
            sample_into(tmp_path / "out", run)
    assert not (tmp_path / ".out.part" / MANIFEST).exists()


def test_batches_of_another_size_are_not_taken_for_this_call_s(
    tmp_path: Path, run: SampleRun
) -> None:
    with pytest.raises(KeyboardInterrupt):
        sample_into(tmp_path / "out", run, batch_size=2, on_step=stop_after(4))
    images = sample_into(tmp_path / "out", run, batch_size=3)
    assert torch.equal(images, sample_into(tmp_path / "fresh", run, batch_size=3))


@pytest.mark.parametrize("change", [{"seed": 12}, {"scale": 3.0}, {"steps": 4}])
def test_leavings_of_a_call_with_other_settings_are_not_used(
    tmp_path: Path, run: SampleRun, change: dict[str, Any]
) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        sample_into(out, run, batch_size=2, on_step=stop_after(4))
    other = replace(run, settings=replace(SETTINGS, **change))
    images = sample_into(out, other, batch_size=2)
    assert torch.equal(images, sample_into(tmp_path / "fresh", other, batch_size=2))


def test_a_batch_that_was_half_written_is_sampled_again(tmp_path: Path, run: SampleRun) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        sample_into(out, run, batch_size=2, on_step=stop_after(4))
    (tmp_path / ".out.part" / "00000002.part").write_bytes(b"PK\x03\x04 and no more")
    images = sample_into(out, run, batch_size=2)
    assert torch.equal(images, sample_into(tmp_path / "fresh", run, batch_size=2))


def test_the_manifest_is_part_of_what_appears_whole(
    tmp_path: Path, run: SampleRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, write_text = tmp_path / "out", Path.write_text

    def killed(path: Path, text: str, *rest: Any) -> int:
        if path.name == MANIFEST and path.parent.name != ".out.part":
            raise KeyboardInterrupt
        return write_text(path, text, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", killed)
        with pytest.raises(KeyboardInterrupt):
            sample_into(out, run)
    assert [path.name for path in tmp_path.iterdir()] == [".out.part"]
    sample_into(out, run, on_step=lambda images: None)
    assert (out / MANIFEST).exists()


def test_a_folder_that_holds_something_is_refused_and_left_alone(
    tmp_path: Path, run: SampleRun
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    sample_into(out, run)  # an empty folder is free
    before = contents(out)
    for other in (run, replace(run, settings=replace(SETTINGS, seed=1))):
        with pytest.raises(FileExistsError, match="already holds something; choose another --out"):
            sample_into(out, other)
    assert contents(out) == before
    file = tmp_path / "file"
    file.write_text("not a folder")
    with pytest.raises(FileExistsError, match="choose another --out"):
        sample_into(file, run)


def test_a_folder_may_be_replaced_where_that_is_asked_for(tmp_path: Path, run: SampleRun) -> None:
    sample_into(tmp_path / "out", run)
    other = replace(run, settings=replace(SETTINGS, seed=1))
    sample_into(tmp_path / "out", other, replace=True)
    sample_into(tmp_path / "fresh", other)
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


def test_settings_that_cannot_be_leave_nothing(tmp_path: Path, run: SampleRun) -> None:
    with pytest.raises(ValueError, match="steps must be"):
        sample_into(tmp_path / "out", replace(run, settings=replace(SETTINGS, steps=99)))
    assert list(tmp_path.iterdir()) == []
