"""Which images `inspect` calls alike by their pixels: those that are trained on alike."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adm.data.inspect import examples, inspect
from adm.data.registry import find

LEVELS = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
ORIENTATION = 0x0112


def alike(place: Path) -> bool:
    """Whether a.png and b.png, the only files of the folder, are; by pixels, not by bytes."""
    report = inspect(find(str(place)))
    assert (report.images, report.broken, report.same_files) == (2, [], [])
    assert report.same_pixels in ([], [[str(place / "a.png"), str(place / "b.png")]])
    return bool(report.same_pixels)


def palette(colours: list[int], indices: list[int]) -> Image.Image:
    picture = Image.new("P", (2, 2))
    picture.putpalette(colours)
    picture.putdata(indices)
    return picture


def test_palettes_are_looked_up(tmp_path: Path) -> None:
    palette([255, 0, 0, 0, 0, 255], [0, 1, 1, 0]).save(tmp_path / "a.png")
    palette([0, 255, 0, 9, 9, 9], [0, 1, 1, 0]).save(tmp_path / "b.png")
    assert not alike(tmp_path)
    palette([0, 0, 255, 255, 0, 0], [1, 0, 0, 1]).save(tmp_path / "b.png")
    assert alike(tmp_path)


def test_pictures_are_turned_upright(
    tmp_path: Path,
) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6  # a quarter clockwise
    Image.fromarray(LEVELS).save(tmp_path / "a.png")
    Image.fromarray(np.rot90(LEVELS)).save(tmp_path / "b.png", exif=exif)
    assert alike(tmp_path)
    Image.fromarray(LEVELS).save(tmp_path / "b.png", exif=exif)
    assert not alike(tmp_path)


def test_shapes_count(tmp_path: Path) -> None:
    Image.new("L", (4, 6)).save(tmp_path / "a.png")
    Image.new("L", (6, 4)).save(tmp_path / "b.png")
    assert not alike(tmp_path)


def test_16_bits_are_compared_as_they_are_trained_on(tmp_path: Path) -> None:
    deep = LEVELS[..., 0].astype(np.uint16) * 257
    bright = np.maximum(deep, 300)
    Image.fromarray(bright).save(tmp_path / "a.png")
    Image.fromarray(np.where(bright < 9999, bright + 600, bright - 600).astype(np.uint16)).save(
        tmp_path / "b.png"
    )
    assert not alike(tmp_path)  # though cutting off at 255 would make both white
    Image.fromarray(deep).save(tmp_path / "a.png")
    Image.fromarray(np.where(deep < 9999, deep + 100, deep - 100).astype(np.uint16)).save(
        tmp_path / "b.png"
    )
    assert alike(tmp_path)  # rounded to 8 bits they are
    Image.fromarray(LEVELS[..., 0]).save(tmp_path / "b.png")
    assert alike(tmp_path)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_every_mode_is_like_itself_in_another_file(tmp_path: Path, mode: str) -> None:
    if mode == "I;16":
        picture = Image.fromarray(LEVELS[..., 0].astype(np.uint16) * 200)
    else:
        picture = Image.fromarray(LEVELS).convert(mode)
    picture.save(tmp_path / "a.png", compress_level=0)
    picture.save(tmp_path / "b.png", compress_level=9)
    assert alike(tmp_path)


def test_examples_are_upright(tmp_path: Path) -> None:
    levels = np.zeros((64, 64), np.uint8)
    levels[:, :32] = 200  # left, which is the top once it is turned
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    Image.fromarray(levels).save(tmp_path / "a.png", exif=exif)
    image = examples(find(str(tmp_path)))[0, 0]
    assert (image[:, :32] == 200).all()
    assert (image[:, 32:] == 0).all()
