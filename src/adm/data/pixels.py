"""PIL image, channels, size, Range -> image in memory, (C, H, W)."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from adm.images import UINT8, Range, to_uint8
from adm.spec import out_of_range

MODES = {1: "L", 3: "RGB", 4: "RGBA"}
MAX_PIXELS = 1 << 26  # 200 MB as RGB; a larger file is more likely an attack than a photograph
SMALLEST_CROP = 0.8  # of the shorter side


def mode_of(channels: int) -> str:
    """Pillow's mode for a number of 8-bit channels.

    Raises:
        ValueError: not 1, 3 or 4.
    """
    if channels not in MODES:
        raise out_of_range("channels", "1 (grey), 3 (RGB) or 4 (RGBA)", channels)
    return MODES[channels]


def with_channels(picture: Image.Image, channels: int, stored: Range = UINT8) -> Image.Image:
    """Convert to grey (ITU-R 601 luminance), RGB or RGBA; transparency is composited on white.

    Only RGBA keeps transparency.

    Args:
        stored: range of the levels: those of 16 bits are rounded to `UINT8`, and those of any
            other range become grey floats in [-1, 1].

    Raises:
        ValueError: 32-bit pixels of `UINT8`, whose range is not known; or those of another range.
    """
    if stored != UINT8:
        return Image.fromarray(stored.read(np.asarray(picture)).numpy())
    mode = mode_of(channels)
    if picture.mode.startswith("I;16"):
        levels = np.asarray(picture).astype(np.uint32)
        picture = Image.fromarray(((levels + 128) // 257).astype(np.uint8))
    if picture.mode in ("I", "F"):
        raise ValueError(
            "it has 32-bit pixels of unknown range; save it with 8 or 16 bits, or train on it by "
            "data.range=float:low=0,high=1"
        )
    if mode != "RGBA" and picture.has_transparency_data:
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture.convert("RGBA"))
    return picture if picture.mode == mode else picture.convert(mode)


def cover(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resize to just cover `size` (H, W), then crop the centre, as the paper's data were prepared.

    Raises:
        ValueError: so elongated that covering `size` would take more than `MAX_PIXELS`.
    """
    height, width = size
    picture = _covering(picture, height, width)
    if picture.size == (width, height):
        return picture
    left, top = (picture.width - width) // 2, (picture.height - height) // 2
    return picture.crop((left, top, left + width, top + height))


def random_crop(
    picture: Image.Image, size: tuple[int, int], uniforms: Sequence[float]
) -> Image.Image:
    """Resize to a random size that covers `size` (H, W), then crop at a random position.

    As the released system augments data: the shorter side of the crop is 80% to 100% of that of the
    resized picture, whose size is drawn uniformly in whole pixels.

    Args:
        picture: the picture to crop.
        size: (H, W) of the crop.
        uniforms: three numbers in [0, 1), for the size of the picture and the top and left of the
            crop.
    """
    height, width = size
    short = min(size)
    sizes = math.ceil(short / SMALLEST_CROP) - short + 1
    larger = short + int(uniforms[0] * sizes)
    picture = _covering(
        picture, max(height, height * larger // short), max(width, width * larger // short)
    )
    top = int(uniforms[1] * (picture.height - height + 1))
    left = int(uniforms[2] * (picture.width - width + 1))
    return picture.crop((left, top, left + width, top + height))


def _covering(picture: Image.Image, height: int, width: int) -> Image.Image:
    """Resize to the smallest size of the same aspect ratio that covers height x width.

    Box filtering by halves first avoids the aliasing of bicubic interpolation alone.
    """
    while picture.width >= 2 * width and picture.height >= 2 * height:
        half = (picture.width // 2, picture.height // 2)
        picture = picture.resize(half, Image.Resampling.BOX)
    scale = max(width / picture.width, height / picture.height)
    wide = max(width, round(picture.width * scale))
    high = max(height, round(picture.height * scale))
    if wide * high > MAX_PIXELS:
        raise ValueError(
            f"it is too elongated: covering {height}x{width} would make it {high}x{wide}; crop it"
        )
    if (wide, high) == picture.size:
        return picture
    return picture.resize((wide, high), Image.Resampling.BICUBIC)


def to_tensor(picture: Image.Image) -> Tensor:
    """(C, H, W) uint8 of a picture in one of `MODES`; float32 in [-1, 1] of one of floats."""
    if picture.mode == "F":  # resizing overshoots at edges
        return torch.from_numpy(np.array(picture)[None]).clamp(-1, 1)
    bands = picture.getbands()
    levels = np.empty((len(bands), picture.height, picture.width), np.uint8)
    # Pillow separates channels three times as fast as numpy transposes them; torch would do so in
    # threads of its own, which would compete with those that decode.
    for level, band in zip(levels, bands, strict=True):
        level[:] = np.frombuffer(picture.tobytes("raw", band), np.uint8).reshape(level.shape)
    return torch.from_numpy(levels)


def to_picture(image: Tensor) -> Image.Image:
    """A picture of 8 bits from an image in memory, (C, H, W), of 1, 3 or 4 channels.

    Raises:
        ValueError: another number of channels.
    """
    mode_of(image.shape[0])
    image = to_uint8(image)
    levels = image[0] if image.shape[0] == 1 else image.permute(1, 2, 0)
    return Image.fromarray(levels.contiguous().numpy())
