"""x_t, level -> Prediction, gradient, logits and likelihood of a Gaussian mixture, exactly.

Letters in shapes: B images, K components, D = C x H x W pixels. All is float64.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from adm.diffusion import Denoise, Level, Prediction, Schedule, Variance, process
from adm.diffusion.schedule import at
from adm.guidance.gradients import Gradient
from adm.samplers import SAMPLERS, Noise, Sampler, State
from adm.spec import parse


class Moments(NamedTuple):
    """(B, C, H, W) each: mean and variance of every pixel."""

    mean: Tensor
    variance: Tensor


@dataclass(frozen=True, eq=False)
class Mixture:
    """An isotropic Gaussian mixture over images.

    A component stays normal when noise is added: at level t it has mean sqrt(alpha_bar) m_k and
    variance v_k = alpha_bar s_k + 1 - alpha_bar, so every law of the process has a closed form.

    Attributes:
        means: (K, C, H, W), m_k.
        variances: (K,), s_k; 0 for a component that is one image.
        weights: (K,), summing to 1.
        labels: (K,) int64, the class of each component; 0..max, several may share one.
    """

    means: Tensor
    variances: Tensor
    weights: Tensor
    labels: Tensor

    @property
    def classes(self) -> int:
        return int(self.labels.max()) + 1

    @property
    def class_weights(self) -> Tensor:
        """(classes,) p(y)."""
        return torch.stack([self.weights[self.labels == y].sum() for y in range(self.classes)])

    @property
    def mean(self) -> Tensor:
        """(D,) of x_0."""
        return self.weights @ self.means.flatten(1)

    @property
    def covariance(self) -> Tensor:
        """(D, D) of x_0."""
        away = self.means.flatten(1) - self.mean
        within = (self.weights * self.variances).sum() * torch.eye(away.shape[1]).double()
        return within + torch.einsum("k,ki,kj->ij", self.weights, away, away)

    def sample(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw (count, C, H, W) clean images and their (count,) labels."""
        drawn = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        noise = torch.randn(count, *self.means.shape[1:], dtype=torch.float64, generator=generator)
        spread = self.variances[drawn].sqrt().reshape(-1, 1, 1, 1)
        return self.means[drawn] + spread * noise, self.labels[drawn]

    def posterior(self, matrix: Tensor, y: Tensor, sigma: float) -> "Posterior":
        """x_0 given y = matrix x_0 + sigma noise; matrix (M, D), y (M,)."""
        means, eye = self.means.flatten(1), torch.eye(matrix.shape[1]).double()
        noise = sigma**2 * torch.eye(len(y)).double()
        inner = self.variances[:, None, None] * (matrix @ matrix.T) + noise  # (K, M, M)
        gain = self.variances[:, None, None] * matrix.T @ torch.linalg.inv(inner)
        missed = y - means @ matrix.T
        of_each = means + torch.einsum("kdm,km->kd", gain, missed)
        within = self.variances[:, None, None] * eye - gain @ matrix * self.variances[:, None, None]
        likely = torch.distributions.MultivariateNormal(torch.zeros_like(missed), inner)
        weights = (self.weights.log() + likely.log_prob(missed)).softmax(dim=0)
        return Posterior(weights, of_each, within)

    def denoise(self, schedule: Schedule, label: Tensor | None = None) -> Denoise:
        """The ideal model: E[x_0 | x_t], its noise, and the variance of x_(t-1) given x_t.

        Args:
            label: (B,) for the ideal class-conditional model.
        """

        def denoise(x_t: Tensor, level: Level) -> Prediction:
            now = at(schedule.alpha_bar, level, x_t).reshape(-1, 1)
            before = at(schedule.alpha_bar, level - 1, x_t).reshape(-1, 1)
            x_0 = self.earlier(x_t, now, torch.ones_like(now), label).mean
            step = self.earlier(x_t, now, before, label)
            noise = -at(schedule.sigma, level, x_t) * self.score(x_t, now, label)
            return Prediction(x_0, noise, Variance(step.variance, step.variance.log()))

        return denoise

    def gradient(self, schedule: Schedule, label: Tensor) -> Gradient:
        """The gradient of log p(y | x_t): the difference of two scores, by Bayes' rule."""

        def gradient(x_t: Tensor, level: Level, prediction: Prediction) -> Tensor:
            now = at(schedule.alpha_bar, level, x_t).reshape(-1, 1)
            return self.score(x_t, now, label) - self.score(x_t, now)

        return gradient

    def logits(self, schedule: Schedule, x_t: Tensor, level: Level) -> Tensor:
        """(B, classes) log p(y, x_t), the logits of the ideal noisy classifier."""
        joint = self._log_joint(x_t, at(schedule.alpha_bar, level, x_t).reshape(-1, 1))
        of_class = [joint[:, self.labels == y].logsumexp(dim=1) for y in range(self.classes)]
        return torch.stack(of_class, dim=1)

    def classifier(self, schedule: Schedule) -> Callable[[Tensor, Tensor], Tensor]:
        """(x_t, step) -> logits: as `logits`, but by the timestep that a network receives."""

        def classify(x_t: Tensor, step: Tensor) -> Tensor:
            matches = step[:, None] == schedule.timesteps
            assert matches.any(dim=1).all(), f"no level of this schedule is step {step.tolist()}"
            return self.logits(schedule, x_t, matches.int().argmax(dim=1))

        return classify

    def log_density(
        self, schedule: Schedule, x_t: Tensor, level: Level, label: Tensor | None = None
    ) -> Tensor:
        """(B,) nats: log p(x_t), or log p(x_t | y); at level 0 the likelihood of x_0."""
        joint = self._log_joint(x_t, at(schedule.alpha_bar, level, x_t).reshape(-1, 1), label)
        of_label = 0.0 if label is None else self.class_weights[label].log()
        return joint.logsumexp(dim=1) - of_label

    def bits(self, x_0: Tensor) -> Tensor:
        """(B,) bits per dimension of 8-bit images: each pixel stands for its bin.

        The first and the last of the 256 bins reach to infinity.
        """
        x, means = x_0.flatten(1)[:, None], self.means.flatten(1)
        deviation = self.variances.sqrt()[:, None]
        low = torch.where(x < -0.999, -torch.inf, (x - 1 / 255 - means) / deviation)
        high = torch.where(x > 0.999, torch.inf, (x + 1 / 255 - means) / deviation)
        # Mirroring the upper tail keeps its precision.
        low, high = torch.where(low > 0, -high, low), torch.where(low > 0, -low, high)
        bins = (torch.special.ndtr(high) - torch.special.ndtr(low)).log().sum(dim=2)
        return -(self.weights.log() + bins).logsumexp(dim=1) / x.shape[2] / math.log(2)

    def score(self, x_t: Tensor, alpha_bar: Tensor, label: Tensor | None = None) -> Tensor:
        """(B, C, H, W) gradient of log p(x_t), or of log p(x_t | y)."""
        share = self._log_joint(x_t, alpha_bar, label).softmax(dim=1)
        pull = -self._centred(x_t, alpha_bar) / self._spread(alpha_bar)[..., None]
        return (share[..., None] * pull).sum(dim=1).reshape(x_t.shape)

    def earlier(
        self, x_t: Tensor, now: Tensor, before: Tensor, label: Tensor | None = None
    ) -> Moments:
        """Moments of x_s given x_t, for alpha_bar `now` at t and `before` at s, (B or 1, 1)."""
        ratio = now / before
        share = self._log_joint(x_t, now, label).softmax(dim=1)[..., None]
        spread, spread_before = self._spread(now), self._spread(before)
        gain = (ratio.sqrt() * spread_before / spread)[..., None]
        of_each = before.sqrt()[..., None] * self.means.flatten(1)
        of_each = of_each + gain * self._centred(x_t, now)
        mean = (share * of_each).sum(dim=1)
        within = (spread_before * (1 - ratio) / spread)[..., None]
        variance = (share * (within + (of_each - mean[:, None]) ** 2)).sum(dim=1)
        return Moments(mean.reshape(x_t.shape), variance.reshape(x_t.shape))

    def _spread(self, alpha_bar: Tensor) -> Tensor:
        return alpha_bar * self.variances + 1 - alpha_bar  # (B or 1, K)

    def _centred(self, x_t: Tensor, alpha_bar: Tensor) -> Tensor:
        return x_t.flatten(1)[:, None] - alpha_bar.sqrt()[..., None] * self.means.flatten(1)

    def _log_joint(self, x_t: Tensor, alpha_bar: Tensor, label: Tensor | None = None) -> Tensor:
        """(B, K) log p(k, x_t); minus infinity for components of another class."""
        spread, centred = self._spread(alpha_bar), self._centred(x_t, alpha_bar)
        size = centred.shape[2]
        joint = self.weights.log() - 0.5 * size * (2 * math.pi * spread).log()
        joint = joint - 0.5 * (centred**2).sum(dim=2) / spread
        return (
            joint if label is None else joint.masked_fill(self.labels != label[:, None], -math.inf)
        )


