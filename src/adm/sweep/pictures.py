"""uint8 images, figures -> PNG bytes, and how a page holds them."""

import base64
import io

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from adm.data.pixels import to_picture

GAP = 1  # pixels between images, before zooming
LEAST, MOST = 56, 128  # pixels of a tile's longer side


def tiled(images: Tensor, across: int, background: int = 255) -> Image.Image:
    """(N, C, H, W) uint8 -> one picture, row by row, small images enlarged by a whole factor.

    Of other numbers of channels than 1, 3 and 4, the first is shown.
    """
    if images.shape[1] not in (1, 3, 4):
        images = images[:, :1]
    count, channels, height, width = images.shape
    down = -(-count // across)
    canvas = np.full(
        (channels, down * (height + GAP) - GAP, across * (width + GAP) - GAP), background, np.uint8
    )
    for i, image in enumerate(images.numpy()):
        top, left = (i // across) * (height + GAP), (i % across) * (width + GAP)
        canvas[:, top : top + height, left : left + width] = image
    picture = to_picture(torch.from_numpy(canvas))
    longer = max(height, width)
    if longer > MOST:
        picture.thumbnail((picture.width * MOST // longer, picture.height * MOST // longer))
        return picture
    zoom = max(1, LEAST // longer)
    size = (picture.width * zoom, picture.height * zoom)
    return picture.resize(size, Image.Resampling.NEAREST)


def png(drawn: Image.Image | Figure) -> bytes:
    """The same bytes for the same picture or figure."""
    buffer = io.BytesIO()
    if isinstance(drawn, Figure):
        drawn.savefig(buffer, format="png", metadata={"Software": None})
    else:
        drawn.save(buffer, "PNG")
    return buffer.getvalue()


def data_uri(content: bytes) -> str:
    """A PNG as an address that holds it, so that a page needs no file beside it."""
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"
