"""features, scale, shift -> SiLU(AdaGN(features)), in one operation where that is faster.

A CPU's convolutions are fastest with channels last in memory, where torch's GroupNorm is slow; and
a scale, a shift and a SiLU after it would each read the features, and keep them, once more. So a
CPU that trains, or computes in half precision, has an operation of its own: one multiply-add an
element, with factors that are made in float32 from sums over positions.

Letters: B images, C channels, G groups, L = H x W positions.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

AT_ONCE = 2**18  # elements in memory as float32


def is_quick(module: nn.Module, x: Tensor) -> bool:
    """Whether speed comes before the released order of operations.

    In float32 and in evaluation mode it does not: there, released numbers are reproduced.
    """
    if x.is_meta:  # only shapes are asked for
        return False
    halved = x.dtype != torch.float32 or torch.is_autocast_enabled(x.device.type)
    return module.training or halved


class GroupNorm(nn.GroupNorm):
    """Group normalisation (Wu & He 2018) with what follows it in this network."""

    def forward(
        self,
        input: Tensor,
        scale: Tensor | None = None,
        shift: Tensor | None = None,
        *,
        silu: bool = False,
    ) -> Tensor:
        """(1 + scale) GroupNorm(x) + shift, and SiLU of it where asked.

        Args:
            input: (B, C, H, W).
            scale: (B, C), and with it `shift`; None for GroupNorm alone.

        Returns:
            (B, C, H, W) in the dtype of the input.
        """
        if input.device.type == "cpu" and is_quick(self, input):
            settings = (self.num_groups, self.eps, silu)
            return Fused.apply(input, self.weight, self.bias, scale, shift, settings)  # type: ignore
        h = super().forward(input)
        if scale is not None and shift is not None:
            scale, shift = (t.to(h.dtype)[:, :, None, None] for t in (scale, shift))
            h = torch.addcmul(shift, h, 1 + scale)
        return F.silu(h) if silu else h


class Fused(torch.autograd.Function):
    """SiLU(gain x_hat + plus), x_hat = (x - mean) rstd, with a gradient that keeps two copies of x.

    The centre that is subtracted first is the mean in the precision of x. What is left of the mean,
    `offset`, is small, so that no sum cancels and no factor rounds much.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        scale: Tensor | None,
        shift: Tensor | None,
        settings: tuple[int, float, bool],
    ) -> Tensor:
        batch, (groups, eps, silu) = len(x), settings
        n = x[0].numel() // groups
        mean = sums(x).view(batch, groups, -1).sum(2, keepdim=True) / n
        centre = mean.to(x.dtype)
        offset = centre.float() - mean
        centred = x - per_channel(centre, x)
        square = sums(centred, centred).view(batch, groups, -1).sum(2, keepdim=True) / n
        rstd = (square - offset * offset + eps).rsqrt()  # (B, G, 1)
        gain, plus = weight.float().expand(batch, -1), bias.float().expand(batch, -1)
        if scale is not None and shift is not None:
            grown = 1 + scale.float()
            gain, plus = gain * grown, plus * grown + shift
        gain = gain.view(batch, groups, -1)
        factor = gain * rstd
        plus = plus.view(batch, groups, -1) + factor * offset
        z = torch.addcmul(per_channel(plus, x), centred, per_channel(factor, x))
        ctx.n, ctx.silu = n, silu
        ctx.save_for_backward(centred, z if silu else None, rstd, offset, gain, weight, bias, scale)
        return F.silu(z) if silu else z

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:  # type: ignore[override]
        centred, z, rstd, offset, gain, weight, bias, scale = ctx.saved_tensors
        dz = torch.ops.aten.silu_backward(gradient, z) if ctx.silu else gradient
        by_plus = sums(dz).view_as(gain)
        by_gain = rstd * (sums(dz, centred).view_as(gain) + offset * by_plus)
        # d loss / d x = factor (dz - mean over the group of dz, and of dz x_hat times x_hat).
        slope = -rstd * rstd * (gain * by_gain).sum(2, keepdim=True) / ctx.n
        level = -rstd * (gain * by_plus).sum(2, keepdim=True) / ctx.n + slope * offset
        dx = torch.addcmul(per_channel(level, dz), centred, per_channel(slope, dz))
        dx = dx.addcmul_(dz, per_channel(gain * rstd, dz))
        by_gain, by_plus = by_gain.flatten(1), by_plus.flatten(1)
        if scale is None:
            return dx, by_gain.sum(0).to(weight), by_plus.sum(0).to(bias), None, None, None
        grown = 1 + scale.float()
        by_scale = by_gain * weight.float() + by_plus * bias.float()
        by_weight, by_bias = (by_gain * grown).sum(0), (by_plus * grown).sum(0)
        shifts = (by_scale.to(scale), by_plus.to(scale))
        return dx, by_weight.to(weight), by_bias.to(bias), *shifts, None


def sums(x: Tensor, y: Tensor | None = None) -> Tensor:
    """x, or x y, (B, C, H, W) -> (B, C) float32 over positions; a few images at a time.

    At once, a float32 copy of half-precision features would be made, which costs more than to sum.
    """
    few = max(1, AT_ONCE // x[0].numel())
    parts = x.split(few) if y is None else map(torch.mul, x.split(few), y.split(few))
    return torch.cat([part.sum((2, 3), dtype=torch.float32) for part in parts])


def per_channel(factors: Tensor, x: Tensor) -> Tensor:
    """(B, G, C / G or 1) -> (B, C, 1, 1) in the dtype of x."""
    batch, channels = x.shape[:2]
    spread = factors.expand(batch, factors.shape[1], channels // factors.shape[1])
    return spread.reshape(batch, channels, 1, 1).to(x.dtype)
