"""uint8 images (B, C, H, W) -> float32 RGB at the input size of a network."""

import torch
import torch.nn.functional as F
from torch import Tensor


def rgb(images: Tensor, name: str) -> Tensor:
    """Repeat the channel of grey images: (B, 1 or 3, H, W) uint8 -> (B, 3, H, W) uint8.

    Args:
        name: of the network, for the error.

    Raises:
        ValueError: another number of channels.
    """
    channels = images.shape[1]
    if channels not in (1, 3):
        what = "RGBA images" if channels == 4 else f"images of {channels} channels"
        raise ValueError(
            f"{name} takes grey or RGB images, got {what}; composite them on a background and save "
            "them as RGB, or choose features that take all channels"
        )
    return images.expand(-1, 3, -1, -1)


def tensorflow_bilinear(images: Tensor, size: int) -> Tensor:
    """Resize as TensorFlow 1's `resize_bilinear` does: (B, C, H, W) -> (B, C, size, size) float32.

    Output pixel i is read at i * H / size, so that the first pixels of input and output share
    their corners and not their centres. The two nearest pixels are interpolated without an
    antialiasing filter:

        x = i H / size,  y_i = (1 - frac(x)) x_floor(x) + frac(x) x_min(floor(x) + 1, H - 1)

    First along rows, then along columns, in float32, as in TensorFlow.
    """
    images = images.float()
    for axis in (3, 2):
        length = images.shape[axis]
        step = torch.tensor(length / size, dtype=torch.float32)
        at = torch.arange(size, dtype=torch.float32) * step
        low = at.long()
        high = (low + 1).clamp_max(length - 1)
        share = (at - low).to(images.device).reshape(-1, *[1] * (3 - axis))
        first = images.index_select(axis, low.to(images.device))
        second = images.index_select(axis, high.to(images.device))
        images = first + (second - first) * share
    return images


def smooth_bicubic(images: Tensor, size: int) -> Tensor:
    """Resize the whole image with an antialiased bicubic filter: (B, C, size, size) in [0, 255].

    An image that is not square is squeezed and not cropped.
    """
    resized = F.interpolate(images.float(), (size, size), mode="bicubic", antialias=True)
    return resized.clamp(0, 255)  # cubic weights overshoot at edges
