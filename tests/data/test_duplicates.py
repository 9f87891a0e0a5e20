"""Images are duplicates by pixels for `inspect` if training sees the same pixels."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adm.data.inspect import inspect
from adm.data.registry import find

LEVELS = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
ORIENTATION = 0x0112


def alike(place: Path) -> bool:
    """Whether a.png and b.png, the only files of the folder, are equal by pixels alone."""
    report = inspect(find(str(place)))
    assert (report.images, report.broken, report.same_files) == (2, [], [])
    assert report.same_pixels in ([], [[str(place / "a.png"), str(place / "b.png")]])
    return bool(report.same_pixels)


def palette(colours: list[int], indices: list[int]) -> Image.Image:
    picture = Image.new("P", (2, 2))
    picture.putpalette(colours)
    picture.putdata(indices)
    return picture


def turned(levels: np.ndarray) -> Image.Image:
    """Pixels with the EXIF orientation of a quarter turn clockwise."""
    picture = Image.fromarray(levels)
    picture.getexif()[ORIENTATION] = 6
    return picture


RED_BLUE, GREY = palette([255, 0, 0, 0, 0, 255], [0, 1, 1, 0]), LEVELS[..., 0]
DEEP = GREY.astype(np.uint16) * 257
BRIGHT = np.maximum(DEEP, 300)  # cut off at 255, all of it would be white


def moved(levels: np.ndarray, by: int) -> Image.Image:
    """16-bit levels, raised where they are low and lowered where they are high."""
    return Image.fromarray(np.where(levels < 9999, levels + by, levels - by).astype(np.uint16))


PAIRS: dict[str, tuple[Image.Image, Image.Image, bool]] = {
    "another palette": (RED_BLUE, palette([0, 255, 0, 9, 9, 9], [0, 1, 1, 0]), False),
    "a palette in another order": (RED_BLUE, palette([0, 0, 255, 255, 0, 0], [1, 0, 0, 1]), True),
    "upright": (Image.fromarray(LEVELS), turned(np.rot90(LEVELS)), True),
    "not upright": (Image.fromarray(LEVELS), turned(LEVELS), False),
    "shapes": (Image.new("L", (4, 6)), Image.new("L", (6, 4)), False),
    "other 16 bits": (Image.fromarray(BRIGHT), moved(BRIGHT, 600), False),
    "16 bits rounded": (Image.fromarray(DEEP), moved(DEEP, 100), True),
    "16 bits and 8": (Image.fromarray(DEEP), Image.fromarray(GREY), True),
}


@pytest.mark.parametrize("pair", PAIRS)
def test_pictures_are_compared_as_they_are_trained_on(tmp_path: Path, pair: str) -> None:
    first, second, same = PAIRS[pair]
    first.save(tmp_path / "a.png", exif=first.getexif(), compress_level=0)
    second.save(tmp_path / "b.png", exif=second.getexif())
    assert alike(tmp_path) == same
