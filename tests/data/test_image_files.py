"""Exported samples: names, contents, identical bytes, nothing outside their folder, all or none."""

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from adm.data import open_source
from adm.data.arrays import read_arrays as arrays
from adm.data.export import safe_names, save_images
from adm.data.naming import ARCHIVE

CLASSES = ("bag", "sneaker")


def images(channels: int = 3, count: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(channels)
    return torch.randint(0, 256, (count, channels, 5, 7), dtype=torch.uint8, generator=generator)


LABELS = torch.tensor([1, 0, 1, 1])


def contents(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.iterdir())}


def test_files_are_named_by_class_seed_and_index(tmp_path: Path) -> None:
    out = tmp_path / "new" / "samples"
    paths = save_images(out, images(), LABELS, CLASSES, 0, indices=[17, 18, 19, 1_000_000])
    assert [path.name for path in paths] == [
        "sneaker_seed0_000017.png",
        "bag_seed0_000018.png",
        "sneaker_seed0_000019.png",
        "sneaker_seed0_1000000.png",
    ]
    assert {*paths, out / ARCHIVE} == set(out.iterdir())


def test_each_image_may_have_a_seed_of_its_own(tmp_path: Path) -> None:
    paths = save_images(tmp_path / "o", images(), None, (), [5, 6, 7, 8], indices=[0] * 4)
    assert [path.name for path in paths] == [f"image_seed{s}_000000.png" for s in (5, 6, 7, 8)]


def test_a_note_stands_after_the_class_and_is_made_safe(tmp_path: Path) -> None:
    notes = ["scale4", "scale0.5", "../x", "scale4"]
    paths = save_images(tmp_path / "o", images(), LABELS, CLASSES, 0, notes=notes)
    assert [path.name for path in paths] == [
        "sneaker_scale4_seed0_000000.png",
        "bag_scale0-5_seed0_000001.png",
        "sneaker_x_seed0_000002.png",
        "sneaker_scale4_seed0_000003.png",
    ]


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_pictures_and_archive_hold_the_images(tmp_path: Path, channels: int) -> None:
    given = images(channels)
    paths = save_images(tmp_path / "o", given, LABELS, CLASSES, 0)
    for path, image in zip(paths, given, strict=True):
        levels = np.asarray(Image.open(path)).reshape(5, 7, channels)
        assert torch.equal(torch.from_numpy(levels.copy()).permute(2, 0, 1), image)
    with np.load(tmp_path / "o" / ARCHIVE, allow_pickle=False) as archive:
        assert archive.files == ["arr_0", "arr_1"]
        assert (archive["arr_0"].dtype, archive["arr_0"].shape) == (np.uint8, (4, 5, 7, channels))
        assert np.array_equal(archive["arr_0"], given.permute(0, 2, 3, 1).numpy())
        assert (archive["arr_1"].dtype, archive["arr_1"].tolist()) == (np.int64, [1, 0, 1, 1])


def test_samples_are_a_source_again(tmp_path: Path) -> None:
    given = images()
    save_images(tmp_path / "o", given, LABELS, CLASSES, 0)
    source = arrays(tmp_path / "o" / ARCHIVE)
    assert torch.equal(source.batch(range(4))[0], given)
    assert torch.equal(source.labels, LABELS)
    assert len(open_source(str(tmp_path / "o"))) == 4


def test_without_labels_the_archive_has_none(tmp_path: Path) -> None:
    save_images(tmp_path / "o", images(), None, CLASSES, 0)
    with np.load(tmp_path / "o" / ARCHIVE, allow_pickle=False) as archive:
        assert archive.files == ["arr_0"]


def test_the_same_images_give_the_same_bytes_at_another_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_images(tmp_path / "a", images(), LABELS, CLASSES, 0)
    later = time.time() + 1e7
    monkeypatch.setattr(time, "time", lambda: later)
    save_images(tmp_path / "b", images(), LABELS.int(), CLASSES, [0] * 4)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "/etc/passwd",
        "..",
        "a/b",
        "a\\b",
        "c:\\x",
        "a\0b",
        "\n",
        "",
        " ",
        "-rf",
        "~",
        "x" * 999,
    ],
)
def test_no_class_name_leaves_the_folder(tmp_path: Path, name: str) -> None:
    out = tmp_path / "deep" / "samples"
    paths = save_images(out, images(count=1), torch.tensor([0]), (name,), 0)
    assert [path.parent for path in paths] == [out]
    assert set(out.iterdir()) == {*paths, out / ARCHIVE}
    assert list((tmp_path / "deep").iterdir()) == [out]
    assert not paths[0].name.startswith((".", "-"))
    assert len(paths[0].name.encode()) < 200


