"""tools/example.py -> a folder of colour photographs whose splits share no pixel."""

import sys
from pathlib import Path

import pytest

from adm.data import open_source

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
import example
from example import CROP, PICTURES, places

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


def test_the_images_are_in_colour_and_of_six_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(example, "STRIDE", 48)  # for time: fewer crops
    out = tmp_path / "photos"
    count = example.write_example(out)
    train, test = (open_source(str(out), split=split) for split in ("train", "test"))
    assert train.classes == test.classes == tuple(sorted(PICTURES))
    assert len(train) + len(test) == count
    assert len(train) > 3 * len(test) > 0
    assert train.shape == (3, 64, 64)
    image = train.read(0).float()
    assert (image[0] - image[2]).abs().mean() > 5  # in colour
    with pytest.raises(FileExistsError, match="not empty"):
        example.write_example(out)
