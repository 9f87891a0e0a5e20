"""Stored values <-> images in memory, uint8 or float [-1, 1] <-> float [-1, 1]; any shape."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from adm.spec import Checked, out_of_range

MOST = 1e30  # of stored values, whose differences then are finite in float32


def to_float(images: Tensor) -> Tensor:
    """uint8 0..255 -> float32 [-1, 1]; floats in [-1, 1] are returned as they are."""
    return images if images.is_floating_point() else images.float() / 127.5 - 1


def to_uint8(images: Tensor) -> Tensor:
    """float [-1, 1] -> uint8, rounded to the nearest integer; the exact inverse of `to_float`.

    Bytes are returned as they are. Features, pictures and pages have images of any `Range` so.
    """
    if images.dtype == torch.uint8:
        return images
    return ((images.float() + 1) * 127.5).round().clamp(0, 255).byte()


def to_uint8_truncated(images: Tensor) -> Tensor:
    """float [-1, 1] -> uint8, truncated as in the released system, to reproduce its numbers.

    It maps the `to_float` of 63 of the 256 values to the next lower value.
    """
    return ((images + 1) * 127.5).clamp(0, 255).byte()


ROUNDING = {"nearest": to_uint8, "truncated": to_uint8_truncated}


@dataclass(frozen=True, kw_only=True)
class Range(Checked):
    """Stored values: `low` is black, -1 for a network, and `high` is white, 1; here, real numbers.

    Images are float32 in [-1, 1] from the file that is read to the file that is written.
    """

    low: Annotated[float, Field(ge=-MOST, le=MOST)]
    high: Annotated[float, Field(ge=-MOST, le=MOST)]
    name: ClassVar[str] = "float"
    dtype: ClassVar[Any] = np.dtype(np.float32)  # of the values that are written
    memory: ClassVar[torch.dtype] = torch.float32  # of images between the files
    encoded: ClassVar[tuple[int, ...]] = ()  # numbers of channels that PNG files can have

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.low >= self.high:
            raise out_of_range("high", f"above low={self.low:g}", self.high)

    def read(self, values: np.ndarray, name: str = "it") -> Tensor:
        """Stored values -> images, of any shape.

        Raises:
            ValueError: values of another type, outside of the range, or not finite; names them.
        """
        if values.dtype == self.dtype == np.uint8:
            return torch.from_numpy(values)
        # In float32, the type of what `write` returns, whose ends may be rounded outwards.
        ends = np.array([self.low, values.min(), values.max(), self.high], np.float32)
        mixed = 1 in (values.itemsize, self.dtype.itemsize)  # bytes, and numbers that are none
        if mixed or not (ends[:-1] <= ends[1:]).all():
            raise ValueError(
                f"{name} has {values.dtype} values from {ends[1]:g} to {ends[2]:g}, and data.range "
                f"is {self.name} from {self.low:g} to {self.high:g}; state the range of all "
                "images, as in data.range=uint16 or float:low=0,high=1, or convert them"
            )
        share = (values.astype(np.float64) - self.low) / (self.high - self.low)
        return torch.from_numpy((2 * share - 1).astype(np.float32))

    def write(self, images: Tensor) -> np.ndarray:
        """Images -> stored values; the inverse of `read`, exact for whole numbers."""
        share = (to_float(images.cpu()).double().clamp(-1, 1).numpy() + 1) / 2
        values = self.low + share * (self.high - self.low)
        return (np.rint(values) if self.dtype.kind == "u" else values).astype(self.dtype)

    def sampled(self, x: Tensor, rounding: str = "nearest") -> Tensor:
        """Float [-1, 1] -> images with stored values, on the CPU; `rounding` is that to 8 bits."""
        if self.dtype == np.uint8:
            return ROUNDING[rounding](x).cpu()
        return self.read(self.write(x))


@dataclass(frozen=True, kw_only=True)
class Uint16(Range):
    """Whole numbers, written as PNG files of 16 bits; of 12 bits with high=4095."""

    low: Annotated[int, Field(ge=0, le=65535)] = 0
    high: Annotated[int, Field(ge=0, le=65535)] = 65535
    name: ClassVar[str] = "uint16"
    dtype: ClassVar[Any] = np.dtype(np.uint16)
    encoded: ClassVar[tuple[int, ...]] = (1,)


@dataclass(frozen=True, kw_only=True)
class Uint8(Range):
    """Bytes, which images stay until a network reads them. Files of 16 bits are rounded to them."""

    low: Literal[0] = 0
    high: Literal[255] = 255
    name: ClassVar[str] = "uint8"
    dtype: ClassVar[Any] = np.dtype(np.uint8)
    memory: ClassVar[torch.dtype] = torch.uint8
    encoded: ClassVar[tuple[int, ...]] = (1, 3, 4)


UINT8 = Uint8()
RANGES: dict[str, type[Range]] = {kind.name: kind for kind in (Uint8, Uint16, Range)}
