"""adm data example -> a folder of colour photographs whose splits share no pixel."""

from pathlib import Path

import pytest
from answers import Adm

from adm.data import example, open_source
from adm.data.example import CROP, PICTURES, places

pytest.importorskip("skimage")


@pytest.mark.parametrize("size", [(384, 384), (578, 384), (384, 576)])
def test_no_pixel_is_in_both_splits(size: tuple[int, int]) -> None:
    columns: dict[str, set[int]] = {"train": set(), "test": set()}
    for split, left, top in places(*size):
        assert left + CROP <= size[0]
        assert top + CROP <= size[1]
        columns[split] |= set(range(left, left + CROP))
    assert columns["train"]
    assert columns["test"]
    assert not columns["train"] & columns["test"]


def test_the_command_writes_colour_images_of_six_classes(
    adm: Adm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(example, "STRIDE", 48)  # for time: fewer crops
    out = tmp_path / "photos"
    answer = adm.done("data", "example", "--out", out)
    train, test = (open_source(str(out), split=split) for split in ("train", "test"))
    assert train.classes == test.classes == tuple(sorted(PICTURES))
    assert f"{len(train) + len(test)} images of 6 classes" in answer.out
    assert len(train) > 3 * len(test) > 0
    assert train.shape == (3, 64, 64)
    image = train.read(0).float()
    assert (image[0] - image[2]).abs().mean() > 5  # in colour
    again = adm("data", "example", "--out", out)
    assert again.status == 2
    assert "not empty" in again.err
