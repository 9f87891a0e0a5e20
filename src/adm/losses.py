"""Parameterization, Schedule, raw output, Example -> Losses; levels, losses -> weights."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from adm.diffusion import Parameterization, Schedule, process
from adm.diffusion.likelihood import per_image, variational_term


class Example(NamedTuple):
    """A batch of noised images: x_t = signal x_0 + sigma noise at `level`."""

    x_0: Tensor  # (B, C, H, W) in [-1, 1]
    noise: Tensor  # (B, C, H, W)
    x_t: Tensor  # (B, C, H, W)
    level: Tensor  # (B,) int64

    @classmethod
    def of(cls, schedule: Schedule, x_0: Tensor, noise: Tensor, level: Tensor) -> "Example":
        """Diffuse images to the given levels."""
        return cls(x_0, noise, process.diffuse(schedule, x_0, noise, level), level)


class Losses(NamedTuple):
    """Losses per image, (B,) each; `mse` and `vlb` are the terms of `loss`, None if absent."""

    loss: Tensor
    mse: Tensor | None
    vlb: Tensor | None


Loss: TypeAlias = Callable[[Parameterization, Schedule, Tensor, Example], Losses]


def simple(model: Parameterization, schedule: Schedule, raw: Tensor, example: Example) -> Losses:
    """Return L_simple, the mean squared error of the prediction target (DDPM, equation 14)."""
    output, _ = model.split(raw, example.x_t.shape[1])
    target = model.target.of(schedule, example.x_0, example.noise, example.x_t, example.level)
    mse = per_image((output - target) ** 2)
    return Losses(mse, mse, None)


def vlb(weight: float = 1.0) -> Loss:
    """Return L_vlb: `weight` times one term of the bound, in bits per dimension.

    With weight T and uniformly drawn levels it is an unbiased estimate of the bound.
    """

    def loss(m: Parameterization, schedule: Schedule, raw: Tensor, example: Example) -> Losses:
        prediction = m.predict(schedule, raw, example.x_t, example.level)
        term = variational_term(schedule, prediction, example.x_0, example.x_t, example.level)
        return Losses(weight * term, None, weight * term)

    return loss


def hybrid(weight: float) -> Loss:
    """Return L_hybrid = L_simple + lambda L_vlb (Improved DDPM, equation 16).

    The mean is detached in the variational term, which therefore trains the variance only.

    Args:
        weight: factor of the variational term; lambda = 0.001 of the paper is T / 1000 here.
    """
    variational = vlb(weight)

    def loss(m: Parameterization, schedule: Schedule, raw: Tensor, example: Example) -> Losses:
        mse = simple(m, schedule, raw, example).loss
        output, extra = m.split(raw, example.x_t.shape[1])
        frozen = output.detach() if extra is None else torch.cat([output.detach(), extra], dim=1)
        term = variational(m, schedule, frozen, example).loss
        return Losses(mse + term, mse, term)

    return loss


def cross_entropy(logits: Tensor, label: Tensor) -> Tensor:
    """(B, classes) logits, (B,) labels -> (B,) cross-entropy in nats."""
    return F.cross_entropy(logits.float(), label, reduction="none")


class TimestepImportance:
    """Draw levels with probability proportional to the root mean square of their recent losses.

    Improved DDPM, section 3.3. The draw is uniform until every level has a full history.

    Attributes:
        uniform: probability mass that is spread evenly over the levels, in [0, 1].
        history: (T, `length`) float64, the latest losses of each level, oldest first.
        counts: (T,) int64, number of losses recorded, at most `length`.
    """

    def __init__(self, levels: int, length: int = 10, uniform: float = 0.001) -> None:
        self.uniform = uniform
        self.history = np.zeros((levels, length))
        self.counts = np.zeros(levels, dtype=np.int64)

    @property
    def warm(self) -> bool:
        """Whether every level has a full history."""
        return bool((self.counts == self.history.shape[1]).all())

    @property
    def weights(self) -> np.ndarray:
        """(T,) float64, not normalised."""
        if not self.warm:
            return np.ones(len(self.counts))
        weights = np.sqrt((self.history**2).mean(axis=1))
        weights = weights / weights.sum()
        return weights * (1 - self.uniform) + self.uniform / len(weights)

    @property
    def probabilities(self) -> np.ndarray:
        """(T,) float64, the probability of each level."""
        return self.weights / self.weights.sum()

    def draw(self, uniforms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Draw levels, with weights that make the expected loss unbiased.

        Args:
            uniforms: (B,) in [0, 1), one per image; the only source of randomness.

        Returns:
            levels: (B,) int64 in 1..T.
            weights: (B,) float64, 1 / (T p).
        """
        p = self.probabilities
        drawn = np.minimum(np.searchsorted(p.cumsum(), uniforms, side="right"), len(p) - 1)
        return drawn + 1, 1 / (len(p) * p[drawn])

    def update(self, levels: np.ndarray, losses: np.ndarray) -> None:
        """Record the losses of a global batch, in order; ignore non-finite ones."""
        for level, loss in zip(levels, losses, strict=True):
            if not np.isfinite(loss):
                continue
            row = level - 1
            if self.counts[row] == self.history.shape[1]:
                self.history[row, :-1] = self.history[row, 1:]
                self.history[row, -1] = loss
            else:
                self.history[row, self.counts[row]] = loss
                self.counts[row] += 1
