"""Schedule -> Tables; nodes, interval -> weights; Denoise, Gradient -> Denoise: shared by solvers.

A solver integrates the probability-flow ODE, which has two convenient forms. In ratio = sigma /
signal, the derivative of x / signal is the noise (DDIM, section 4.3). In half the log-SNR lambda =
log(signal / sigma), with the linear part treated exactly, the integrand is x_0 (Lu et al. 2022b,
proposition 4.1). A multistep method replaces the integrand by the polynomial through its values at
the latest levels. Coefficients are Python floats, known before the step, so that no step waits for
a device.
"""

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from adm.diffusion import Denoise, Schedule, Threshold, clip
from adm.guidance import Gradient, folded, thresholded
from adm.samplers.sampler import Sampler
from adm.samplers.state import Noise, State
from adm.spec import out_of_range

# Gauss-Legendre points and weights on [-1, 1]: exact for polynomials, and to 1e-12 for polynomials
# times exp(-z u) up to z = 60, far beyond the largest step in lambda.
_POINTS, _SHARES = np.polynomial.legendre.leggauss(32)


@dataclass(frozen=True)
class Tables:
    """The coefficients of a schedule as Python floats, one for each level.

    Attributes:
        signal: factor of the image in x_t.
        sigma: factor of the noise in x_t.
        ratio: sigma / signal; 0 at level 0.
        half_log_snr: lambda = log(signal / sigma); infinite at level 0.
    """

    signal: list[float]
    sigma: list[float]
    ratio: list[float]
    half_log_snr: list[float]

    @classmethod
    def of(cls, schedule: Schedule) -> "Tables":
        """Return the tables of a schedule."""
        signal, sigma = _floats(schedule.signal), _floats(schedule.sigma)
        ratio = [noise / image for image, noise in zip(signal, sigma, strict=True)]
        return cls(signal, sigma, ratio, _floats(schedule.log_snr / 2))


@dataclass(frozen=True, kw_only=True)
class Solver(Sampler):
    """A sampler that evaluates nothing but a denoiser, into which guidance is folded."""

    def __call__(
        self,
        denoise: Denoise,
        x: Tensor,
        schedule: Schedule,
        noise: Noise,
        gradient: Gradient | None = None,
        threshold: Threshold = clip,
    ) -> Iterator[State]:
        if gradient is not None:
            denoise = folded(denoise, gradient, schedule)  # Algorithm 2
        if getattr(self, "clip_again", False):
            denoise = thresholded(denoise, threshold, schedule)
        return self.solve(denoise, x, schedule, noise)

    @abstractmethod
    def solve(
        self, denoise: Denoise, x: Tensor, schedule: Schedule, noise: Noise
    ) -> Iterator[State]:
        """Sample one batch with the guided denoiser; see `Sampler.__call__`."""


def orders(order: int, last: int, lower_order_final: bool) -> list[int]:
    """Return the order of the step that leaves each level, for levels 0..`last`.

    The first steps have fewer values to extrapolate from. With `lower_order_final` the step that
    leaves level t has at most order t, as an extrapolation to the clean image amplifies errors.
    """
    available = [min(order, last - level + 1) for level in range(last + 1)]
    return [min(n, level) for level, n in enumerate(available)] if lower_order_final else available


@dataclass(frozen=True, kw_only=True)
class Multistep(Sampler):
    """A sampler whose steps extrapolate from the values at the latest `order` levels."""

    order: int

    def evaluations(self, steps: int) -> int:
        if steps < self.order:
            raise out_of_range(
                "steps",
                f"at least {self.order} for {self.name} of order {self.order}",
                steps,
                f"pass more, or {{sampler={self.name}:order={steps}}}",
            )
        return steps


def adams(nodes: Sequence[float], start: float, end: float) -> list[float]:
    """Return the weights of Adams's method with uneven steps.

    They integrate the polynomial through values at the nodes from `start` to `end`, so that they
    sum to end - start. At four even steps behind `start` they are (55, -59, 37, -9) / 24 times it.
    """
    return _integrals(nodes, start, end, np.ones_like)


def exponential(nodes: Sequence[float], start: float, end: float, rate: float = 1) -> list[float]:
    """Return the weights of the exponential Adams method with uneven steps.

    They integrate the polynomial through values at the nodes, times rate exp(-rate (end - u)),
    from `start` to `end`, so that they sum to 1 - exp(-rate (end - start)). A line is taken at the
    middle of the step instead of integrated (Lu et al. 2022b, Algorithm 2; Zhao et al. 2023, a_1 =
    1/2), which has the same order and extrapolates less in long steps.

    Args:
        nodes: places of the values; only one if `end` is infinite.
    """
    if math.isinf(end):
        assert len(nodes) == 1, "nothing but a constant has a finite integral"
        return [1.0]
    if len(nodes) == 2:
        total, middle = -math.expm1(-rate * (end - start)), (start + end) / 2
        one, other = nodes
        return [total * (middle - b) / (a - b) for a, b in ((one, other), (other, one))]
    return _integrals(nodes, start, end, lambda u: rate * np.exp(-rate * (end - u)))


class ExponentialSteps:
    """Steps of the ODE, or of an SDE of the same marginals, with a polynomial for x_0.

    Args:
        schedule: the levels visited.
        etas: eta of the step that leaves each level, for levels 0..T; 0 for the ODE.
        noise: evaluated once for each step with an eta above 0.
    """

    def __init__(self, schedule: Schedule, etas: Sequence[float], noise: Noise) -> None:
        self.table, self.last = Tables.of(schedule), schedule.last
        self.etas, self.noise = etas, noise

    def drawn(self, t: int) -> Tensor | None:
        """Return the noise of the step that leaves level t; None if it has none."""
        return self.noise(t) if self.etas[t] else None

    def step(
        self, x: Tensor, t: int, x_0: Sequence[Tensor], newest: int, drawn: Tensor | None
    ) -> Tensor:
        """Go from level t to t - 1.

        Args:
            x_0: the values that the polynomial goes through, the latest first.
            newest: level of the first value: t to predict, t - 1 to correct.
        """
        table, eta = self.table, self.etas[t]
        start, end = table.half_log_snr[t], table.half_log_snr[t - 1]
        nodes = table.half_log_snr[newest : newest + len(x_0)]
        weights = exponential(nodes, start, end, 1 + eta**2)
        left = (table.ratio[t - 1] / table.ratio[t]) ** eta**2  # of the old noise
        x = table.sigma[t - 1] / table.sigma[t] * left * x + weighted(
            [table.signal[t - 1] * weight for weight in weights], x_0
        )
        return x if drawn is None else x + table.sigma[t - 1] * (1 - left**2) ** 0.5 * drawn


def weighted(weights: Sequence[float], values: Sequence[Tensor]) -> Tensor:
    """Return the sum of values times weights."""
    terms = [weight * value for weight, value in zip(weights, values, strict=True)]
    return sum(terms[1:], start=terms[0])


def _floats(table: Tensor) -> list[float]:
    return [float(value) for value in table]


def _integrals(
    nodes: Sequence[float],
    start: float,
    end: float,
    density: Callable[[NDArray[np.float64]], NDArray[np.float64]],
) -> list[float]:
    """Integrate density times each Lagrange polynomial of the nodes from `start` to `end`."""
    u = (start + end) / 2 + (end - start) / 2 * _POINTS
    shares = (end - start) / 2 * _SHARES * density(u)
    return [
        float((shares * np.prod([(u - m) / (n - m) for m in nodes if m != n], axis=0)).sum())
        for n in nodes
    ]
