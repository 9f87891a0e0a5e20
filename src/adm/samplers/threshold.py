"""x_0 -> x_0 within [-1, 1], the range of images: Clip, Dynamic."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor

from adm.diffusion import clip, dynamic
from adm.spec import Checked


class Thresholding(Checked):
    """How estimates of x_0 are limited to the range of images."""

    @abstractmethod
    def __call__(self, x_0: Tensor) -> Tensor: ...


@dataclass(frozen=True, kw_only=True)
class Clip(Thresholding):
    """Clip pixels to [-1, 1]."""

    name: ClassVar[str] = "clip"

    def __call__(self, x_0: Tensor) -> Tensor:
        return clip(x_0)


@dataclass(frozen=True, kw_only=True)
class Dynamic(Thresholding):
    """Dynamic thresholding of each image (Saharia et al. 2022), meant for several channels.

    Attributes:
        quantile: of the magnitudes, by which an image is divided if it exceeds 1.
    """

    quantile: Annotated[float, Field(gt=0, le=1)] = 0.995
    name: ClassVar[str] = "dynamic"

    def __call__(self, x_0: Tensor) -> Tensor:
        return dynamic(x_0, self.quantile)


THRESHOLDS: dict[str, type[Thresholding]] = {kind.name: kind for kind in (Clip, Dynamic)}
