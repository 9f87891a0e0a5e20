"""Prior, Measurement -> Iterator[State]: inpainting, RePaint (Lugmayr et al. 2022)."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from adm.diffusion import process
from adm.restoration.measurement import Measurement
from adm.restoration.method import Method, Prior
from adm.samplers import Noise, Sampler, State


@dataclass(frozen=True, kw_only=True)
class RePaint(Method):
    """RePaint (Lugmayr et al. 2022): known pixels are noised, the others are sampled.

    After every step the known pixels of x_(t-1) are those of y with noise of that level. So that
    both parts agree, sampling goes back up by `jump` levels, and down again, `times` times.

    Attributes:
        jump: number of levels.
        times: how often each level is sampled; 1 never goes back.
    """

    jump: Annotated[int, Field(ge=1, le=1000)] = 10
    times: Annotated[int, Field(ge=1, le=1000)] = 10
    name: ClassVar[str] = "repaint"
    masks: ClassVar[bool] = True
    steps: ClassVar[int] = 250
    grid: ClassVar[str] = "even"
    cure: ClassVar[str] = "give fewer {method=repaint:times}"

    def calls(self, sampler: Sampler, steps: int) -> int:
        return self.states(steps)

    def states(self, steps: int) -> int:
        levels = self.visits(steps)
        return sum(to < start for start, to in pairwise(levels))

    def visits(self, last: int) -> list[int]:
        """Return the levels in the order in which they are reached, from T to 0 (appendix B)."""
        left = dict.fromkeys(range(1, last - self.jump, self.jump), self.times - 1)
        levels = [last]
        while levels[-1] > 0:
            levels.append(levels[-1] - 1)
            if left.get(levels[-1], 0) > 0:
                left[levels[-1]] -= 1
                levels += range(levels[-1] + 1, levels[-1] + self.jump + 1)
        return levels

    def sample(
        self, prior: Prior, measurement: Measurement, x: Tensor, noise: Noise, sampler: Sampler
    ) -> Iterator[State]:
        schedule, denoise, mask = prior.schedule, prior.guided_denoiser(), measurement.mask
        assert mask is not None, "a mask"
        y, drawn = measurement.y, Counter[int]()

        def fresh(level: int) -> Tensor:
            drawn[level] += 1
            return noise(level, drawn[level] - 1)

        for start, to in pairwise(self.visits(schedule.last)):
            if to > start:  # one step of the process (DDPM, equation 2)
                alpha = float(schedule.alpha_bar[to] / schedule.alpha_bar[start])
                x = alpha**0.5 * x + (1 - alpha) ** 0.5 * fresh(to)
                continue
            p = denoise(x, start)
            mean = process.posterior(schedule, p.x_0, x, start).mean
            stepped = mean + torch.exp(0.5 * p.variance.log) * fresh(start) if to else mean
            signal, sigma = float(schedule.signal[to]), float(schedule.sigma[to])
            # y has noise of its own, and gets what is missing at this level; the images have none.
            missing = max(sigma**2 - (signal * measurement.sigma) ** 2, 0.0) ** 0.5
            known = signal * y + missing * fresh(start)
            x = mask * known + (1 - mask) * stepped if to or not measurement.sigma else stepped
            yield State(x, to, p)
