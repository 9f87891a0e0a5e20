"""Features, scale, shift -> SiLU(AdaGN(features)), fused where that is faster.

Convolutions on a CPU are fastest with channels last in memory, where torch's GroupNorm is slow; and
a scale, a shift and a SiLU after it would each read the features, and save them, once more. So
training and half precision on a CPU use an operation of their own: one multiply-add per element,
with float32 factors computed from sums over positions.

Letters: B images, C channels, G groups, L = H x W positions.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

MAX_FLOAT32 = 2**18  # elements in memory as float32 at a time


def prefers_speed(module: nn.Module, x: Tensor) -> bool:
    """Whether to prefer speed over the released order of operations.

    False in evaluation mode in float32, where the released numbers are reproduced.
    """
    if x.is_meta:  # only shapes are wanted
        return False
    halved = x.dtype != torch.float32 or torch.is_autocast_enabled(x.device.type)
    return module.training or halved


class GroupNorm(nn.GroupNorm):
    """Group normalisation (Wu & He 2018), with an optional scale, shift and SiLU after it."""

    def forward(
        self,
        input: Tensor,
        scale: Tensor | None = None,
        shift: Tensor | None = None,
        *,
        silu: bool = False,
    ) -> Tensor:
        """(1 + scale) GroupNorm(x) + shift, followed by SiLU if `silu`.

        Args:
            input: (B, C, H, W).
            scale, shift: (B, C) each; None for GroupNorm alone.
            silu: whether to apply SiLU.

        Returns:
            (B, C, H, W) in the dtype of the input.
        """
        if input.device.type == "cpu" and prefers_speed(self, input):
            settings = (self.num_groups, self.eps, silu)
            return Fused.apply(input, self.weight, self.bias, scale, shift, settings)  # type: ignore
        h = super().forward(input)
        if scale is not None and shift is not None:
            scale, shift = (t.to(h.dtype)[:, :, None, None] for t in (scale, shift))
            h = torch.addcmul(shift, h, 1 + scale)
        return F.silu(h) if silu else h


class Fused(torch.autograd.Function):
    """SiLU(gain x_hat + bias), x_hat = (x - mean) rstd; saves two copies of x for the gradient.

    The mean rounded to the precision of x, `centre`, is subtracted first. What remains of the mean,
    `offset`, is small, which avoids cancellation in the sums and rounding in the factors.
    """

    # Seven parameters: autograd differentiates only tensors that are arguments of their own.
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
        gain, total_bias = weight.float().expand(batch, -1), bias.float().expand(batch, -1)
        if scale is not None and shift is not None:
            scale_1 = 1 + scale.float()
            gain, total_bias = gain * scale_1, total_bias * scale_1 + shift
        gain = gain.view(batch, groups, -1)
        factor = gain * rstd
        total_bias = total_bias.view(batch, groups, -1) + factor * offset
        z = torch.addcmul(per_channel(total_bias, x), centred, per_channel(factor, x))
        ctx.n, ctx.silu = n, silu
        ctx.save_for_backward(centred, z if silu else None, rstd, offset, gain, weight, bias, scale)
        return F.silu(z) if silu else z

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:  # type: ignore[override]
        centred, z, rstd, offset, gain, weight, bias, scale = ctx.saved_tensors
        dz = torch.ops.aten.silu_backward(gradient, z) if ctx.silu else gradient
        grad_bias = sums(dz).view_as(gain)
        grad_gain = rstd * (sums(dz, centred).view_as(gain) + offset * grad_bias)
        # dx = rstd (g - mean(g) - x_hat mean(g x_hat)), g = gain dz, means over the group.
        slope = -rstd * rstd * (gain * grad_gain).sum(2, keepdim=True) / ctx.n
        constant = -rstd * (gain * grad_bias).sum(2, keepdim=True) / ctx.n + slope * offset
        dx = torch.addcmul(per_channel(constant, dz), centred, per_channel(slope, dz))
        dx = dx.addcmul_(dz, per_channel(gain * rstd, dz))
        grad_gain, grad_bias = grad_gain.flatten(1), grad_bias.flatten(1)
        if scale is None:
            return dx, grad_gain.sum(0).to(weight), grad_bias.sum(0).to(bias), None, None, None
        scale_1 = 1 + scale.float()
        grad_scale = grad_gain * weight.float() + grad_bias * bias.float()
        grad_weight, grad_shift = (grad_gain * scale_1).sum(0), grad_bias.to(scale)
        total_grad_bias = (grad_bias * scale_1).sum(0)
        grads = grad_weight.to(weight), total_grad_bias.to(bias), grad_scale.to(scale), grad_shift
        return dx, *grads, None


def sums(x: Tensor, y: Tensor | None = None) -> Tensor:
    """Sums of x, or of x y, over positions: (B, C, H, W) -> (B, C) float32.

    A few images at a time: a float32 copy of all half-precision features would cost more than the
    sums do.
    """
    few = max(1, MAX_FLOAT32 // x[0].numel())
    parts = x.split(few) if y is None else map(torch.mul, x.split(few), y.split(few))
    return torch.cat([part.sum((2, 3), dtype=torch.float32) for part in parts])


def per_channel(factors: Tensor, x: Tensor) -> Tensor:
    """(B, G, C / G or 1) -> (B, C, 1, 1) in the dtype of x."""
    batch, channels = x.shape[:2]
    spread = factors.expand(batch, factors.shape[1], channels // factors.shape[1])
    return spread.reshape(batch, channels, 1, 1).to(x.dtype)
