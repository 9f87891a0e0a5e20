"""Weights -> weights whose largest singular value is 1 (Miyato et al. 2018).

The largest singular value of W, as a matrix with a row for each output, is |W' u| for its left
singular vector u. A layer keeps an estimate of u, which one step of power iteration for each
optimizer step improves: weights change slowly. u is a constant for the gradient.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SMALLEST = 1e-12  # avoids a division by zero where all weights are zero


class Spectral(nn.Module):
    """A layer whose weight is divided by its largest singular value.

    Attributes:
        weight: (out, ...), as it is trained.
        u: (out,) estimate of the left singular vector, of length 1.
    """

    weight: Tensor
    u: Tensor

    def _prepare(self) -> None:
        """Initialise the weight to orthogonal rows or columns, and `u`."""
        nn.init.orthogonal_(self.weight)
        if isinstance(bias := getattr(self, "bias", None), Tensor):
            nn.init.zeros_(bias)
        self.register_buffer("u", F.normalize(torch.randn(len(self.weight)), dim=0))

    @property
    def normalised(self) -> Tensor:
        """The weight divided by its largest singular value, in float32."""
        with in_float32(self.weight):
            size = torch.mv(self.weight.flatten(1).T, self.u).norm()
            return self.weight / size.clamp(min=SMALLEST)

    @torch.no_grad()
    def advance(self) -> None:
        """Take one step of power iteration, u <- W W' u / |W W' u|."""
        matrix = self.weight.flatten(1)
        self.u.copy_(F.normalize(matrix @ (matrix.T @ self.u), dim=0, eps=SMALLEST))

    @torch.no_grad()
    def make_exact(self) -> None:
        """Compute `u` by an eigendecomposition of W W' or W' W, in float64 on the CPU."""
        matrix = self.weight.flatten(1).double().cpu()
        if matrix.shape[0] > matrix.shape[1]:  # W' W is smaller, with eigenvectors v, and u ~ W v
            last = matrix @ torch.linalg.eigh(matrix.T @ matrix).eigenvectors[:, -1]
        else:
            last = torch.linalg.eigh(matrix @ matrix.T).eigenvectors[:, -1]
        self.u = F.normalize(last, dim=0, eps=SMALLEST).to(self.weight)


class Conv2d(Spectral, nn.Conv2d):
    """A spectrally normalised convolution that preserves height and width."""

    def __init__(self, channels: int, out_channels: int, kernel: int, bias: bool = True) -> None:
        nn.Conv2d.__init__(self, channels, out_channels, kernel, padding=kernel // 2, bias=bias)
        self._prepare()

    def forward(self, input: Tensor) -> Tensor:
        return self._conv_forward(input, self.normalised, self.bias)


class Linear(Spectral, nn.Linear):
    """A spectrally normalised linear layer."""

    def __init__(self, width: int, out_width: int, bias: bool = True) -> None:
        nn.Linear.__init__(self, width, out_width, bias)
        self._prepare()

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.normalised, self.bias)


class Embedding(Spectral, nn.Embedding):
    """A spectrally normalised table, a row for each label."""

    def __init__(self, count: int, width: int) -> None:
        nn.Embedding.__init__(self, count, width)
        self._prepare()

    def forward(self, input: Tensor) -> Tensor:
        return F.embedding(input, self.normalised)


def in_float32(x: Tensor) -> AbstractContextManager[Any]:
    """Return a context without autocast on the device of a tensor."""
    return nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False)


def advance(network: nn.Module) -> None:
    """Take one step of power iteration in every layer; once for each optimizer step."""
    for layer in _layers(network):
        layer.advance()


def make_exact(network: nn.Module) -> None:
    """Compute every layer's singular vector, as averaged weights need: no step has seen them."""
    for layer in _layers(network):
        layer.make_exact()


def orthogonality(network: nn.Module) -> Callable[[], Tensor]:
    """Return a function of the orthogonal regularisation of a network's weights, a scalar.

    The sum over its normalised layers of |W W' * (1 - I)|^2, the squared cosines of rows without
    their lengths' own (Brock et al. 2019, equation 3; W has a row for each output).
    """
    weights = [layer.weight for layer in _layers(network)]

    def measured() -> Tensor:
        total = weights[0].new_zeros(())
        for weight in weights:
            with in_float32(weight):
                matrix = weight.flatten(1)
                # |W W'| = |W' W|, of which the smaller is computed: a first layer has many rows.
                if matrix.shape[0] > matrix.shape[1]:
                    gram, squares = matrix.T @ matrix, matrix.square().sum(1)
                else:
                    gram = matrix @ matrix.T
                    squares = gram.diagonal()
                total = total + gram.square().sum() - squares.square().sum()
        return total

    return measured


def _layers(network: nn.Module) -> Iterator[Spectral]:
    return (module for module in network.modules() if isinstance(module, Spectral))
