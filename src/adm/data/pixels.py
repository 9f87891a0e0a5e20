"""a decoded picture, channels, size -> uint8 (C, H, W)."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

MODES = {1: "L", 3: "RGB", 4: "RGBA"}
MAX_PIXELS = 1 << 26  # 200 MB as RGB; beyond it a file is likelier an attack than a photograph


def mode_of(channels: int) -> str:
    """Pillow's name for so many channels of bytes.

    Raises:
        ValueError: not 1, 3 or 4.
    """
    if channels not in MODES:
        raise ValueError(f"channels must be 1 (grey), 3 (RGB) or 4 (RGBA), got {channels}")
    return MODES[channels]


def with_channels(picture: Image.Image, channels: int) -> Image.Image:
    """Grey (ITU-R 601 luminance), RGB or RGBA; unless alpha is kept, it is composited on white.

    Raises:
        ValueError: 32-bit pixels, whose range no format states.
    """
    mode = mode_of(channels)
    if picture.mode.startswith("I;16"):
        levels = np.asarray(picture).astype(np.uint32)
        picture = Image.fromarray(((levels + 128) // 257).astype(np.uint8))
    elif picture.mode in ("I", "F"):
        raise ValueError("its pixels are 32-bit numbers of unknown range; save it with 8 or 16")
    if mode != "RGBA" and picture.has_transparency_data:
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture.convert("RGBA"))
    return picture.convert(mode)


def cover(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resize so that `size` (H, W) is just covered, then crop the centre, as ADM's data were made.

    Halving by area first lets every pixel count, where bicubic interpolation alone would alias.

    Raises:
        ValueError: so thin that covering `size` would take more than `MAX_PIXELS`.
    """
    height, width = size
    while picture.width >= 2 * width and picture.height >= 2 * height:
        half = (picture.width // 2, picture.height // 2)
        picture = picture.resize(half, Image.Resampling.BOX)
    scale = max(width / picture.width, height / picture.height)
    wide = max(width, round(picture.width * scale))
    high = max(height, round(picture.height * scale))
    if wide * high > MAX_PIXELS:
        raise ValueError(f"too thin to cover {height}x{width}: it would be {high}x{wide}; crop it")
    picture = picture.resize((wide, high), Image.Resampling.BICUBIC)
    left, top = (wide - width) // 2, (high - height) // 2
    return picture.crop((left, top, left + width, top + height))


def to_tensor(picture: Image.Image) -> Tensor:
    """(C, H, W) uint8 of a picture in one of `MODES`."""
    levels = torch.from_numpy(np.array(picture))
    return levels[None] if levels.ndim == 2 else levels.permute(2, 0, 1).contiguous()


def to_picture(image: Tensor) -> Image.Image:
    """The picture of a (C, H, W) uint8 image of 1, 3 or 4 channels.

    Raises:
        ValueError: another number of channels.
    """
    mode_of(image.shape[0])
    levels = image[0] if image.shape[0] == 1 else image.permute(1, 2, 0)
    return Image.fromarray(levels.contiguous().numpy())
