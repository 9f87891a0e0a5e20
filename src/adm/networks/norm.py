"""Features, scale, shift -> SiLU(AdaGN(features)), fused where that is faster.

Convolutions on a CPU are fastest with channels last in memory, where torch's GroupNorm is slow; and
a scale, a shift and a SiLU after it would each read the features, and save them, once more. So
training and half precision on a CPU use the operation of `moments`.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adm.networks.moments import ChannelMoments, averaging, grouped, normalised
from adm.networks.prefer import prefers_speed


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
            with torch.autocast("cpu", enabled=False):
                return self._fast(input, scale, shift, silu)
        h = super().forward(input)
        if scale is not None and shift is not None:
            scale, shift = (t.to(h.dtype)[:, :, None, None] for t in (scale, shift))
            h = torch.addcmul(shift, h, 1 + scale)
        return F.silu(h) if silu else h

    def _fast(self, x: Tensor, scale: Tensor | None, shift: Tensor | None, silu: bool) -> Tensor:
        gain, bias = (t.float().expand(len(x), -1) for t in (self.weight, self.bias))
        if scale is not None and shift is not None:
            scale_1 = 1 + scale.float()
            gain, bias = gain * scale_1, torch.addcmul(shift.float(), bias, scale_1)
        means = averaging(self.num_channels, self.num_groups)
        groups = grouped(ChannelMoments.of(x), means, torch.tensor([self.eps]))
        return normalised(x, gain, bias, groups, means, silu, x.dtype)
