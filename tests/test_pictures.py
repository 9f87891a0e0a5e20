"""uint8 images -> pictures that hold every pixel, in its place and in its colour."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from adm.pictures import (
    CHECKS,
    LEAST,
    Row,
    colours,
    gif,
    grid,
    sheet,
)


def noise(count: int, channels: int, height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = (count, channels, height, width)
    return torch.randint(256, shape, generator=generator, dtype=torch.uint8)


def pixels(picture: Image.Image) -> torch.Tensor:
    """(H, W, C) uint8."""
    levels = torch.from_numpy(np.array(picture))
    return levels if levels.ndim == 3 else levels[..., None]


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(("zoom", "gap"), [(1, 0), (1, 2), (3, 1)])
def test_a_grid_holds_every_image_row_by_row_and_white_between(
    channels: int, zoom: int, gap: int
) -> None:
    images = noise(5, channels, 6, 4)
    picture = grid(images, 2, zoom=zoom, gap=gap)
    assert picture.size == ((2 * 4 + gap) * zoom, (3 * 6 + 2 * gap) * zoom)
    actual = pixels(picture)
    covered = torch.zeros(actual.shape[:2], dtype=torch.bool)
    for i, image in enumerate(images):
        top, left = (i // 2) * (6 + gap) * zoom, (i % 2) * (4 + gap) * zoom
        rows, columns = slice(top, top + 6 * zoom), slice(left, left + 4 * zoom)
        large = image.repeat_interleave(zoom, 1).repeat_interleave(zoom, 2).permute(1, 2, 0)
        assert torch.equal(actual[rows, columns], large)
        covered[rows, columns] = True
    assert (actual[~covered] == 255).all()


@pytest.mark.parametrize("side", [1, 8, 28, 32, 55, 56, 57, 300])
def test_a_grid_is_enlarged_by_the_smallest_factor_that_suffices(side: int) -> None:
    width = grid(noise(1, 1, side, side), 1).width
    assert width % side == 0
    assert width >= LEAST
    assert width == side or width - side < LEAST


def test_a_grid_of_large_images_is_reduced_on_request() -> None:
    images = noise(6, 3, 40, 80)
    assert grid(images, 3, gap=0, most=20).size == (60, 20)
    assert grid(images, 3, gap=0, most=80).size == (240, 80)


@pytest.mark.parametrize(("count", "columns"), [(0, 4), (3, 0)])
def test_a_grid_of_nothing_is_refused(count: int, columns: int) -> None:
    with pytest.raises(ValueError, match=f"{count} images in {columns} columns; give at least one"):
        grid(noise(count, 1, 4, 4), columns)


def test_every_number_of_channels_has_colours() -> None:
    for channels in (1, 2, 3, 4, 5):
        image = torch.full((channels, 8, 8), 200, dtype=torch.uint8)
        assert colours(image).mode == "RGB"
        assert grid(image[None], 1).mode == {1: "L", 2: "L", 4: "RGBA"}.get(channels, "RGB")
    clear = torch.zeros(4, 8, 8, dtype=torch.uint8)
    grounds = {f"#{r:02x}{g:02x}{b:02x}" for _, (r, g, b) in colours(clear).getcolors() or []}
    assert grounds == set(CHECKS)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_an_animation_holds_its_frames_and_repeats(mode: str) -> None:
    frames = [Image.new(mode, (6, 4), colour) for colour in ("black", "white", "black")]
    content = gif(frames, [60, 100, 2000])
    assert content == gif(frames, [60, 100, 2000])
    with Image.open(io.BytesIO(content)) as film:
        assert (film.format, film.n_frames, film.info["loop"]) == ("GIF", 3, 0)
        decoded = []
        for number in range(3):
            film.seek(number)
            decoded.append((film.info["duration"], film.convert("L").getpixel((2, 2))))
    assert decoded == [(60, 0), (100, 255), (2000, 0)]


def test_untrusted_text_is_drawn_whatever_it_holds() -> None:
    image = torch.zeros(1, 4, 4, dtype=torch.uint8)
    rows = [Row("caf\udce9\n\x1b[2J", [image], ["\udcff\nnear"])]
    drawn = sheet("\udce9" + "x" * 10**6, [("\ud800", 1)], rows)
    assert drawn.width < 10_000
    escaped = [Row("caf\\udce9\n\\x1b[2J", [image], ["\\udcff\nnear"])]
    assert sheet("", [("", 1)], rows).tobytes() == sheet("", [("", 1)], escaped).tobytes()
