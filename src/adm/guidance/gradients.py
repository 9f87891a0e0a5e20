"""Logits, Schedule, labels -> Gradient; Denoise, Gradient, x_t, level -> Prediction, Tensor."""

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from adm.diffusion import Denoise, Level, Prediction, Schedule
from adm.diffusion.schedule import at

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
        def classified(x: Tensor) -> Tensor:
            return logits(x, schedule.timestep(level, x))

        return _of_class(classified, x_t, label)

    return gradient


def clean_gradient(
    logits: Callable[[Tensor], Tensor],
    schedule: Schedule,
    label: Tensor,
    through_network: bool = False,
) -> Gradient:
    """Return the gradient of log p(y | x_0) at the estimate of x_0, with respect to x_t.

    By the chain rule, the gradient with respect to the estimate is multiplied by the Jacobian of
    the estimate, signal / sigma^2 Cov[x_0 | x_t]. By default that is taken to be `signal`, its
    value for data of unit variance around any mean, which costs nothing. It is exact in the limit
    of low noise along all directions in which the data vary, and fades with the signal, while
    1 / signal (the noise held constant) grows without limit, and a factor of 1 (Ma et al. 2024)
    stays. Even with the exact Jacobian and classifier the result is biased, except in that limit:
    the classifier is sure of an estimate of which it should be unsure.

    Args:
        logits: x_0 -> (B, classes) logits of a classifier of clean images.
        schedule: gives the signal of each level.
        label: see `classifier_gradient`.
        through_network: multiply by the Jacobian of the network instead, by a backward pass; see
            `through_denoiser`.
    """

    def gradient(x_t: Tensor, level: Level, prediction: Prediction) -> Tensor:
        pull = _of_class(logits, prediction.x_0, label)
        if not through_network:
            return at(schedule.signal, level, x_t) * pull
        # The derivative of an inner product with a constant is the product with the Jacobian.
        return through_denoiser(lambda p, _: (p.x_0 * pull).sum())(x_t, level, prediction)

    return gradient


def _of_class(logits: Callable[[Tensor], Tensor], image: Tensor, label: Tensor) -> Tensor:
    """(B, C, H, W) gradient of log p(label | image) with respect to the image; builds no graph."""
    with torch.enable_grad():
        x = image.detach().requires_grad_()
        log_p = logits(x).float().log_softmax(dim=1)
        # A sum and not a mean: the gradient of an image must not depend on its batch.
        chosen = log_p.gather(1, label.expand(len(x))[:, None]).sum()
        return torch.autograd.grad(chosen, x)[0].float()


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
