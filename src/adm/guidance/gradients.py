"""classifier, label -> Gradient; denoise, Gradient, x_t, level -> Prediction, gradient."""

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from adm.diffusion import Denoise, Level, Prediction, Schedule

# x_t, level, prediction -> (B, C, H, W) gradient of log p(y | x_t) with respect to x_t. No scale is
# applied inside; `combine.scaled` applies one.
Gradient: TypeAlias = Callable[[Tensor, Level, Prediction], Tensor]


def classifier_gradient(
    logits: Callable[[Tensor, Tensor], Tensor], schedule: Schedule, label: Tensor
) -> Gradient:
    """The gradient of log p(y | x_t) by a noisy classifier (paper, section 4).

    Args:
        logits: (x_t, timestep) -> (B, classes).
        label: (B,) int64, the class wanted of each image.
    """

    def gradient(x_t: Tensor, level: Level, prediction: Prediction) -> Tensor:
        with torch.enable_grad():
            x = x_t.detach().requires_grad_()
            log_p = logits(x, schedule.timestep(level, x)).float().log_softmax(dim=1)
            # A sum, so that no image's gradient depends on the batch that it is in.
            chosen = log_p.gather(1, label[:, None]).sum()
            return torch.autograd.grad(chosen, x)[0].float()

    return gradient


def through_denoiser(log_p: Callable[[Prediction, Level], Tensor]) -> Gradient:
    """The gradient of a log-probability of the prediction, differentiated through the network.

    This is how a measurement guides (diffusion posterior sampling, Chung et al. 2023): log p(y |
    x_t) is approximated by a function of the estimate of x_0. It costs no second evaluation of the
    network, but the sampler must run with gradients enabled.

    Args:
        log_p: (prediction, level) -> (B,) or scalar log-probability.

    Raises:
        ValueError: the sampler runs under `torch.no_grad()`.
    """

    def gradient(x_t: Tensor, level: Level, prediction: Prediction) -> Tensor:
        if not prediction.x_0.requires_grad:
            raise ValueError(
                "a gradient through the denoiser needs the network's graph; run the sampler "
                "outside torch.no_grad(), and ancestral sampling without at_mean"
            )
        return torch.autograd.grad(log_p(prediction, level).sum(), x_t)[0]

    return gradient


def evaluate(
    denoise: Denoise, gradient: Gradient, x_t: Tensor, level: Level
) -> tuple[Prediction, Tensor]:
    """Evaluate the denoiser once, and the gradient at the same point.

    With gradients enabled, the prediction that the gradient receives can be differentiated with
    respect to its x_t. What is returned has no graph, so nothing accumulates from step to step.
    """
    x = x_t.detach().requires_grad_(torch.is_grad_enabled())
    prediction = denoise(x, level)
    pull = gradient(x, level, prediction)
    return prediction.detached(), pull.detach()
