"""Bytes that a page has sent -> uint8 (C, H, W); uint8 images -> base64 of what a page shows."""

import base64
from collections.abc import Sequence
from io import BytesIO

from torch import Tensor

from adm.data.files import Files
from adm.data.pixels import MODES, to_picture
from adm.pictures import colours, fit, grid, png, tile_size, webp
from adm.spec import SettingError

MOST_BYTES = 2 << 20  # of a picture that a page sends
MOST_PIXELS = 1 << 24
LEAST, MOST = 224, 512  # pixels of the longer side of a film


def decode(content: bytes, shape: tuple[int, int, int]) -> Tensor:
    """Return the image of an encoded picture, resized and cropped to the shape (C, H, W).

    Raises:
        ValueError: it is no picture, or a larger one than a page may send.
    """
    files = Files(lambda row: BytesIO(content), lambda row: "the picture", shape[1:], shape[0])
    height, width = files.own_size(0)
    if height * width > MOST_PIXELS:
        sentence = f"{{}} is {height}x{width}, and may have {MOST_PIXELS:,} pixels; shrink it"
        raise SettingError("picture", sentence)
    return files.read(0)


def fitted(content: bytes, shape: tuple[int, int, int]) -> bytes:
    """Return a PNG of the image that `decode` returns, which it decodes to the same.

    Raises:
        ValueError: as `decode`.
    """
    return _exact(decode(content, shape))


def exact(image: Tensor) -> str:
    """(C, H, W) -> PNG with its own pixels; of a number of channels that PNG lacks, as it looks."""
    return encode(_exact(image))


def _exact(image: Tensor) -> bytes:
    return png(to_picture(image) if image.shape[0] in MODES else colours(image))


def strip(images: Tensor) -> str:
    """(N, C, H, W) -> PNG of them side by side, without a gap."""
    return encode(png(grid(images, len(images), zoom=1, gap=0)))


def animate(images: Sequence[Tensor], milliseconds: Sequence[int]) -> str:
    """(C, H, W) each -> animated WebP, enlarged by an integer factor."""
    height, width = tile_size((images[0].shape[1], images[0].shape[2]), LEAST, MOST)
    return encode(webp([fit(image, (height, width)) for image in images], milliseconds))


def encode(content: bytes) -> str:
    """Return base64, as a page has it in the address of an image."""
    return base64.b64encode(content).decode()
