"""Schedule, end, start, count -> levels between those of 1..T, ascending, even in a variable.

They are fractional levels (see `Schedule.visiting`), for samplers that take few steps.
"""

import torch
from torch import Tensor

from adm.diffusion.schedule import Schedule

RHO = 7.0  # Karras et al. 2022, section 3
MOST_NOISE = 80.0  # sigma / signal at which they start sampling
LEAST_NOISE = 2.0  # sigma / signal at the least noisy level, times the number of levels


def log_snr(schedule: Schedule, end: float, start: float, count: int) -> list[float]:
    """Return `count` levels that are even in the log of the signal-to-noise ratio.

    Args:
        end: the least noisy level, 1 or more.
        start: the noisiest level, at most T.
        count: at least 2; both ends are included.
    """
    low, high = map(float, schedule.log_snr_at([end, start]))
    return _between(schedule, end, start, _even(low, high, count))


def karras(schedule: Schedule, end: float, start: float, count: int) -> list[float]:
    """Return `count` levels that are even in (sigma / signal)^(1/7) (Karras et al. 2022, eq. 5).

    Args:
        end, start, count: as for `log_snr`.
    """
    low, high = map(float, noise_at(schedule, [end, start]).pow(1 / RHO))
    return _between(schedule, end, start, -2 * RHO * _even(low, high, count).log())


def noise_at(schedule: Schedule, levels: list[float]) -> Tensor:
    """Return sigma / signal at some levels, which may be fractional."""
    return (-0.5 * schedule.log_snr_at(levels)).exp()


def default_start(schedule: Schedule) -> int:
    """Return the noisiest whole level at which sigma / signal is at most `MOST_NOISE`.

    The last levels of a cosine schedule have a ratio of up to 20,000. There x_t is the same noise
    to any network, and a spacing that is even in the noise would spend its steps on them.
    """
    noise = (-0.5 * schedule.log_snr[1:]).exp()
    return max(2, int((noise <= MOST_NOISE).sum()))


def default_end(schedule: Schedule, start: int, count: int) -> float:
    """Return the level at which sigma / signal is `LEAST_NOISE` / `count`; 1 if `start` is below.

    The last step goes from there to the clean image. With few levels a longer last step leaves more
    of them for the noise above, where images differ more.
    """
    target = -2 * torch.tensor([LEAST_NOISE / count], dtype=torch.float64).log()
    level = float(schedule.level_of(target))
    return level if level < start else 1.0


def _even(low: float, high: float, count: int) -> Tensor:
    return torch.linspace(low, high, count, dtype=torch.float64)


def _between(schedule: Schedule, end: float, start: float, log_snr: Tensor) -> list[float]:
    """Return the levels of these log-SNRs, with both ends unchanged."""
    return [float(end), *map(float, schedule.level_of(log_snr[1:-1])), float(start)]
