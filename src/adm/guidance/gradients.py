"""x_t, level -> gradient of log p(y | x_t).

Guidance supplies a gradient; where it enters is each sampler's own affair: Algorithm 1 moves the
mean, Algorithm 2 the noise.
"""

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from adm.diffusion import Level, Prediction, Schedule
from adm.diffusion.process import x_0_from_noise
from adm.diffusion.schedule import at

Gradient: TypeAlias = Callable[[Tensor, Level], Tensor]


def classifier_gradient(
    logits: Callable[[Tensor, Tensor], Tensor], schedule: Schedule, label: Tensor, scale: float
) -> Gradient:
    """scale x the gradient of log p(y | x_t) by a noisy classifier (paper, section 4).

    Scale s samples from p(x) p(y | x)^s, normalised: above 1 it sharpens the classifier (section
    4.3).

    Args:
        logits: (x_t, step) -> (B, classes).
        label: (B,) int64, the class wanted of each image.
        scale: any finite number; 0 is no guidance.
    """

    def gradient(x_t: Tensor, level: Level) -> Tensor:
        with torch.enable_grad():
            x = x_t.detach().requires_grad_()
            log_p = logits(x, schedule.step(level, x)).float().log_softmax(dim=1)
            # A sum, so that no image's gradient depends on the batch it came in.
            chosen = log_p.gather(1, label[:, None]).sum()
            return scale * torch.autograd.grad(chosen, x)[0].float()

    return gradient


def shift_mean(prediction: Prediction, gradient: Tensor) -> Prediction:
    """Algorithm 1: mean + variance x gradient. The estimate of x_0 stays unguided."""
    return prediction._replace(mean=prediction.mean + prediction.variance * gradient)


def shift_noise(
    prediction: Prediction, gradient: Tensor, schedule: Schedule, x_t: Tensor, level: Level
) -> Prediction:
    """Algorithm 2: noise - sqrt(1 - alpha_bar) x gradient, and the x_0 that this noise leaves."""
    noise = prediction.noise - at(schedule.sigma, level, x_t) * gradient
    return prediction._replace(noise=noise, x_0=x_0_from_noise(schedule, x_t, noise, level))