def test_safe_names_stay_readable_and_apart() -> None:
    names = ("ankle-boot", "T-shirt/top", "grüne Äpfel", "犬", "a b", "a/b", "A?B", "!!")
    assert safe_names(names) == [
        "ankle-boot",
        "T-shirt-top",
        "grüne-Äpfel",
        "犬",
        "a-b-4",
        "a-b-5",
        "A-B-6",
        "class7",
    ]


def test_a_folder_with_files_is_left_alone(tmp_path: Path) -> None:
    save_images(tmp_path, images(), LABELS, CLASSES, 0)  # an empty folder is taken
    before = contents(tmp_path)
    with pytest.raises(
        FileExistsError, match=f"{tmp_path} already exists and is not empty; give another"
    ):
        save_images(tmp_path, images(1), LABELS, CLASSES, 1)
    with pytest.raises(FileExistsError, match=f"{ARCHIVE} already exists and is not empty"):
        save_images(tmp_path / ARCHIVE, images(), LABELS, CLASSES, 1)
    assert contents(tmp_path) == before


def test_an_older_folder_gives_way_when_asked(tmp_path: Path) -> None:
    out = tmp_path / "o"
    save_images(out, images(), LABELS, CLASSES, 0)
    paths = save_images(out, images(count=2), LABELS[:2], CLASSES, 9, replace=True)
    assert set(out.iterdir()) == {*paths, out / ARCHIVE}
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("older", [False, True])
def test_a_failure_half_way_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, older: bool
) -> None:
    out = tmp_path / "o"
    if older:
        save_images(out, images(), LABELS, CLASSES, 0)
    before = contents(out) if older else None

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("adm.data.export.write_npz", fail)
    with pytest.raises(OSError, match="No space left"):
        save_images(out, images(1), LABELS, CLASSES, 1, replace=True)
    assert (contents(out) if out.exists() else None) == before
    assert list(tmp_path.iterdir()) == ([out] if older else [])


def test_a_failed_exchange_brings_the_older_folder_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "o"
    save_images(out, images(), LABELS, CLASSES, 0)
    before, rename = contents(out), Path.rename

    def fail(path: Path, target: Path) -> Path:
        if path.name == "new":
            raise OSError(5, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="Input/output error"):
        save_images(out, images(1), LABELS, CLASSES, 1, replace=True)
    assert contents(out) == before
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"images": images().float()}, r"torch\.float32 .*expected uint8.*adm\.images\.to_uint8"),
        ({"images": images()[0]}, r"\(3, 5, 7\), expected uint8 \(N, C, H, W\)"),
        ({"images": images()[:0]}, r"\(0, 3, 5, 7\).*N > 0"),
        ({"images": images(2)}, "channels must be 1 .*, got 2"),
        ({"labels": LABELS[:3]}, "3 labels, 4 seeds, 4 indices and 4 notes; give as many"),
        ({"labels": LABELS + 1}, r"label 2 is outside 0\.\.1; give the classes of the model"),
        ({"labels": LABELS - 1}, r"label -1 is outside 0\.\.1;.*labels=None"),
        ({"seeds": [1, 2]}, "4 labels, 2 seeds, 4 indices and 4 notes; give as many"),
        ({"indices": range(5)}, "4 labels, 4 seeds, 5 indices and 4 notes; give as many"),
        ({"notes": ["a"]}, "4 images with 4 labels, 4 seeds, 4 indices and 1 note; give as many"),
        ({"indices": [0, 1, 2, 2]}, "would get the same file name; give them"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    tmp_path: Path, settings: dict[str, object], message: str
) -> None:
    given = {"images": images(), "labels": LABELS, "classes": CLASSES, "seeds": 0} | settings
    with pytest.raises(ValueError, match=message):
        save_images(tmp_path / "o", **given)  # type: ignore[arg-type]
    assert not any(tmp_path.iterdir())
