"""uint8 (C, H, W) <-> float [-1, 1]: the one place where images change form."""

from torch import Tensor


def to_float(images: Tensor) -> Tensor:
    """uint8 0..255 -> float32 [-1, 1]."""
    return images.float() / 127.5 - 1


def to_uint8(images: Tensor) -> Tensor:
    """float [-1, 1] -> uint8, to the nearest level, so that `to_float` is undone exactly."""
    return ((images.float() + 1) * 127.5).round().clamp(0, 255).byte()


def to_uint8_truncated(images: Tensor) -> Tensor:
    """float [-1, 1] -> uint8 as the released system does: 63 of the 256 levels come back one lower.

    For comparing with numbers made by that system.
    """
    return ((images + 1) * 127.5).clamp(0, 255).byte()


ROUNDING = {"nearest": to_uint8, "truncated": to_uint8_truncated}
