"""Exported samples: names, contents, identical bytes, nothing outside their folder."""

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from samples import contents, save_images

from adm.data import open_source
from adm.data.arrays import read_arrays
from adm.generation.pngs import safe_names
from adm.store.samples import ARCHIVE

CLASSES = ("bag", "sneaker")
LABELS = torch.tensor([1, 0, 1, 1])


def images(channels: int = 3, count: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(channels)
    return torch.randint(0, 256, (count, channels, 5, 7), dtype=torch.uint8, generator=generator)


def test_files_are_named_by_class_seed_and_index(tmp_path: Path) -> None:
    paths = save_images(tmp_path / "samples", images(count=2), LABELS[:2], CLASSES, 7)
    names = [path.name for path in paths]
    assert names == ["sneaker_seed7_000000.png", "bag_seed7_000001.png"]
    assert {*paths, tmp_path / "samples" / ARCHIVE} == set((tmp_path / "samples").iterdir())
    unlabelled = save_images(tmp_path / "bare", images(count=1), None, ())
    assert [path.name for path in unlabelled] == ["image_seed0_000000.png"]


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("labels", [LABELS, None])
def test_pictures_and_archive_hold_the_images(
    tmp_path: Path, channels: int, labels: torch.Tensor | None
) -> None:
    originals = images(channels)
    paths = save_images(tmp_path / "o", originals, labels, CLASSES)
    for path, image in zip(paths, originals, strict=True):
        levels = np.asarray(Image.open(path)).reshape(5, 7, channels)
        assert torch.equal(torch.from_numpy(levels.copy()).permute(2, 0, 1), image)
    with np.load(tmp_path / "o" / ARCHIVE, allow_pickle=False) as archive:
        assert archive["arr_0"].dtype == np.uint8
        assert np.array_equal(archive["arr_0"], originals.permute(0, 2, 3, 1).numpy())
        if labels is None:
            assert archive.files == ["arr_0"]
        else:
            assert (archive["arr_1"].dtype, archive["arr_1"].tolist()) == (np.int64, [1, 0, 1, 1])


def test_samples_are_a_source_again(tmp_path: Path) -> None:
    originals = images()
    save_images(tmp_path / "o", originals, LABELS, CLASSES)
    source = read_arrays(tmp_path / "o" / ARCHIVE)
    assert torch.equal(source.batch(range(4))[0], originals)
    assert torch.equal(source.labels, LABELS)
    assert len(open_source(str(tmp_path / "o"))) == 4


def test_the_same_images_give_the_same_bytes_at_another_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_images(tmp_path / "a", images(), LABELS, CLASSES)
    later = time.time() + 1e7
    monkeypatch.setattr(time, "time", lambda: later)
    save_images(tmp_path / "b", images(), LABELS.int(), CLASSES)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


NAMES = ("../x", "/etc/passwd", "..", "a\\b", "c:\\x", "a\0b", "\n", "", " ", "-rf", "~", "x" * 999)


@pytest.mark.parametrize("name", NAMES)
def test_no_class_name_leaves_the_folder(tmp_path: Path, name: str) -> None:
    out = tmp_path / "samples"
    paths = save_images(out, images(count=1), torch.tensor([0]), (name,))
    assert [path.parent for path in paths] == [out]
    assert set(out.iterdir()) == {*paths, out / ARCHIVE}
    assert list(tmp_path.iterdir()) == [out]
    assert not paths[0].name.startswith((".", "-"))
    assert len(paths[0].name.encode()) < 200


def test_safe_names_stay_readable_and_apart() -> None:
    names = ("ankle-boot", "T-shirt/top", "grüne Äpfel", "犬", "a b", "a/b", "A?B", "!!")
    assert safe_names(names) == [
        *("ankle-boot", "T-shirt-top", "grüne-Äpfel", "犬", "a-b-4", "a-b-5", "A-B-6", "class7")
    ]
