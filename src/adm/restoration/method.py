"""Prior, Measurement -> Iterator[State], samples of images consistent with a measurement."""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from adm.diffusion import Denoise, Schedule, Threshold
from adm.guidance import Gradient, folded, thresholded, total
from adm.restoration.measurement import Measurement
from adm.samplers import Noise, Sampler, State
from adm.spec import Checked


@dataclass(frozen=True, eq=False)
class Prior:
    """A model of images, with its guidance other than by the measurement.

    Attributes:
        denoise: without a threshold, with all contrasts.
        schedule: the levels that are visited.
        gradient: of a classifier, scaled; None for none.
        threshold: of estimates of x_0; None for none.
    """

    denoise: Denoise
    schedule: Schedule
    gradient: Gradient | None = None
    threshold: Threshold | None = None

    def guided_denoiser(self) -> Denoise:
        """Return the denoiser of the guided model, with its threshold before guidance."""
        denoise = self.limited(self.denoise)
        if self.gradient is None:
            return denoise
        return folded(denoise, self.gradient, self.schedule)

    def limited(self, denoise: Denoise) -> Denoise:
        """Return a denoiser with the threshold."""
        if self.threshold is None:
            return denoise
        return thresholded(denoise, self.threshold, self.schedule)


@dataclass(frozen=True, kw_only=True)
class Method(Checked):
    """A way to sample images that agree with a measurement.

    Attributes:
        linear: whether the measurement must be linear.
        masks: whether the measurement must be a mask.
        differentiates: whether it differentiates the network, in `backward` passes a call.
        steps: number of levels that its paper visits.
        grid: default levels.
        sampler: default sampler; None for a method that takes its own steps.
        cure: what to change if it diverges.
    """

    linear: ClassVar[bool] = True
    masks: ClassVar[bool] = False
    differentiates: ClassVar[bool] = False
    steps: ClassVar[int] = 100
    grid: ClassVar[str] = "karras"
    sampler: ClassVar[str | None] = None
    cure: ClassVar[str] = "give a larger sigma"

    @property
    def backward(self) -> int:
        """Backward passes through the network for each of its evaluations."""
        return 1 if self.differentiates else 0

    def calls(self, sampler: Sampler, steps: int) -> int:
        """Return the evaluations of the network per image, without backward passes."""
        return sampler.evaluations(steps) if self.sampler else steps

    def states(self, steps: int) -> int:
        """Return the number of states that sampling yields."""
        return steps

    @abstractmethod
    def sample(
        self, prior: Prior, measurement: Measurement, x: Tensor, noise: Noise, sampler: Sampler
    ) -> Iterator[State]:
        """Sample one batch.

        Args:
            x: (B, C, H, W) pure noise.
            noise: of the steps.
            sampler: solves the process of the model conditioned on the measurement; not used by a
                method that takes its own steps.

        Yields:
            State after every step; `x` of the last one is the images.
        """


class Likelihood(Method):
    """A method that is a gradient of log p(y | x_t), added to that of a classifier.

    It is folded into the denoiser (the paper's Algorithm 2), so that any sampler takes it, and
    the threshold is applied after it: a clipped pixel has no gradient.
    """

    differentiates: ClassVar[bool] = True
    sampler: ClassVar[str | None] = "ddim:eta=1"

    @abstractmethod
    def gradient(self, measurement: Measurement, schedule: Schedule) -> Gradient:
        """Return the gradient of log p(y | x_t) with respect to x_t."""

    def sample(
        self, prior: Prior, measurement: Measurement, x: Tensor, noise: Noise, sampler: Sampler
    ) -> Iterator[State]:
        pull = self.gradient(measurement, prior.schedule)
        pull = pull if prior.gradient is None else total(prior.gradient, pull)
        denoise = prior.limited(folded(prior.denoise, pull, prior.schedule))
        return sampler(denoise, x, prior.schedule, noise)


class Projection(Method):
    """A method that changes the guided estimate of x_0 so that it agrees with y."""

    @abstractmethod
    def denoiser(self, guided: Denoise, measurement: Measurement, schedule: Schedule) -> Denoise:
        """Return the denoiser whose estimates agree with the measurement."""

    def sample(
        self, prior: Prior, measurement: Measurement, x: Tensor, noise: Noise, sampler: Sampler
    ) -> Iterator[State]:
        denoise = self.denoiser(prior.guided_denoiser(), measurement, prior.schedule)
        return sampler(denoise, x, prior.schedule, noise)
