"""Features, gain, bias -> SiLU(gain GroupNorm(features) + bias), for networks that prefer speed.

Convolutions on a CPU are fastest with channels last in memory, where torch's GroupNorm is slow. So
a normalisation is one multiply-add, with factors from the mean and the variance of each channel.
These moments of a tensor serve every normalisation that reads it, alone or concatenated. All passes
over the features are made in float32 over a few images at a time, which stay in the processor's
cache; of bfloat16 features, only they are read from memory and written to it.

Letters: B images, C channels, G groups, L = H x W positions.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

IN_CACHE = 2**18  # elements in memory as float32 at a time


class ChannelMoments(NamedTuple):
    """Mean and variance over the positions of each channel, (B, C) float32 each."""

    mean: Tensor
    variance: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, x: Tensor) -> "ChannelMoments":
        """The moments of features (B, C, H, W)."""
        share, moments = 1 / (x.shape[2] * x.shape[3]), []
        for (few,) in parts(x):
            whole = few.float()
            mean = whole.sum((2, 3), keepdim=True).mul_(share)
            # (x - mean)^2 in one operation; torch's own variance takes ten times as long.
            square = torch.ops.aten.mse_loss(
                whole, mean, 0, **_out(None if whole is few else whole)
            )
            moments.append((mean.flatten(1), square.sum((2, 3)).mul_(share)))
        if len(moments) == 1:
            return cls(*moments[0])
        return cls(*(torch.cat(each) for each in zip(*moments, strict=True)))

    def concatenate(self, other: "ChannelMoments") -> "ChannelMoments":
        """The moments of features that are concatenated to others."""
        both = zip(self, other, strict=True)
        return ChannelMoments(*(torch.cat(pair, dim=1) for pair in both))


class GroupMoments(NamedTuple):
    """Mean and 1 / deviation of each channel's group, (B, C) float32 each.

    Attributes:
        centre: the mean, without the channel's own shift.
    """

    centre: Tensor
    rstd: Tensor


def averaging(channels: int, groups: int) -> Tensor:
    """(C, C), the matrix that replaces each channel by the mean of its group."""
    return torch.block_diag(*[torch.full((channels // groups,) * 2, groups / channels)] * groups)


@torch.no_grad()
def grouped(
    moments: ChannelMoments, means: Tensor, eps: Tensor, shift: Tensor | None = None
) -> GroupMoments:
    """Return the moments of the groups of x + shift.

    Args:
        moments: of x.
        means: see `averaging`.
        eps: (1,).
        shift: (B, C).
    """
    mean = moments.mean if shift is None else moments.mean + shift
    centre = torch.mm(mean, means)
    between = mean - centre
    variance = torch.addcmul(moments.variance, between, between)
    rstd = torch.addmm(eps, variance, means).rsqrt_()
    return GroupMoments(centre if shift is None else centre - shift, rstd)


def normalised(
    x: Tensor,
    gain: Tensor,
    bias: Tensor,
    groups: GroupMoments,
    means: Tensor,
    silu: bool,
    dtype: torch.dtype,
) -> Tensor:
    """gain (x - centre) rstd + bias, followed by SiLU if `silu`.

    Differentiable with respect to x, gain and bias, where the moments are those of x.

    Args:
        x: (B, C, H, W).
        gain, bias: (B, C); where their gradient is not needed, (C,) as well.
        dtype: of the result.
    """
    if torch.is_grad_enabled() and any(t.requires_grad for t in (x, gain, bias)):
        return Normalise.apply(x, gain, bias, *groups, means, silu, dtype)  # type: ignore
    return _applied(x, *_affine_factors(gain, bias, *groups), silu, dtype)


class Normalise(torch.autograd.Function):
    """`normalised`, which saves x alone of all features for the gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        gain: Tensor,
        bias: Tensor,
        centre: Tensor,
        rstd: Tensor,
        means: Tensor,
        silu: bool,
        dtype: torch.dtype,
    ) -> Tensor:
        factor, offset = _affine_factors(gain, bias, centre, rstd)
        ctx.silu = silu
        ctx.save_for_backward(x, factor, offset, centre, rstd, means)
        return _applied(x, factor, offset, silu, dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:  # type: ignore[override]
        x, *of_channels, means = ctx.saved_tensors
        dx, count = torch.empty_like(x), x.shape[2] * x.shape[3]
        sums = []
        for few, dy, out, factor, offset, centre, rstd in parts(x, gradient, dx, *of_channels):
            whole, dz = few.float(), dy.float()
            if ctx.silu:
                dz = torch.ops.aten.silu_backward(dz, _affine(whole, factor, offset))
            # dx = factor dz - mean(factor dz) - rstd^2 (x - mean) mean(factor dz (x - mean)).
            total = dz.sum((2, 3))
            product = (dz * whole).sum((2, 3)) - centre * total
            mean = (factor * total) @ means / count
            slope = -rstd * rstd * ((factor * product) @ means) / count
            part = _affine(whole, slope, -mean - slope * centre)
            out.copy_(part.addcmul_(dz, factor[:, :, None, None]))
            sums.append((rstd * product, total))
        grad_gain, grad_bias = (torch.cat(each) for each in zip(*sums, strict=True))
        needed = ctx.needs_input_grad
        return dx, grad_gain if needed[1] else None, grad_bias if needed[2] else None, *[None] * 5


def parts(x: Tensor, *others: Tensor) -> Iterable[tuple[Tensor, ...]]:
    """A few images of each at a time, so that those of x in float32 stay in the cache."""
    few, all_of_them = IN_CACHE * len(x) // x.numel(), (x, *others)
    if few >= len(x):
        return [all_of_them]
    return zip(*(each.split(max(few, 1)) for each in all_of_them), strict=True)


def _affine_factors(
    gain: Tensor, bias: Tensor, centre: Tensor, rstd: Tensor
) -> tuple[Tensor, Tensor]:
    """What a normalisation does to each channel: factor x + offset, (B, C) each."""
    factor = gain * rstd
    return factor, torch.addcmul(bias, factor, centre, value=-1)


def _applied(x: Tensor, factor: Tensor, offset: Tensor, silu: bool, dtype: torch.dtype) -> Tensor:
    y = torch.empty_like(x, dtype=dtype)
    for few, out, *by in parts(x, y, factor, offset):
        whole = few.float()
        own = None if whole is few else whole
        z = _affine(whole, *by, **_out(out if dtype == torch.float32 else own))
        if silu:
            F.silu(z, inplace=True)
        if z is not out:
            out.copy_(z)
    return y


def _affine(x: Tensor, factor: Tensor, offset: Tensor, **out: Any) -> Tensor:
    b, c = factor.shape
    return torch.addcmul(offset.view(b, c, 1, 1), x, factor.view(b, c, 1, 1), **out)


def _out(memory: Tensor | None) -> dict[str, Any]:
    """Memory for a result; torch.compile finds its own, and refuses any with channels last."""
    return {} if memory is None or torch.compiler.is_compiling() else {"out": memory}
