"""uint8 images 0..255 <-> float images [-1, 1]; any shape."""

from torch import Tensor


def to_float(images: Tensor) -> Tensor:
    """uint8 0..255 -> float32 [-1, 1]."""
    return images.float() / 127.5 - 1


def to_uint8(images: Tensor) -> Tensor:
    """float [-1, 1] -> uint8, rounded to the nearest integer; the exact inverse of `to_float`."""
    return ((images.float() + 1) * 127.5).round().clamp(0, 255).byte()


def to_uint8_truncated(images: Tensor) -> Tensor:
    """float [-1, 1] -> uint8, truncated as in the released system, to reproduce its numbers.

    It maps the `to_float` of 63 of the 256 values to the next lower value.
    """
    return ((images + 1) * 127.5).clamp(0, 255).byte()


ROUNDING = {"nearest": to_uint8, "truncated": to_uint8_truncated}
