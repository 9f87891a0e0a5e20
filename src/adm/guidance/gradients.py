"""Logits, Schedule, labels -> Gradient; Denoise, Gradient, x_t, level -> Prediction, Tensor."""

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from adm.diffusion import Denoise, Level, Prediction, Schedule

# x_t, level, prediction -> (B, C, H, W) gradient of log p(y | x_t) with respect to x_t, without a
# scale; `combine.scaled` applies one.
Gradient: TypeAlias = Callable[[Tensor, Level, Prediction], Tensor]


def classifier_gradient(
    logits: Callable[[Tensor, Tensor], Tensor], schedule: Schedule, label: Tensor
) -> Gradient:
    """Return the gradient of log p(y | x_t) of a noisy classifier (paper, section 4).

    Args:
        logits: (x_t, timestep) -> (B, classes) logits of the classifier.
        schedule: gives the timestep of each level.
        label: (B,) int64, the class to guide each image to, or (1,) for all.
    """

    def gradient(x_t: Tensor, level: Level, prediction: Prediction) -> Tensor:
        with torch.enable_grad():
            x = x_t.detach().requires_grad_()
            log_p = logits(x, schedule.timestep(level, x)).float().log_softmax(dim=1)
            # A sum and not a mean: the gradient of an image must not depend on its batch.
            chosen = log_p.gather(1, label.expand(len(x))[:, None]).sum()
            return torch.autograd.grad(chosen, x)[0].float()

    return gradient


def through_denoiser(log_p: Callable[[Prediction, Level], Tensor]) -> Gradient:
    """Return the gradient of a log-probability of the prediction, through the network.

    This is guidance by a measurement (diffusion posterior sampling, Chung et al. 2023): log p(y |
    x_t) is approximated by a function of the estimate of x_0. It needs no second evaluation of the
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

    With gradients enabled, the gradient can differentiate the prediction that it receives with
    respect to x_t. Both results are detached, so that no graph grows from step to step.
    """
    x = x_t.detach().requires_grad_(torch.is_grad_enabled())
    prediction = denoise(x, level)
    pull = gradient(x, level, prediction)
    return prediction.detached(), pull.detach()
