"""Source, size, channels -> Source, padded to that size and converted to those channels."""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from adm.data.pixels import MODES, mode_of, to_picture, to_tensor, with_channels
from adm.data.source import Source


def fitted(source: Source, size: tuple[int, int] | None, channels: int | None) -> Source:
    """Pad with black on all sides, and convert the channels.

    Arrays have their size on purpose, so they are not resampled: a smaller size is an error.

    Args:
        source: all images have the shape of the first.
        size: (H, W), or None for the images' own.
        channels: 1, 3 or 4, if the images have one of these numbers; or None for their own.

    Raises:
        ValueError: the size is smaller than the images, or the channels cannot be converted.
    """
    own_channels, *own_size = source.read(0).shape
    convert = channels is not None and channels != own_channels
    if channels is not None and convert:
        _check_convertible(source.name, own_channels, channels)
    margins = _margins(source.name, (own_size[0], own_size[1]), size) if size else None
    if not convert and margins is None:
        return source

    def fit(images: Tensor) -> Tensor:
        if channels is not None and convert:
            images = _converted(images, channels)
        return F.pad(images, margins) if margins else images

    many = source.read_many
    return replace(
        source,
        read=lambda index: fit(source.read(index)[None])[0],
        read_many=None if many is None else lambda indices: fit(many(indices)),
    )


def _check_convertible(name: str, own: int, channels: int) -> None:
    if own in MODES:
        mode_of(channels)
        return
    raise ValueError(
        f"{name} has {own} channels and {channels} were requested; only grey, RGB and RGBA can be "
        f"converted into each other, so request {own}"
    )


def _converted(images: Tensor, channels: int) -> Tensor:
    """(B, C, H, W) -> (B, channels, H, W), both of 1, 3 or 4 channels."""
    if images.shape[1] == 1 and channels == 3:
        return images.expand(-1, channels, -1, -1).contiguous()
    pictures = map(to_picture, images)
    return torch.stack([to_tensor(with_channels(picture, channels)) for picture in pictures])


def _margins(name: str, own: tuple[int, int], size: tuple[int, int]) -> list[int] | None:
    """(left, right, top, bottom); None if no padding is needed."""
    down, right = size[0] - own[0], size[1] - own[1]
    if down < 0 or right < 0:
        raise ValueError(
            f"{name} has {own[0]}x{own[1]} images and {size[0]}x{size[1]} was requested; request "
            f"{max(own[0], size[0])}x{max(own[1], size[1])} (padded with black), or give a folder "
            "of image files, which are resized"
        )
    if not down and not right:
        return None
    return [right // 2, right - right // 2, down // 2, down - down // 2]