@dataclass(frozen=True, eq=False)
class Posterior:
    """A mixture of K normal components in D dimensions.

    Attributes:
        weights: (K,).
        means: (K, D).
        covariances: (K, D, D), of each component.
    """

    weights: Tensor
    means: Tensor
    covariances: Tensor

    @property
    def mean(self) -> Tensor:
        """(D,)."""
        return self.weights @ self.means

    @property
    def covariance(self) -> Tensor:
        """(D, D)."""
        away = self.means - self.mean
        between = torch.einsum("k,ki,kj->ij", self.weights, away, away)
        return torch.einsum("k,kij->ij", self.weights, self.covariances) + between

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw (count, D)."""
        drawn = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        noise = torch.randn(count, self.means.shape[1], dtype=torch.float64, generator=generator)
        roots = torch.linalg.cholesky(self.covariances)[drawn]
        return self.means[drawn] + torch.einsum("nij,nj->ni", roots, noise)


def four_modes() -> Mixture:
    """1x2x2 images of three classes, one of which has two modes."""
    means = [
        [0.7, 0.5, -0.3, 0.1],
        [-0.6, 0.4, 0.5, -0.2],
        [0.1, -0.7, 0.6, 0.4],
        [-0.4, -0.3, -0.6, 0.3],
    ]
    return Mixture(
        torch.tensor(means, dtype=torch.float64).reshape(4, 1, 2, 2),
        torch.tensor([0.03, 0.05, 0.02, 0.04], dtype=torch.float64),
        torch.tensor([0.4, 0.25, 0.2, 0.15], dtype=torch.float64),
        torch.tensor([0, 1, 1, 2]),
    )


def one_gaussian(variance: float) -> Mixture:
    """1x2x2 images around one mean."""
    mean = torch.tensor([0.3, -0.2, 0.1, 0.05], dtype=torch.float64).reshape(1, 1, 2, 2)
    one = torch.ones(1, dtype=torch.float64)
    return Mixture(mean, variance * one, one, torch.zeros(1, dtype=torch.int64))


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(shape: tuple[int, ...], seed: int) -> Tensor:
    """Float64 standard normal."""
    return torch.randn(shape, dtype=torch.float64, generator=seeded(seed))


def by_angle(steps: int, first: float, last: float = 1.5) -> Schedule:
    """Levels evenly spaced in the angle whose cosine is the signal and whose sine the noise.

    Args:
        first: angle of level 1; the clean image is angle 0.
        last: angle of level T; pure noise is pi / 2.
    """
    zero = torch.zeros(1, dtype=torch.float64)
    angles = torch.cat([zero, torch.linspace(first, last, steps, dtype=torch.float64)])
    return Schedule(angles.cos() ** 2, torch.arange(-1, steps, dtype=torch.float32))


def noise_like(x: Tensor, seed: int = 100) -> Noise:
    """Noise for a sampler, independent for each level."""
    return lambda level, draw=0: normal(tuple(x.shape), seed + level)


def mean_of(schedule: Schedule, prediction: Prediction, x_t: Tensor, level: Level) -> Tensor:
    """The mean of p(x_(t-1) | x_t)."""
    return process.posterior(schedule, prediction.x_0, x_t, level).mean


def fixed_variance(denoise: Denoise, schedule: Schedule) -> Denoise:
    """The same with the posterior's variance, in place of the model's."""

    def fixed(x_t: Tensor, level: Level) -> Prediction:
        value, log = schedule.posterior_variance, schedule.posterior_log_variance
        variance = Variance(at(value, level, x_t), at(log, level, x_t))
        return replace(denoise(x_t, level), variance=variance)

    return fixed


def counted(denoise: Denoise) -> tuple[Denoise, list[Level]]:
    """The same, and a list to which it appends the level of each call."""
    calls: list[Level] = []

    def counting(x_t: Tensor, level: Level) -> Prediction:
        calls.append(level)
        return denoise(x_t, level)

    return counting, calls


def sampler_of(spec: str) -> Sampler:
    return parse(SAMPLERS, spec, "sampler")


def last(states: Iterable[State]) -> Tensor:
    """The finished images of a sampler."""
    *_, state = states
    return state.x


def rms(x: Tensor) -> float:
    return x.square().mean().sqrt().item()


def slope(steps: Sequence[int], errors: Sequence[float]) -> float:
    """The rate at which errors fall with the number of steps: the order, for an ODE."""
    return -float(np.polyfit(np.log(steps), np.log(errors), 1)[0])
