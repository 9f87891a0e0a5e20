"""a source of equal images, size, channels -> the same source at that size and channels."""

from dataclasses import replace

from torch import Tensor
from torch.nn import functional as F

from adm.data.pixels import mode_of, to_picture, to_tensor, with_channels
from adm.data.source import Source


def fitted(source: Source, size: tuple[int, int] | None, channels: int | None) -> Source:
    """Pad with black around the centre, and convert the channels.

    Arrays are made at a size on purpose, so none is resampled: a smaller size is refused.

    Args:
        source: its images all have the shape of the first.
        size: (H, W), or None for the images' own.
        channels: 1, 3 or 4, or None for the images' own.

    Raises:
        ValueError: the size is smaller than the images, or the channels are none of these.
    """
    own_channels, *own_size = source.read(0).shape
    if channels is not None:
        mode_of(channels)
    convert = channels is not None and channels != own_channels
    margins = _margins(source.name, (own_size[0], own_size[1]), size) if size else None
    if not convert and margins is None:
        return source

    def read(index: int) -> Tensor:
        image = source.read(index)
        if channels is not None and convert:
            image = to_tensor(with_channels(to_picture(image), channels))
        return F.pad(image, margins) if margins else image

    return replace(source, read=read)


def _margins(name: str, own: tuple[int, int], size: tuple[int, int]) -> list[int] | None:
    """(left, right, top, bottom), None where the size is right already."""
    down, right = size[0] - own[0], size[1] - own[1]
    if down < 0 or right < 0:
        raise ValueError(
            f"{name} holds {own[0]}x{own[1]} images and {size[0]}x{size[1]} was asked for; ask for "
            f"{max(own[0], size[0])}x{max(own[1], size[1])} (padded with black), or give a folder "
            "of image files, which are resized"
        )
    if not down and not right:
        return None
    return [right // 2, right - right // 2, down // 2, down - down // 2]
