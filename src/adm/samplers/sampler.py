"""Denoise, x_T, Schedule, Noise, Gradient -> Iterator[State]: what all samplers have in common."""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from adm.diffusion import Denoise, Schedule, Threshold, clip
from adm.guidance import Gradient
from adm.samplers.state import Noise, State
from adm.spec import Checked


@dataclass(frozen=True, kw_only=True)
class Sampler(Checked):
    """A sampler with its parameters.

    Attributes:
        draws: whether it samples from p(x_(t-1) | x_t) with the variance of the model, rather than
            solves an ODE or SDE of the denoiser.
        splits: whether it takes the gradient before the network is evaluated, so that the gradient
            cannot depend on the prediction.
        elsewhere: whether it takes the gradient at another point than the network is evaluated at.
    """

    draws: ClassVar[bool] = False
    splits: ClassVar[bool] = False

    @property
    def elsewhere(self) -> bool:
        return False

    def evaluations(self, steps: int) -> int:
        """Return the network evaluations per image in so many steps.

        Raises:
            SettingError: it cannot take so few steps.
        """
        return steps

    @abstractmethod
    def __call__(
        self,
        denoise: Denoise,
        x: Tensor,
        schedule: Schedule,
        noise: Noise,
        gradient: Gradient | None = None,
        threshold: Threshold = clip,
    ) -> Iterator[State]:
        """Sample one batch.

        Args:
            x: (B, C, H, W) pure noise.
            noise: of the steps; not every sampler uses it.
            gradient: gradient of log p(y | x_t), scaled; None for no guidance.
            threshold: what `clip_again` of some samplers applies after guidance.

        Yields:
            State after every step.
        """


def again(sampler: Sampler, threshold: Threshold) -> Threshold | None:
    """Return the threshold after guidance, of a sampler with `clip_again`; None without."""
    return threshold if getattr(sampler, "clip_again", False) else None
