"""x_0 -> x_0 within [-1, 1], the range of images: Clip, Dynamic."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor

from adm.diffusion import clip
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
        """Shrink an estimate of x_0 to [-1, 1] (Saharia et al. 2022, section 2.3).

        Each image is clipped to [-s, s] and divided by s, a quantile of its magnitudes, which
        changes no image with s <= 1 but by the clip. It preserves contrast that `Clip` saturates,
        which is meant for images of several channels: where most pixels are black or white by
        nature, as in drawings, s exceeds 1 by the noise of the estimate alone.
        """
        magnitude = x_0.flatten(1).abs().float()
        s = magnitude.quantile(self.quantile, dim=1).clamp(min=1).to(x_0.dtype)
        s = s.reshape(-1, *[1] * (x_0.dim() - 1))
        return x_0.clamp(-s, s) / s


THRESHOLDS: dict[str, type[Thresholding]] = {kind.name: kind for kind in (Clip, Dynamic)}
