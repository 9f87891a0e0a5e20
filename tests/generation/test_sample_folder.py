"""Job -> sample folder: it appears whole, says how it was made, and resumes."""

import hashlib
import json
import subprocess
import sys
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
from adm.data.naming import MANIFEST
from adm.generation import batches, blocks, writing
from adm.generation.animation import cost
from adm.generation.diffusion import DiffusionGenerator
from adm.generation.folder import check, sample_into
from adm.generation.job import Job
from adm.generation.manifest import read_manifest
from adm.models.load import load_classifier, load_diffusion
from adm.recipes import recipe
from adm.samplers import Sampling
from adm.samplers.words import changed, to_json
from adm.store.hashes import SUMS, damaged_parts
from adm.store.locks import InUse, locked

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


@pytest.fixture(autouse=True)
def _blocks_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "CPU_PIXELS", 2 * 8 * 8)


def with_settings(job: Job, **changes: Any) -> Job:
    generator = job.generator
    assert isinstance(generator, DiffusionGenerator)
    changed_ = replace(generator, sampling=changed(generator.sampling, **changes))
    return replace(job, generator=changed_)


def contents(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.iterdir())}


LEAVING = """
import sys
from pathlib import Path
from adm.store.files import _beside
out = Path(sys.argv[1])
_beside(out).mkdir()
_beside(out).write_text("half a file")
cache = out.with_name(".out.part")
cache.mkdir()
(cache / ".lock").touch()
(cache / "00000000-00000002.npz").write_text("a batch")
"""


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
    assert set(contents(out)) == {*NAMES, "samples.npz", "grid.png", MANIFEST, SUMS}
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
        SUMS,
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
    assert sampled == [[0, 1], [2, 3], [4, 4]][steps // 3 :]  # a batch takes three steps
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
    assert set(contents(tmp_path / "out")) == {"samples.npz", "grid.png", MANIFEST, SUMS}
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
    (part / "00000000-00000002.npz").write_bytes(b"of whom nobody knows")
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


@pytest.mark.parametrize(("before", "after"), [(2, 4), (4, 2), (1, 3)])
def test_batches_of_another_size_are_used(
    tmp_path: Path, job: Job, before: int, after: int
) -> None:
    with pytest.raises(KeyboardInterrupt):
        sample_into(tmp_path / "out", job, batch_size=before, on_step=stop_after(7))
    told: list[int] = []
    images = sample_into(tmp_path / "out", job, batch_size=after, on_step=told.append)
    assert sum(each for each in told if isinstance(each, Cached)) == 4 * 3
    assert torch.equal(images, sample_into(tmp_path / "fresh", job))
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


SECOND = "00000002-00000004.npz"


def zeroed(part: Path) -> None:
    path = part / SECOND
    path.write_bytes(bytes(path.stat().st_size))


def swapped(part: Path) -> None:
    one, other = part / "00000000-00000002.npz", part / SECOND
    before = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(before)


def cut_short(part: Path) -> None:
    (part / SECOND).write_bytes(b"PK\x03\x04 and no more")


def one_pixel(part: Path) -> None:
    """As if it had been written so: the checksum of the archive is right, and the hash is not."""
    with np.load(part / SECOND, allow_pickle=False) as held:
        arrays = dict(held)
    arrays["images"][0, 0, 0, 0] ^= 1
    np.savez(part / SECOND, **arrays)


def of_another_job(part: Path) -> None:
    images = torch.zeros((2, 1, 8, 8), dtype=torch.uint8)
    batches.store(part, range(2, 4), images, "another")


@pytest.mark.parametrize("damage", [zeroed, swapped, cut_short, one_pixel, of_another_job])
def test_a_batch_that_is_not_as_it_was_saved_is_sampled_again(
    tmp_path: Path,
    job: Job,
    capsys: pytest.CaptureFixture[str],
    damage: Callable[[Path], None],
) -> None:
    with pytest.raises(KeyboardInterrupt):
        sample_into(tmp_path / "out", job, batch_size=2, on_step=stop_after(7))
    damage(tmp_path / ".out.part")
    images = sample_into(tmp_path / "out", job, batch_size=2)
    assert (
        f"{SECOND} is damaged, or of other samples; it is sampled again" in capsys.readouterr().err
    )
    assert torch.equal(images, sample_into(tmp_path / "fresh", job))


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


def test_the_manifest_is_part_of_what_appears_whole(
    tmp_path: Path, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"

    def killed(*args: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(writing, "_save", killed)
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
    ("change", "told"),
    [
        ({"seed": 12}, "sampling.seed is 11 there and 12 here"),
        ({"scale": 3.0}, r"sampling.guidance\[0\].scale is 1.5 there and 3.0 here"),
    ],
)
def test_the_samples_of_another_job_are_named_by_the_first_difference(
    tmp_path: Path, job: Job, change: dict[str, Any], told: str
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    sample_into(out, job, batch_size=2)  # an empty folder is free
    before = contents(out)
    with pytest.raises(FileExistsError, match=f"holds other samples: {told}; .*overwrite=True"):
        sample_into(out, with_settings(job, **change))
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
    assert contents(out).keys() == before.keys() - {"denoising.gif"}
    assert damaged_parts(out) == []
    told: list[int] = []
    sample_into(out, job, batch_size=2, animate=True, on_step=told.append)
    assert contents(out) == before
    assert sum(told) == cost(job)


@pytest.mark.parametrize("name", [NAMES[1], "grid.png", "denoising.gif"])
def test_pictures_that_are_damaged_are_made_again(
    tmp_path: Path, job: Job, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    out = tmp_path / "out"
    sample_into(out, job, animate=True)
    (out / "notes.txt").write_text("of the user")
    before = contents(out)
    (out / name).write_bytes(b"damaged")
    sample_into(out, job)
    assert f"{name} differed from SHA256SUMS; made again" in capsys.readouterr().err
    assert contents(out) == before


def test_a_picture_that_became_a_link_is_made_again_and_the_file_it_leads_to_is_left(
    tmp_path: Path, job: Job
) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    sample_into(out, job)
    elsewhere.write_text("of the user")
    before = contents(out)
    (out / "grid.png").unlink()
    (out / "grid.png").symlink_to(elsewhere)
    sample_into(out, job)
    assert contents(out) == before
    assert elsewhere.read_text() == "of the user"


def test_what_is_refused_leaves_nothing_beside_the_folder(
    tmp_path: Path, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(DiffusionGenerator, "images", lambda *_: 1 / 0)  # before the first batch
        with pytest.raises(ZeroDivisionError):
            sample_into(out, job)
    assert list(tmp_path.iterdir()) == []
    sample_into(out, job)
    (out / "grid.png").unlink()
    (out / "grid.png").mkdir()
    with pytest.raises(IsADirectoryError):
        sample_into(out, job)
    assert list(tmp_path.iterdir()) == [out]


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
    with pytest.raises(FileExistsError, match=f"{name} is damaged there.*overwrite=True"):
        sample_into(out, job)
    with pytest.raises(ValueError, match=f"{name} is not as it was written"):
        check(out)
    sample_into(out, job, overwrite=True)
    check(out)


def test_a_folder_of_an_earlier_version_is_complete(tmp_path: Path, job: Job) -> None:
    """It has no SHA256SUMS, and its manifest names the batch size."""
    out = tmp_path / "out"
    images = sample_into(out, job)
    (out / SUMS).unlink()
    made = json.loads((out / MANIFEST).read_text()) | {"batch_size": 64}
    (out / MANIFEST).write_text(json.dumps(made))
    (out / "grid.png").unlink()
    check(out)
    assert torch.equal(sample_into(out, job), images)
    assert (out / "grid.png").is_file()
    assert damaged_parts(out, ["grid.png", "samples.npz", MANIFEST]) == []  # it has one now


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ({"count": -1}, "count: input should be greater than or equal to 1"),
        ({"labels": "012"}, "labels: input should be a valid"),
        ({"labels": [0, 9, 0, 0, 0]}, "label 9 has no name among 3 classes"),
        ({"labels": [0]}, "there are 1 labels of 5 images"),
        ({"classes": [3]}, "classes.0: input should be a valid string"),
        ({"settings": {"sampler": 7}}, "sampler must be"),
        ({"low_res": {"count": 1e99}}, "count: input should be a valid integer"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(
    tmp_path: Path, job: Job, entries: dict[str, Any], told: str
) -> None:
    (tmp_path / MANIFEST).write_text(json.dumps(job.manifest() | entries))
    with pytest.raises(ValueError, match=rf"samples\.json is damaged .*{told}"):
        read_manifest(tmp_path)


def test_only_one_process_samples_into_a_folder(tmp_path: Path, job: Job) -> None:
    with locked(tmp_path / ".out.part"), pytest.raises(InUse, match="is in use by process"):
        sample_into(tmp_path / "out", job, on_step=stop_after(0))
    sample_into(tmp_path / "out", job)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_place_that_cannot_be_written_is_refused_before_any_work(
    tmp_path: Path, job: Job
) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").touch()
    for out in ("loop", "loop/out", "file/out", "x" * 254):
        with pytest.raises(OSError, match=r".+"):
            sample_into(tmp_path / out, job, on_step=stop_after(0))
    assert {path.name for path in tmp_path.iterdir()} == {"loop", "file"}


@pytest.mark.parametrize("animate", [False, True])
def test_nothing_is_left_by_a_process_that_ended_after_the_folder_was_complete(
    tmp_path: Path, job: Job, animate: bool
) -> None:
    sample_into(tmp_path / "out", job)
    dead = subprocess.run([sys.executable, "-c", LEAVING, tmp_path / "out"], check=True)
    assert dead.returncode == 0
    assert len(list(tmp_path.iterdir())) == 4
    sample_into(tmp_path / "out", job, animate=animate)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


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
