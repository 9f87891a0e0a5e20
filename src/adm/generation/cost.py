"""Sampling, Schedule -> Counter of calls, Cost, by a trial run without networks."""

import torch
from torch import Tensor

from adm.diffusion import Level, Prediction, Schedule
from adm.diffusion.prediction import Variance
from adm.diffusion.schedule import at
from adm.generation.contrasts import contrasts
from adm.generation.generator import Cost
from adm.generation.guided import guidance
from adm.guidance import Gradient
from adm.samplers import ClassifierGuidance, Sampling


class Counter:
    """Stand-ins of the networks that count their calls.

    Attributes:
        network: number of evaluations of networks that denoise, the weaker ones included.
        backward: number of backward passes through them.
        classifier: number of gradients.
    """

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.network = self.backward = self.classifier = 0
        self._before = 0  # evaluations before the latest one of the model itself

    @property
    def cost(self) -> Cost:
        """All that was counted."""
        return Cost(self.network + self.backward, self.classifier)

    def denoise(self, x_t: Tensor, level: Level) -> Prediction:
        """Count an evaluation of the model, and predict an empty image."""
        self._before = self.network
        return self.weak(x_t, level)

    def weak(self, x_t: Tensor, level: Level) -> Prediction:
        """Count an evaluation of a weaker one, and predict an empty image."""
        self.network += 1
        value = at(self.schedule.posterior_variance, level, x_t)
        log = at(self.schedule.posterior_log_variance, level, x_t)
        empty = torch.zeros_like(x_t)
        return Prediction.from_x_0(self.schedule, x_t, level, empty, Variance(value, log))

    def gradient(self, term: ClassifierGuidance) -> Gradient:
        """Return a gradient that counts its evaluations, and the backward passes of networks."""

        def gradient(x_t: Tensor, level: Level, prediction: Prediction) -> Tensor:
            self.classifier += 1
            if term.on == "x_0_through_network":  # of all that made the prediction
                self.backward += self.network - self._before
            return torch.zeros_like(x_t)

        return gradient


@torch.inference_mode(False)
@torch.no_grad()
def calls(sampling: Sampling, process: Schedule) -> Counter:
    """Count the calls that sampling takes per image, by running it on an image of one pixel.

    It follows the code of the sampler and of the guidance, so that the count holds for any.

    Args:
        process: the process that the model was trained on.
    """
    schedule, pixel = sampling.grid.of(process), torch.zeros(1, 1, 1, 1)
    counter = Counter(schedule)
    denoise = contrasts(sampling, process, counter.denoise, lambda _: counter.weak)
    pull = guidance(sampling, process, counter.gradient)
    for _ in sampling.sampler(denoise, pixel, schedule, lambda *_: pixel, pull):
        pass
    return counter
