"""Features, gain, bias -> SiLU(gain GroupNorm(features) + bias), for weights that stay fixed.

Convolutions on a CPU are fastest with channels last in memory, where torch's GroupNorm is slow. So
a normalisation is one multiply-add, with factors from the mean and the variance of each channel.
These moments of a tensor serve every normalisation that reads it, alone or concatenated.

Letters: B images, C channels, G groups, L = H x W positions.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


class ChannelMoments(NamedTuple):
    """Mean and variance over the positions of each channel, (B, C) float32 each."""

    mean: Tensor
    variance: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, x: Tensor) -> "ChannelMoments":
        """The moments of features (B, C, H, W)."""
        whole, share = x.float(), 1 / (x.shape[2] * x.shape[3])
        mean = whole.sum((2, 3), keepdim=True) * share
        # (x - mean)^2 in one operation; torch's own variance takes ten times as long.
        square = torch.ops.aten.mse_loss(whole, mean.expand_as(whole), 0)
        return cls(mean.flatten(1), square.sum((2, 3)) * share)

    def beside(self, other: "ChannelMoments") -> "ChannelMoments":
        """The moments of features that are concatenated to others."""
        both = zip(self, other, strict=True)
        return ChannelMoments(*(torch.cat(pair, dim=1) for pair in both))


class Factors(NamedTuple):
    """What a normalisation does to each channel: factor x + offset, (B, C) float32 each.

    Attributes:
        centre: the mean of the channel's group, without the channel's own shift.
        rstd: of the channel's group.
    """

    factor: Tensor
    offset: Tensor
    centre: Tensor
    rstd: Tensor


def averaging(channels: int, groups: int) -> Tensor:
    """(C, C), the matrix that replaces each channel by the mean of its group."""
    return torch.block_diag(*[torch.full((channels // groups,) * 2, groups / channels)] * groups)


# Six parameters: the last is for networks that add the embedding before the normalisation.
@torch.no_grad()
def factors(
    moments: ChannelMoments,
    means: Tensor,
    eps: Tensor,
    gain: Tensor,
    bias: Tensor,
    shift: Tensor | None = None,
) -> Factors:
    """Return the factors of gain GroupNorm(x + shift) + bias.

    Args:
        moments: of x.
        means: see `averaging`.
        gain, bias, shift: (B, C) or (C,) each.
    """
    mean = moments.mean if shift is None else moments.mean + shift
    centre = mean @ means
    between = mean - centre
    variance = torch.addcmul(moments.variance, between, between)
    rstd = torch.addmm(eps, variance, means).rsqrt_()
    factor = gain * rstd
    centre = centre if shift is None else centre - shift
    return Factors(factor, torch.addcmul(bias, factor, centre, value=-1), centre, rstd)


def normalised(x: Tensor, f: Factors, means: Tensor, silu: bool, dtype: torch.dtype) -> Tensor:
    """factor x + offset, followed by SiLU if `silu`; differentiable with respect to x.

    Args:
        x: (B, C, H, W).
        dtype: of the result.
    """
    if x.requires_grad:
        return Normalise.apply(x, *f, means, silu, dtype)  # type: ignore[no-any-return]
    z = _affine(x, f.factor, f.offset)
    return (F.silu(z, inplace=True) if silu else z).to(dtype)


class Normalise(torch.autograd.Function):
    """`normalised`, with the gradient with respect to x alone."""

    # Eight parameters: autograd keeps only tensors that are arguments of their own.
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        factor: Tensor,
        offset: Tensor,
        centre: Tensor,
        rstd: Tensor,
        means: Tensor,
        silu: bool,
        dtype: torch.dtype,
    ) -> Tensor:
        z = _affine(x, factor, offset)
        ctx.save_for_backward(x, z if silu else None, factor, centre, rstd, means)
        return (F.silu(z) if silu else z).to(dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:  # type: ignore[override]
        x, z, factor, centre, rstd, means = ctx.saved_tensors
        g = gradient.float()
        dz = g if z is None else torch.ops.aten.silu_backward(g, z)
        # dx = factor dz - mean(factor dz) - rstd^2 (x - mean) mean(factor dz (x - mean)).
        whole, count = x.float(), x.shape[2] * x.shape[3]
        total = dz.sum((2, 3))
        product = (dz * whole).sum((2, 3)) - centre * total
        mean = (factor * total) @ means / count
        slope = -rstd * rstd * ((factor * product) @ means) / count
        dx = _affine(whole, slope, -mean - slope * centre)
        dx = dx.addcmul_(dz, factor[:, :, None, None])
        return (dx.to(x.dtype), *[None] * 7)


def _affine(x: Tensor, factor: Tensor, offset: Tensor) -> Tensor:
    return torch.addcmul(
        offset.view(*offset.shape, 1, 1), x.float(), factor.view(*factor.shape, 1, 1)
    )
