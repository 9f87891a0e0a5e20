"""Source, size, channels -> Source, whose images are all of that shape."""

import math
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from adm.data.files import RGB, Files, is_grey
from adm.data.pixels import MAX_PIXELS, MODES, mode_of, to_picture, to_tensor, with_channels
from adm.data.source import Source, unequal
from adm.data.split import shuffle
from adm.images import UINT8, Range, to_float
from adm.spec import out_of_range, written

MEASURED = 10_000  # images of the standard deviation, whose error is then below a percent
LEVELS = 65535  # to which pixels are rounded to add them exactly; a multiple of 255
TOGETHER = 256  # images read at a time
CHECKED = 2_000  # headers read on opening; those of a million files would take many minutes


def at_one_size(
    source: Source,
    *,
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    check: bool = True,
    stored: Range = UINT8,
) -> Source:
    """Resize and crop image files, and pad arrays with black, to one size; convert the channels.

    Arrays have their size on purpose, so they are not resampled: a smaller size is an error.

    Args:
        source: from `registry.find`.
        size: (H, W); None for the images' own.
        channels: 1, 3 or 4; by default 3 for image files, or 1 if their range is not that of 8
            bits, and their own for arrays. Arrays with another number of channels cannot be
            converted.
        check: read the headers of up to `CHECKED` files, spread evenly, now and not hours later.
            Their sizes must be equal if `size` is None.
        stored: range of the values.

    Raises:
        CorruptImage: a file that is not an image, or too large.
        ValueError: an invalid size or number of channels; files of unequal sizes; arrays that are
            larger, of another range, or cannot be converted.
    """
    if size is not None and (min(size) < 1 or math.prod(size) > MAX_PIXELS):
        raise out_of_range("size", f"(H, W), from 1x1 to {MAX_PIXELS} pixels", size)
    if source.files is None:
        return _fit_arrays(source, size, channels, stored)
    usual = RGB if stored == UINT8 else 1
    channels = usual if channels is None else channels
    mode_of(channels)
    if usual == 1 != channels:
        raise out_of_range("channels", f"1 (grey) for files of {written(stored)}", channels)
    files = replace(source.files, size=size, channels=channels)
    if check:
        sizes: dict[tuple[int, int], int] = {}
        for row in map(source.row, spread(len(source))):
            sizes[files.own_size(row)] = row
        if size is None and len(sizes) > 1:
            (first, one), (second, other) = list(sizes.items())[:2]
            raise unequal(files.path(one), first, files.path(other), second)
    return replace(source, images=files, range=stored)


def channels_of(source: Source) -> int:
    """Return the number of channels to train with: that of arrays, and 1 or 3 of image files.

    Image files count as grey if none of up to `CHECKED` of them, spread evenly, is stored in
    colour; their headers are read until the first that is.

    Args:
        source: from `registry.find`.
    """
    if source.files is None:
        return source.shape[0]
    for index in spread(len(source)):
        with source.files.picture(source.row(index)) as picture:
            if not is_grey(picture):
                return RGB
    return 1


def spread(count: int) -> range:
    """Return the indices of up to `CHECKED` images, spread evenly."""
    return range(0, count, max(1, -(-count // CHECKED)))


def _fit_arrays(
    source: Source, size: tuple[int, int] | None, channels: int | None, stored: Range
) -> Source:
    """Pad with black on all sides, and convert the channels; all images are like the first."""
    own_channels, *own_size = stored.read(source.read(0).numpy(), source.name).shape
    convert = channels is not None and channels != own_channels
    if channels is not None and convert:
        if own_channels not in MODES or stored != UINT8:
            raise ValueError(
                f"{source.name} has {own_channels} channels and {channels} were requested; only "
                "grey, RGB and RGBA of 8 bits can be converted into each other, so request "
                f"{own_channels}"
            )
        mode_of(channels)
    margins = _margins(source.name, (own_size[0], own_size[1]), size) if size else None
    if not convert and margins is None and stored == UINT8:
        return source
    values = source.images
    assert not isinstance(values, Files)

    def read(rows: list[int]) -> Tensor:
        images = stored.read(values(rows).numpy(), source.name)
        if channels is not None and convert:
            images = _convert(images, channels)
        black = 0 if stored == UINT8 else -1
        return F.pad(images, margins, value=black) if margins else images

    return replace(source, images=read, range=stored)


def _convert(images: Tensor, channels: int) -> Tensor:
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


def deviation_of(source: Source, seed: int) -> float:
    """Return the standard deviation of pixels in [-1, 1] about their mean, to four decimals.

    It is that of at most `MEASURED` images, which the seed chooses.

    Args:
        source: images of one shape.
    """
    order = shuffle(seed, len(source), 0, min(len(source), MEASURED))
    count = total = squares = 0  # exact, and so independent of the order
    for start in range(0, len(order), TOGETHER):
        images = to_float(source.batch(order[start : start + TOGETHER])[0]).double()
        pixels = ((images + 1) * LEVELS / 2).round().long()
        count += pixels.numel()
        total += int(pixels.sum())
        squares += int(pixels.square().sum())
    return round(math.sqrt(squares * count - total**2) / count / (LEVELS / 2), 4)
