"""Features, gain, bias -> features normalised over a batch, all its processes and both sides.

In training, the mean and the variance are those of the global batch. A generator is sampled with
constants instead, so that an image does not depend on the others of its batch: `settle` takes them
from many batches of the noise that is sampled, because truncated noise has other statistics (Brock
et al. 2019, section 3.1 and appendix B).
"""

from collections.abc import Iterable
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn import functional as collective


class ChannelStatistics(NamedTuple):
    """The mean and the variance of each channel, (C,) float32."""

    mean: Tensor
    variance: Tensor


class BatchNorm(nn.Module):
    """Batch normalisation (Ioffe & Szegedy 2015) without parameters.

    Attributes:
        shared: whether statistics in training are over the batches of all processes.
        statistics: those of evaluation; None until `settle` has measured them.
        batches: those of every batch so far while `settle` measures, in this process alone.
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.channels, self.eps = channels, eps
        self.shared = False
        self.statistics: ChannelStatistics | None = None
        self.batches: list[ChannelStatistics] | None = None

    def forward(self, x: Tensor, gain: Tensor, bias: Tensor) -> Tensor:
        """Normalise, scale and shift.

        Args:
            x: (B, C, H, W).
            gain, bias: (B, C) or (1, C).

        Returns:
            (B, C, H, W) in the dtype of x.

        Raises:
            RuntimeError: in evaluation, no statistics have been measured.
        """
        statistics = self._of_batch(x) if self.training else self.statistics
        if statistics is None:
            raise RuntimeError("the statistics of a batch norm are unknown; call settle first")
        if self.batches is not None:
            self.batches.append(statistics)
        factor = gain.float() * (statistics.variance + self.eps).rsqrt()
        offset = bias.float() - statistics.mean * factor
        factor, offset = (t.to(x.dtype)[:, :, None, None] for t in (factor, offset))
        return torch.addcmul(offset, x, factor)

    def _of_batch(self, x: Tensor) -> ChannelStatistics:
        """Return the statistics of the batches of all processes.

        The squares are of differences from the mean: that of squares less that of the mean would
        cancel in float32 where a mean is large.
        """
        together = self.shared and self.batches is None and dist.is_initialized()
        h = x.float()
        count = torch.full((1,), x.numel() / self.channels, device=x.device)
        count = _summed(count, together)
        mean = _summed(h.sum((0, 2, 3)), together) / count
        squares = (h - mean[:, None, None]).square().sum((0, 2, 3))
        return ChannelStatistics(mean, _summed(squares, together) / count)


def _summed(values: Tensor, together: bool) -> Tensor:
    """The sum over all processes if `together`; its gradient sums over them as well."""
    if not together:
        return values
    if torch.is_grad_enabled() and values.requires_grad:
        return collective.all_reduce(values)
    values = values.clone()
    dist.all_reduce(values)
    return values


def share_statistics(network: nn.Module) -> None:
    """Normalise over the batches of all processes in training."""
    for layer in _layers(network):
        layer.shared = True


@torch.no_grad()
def settle(network: nn.Module, batches: Iterable[tuple[Tensor, Tensor | None]]) -> None:
    """Measure the statistics of a generator over batches of noise, for evaluation.

    Args:
        network: a generator; it is left in evaluation mode.
        batches: noise (B, N) and labels (B,), or None without classes.
    """
    layers = _layers(network)
    for layer in layers:
        layer.batches = []
    network.train()
    try:
        for noise, label in batches:
            network(noise, label)
        for layer in layers:
            assert layer.batches, "batches must not be empty"
            means, variances = map(torch.stack, zip(*layer.batches, strict=True))
            spread = (means - means.mean(0)).square()
            layer.statistics = ChannelStatistics(means.mean(0), (variances + spread).mean(0))
    finally:
        for layer in layers:
            layer.batches = None
        network.eval()


def _layers(network: nn.Module) -> list[BatchNorm]:
    return [module for module in network.modules() if isinstance(module, BatchNorm)]
