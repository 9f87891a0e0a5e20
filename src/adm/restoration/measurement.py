"""forward, adjoint, y, sigma -> Measurement: y = forward(x_0) + sigma noise, and its inverses.

Images are (B, C, H, W) in [-1, 1], and sigma is in the same units. y is (B, ...) of any shape.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from adm.samplers import Noise

Forward: TypeAlias = Callable[[Tensor], Tensor]  # (B, C, H, W) images -> (B, ...)
Adjoint: TypeAlias = Callable[[Tensor], Tensor]  # (B, ...) -> (B, C, H, W)
# Standard deviation of the error of rounding [-1, 1] to 256 values: no measurement is exacter.
ROUNDING_SIGMA = 2 / 255 / 12**0.5
ITERATIONS, TOLERANCE = 30, 1e-5  # of conjugate gradients


@dataclass(frozen=True, eq=False)
class Measurement:
    """A measurement of a batch of images: y = forward(x_0) + sigma noise.

    Attributes:
        forward: x_0 -> y without noise, differentiable, each image by itself.
        y: (B, ...) the measured values.
        sigma: standard deviation of its noise, in units of [-1, 1].
        adjoint: the transpose of a linear `forward`; None for one that is not linear. `adjoint_of`
            derives it.
        mask: (1 or B, 1 or C, H, W) of ones and zeros if `forward` multiplies by it; None for any
            other.
    """

    forward: Forward
    y: Tensor
    sigma: float = 0.0
    adjoint: Adjoint | None = None
    mask: Tensor | None = None

    @property
    def variance(self) -> float:
        """sigma^2, at least that of rounding to 8 bits."""
        return max(self.sigma, ROUNDING_SIGMA) ** 2

    def residual(self, x_0: Tensor) -> Tensor:
        """(B, ...) y - forward(x_0)."""
        return self.y - self.forward(x_0)

    def error(self, x_0: Tensor) -> Tensor:
        """(B,) the Euclidean norm of the residual."""
        return self.residual(x_0).flatten(1).norm(dim=1)

    def pull_back(self, residual: Tensor, ridge: float) -> Tensor:
        """Return (A^T A + ridge)^-1 A^T residual, for the matrix A of a linear `forward`.

        Without a ridge it is the pseudo-inverse, also of a residual outside the range of A.
        """
        forward, adjoint = self.forward, self.adjoint
        assert adjoint is not None, "a linear measurement"

        def product(v: Tensor) -> Tensor:
            return adjoint(forward(v)) + ridge * v

        return solve(product, adjoint(residual))

    def correct(self, x_0: Tensor, ridge: float = 0.0) -> Tensor:
        """Return the minimum of |y - A x|^2 + ridge |x - x_0|^2; without a ridge, its limit."""
        return x_0 + self.pull_back(self.residual(x_0), ridge)


def adjoint_of(forward: Forward, shape: Sequence[int]) -> Adjoint:
    """Return the transpose of a linear function of images, the derivative of <y, forward(x)>.

    Args:
        shape: (C, H, W) of an image.
    """

    @torch.inference_mode(False)
    def adjoint(y: Tensor) -> Tensor:
        with torch.enable_grad():
            x = y.new_zeros((len(y), *shape), requires_grad=True)
            return torch.autograd.grad(forward(x), x, y)[0]

    return adjoint


def solve(
    product: Callable[[Tensor], Tensor], right: Tensor, iterations: int = ITERATIONS
) -> Tensor:
    """Solve product(v) = right by conjugate gradients, for each image by itself.

    An image is done when its residual is 1e-5 of what it was, or along a direction in which the
    product is not positive.

    Args:
        product: v -> M v, for a symmetric, positive M; (B, ...) each.
        right: (B, ...), in the range of M.
    """
    v, residual, direction = torch.zeros_like(right), right, right
    square = _dot(residual, residual)
    enough = TOLERANCE**2 * square
    for _ in range(iterations):
        going = square > enough
        if right.device.type == "cpu" and not going.any():  # elsewhere the host would wait
            break
        image = product(direction)
        curvature = _dot(direction, image)
        going = going & (curvature > 0)
        step = torch.where(going, square / curvature.where(going, 1.0), 0.0)
        v, residual = v + step * direction, residual - step * image
        before, square = square, _dot(residual, residual)
        share = torch.where(going, square / before.where(going, 1.0), 0.0)
        direction = residual + share * direction
    return v


def noise_like(y: Tensor, noise: Noise, level: int, draw: int, image: Sequence[int]) -> Tensor:
    """Return standard normal noise of the shape of y, of as many draws as it takes.

    Args:
        draw: the first of them.
        image: (C, H, W) of a draw.
    """
    size, pixels = y[0].numel(), torch.Size(image).numel()
    drawn = [noise(level, draw + number).flatten(1) for number in range(-(-size // pixels))]
    return torch.cat(drawn, dim=1)[:, :size].reshape(y.shape).to(y.dtype)


def _dot(one: Tensor, other: Tensor) -> Tensor:
    """(B, 1, ...) inner product of each image."""
    return (one * other).flatten(1).sum(dim=1).reshape(-1, *[1] * (one.dim() - 1))
