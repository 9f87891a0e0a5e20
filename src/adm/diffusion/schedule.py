"""T -> Schedule: alpha_bar and timestep of each noise level.

Level 0 is the clean image and level T the noisiest, so a process of T steps has T + 1 levels.
Respacing a process selects some of its levels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor

from adm.diffusion.transfer import send

Level = int | Tensor  # one level for a whole batch, or (B,) int64


@dataclass(frozen=True, eq=False)
class Schedule:
    """The noise levels of a diffusion process, and the timestep of each.

    Attributes:
        alpha_bar: (T + 1,) float64, decreasing from exactly 1 at level 0: the fraction of the
            image's variance at each level.
        timesteps: (T + 1,) float32, the network's input for each level. Level t has timestep
            t - 1 unless the process is respaced or rescaled. No diffusion model is evaluated at
            level 0, whose timestep is -1.

    Raises:
        ValueError: T is less than 1.
    """

    alpha_bar: Tensor
    timesteps: Tensor

    def __post_init__(self) -> None:
        if len(self.alpha_bar) < 2:
            raise ValueError("a schedule needs level 0 and at least one more; give alpha_bar both")

    def timestep(self, level: Level, x_t: Tensor) -> Tensor:
        """Return the timestep of a level, (B,) float32 on the device of `x_t`.

        Diffusion models and classifiers use this function in training and in sampling.
        """
        if isinstance(level, int):
            # Filled in on the device: a copy from the CPU would wait for what the device computes.
            timestep = float(self.timesteps[level])
            return torch.full((1,), timestep, device=x_t.device).expand(len(x_t))
        return send(self.timesteps, x_t.device)[level.to(x_t.device)]

    @property
    def last(self) -> int:
        """T, the noisiest level."""
        return len(self.alpha_bar) - 1

    @cached_property
    def signal(self) -> Tensor:
        """sqrt(alpha_bar), the factor of the image in x_t."""
        return self.alpha_bar.sqrt()

    @cached_property
    def sigma(self) -> Tensor:
        """sqrt(1 - alpha_bar), the factor of the noise in x_t."""
        return (1 - self.alpha_bar).sqrt()

    @cached_property
    def per_signal(self) -> Tensor:
        """1 / sqrt(alpha_bar)."""
        return (1 / self.alpha_bar).sqrt()

    @cached_property
    def noise_to_signal(self) -> Tensor:
        """sqrt(1 / alpha_bar - 1)."""
        return (1 / self.alpha_bar - 1).sqrt()

    @cached_property
    def beta(self) -> Tensor:
        """1 - alpha_bar_t / alpha_bar_(t-1), the variance of the noise added from level t - 1 to t.

        It is 0 at level 0.
        """
        ratio = self.alpha_bar[1:] / self.alpha_bar[:-1]
        return torch.cat([torch.zeros(1, dtype=torch.float64), 1 - ratio])

    @cached_property
    def posterior_variance(self) -> Tensor:
        """Variance of x_(t-1) given x_t and x_0 (DDPM, equation 7); 0 at levels 0 and 1."""
        before = 1 - self.alpha_bar[:-1]
        variance = self.beta[1:] * before / (1 - self.alpha_bar[1:])
        return torch.cat([torch.zeros(1, dtype=torch.float64), variance])

    @cached_property
    def posterior_log_variance(self) -> Tensor:
        """Log of the posterior variance; levels 0 and 1, where it is 0, have that of level 2."""
        return torch.cat([self.least_variance.repeat(2), self.posterior_variance[2:]]).log()

    @property
    def least_variance(self) -> Tensor:
        """(1,) posterior variance of level 2, the least that is not 0; beta without a level 2."""
        return self.posterior_variance[2:3] if self.last > 1 else self.beta[1:]

    def respaced(self, keep: Sequence[int]) -> "Schedule":
        """Return the process of some levels of this one (Improved DDPM, section 4).

        Everything derived from alpha_bar (beta, the posterior, the learned range) is that of the
        selected levels, while the timesteps remain those of the original process.

        Args:
            keep: levels in 1..T, ascending; level 0 is always included.

        Raises:
            ValueError: there are fewer than two levels, or they are out of range or not ascending.
        """
        _check_steps(len(keep))
        levels = [0, *keep]
        if any(a >= b for a, b in pairwise(levels)) or levels[-1] > self.last:
            raise ValueError(f"keep must be levels in 1..{self.last}, ascending, got {list(keep)}")
        index = torch.tensor(levels)
        return Schedule(self.alpha_bar[index], self.timesteps[index])

    def rescaled(self) -> "Schedule":
        """Rescale the timesteps to [0, 1000) for any T, as the networks of Improved DDPM expect.

        Apply it before respacing: the factor is 1000 / T of the process that was trained on.
        """
        return replace(self, timesteps=self.timesteps * (1000.0 / self.last))

    @cached_property
    def log_snr(self) -> Tensor:
        """log(alpha_bar / (1 - alpha_bar)), the log of the signal-to-noise ratio of each level.

        It decreases with the level, and is infinite at level 0.
        """
        return self.alpha_bar.log() - (1 - self.alpha_bar).log()

    def at_log_snr(self, log_snr: Tensor) -> "Schedule":
        """Return the process with these log-SNRs, which need not be those of any level.

        Between two levels the timestep is interpolated linearly in the log-SNR, so that it may be
        fractional.

        Args:
            log_snr: (N,) ascending from the start of sampling, within the range of levels 1..T.

        Raises:
            ValueError: there are fewer than two values, or they are out of range or not ascending.
        """
        requested = log_snr.double().flip(0)  # in the order of levels
        low, high = float(self.log_snr[-1]), float(self.log_snr[1])
        slack = 1e-9 * (high - low)
        rising = bool((requested.diff() < 0).all()) and len(requested) >= 2
        if not rising or requested[0] > high + slack or requested[-1] < low - slack:
            raise ValueError(
                f"log_snr must be at least two ascending values in [{low:.6g}, {high:.6g}], "
                f"got {log_snr}"
            )
        between = self._interpolated(self.timesteps.double(), self.level_of(requested)).float()
        alpha_bar = torch.cat([self.alpha_bar[:1], requested.sigmoid()])
        return Schedule(alpha_bar, torch.cat([self.timesteps[:1], between]))

    def log_snr_at(self, levels: Sequence[float]) -> Tensor:
        """Return the log-SNR of levels in 1..T, (N,) float64; between two whole ones it is linear.

        Raises:
            ValueError: a level is out of range.
        """
        if not all(1 <= level <= self.last for level in levels):
            raise ValueError(f"levels must be in 1..{self.last}, got {list(levels)}")
        return self._interpolated(self.log_snr, torch.tensor(levels, dtype=torch.float64))

    def level_of(self, log_snr: Tensor) -> Tensor:
        """Return the levels that have these log-SNRs, (N,) float64; inverts `log_snr_at`.

        A log-SNR beyond those of levels 1 and T has the nearer of the two.
        """
        known = -self.log_snr[1:]
        after = torch.searchsorted(known, -log_snr).clamp(1, len(known) - 1)
        share = (-log_snr - known[after - 1]) / (known[after] - known[after - 1])
        return after + share.clamp(0, 1)

    def visiting(self, levels: Sequence[float]) -> "Schedule":
        """Return the process of some levels of this one, which may be fractional.

        Between two levels the log-SNR is interpolated linearly, and so is the timestep. Whole
        levels alone are those of `respaced`, to the bit.

        Args:
            levels: in 1..T, ascending; a single one gives the process of one step, in which a
                distilled model samples.

        Raises:
            ValueError: as `respaced`, but for a single level.
        """
        if len(levels) == 1:
            return self._of_one(levels[0])
        whole = [int(level) for level in levels]
        if whole == list(levels):
            return self.respaced(whole)
        return self.at_log_snr(self.log_snr_at(levels).flip(0))

    def _of_one(self, level: float) -> "Schedule":
        """Return the process of one step from a level, which may be fractional."""
        alpha_bar = self.log_snr_at([level]).sigmoid()
        timestep = self._interpolated(self.timesteps.double(), torch.tensor([level]).double())
        if float(level).is_integer():
            alpha_bar = self.alpha_bar[int(level)][None]
        return Schedule(
            torch.cat([self.alpha_bar[:1], alpha_bar]),
            torch.cat([self.timesteps[:1], timestep.float()]),
        )

    @staticmethod
    def _interpolated(table: Tensor, levels: Tensor) -> Tensor:
        """Look up a table of (T + 1,) values at (N,) levels of 1..T, linearly between two."""
        below = levels.floor().long().clamp(1, len(table) - 2)
        return torch.lerp(table[below], table[below + 1], levels - below)


def at(table: Tensor, level: Level, like: Tensor) -> Tensor:
    """Look up a float64 table by level, then cast to the dtype of `like`.

    Returns:
        (B, 1, 1, 1) on the device of `like`, or a scalar for a single level, in the dtype of
        `like`. A scalar is on the CPU: kernels of any device take it as a number, without the wait
        of a copy.
    """
    if isinstance(level, int):
        return table[level].to(like.dtype)
    values = send(table, like.device, like.dtype)[level.to(like.device)]
    return values.reshape(-1, *[1] * (like.dim() - 1))


def from_betas(betas: Tensor) -> Schedule:
    """(T,) betas in (0, 1] -> Schedule (DDPM, equation 2).

    Raises:
        ValueError: T is less than 2.
    """
    _check_steps(len(betas))
    alpha_bar = torch.cat([torch.ones(1, dtype=torch.float64), (1 - betas.double()).cumprod(0)])
    return Schedule(alpha_bar, torch.arange(-1, len(betas), dtype=torch.float32))


def linear(steps: int) -> Schedule:
    """Return DDPM's schedule: beta rises linearly from 0.1 / T to 20 / T.

    At T = 1000 that is 0.0001 to 0.02 (DDPM, section 4).

    Raises:
        ValueError: there are fewer than 20 steps, so that beta would exceed 1.
    """
    if steps < 20:
        raise ValueError(f"the linear schedule needs at least 20 steps, got {steps}; use cosine")
    scale = 1000 / steps
    return from_betas(torch.linspace(scale * 1e-4, scale * 0.02, steps, dtype=torch.float64))


def cosine(steps: int) -> Schedule:
    """Return Improved DDPM's cosine schedule (equation 17), with beta at most 0.999."""

    def share(time: float) -> float:
        return math.cos((time + 0.008) / 1.008 * math.pi / 2) ** 2

    betas = [min(1 - share((i + 1) / steps) / share(i / steps), 0.999) for i in range(steps)]
    return from_betas(torch.tensor(betas, dtype=torch.float64))


def karras(steps: int) -> Schedule:
    """Return EDM's process of sampling (Karras et al. 2022, equation 5 and table 1).

    sigma / signal rises from 0.002 to 80 in equal steps of its seventh root, and a network
    receives its logarithm times 250, which is 1000 c_noise.
    """
    _check_steps(steps)
    share = torch.linspace(0, 1, steps, dtype=torch.float64)
    low, high = 0.002 ** (1 / 7), 80.0 ** (1 / 7)
    ratio = (low + share * (high - low)) ** 7
    alpha_bar = torch.cat([torch.ones(1, dtype=torch.float64), 1 / (1 + ratio**2)])
    timesteps = torch.cat([torch.tensor([-1.0], dtype=torch.float64), 250 * ratio.log()])
    return Schedule(alpha_bar, timesteps.float())


def _check_steps(count: int) -> None:
    if count < 2:
        raise ValueError(f"a process needs at least 2 steps, got {count}; use 2 or more")
