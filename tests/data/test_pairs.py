"""Images and conditions in two folders -> pairs, augmented alike, or a refusal that names files."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from adm.data import Source, hold_out, open_source
from adm.data.fingerprint import difference, fingerprint
from adm.data.pairs import pair
from adm.spec import SettingError
from adm.training.batches import Augmentation, batch_at

NAMES = [f"train/{'ab'[i % 2]}/{i}" for i in range(12)]
EVERYTHING = Augmentation(flip=True, crop=True)


def write(folder: Path, names: Iterable[str], suffix: str = ".png", side: int = 12) -> str:
    """Images whose pixels are a function of their names."""
    for name in names:
        file = folder / f"{name}{suffix}"
        file.parent.mkdir(parents=True, exist_ok=True)
        levels = np.random.default_rng([*name.encode()]).integers(0, 256, (side, side), np.uint8)
        Image.fromarray(levels).save(file)
    return str(folder)


def opened(images: str, conditions: str) -> Source:
    return pair(*(open_source(each, size=(8, 8), channels=3) for each in (images, conditions)))


@pytest.fixture
def copies(tmp_path: Path) -> Source:
    """Pairs of an image and itself in another format, among more such files."""
    images = write(tmp_path / "images", NAMES)
    return opened(images, write(tmp_path / "copies", [*NAMES, "train/a/more"], ".bmp"))


@pytest.mark.parametrize("augmentation", [Augmentation(), EVERYTHING])
def test_a_condition_is_that_of_its_name_and_is_changed_as_its_image(
    copies: Source, augmentation: Augmentation
) -> None:
    batch = batch_at(copies, 3, 5, 40, augmentation)
    assert batch.condition is not None
    assert torch.equal(batch.condition, batch.images)
    assert not torch.equal(batch.images, batch_at(copies, 3, 5, 40, Augmentation(True)).images)
    part = batch.part(7, 9).condition
    assert part is not None
    assert torch.equal(part, batch.images[7:9])
    for one in hold_out(copies, 0.5):
        images, _, conditions = one.pairs(range(len(one)))
        assert conditions is not None
        assert torch.equal(images, conditions)


def test_images_without_one_partner_are_named(tmp_path: Path) -> None:
    images = write(tmp_path / "images", NAMES)
    few = write(tmp_path / "few", NAMES[:3])
    with pytest.raises(
        SettingError, match=r"few has no partner, or several, for 9 images of images"
    ) as raised:
        opened(images, few)
    assert str(raised.value).endswith("train/a/4.png, train/a/6.png, train/a/8.png, ...")
    write(tmp_path / "few", NAMES[3:])
    assert len(opened(images, few)) == 12
    write(tmp_path / "few", NAMES[:1], ".jpg")
    with pytest.raises(SettingError, match=r"for 1 image of .* for train/a/0.png$"):
        opened(images, few)


def test_arrays_are_paired_by_number(tmp_path: Path) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (9, 8, 8, 3), np.uint8)
    np.savez(tmp_path / "images.npz", levels)
    np.save(tmp_path / "conditions.npy", 255 - levels)
    source = opened(str(tmp_path / "images.npz"), str(tmp_path / "conditions.npy"))
    images, _, conditions = source.pairs([4, 1])
    assert conditions is not None
    assert torch.equal(conditions, 255 - images)
    assert source.name == "images.npz from conditions.npy"
    np.save(tmp_path / "conditions.npy", levels[:8])
    with pytest.raises(
        SettingError, match=r"conditions.npy has no partner, or several, for 1 image of images.npz"
    ):
        opened(str(tmp_path / "images.npz"), str(tmp_path / "conditions.npy"))
    (tmp_path / "some.csv").write_text("file,label\ntrain/7,a\ntrain/2,b\n")
    some = open_source(str(tmp_path / "images.npz"), labels=str(tmp_path / "some.csv"))
    np.save(tmp_path / "conditions.npy", 255 - levels)
    chosen = pair(some, open_source(str(tmp_path / "conditions.npy")))
    images, _, conditions = chosen.pairs([0, 1])
    assert conditions is not None
    assert torch.equal(conditions, 255 - images)


def test_the_fingerprint_is_of_both(tmp_path: Path, copies: Source) -> None:
    before = [fingerprint(copies, pixels=pixels) for pixels in (False, True)]
    file = tmp_path / f"copies/{NAMES[4]}.bmp"
    content = file.read_bytes()
    file.write_bytes(content[:-1] + b"?")
    after = [fingerprint(copies, pixels=pixels) for pixels in (False, True)]
    assert difference(before[0], after[0]) is None
    assert difference(before[1], after[1]) == "the content of an image"
    file.write_bytes(content + b"?")
    assert difference(before[0], fingerprint(copies)) == "the size of an image"
    file.rename(file.with_suffix(".png"))
    again = opened(str(tmp_path / "images"), str(tmp_path / "copies"))
    assert difference(before[0], fingerprint(again)) == "the name of a file"
