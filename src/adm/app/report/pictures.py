"""uint8 images -> bytes of a PNG picture of them, for the grids of a page."""

from torch import Tensor

from adm.pictures import LEAST, grid, png

MOST = 128  # most pixels of the longer side of an image


def tiles(images: Tensor, across: int) -> bytes:
    """Return images (N, C, H, W) uint8 in rows of `across`, as a PNG file."""
    zoom = max(1, LEAST // max(images.shape[2:]))
    return png(grid(images, across, zoom=zoom, most=MOST))
