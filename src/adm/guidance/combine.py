"""Gradients -> Gradient: scaled, added, limited to levels, reused, switched on the way."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from adm.diffusion import Level, Prediction
from adm.guidance.gradients import Gradient

OfLevel = TypeVar("OfLevel", bound=Callable[..., Any])  # a Gradient, or a Denoise


def scaled(gradient: Gradient, scale: float | Callable[[Level], float | Tensor]) -> Gradient:
    """Multiply a gradient by a scale.

    Scale s samples from p(x) p(y | x)^s up to a constant: values above 1 sharpen p(y | x) (paper,
    section 4.3).

    Args:
        scale: any finite number, or a function of the level.
    """

    def combined(x_t: Tensor, level: Level, prediction: Prediction) -> Tensor:
        factor = scale(level) if callable(scale) else scale
        return factor * gradient(x_t, level, prediction)

    return combined


def between(gradient: Gradient, low: int, high: int) -> Gradient:
    """Guide at levels low..high only (Kynkäänniemi et al. 2024); at other levels return 0.

    The gradient is not evaluated if no image of the batch is within the interval.

    Raises:
        ValueError: low is greater than high.
    """
    if low > high:
        raise ValueError(f"low must be at most high, got low={low} and high={high}")

    def combined(x_t: Tensor, level: Level, prediction: Prediction) -> Tensor:
        within = inside(low, high, level, x_t)
        if within is False:
            return torch.zeros_like(x_t)
        pull = gradient(x_t, level, prediction)
        return pull if within is True else torch.where(within, pull, 0.0)

    return combined


def inside(low: int, high: int, level: Level, x_t: Tensor) -> bool | Tensor:
    """Return whether levels are in low..high: of all images, or (B, 1, 1, 1) if of some."""
    if isinstance(level, int):  # decided on the host: a device would have to be waited for
        return low <= level <= high
    levels = level.to(x_t.device).reshape(-1, *[1] * (x_t.dim() - 1))
    within = (low <= levels) & (levels <= high)
    return within if within.any() else False


def every(function: OfLevel, count: int) -> OfLevel:
    """Evaluate a gradient, or another function, at every `count`-th visited level, and reuse it.

    A sampler that evaluates a level twice visits it once. What is reused is the gradient itself,
    so apply a scale that depends on the level, and an interval, outside: `scaled(every(gradient,
    2), scale)`. The returned function stores the latest value: create one for each trajectory.

    Raises:
        ValueError: count is less than 1.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    visited, latest = -1, None
    cached: Any = None

    def combined(x_t: Tensor, level: Level, *others: Any) -> Any:
        nonlocal visited, latest, cached
        # A sampler may evaluate the same level several times within one step.
        if latest is None or not _same(latest, level):
            visited, latest = visited + 1, level
        if visited % count == 0:
            cached = function(x_t, level, *others)
        return cached

    return cast("OfLevel", combined)


def total(*gradients: Gradient) -> Gradient:
    """Add gradients: the gradient of a product of likelihoods.

    Raises:
        ValueError: no gradient is given.
    """
    if not gradients:
        raise ValueError("total needs at least one gradient, got none")

    def combined(x_t: Tensor, level: Level, prediction: Prediction) -> Tensor:
        first, *others = (gradient(x_t, level, prediction) for gradient in gradients)
        return sum(others, start=first)

    return combined


def switched(parts: Sequence[tuple[int, OfLevel]]) -> OfLevel:
    """Return a gradient, or a denoiser, that switches to another one at some levels.

    A sampler that uses values of earlier levels uses those of the part that computed them.

    Args:
        parts: (highest level, the function from there down), the highest first.

    Returns:
        A function of one level for all images.
    """
    if len(parts) == 1:
        return parts[0][1]

    def combined(x_t: Tensor, level: Level, *others: Any) -> Any:
        assert isinstance(level, int)
        chosen = [part for top, part in parts if level <= top][-1]
        return chosen(x_t, level, *others)

    return cast("OfLevel", combined)


def _same(one: Level, other: Level) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return torch.equal(one, other)
    return isinstance(one, int) and isinstance(other, int) and one == other
