"""Features, condition -> features: residual blocks of BigGAN and BigGAN-deep, and self-attention.

Letters in shapes: B images, C channels, H and W pixels, E width of the condition.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adm.networks.biggan.batch_norm import BatchNorm
from adm.networks.biggan.config import BOTTLENECK
from adm.networks.biggan.spectral import Conv2d, Linear
from adm.networks.blocks import Downsample, Upsample


class ConditionalBatchNorm(nn.Module):
    """Batch normalisation whose gain and bias are linear functions of a condition, then ReLU."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.norm = BatchNorm(channels)
        self.gain = Linear(width, channels, bias=False)
        self.bias = Linear(width, channels, bias=False)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(B, C, H, W), (B, E) -> (B, C, H, W)."""
        return F.relu(self.norm(x, 1 + self.gain(condition).float(), self.bias(condition)))


class GeneratorBlock(nn.Module):
    """Two convolutions; doubles height and width if `grows` (Brock et al. 2019, figure 15b)."""

    def __init__(self, channels: int, out_channels: int, width: int, grows: bool) -> None:
        super().__init__()
        self.grow = Upsample(channels, learned=False) if grows else nn.Identity()
        self.norm_in = ConditionalBatchNorm(channels, width)
        self.conv_in = Conv2d(channels, out_channels, 3)
        self.norm_out = ConditionalBatchNorm(out_channels, width)
        self.conv_out = Conv2d(out_channels, out_channels, 3)
        same = channels == out_channels and not grows
        self.skip = nn.Identity() if same else Conv2d(channels, out_channels, 1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        h = self.conv_in(self.grow(self.norm_in(x, condition)))
        h = self.conv_out(self.norm_out(h, condition))
        # A convolution of kernel size 1 before the upsampling is the same, and four times cheaper.
        return h + self.grow(self.skip(x))


class GeneratorBottleneck(nn.Module):
    """Four convolutions around a bottleneck; the skip drops the last channels (figure 16b)."""

    def __init__(self, channels: int, out_channels: int, width: int, grows: bool) -> None:
        super().__init__()
        hidden = channels // BOTTLENECK
        self.out_channels = out_channels
        self.grow = Upsample(channels, learned=False) if grows else nn.Identity()
        widths = (channels, hidden, hidden, hidden)
        self.norms = nn.ModuleList(ConditionalBatchNorm(each, width) for each in widths)
        self.squeeze = Conv2d(channels, hidden, 1)
        self.middle = nn.ModuleList(Conv2d(hidden, hidden, 3) for _ in range(2))
        self.expand = Conv2d(hidden, out_channels, 1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        h = self.squeeze(self.norms[0](x, condition))
        h = self.middle[0](self.grow(self.norms[1](h, condition)))
        h = self.middle[1](self.norms[2](h, condition))
        h = self.expand(self.norms[3](h, condition))
        return h + self.grow(x[:, : self.out_channels])


class DiscriminatorBlock(nn.Module):
    """Two convolutions; halves height and width if `shrinks` (figure 15c).

    The first block of a network gets an image, which no activation precedes.
    """

    def __init__(self, channels: int, out_channels: int, shrinks: bool, first: bool) -> None:
        super().__init__()
        self.first = first
        self.shrink = Downsample(channels, learned=False) if shrinks else nn.Identity()
        self.conv_in = Conv2d(channels, out_channels, 3)
        self.conv_out = Conv2d(out_channels, out_channels, 3)
        same = channels == out_channels and not shrinks
        self.skip = nn.Identity() if same else Conv2d(channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv_in(x if self.first else F.relu(x))
        h = self.conv_out(F.relu(h))
        return self.shrink(h) + self.skip(self.shrink(x))


class DiscriminatorBottleneck(nn.Module):
    """Four convolutions around a bottleneck; the skip gains channels from a convolution (16c)."""

    def __init__(self, channels: int, out_channels: int, shrinks: bool) -> None:
        super().__init__()
        hidden = out_channels // BOTTLENECK
        self.shrink = Downsample(channels, learned=False) if shrinks else nn.Identity()
        self.squeeze = Conv2d(channels, hidden, 1)
        self.middle = nn.ModuleList(Conv2d(hidden, hidden, 3) for _ in range(2))
        self.expand = Conv2d(hidden, out_channels, 1)
        gained = out_channels - channels
        self.gained = Conv2d(channels, gained, 1) if gained else None

    def forward(self, x: Tensor) -> Tensor:
        h = self.squeeze(F.relu(x))
        h = self.middle[0](F.relu(h))
        h = self.middle[1](F.relu(h))
        h = self.expand(self.shrink(F.relu(h)))
        x = self.shrink(x)
        return h + (x if self.gained is None else torch.cat([x, self.gained(x)], dim=1))


class SelfAttention(nn.Module):
    """Attention over all positions, added with a factor that starts at 0 (Zhang et al. 2019)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.queries = Conv2d(channels, channels // 8, 1, bias=False)
        self.keys = Conv2d(channels, channels // 8, 1, bias=False)
        self.values = Conv2d(channels, channels // 2, 1, bias=False)
        self.out = Conv2d(channels // 2, channels, 1, bias=False)
        self.factor = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W); keys and values are pooled to half of each side."""
        queries = self.queries(x).flatten(2).mT  # (B, L, C / 8)
        keys = F.max_pool2d(self.keys(x), 2).flatten(2).mT
        values = F.max_pool2d(self.values(x), 2).flatten(2).mT
        # Products are not scaled, as in the paper.
        attended = F.scaled_dot_product_attention(queries, keys, values, scale=1.0)
        return x + self.factor * self.out(attended.mT.unflatten(2, x.shape[2:]))
