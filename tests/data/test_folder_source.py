"""Folders of image files: which are read, how they are named, decoded and resized, and refusals."""

from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
import torch
from PIL import Image

from adm.data import Source, pixels
from adm.data.fitting import at_one_size
from adm.data.naming import EXTENSIONS
from adm.data.registry import find


def folder(
    path: Path,
    split: str = "train",
    size: tuple[int, int] | None = None,
    channels: int = 3,
    check: bool = True,
) -> Source:
    source = find(str(path), split=split)
    return at_one_size(source, size=size, channels=channels, check=check)


def picture(path: Path, size: tuple[int, int] = (4, 4), colour: int = 0) -> Path:
    """A grey file of (H, W) pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size[::-1], colour).save(path)
    return path


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_sub_folders_are_classes_in_natural_order(tmp_path: Path) -> None:
    for name in ("class10", "class2", "Class1", "a09b", "10"):
        picture(tmp_path / name / "a.png")
    source = folder(tmp_path, size=(4, 4))
    assert source.classes == ("10", "a09b", "Class1", "class2", "class10")
    assert source.labels.tolist() == [0, 1, 2, 3, 4]
    assert source.labels.dtype == torch.int64
    assert source.name == tmp_path.name


def test_files_come_in_natural_order_and_from_any_depth(tmp_path: Path) -> None:
    for name, colour in (("10.png", 10), ("9.png", 9), ("deep/er/2.png", 2), ("deep/1.png", 1)):
        picture(tmp_path / "only" / name, colour=colour)
    source = folder(tmp_path, channels=1)
    assert [int(source.read(i)[0, 0, 0]) for i in range(4)] == [9, 10, 1, 2]
    assert source.labels.tolist() == [0] * 4


@pytest.mark.parametrize("extension", [*EXTENSIONS, "PNG", "JpEg"])
def test_every_extension_is_read_in_any_case(tmp_path: Path, extension: str) -> None:
    picture(tmp_path / f"1.{extension}", (5, 7), colour=255)
    image = folder(tmp_path).read(0)
    assert (image.shape, image.dtype) == ((3, 5, 7), torch.uint8)
    assert int(image.min()) == 255


def test_hidden_files_and_other_files_are_passed_over(tmp_path: Path) -> None:
    picture(tmp_path / "a" / "1.png")
    (tmp_path / "a" / "._1.png").write_bytes(b"resource fork")
    (tmp_path / "a" / "readme.txt").write_text("not an image")
    picture(tmp_path / ".thumbnails" / "1.png")
    source = folder(tmp_path)
    assert (source.classes, len(source)) == (("a",), 1)


@pytest.mark.parametrize(
    ("mode", "colour", "grey", "rgb", "rgba"),
    [
        ("L", 77, [77], [77] * 3, [77] * 3 + [255]),
        ("RGB", (255, 0, 0), [76], [255, 0, 0], [255, 0, 0, 255]),
        ("RGBA", (0, 0, 0, 0), [255], [255] * 3, [0] * 4),
        ("RGBA", (0, 0, 0, 51), [204], [204] * 3, [0, 0, 0, 51]),
        ("LA", (0, 0), [255], [255] * 3, [0] * 4),
        ("1", 1, [255], [255] * 3, [255] * 4),
        ("I;16", 77 * 257, [77], [77] * 3, [77] * 3 + [255]),
        ("I;16", 200, [1], [1] * 3, [1] * 3 + [255]),  # 200 / 257 is nearer to 1
        ("I;16", 65535, [255], [255] * 3, [255] * 4),
    ],
)
def test_channels_are_converted_and_alpha_lies_on_white(
    tmp_path: Path, mode: str, colour: object, grey: list[int], rgb: list[int], rgba: list[int]
) -> None:
    Image.new(mode, (2, 2), colour).save(tmp_path / "1.png")  # type: ignore[arg-type]
    for channels, expected in ((1, grey), (3, rgb), (4, rgba)):
        image = folder(tmp_path, channels=channels).read(0)
        assert image.shape == (channels, 2, 2)
        assert image[:, 0, 0].tolist() == expected


def test_a_palette_with_a_transparent_entry_lies_on_white(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([0, 0, 0, 9, 8, 7])
    image.putdata([0, 1])
    image.save(tmp_path / "1.gif", transparency=0)
    pixels_read = folder(tmp_path).read(0)
    assert pixels_read[:, 0, 0].tolist() == [255] * 3
    assert pixels_read[:, 0, 1].tolist() == [9, 8, 7]


def test_orientation_is_applied(tmp_path: Path) -> None:
    levels = noise(0, 2, 3)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: the stored left is the true top
    Image.fromarray(levels).save(tmp_path / "1.png", exif=exif)
    picture(tmp_path / "2.png", (3, 2))  # the upright size of both
    image = folder(tmp_path, channels=1).read(0)
    assert torch.equal(image[0], torch.from_numpy(np.rot90(levels, -1).copy()))


def test_an_image_of_the_right_size_is_untouched(tmp_path: Path) -> None:
    levels = noise(1, 6, 5, 3)
    Image.fromarray(levels).save(tmp_path / "1.png")
    image = folder(tmp_path, size=(6, 5)).read(0)
    assert torch.equal(image, torch.from_numpy(levels).permute(2, 0, 1))


def test_halving_is_by_area(tmp_path: Path) -> None:
    levels = noise(2, 8, 8)
    Image.fromarray(levels).save(tmp_path / "1.png")
    means = levels.reshape(4, 2, 4, 2).mean(axis=(1, 3))
    image = folder(tmp_path, size=(4, 4), channels=1).read(0)[0].numpy()
    assert np.abs(image - means).max() <= 1  # half a level along each axis


def test_a_fine_pattern_does_not_alias(tmp_path: Path) -> None:
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))
    Image.fromarray(stripes).save(tmp_path / "1.png")
    image = folder(tmp_path, size=(8, 8), channels=1).read(0).float()
    assert float((image - 127.5).abs().max()) <= 1


def test_the_centre_is_kept(tmp_path: Path) -> None:
    levels = np.zeros((4, 12), np.uint8)
    levels[:, 4:8] = 200
    Image.fromarray(levels).save(tmp_path / "1.png")
    assert folder(tmp_path, size=(4, 4), channels=1).read(0).unique().tolist() == [200]


def test_a_folder_without_images_is_refused_with_the_layout(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "data.csv").write_text("1,2")
    with pytest.raises(ValueError, match=f"{tmp_path} has no images.*png, jpg.*one sub-folder"):
        folder(tmp_path)


def test_images_beside_class_folders_are_refused(tmp_path: Path) -> None:
    picture(tmp_path / "a" / "1.png")
    loose = picture(tmp_path / "loose.png")
    with pytest.raises(ValueError, match=f"{loose} is beside.*move it into its class"):
        folder(tmp_path)


@pytest.mark.parametrize("checked", [2, 1])  # on opening, or on reading
def test_unequal_sizes_need_a_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checked: int
) -> None:
    monkeypatch.setattr("adm.data.fitting.CHECKED", checked)
    picture(tmp_path / "1.png", (4, 4))
    odd = picture(tmp_path / "2.png", (4, 5))
    with pytest.raises(ValueError, match=f"{odd} is 4x5 and .* is 4x4; give size=4, to"):
        folder(tmp_path).batch([1])
    assert folder(tmp_path, size=(4, 4)).batch([0, 1])[0].shape == (2, 3, 4, 4)


def test_of_very_many_files_some_all_over_are_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    real = Image.open

    def spy(stream: BinaryIO, formats: tuple[str, ...]) -> Image.Image:
        opened.append(Path(stream.name).name)
        return real(stream, formats=formats)

    for i in range(9):
        picture(tmp_path / f"{i}.png")
    monkeypatch.setattr(Image, "open", spy)
    monkeypatch.setattr("adm.data.fitting.CHECKED", 4)
    folder(tmp_path, size=(4, 4))
    assert opened == ["0.png", "3.png", "6.png"]
    folder(tmp_path, size=(4, 4), check=False)
    assert len(opened) == 3


def test_a_sliver_is_not_blown_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels, "MAX_PIXELS", 10_000)
    picture(tmp_path / "1.png", (1, 1000))
    with pytest.raises(ValueError, match=r"1\.png .*too elongated: covering 8x8.*crop it"):
        folder(tmp_path, size=(8, 8)).read(0)


def test_pixels_of_unknown_range_are_refused(tmp_path: Path) -> None:
    Image.new("F", (2, 2), 0.5).save(tmp_path / "1.tif")
    with pytest.raises(ValueError, match=r"1\.tif .*32-bit.*save it with 8 or 16 bits"):
        folder(tmp_path).read(0)
