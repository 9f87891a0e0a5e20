"""Features with their moments -> features: the layers of a network, prepared for speed.

Each is made from a layer of `blocks`, and computes the same function. What is computed once, or not
at all:

- Weights lie in memory as convolutions read them, channels last, in the precision of the network.
- The projections of the embedding of all blocks are one matrix product, into which the weights of
  the normalisations that they modulate are folded.
- Nearest-neighbour upsampling and the 3x3 convolution after it are one transposed convolution of
  4x4, with 4/9 of the products.
- The scale of residual connections is folded into the convolutions before it.

Letters: B images, C channels, E embedding width, L = H x W positions.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adm.networks.blocks import (
    Attention,
    Downsample,
    ResidualBlock,
    Upsample,
    attend_channels_last,
)
from adm.networks.convolve import up_weight
from adm.networks.moments import ChannelMoments, averaging, grouped, normalised
from adm.networks.norm import GroupNorm

LAST = torch.channels_last
FEWEST = 3  # channels; oneDNN has no fast kernel for fewer


class WithMoments:
    """Features (B, C, H, W), with moments that are computed at the first access."""

    def __init__(self, x: Tensor, moments: ChannelMoments | None = None) -> None:
        self.x = x
        self._moments = moments

    @property
    def moments(self) -> ChannelMoments:
        if self._moments is None:
            self._moments = ChannelMoments.of(self.x)
        return self._moments

    def concatenate(self, other: "WithMoments") -> "WithMoments":
        """Both, concatenated along the channels."""
        x = torch.cat([self.x, other.x], dim=1)
        return WithMoments(x, self.moments.concatenate(other.moments))


class Conv(nn.Module):
    """A convolution, with its input padded to the fewest channels that are fast."""

    weight: Tensor
    bias: Tensor

    def __init__(self, conv: nn.Conv2d, dtype: torch.dtype, factor: float = 1.0) -> None:
        super().__init__()
        weight, bias = _weights(conv)
        self.lacking = max(0, FEWEST - weight.shape[1])
        weight = F.pad(weight * factor, (0, 0, 0, 0, 0, self.lacking))
        self.register_buffer("weight", weight.to(dtype).contiguous(memory_format=LAST))
        self.register_buffer("bias", (bias * factor).to(dtype))
        self.stride, self.padding = conv.stride[0], conv.kernel_size[0] // 2

    def forward(self, x: Tensor) -> Tensor:
        if self.lacking:
            x = F.pad(x, (0, 0, 0, 0, 0, self.lacking)).contiguous(memory_format=LAST)
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding)


class UpConv(nn.Module):
    """Nearest-neighbour upsampling, then a 3x3 convolution, as one transposed convolution."""

    weight: Tensor
    bias: Tensor

    def __init__(self, conv: nn.Conv2d, dtype: torch.dtype) -> None:
        super().__init__()
        weight, bias = _weights(conv)
        weight = up_weight(weight).to(dtype)
        self.register_buffer("weight", weight.contiguous(memory_format=LAST))
        self.register_buffer("bias", bias.to(dtype))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv_transpose2d(x, self.weight, self.bias, stride=2, padding=1)


class Norm(nn.Module):
    """A group normalisation, with the scale and shift of an embedding folded in where it has them.

    Attributes:
        dtype: of its output.
    """

    means: Tensor
    eps: Tensor
    gain: Tensor
    bias: Tensor

    def __init__(self, norm: GroupNorm, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        self.register_buffer("eps", torch.tensor([norm.eps]))
        self.register_buffer("means", averaging(norm.num_channels, norm.num_groups))
        self.register_buffer("gain", norm.weight.detach().float())
        self.register_buffer("bias", norm.bias.detach().float())

    def forward(
        self,
        features: WithMoments,
        modulation: tuple[Tensor, Tensor] | None = None,
        shift: Tensor | None = None,
        silu: bool = True,
    ) -> Tensor:
        """SiLU(gain GroupNorm(x + shift) + bias).

        Args:
            modulation: gain and bias in place of its own, (B, C) each.
            shift: (B, C).
        """
        gain, bias = (self.gain, self.bias) if modulation is None else modulation
        groups = grouped(features.moments, self.means, self.eps, shift)
        return normalised(features.x, gain, bias, groups, self.means, silu, self.dtype)


class Projections(nn.Module):
    """embedding (B, E) -> what each residual block receives of it, by one matrix product."""

    weight: Tensor
    bias: Tensor

    def __init__(self) -> None:
        super().__init__()
        self._weights: list[Tensor] = []
        self._biases: list[Tensor] = []
        self.widths: list[int] = []

    def add(self, weight: Tensor, bias: Tensor) -> int:
        """Add the projection of a block, and return its number."""
        self._weights.append(weight)
        self._biases.append(bias)
        self.widths.append(len(bias))
        return len(self.widths) - 1

    def join(self) -> None:
        """Join all projections, when the last one is added."""
        self.register_buffer("weight", torch.cat(self._weights))
        self.register_buffer("bias", torch.cat(self._biases))
        self._weights, self._biases = [], []

    def forward(self, embedding: Tensor) -> tuple[Tensor, ...]:
        return F.linear(F.silu(embedding), self.weight, self.bias).split(self.widths, dim=1)


class Residual(nn.Module):
    """`ResidualBlock`: features, all projections -> features."""

    skip: Tensor | None

    def __init__(self, block: ResidualBlock, dtype: torch.dtype, projections: Projections) -> None:
        super().__init__()
        self.factor = math.sqrt(0.5) if block.style.rescale_residual else 1.0
        self.grows, self.shrinks = (isinstance(block.resize, k) for k in (Upsample, Downsample))
        self.adaptive = block.style.adaptive_norm
        self.norm_in, self.norm_out = (Norm(n, dtype) for n in (block.norm_in, block.norm_out))
        self.conv_in = (UpConv if self.grows else Conv)(block.conv_in, dtype)
        self.conv_out = Conv(block.conv_out, dtype, self.factor)
        skip: Tensor | None = None
        if isinstance(block.skip, nn.Conv2d):
            weight, bias = _weights(block.skip)
            skip = (weight[:, :, 0, 0].T * self.factor).to(dtype)
            self.conv_out.bias += (bias * self.factor).to(dtype)
        self.register_buffer("skip", skip)
        self.number = projections.add(*self._projection(block))

    def _projection(self, block: ResidualBlock) -> tuple[Tensor, Tensor]:
        """Weight and bias of the embedding's projection: to gain and bias, or to a shift."""
        weight, bias = _weights(block.embedding)
        if not self.adaptive:
            return weight, bias
        gain, offset = (t.detach() for t in (block.norm_out.weight, block.norm_out.bias))
        (scale, shift), (scale_0, shift_0) = weight.chunk(2), bias.chunk(2)
        rows = torch.cat([gain[:, None] * scale, offset[:, None] * scale + shift])
        return rows, torch.cat([gain * (1 + scale_0), offset * (1 + scale_0) + shift_0])

    def forward(self, features: WithMoments, projected: tuple[Tensor, ...]) -> WithMoments:
        h, x = self.norm_in(features), features.x
        if self.shrinks:
            h, x = F.avg_pool2d(h, 2), F.avg_pool2d(x, 2)
        h = WithMoments(self.conv_in(h))
        projection = projected[self.number]
        if self.adaptive:
            gain, bias = projection.chunk(2, dim=1)
            h = self.norm_out(h, (gain, bias))
        else:
            h = self.norm_out(h, shift=projection)
        return WithMoments(self._with_skip(self.conv_out(h), x))

    def _with_skip(self, h: Tensor, x: Tensor) -> Tensor:
        if self.skip is not None:
            rows, width = _rows(h), h.shape[1]
            product = (rows.reshape(-1, width), _rows(x).reshape(-1, x.shape[1]), self.skip)
            added = (
                torch.addmm(*product) if h.requires_grad else torch.addmm(*product, out=product[0])
            )
            return added.view(rows.shape).permute(0, 3, 1, 2)
        if self.grows:
            b, height, width, c = _rows(x).shape
            rows = _rows(h).view(b, height, 2, width, 2, c)
            rows = _added(rows, _rows(x)[:, :, None, :, None], self.factor)
            return rows.view(b, 2 * height, 2 * width, c).permute(0, 3, 1, 2)
        return _added(h, x, self.factor)


class Attends(nn.Module):
    """`Attention`: features -> features."""

    qkv: Tensor
    qkv_bias: Tensor
    out: Tensor
    out_bias: Tensor

    def __init__(self, attention: Attention, dtype: torch.dtype) -> None:
        super().__init__()
        self.heads, self.norm = attention.heads, Norm(attention.norm, dtype)
        for name, layer in (("qkv", attention.qkv), ("out", attention.out)):
            weight, bias = _weights(layer)
            self.register_buffer(name, weight[:, :, 0].to(dtype))
            self.register_buffer(f"{name}_bias", bias.to(dtype))

    def forward(self, features: WithMoments) -> WithMoments:
        x, h = features.x, _rows(self.norm(features, silu=False))
        qkv = F.linear(h.flatten(1, 2), self.qkv, self.qkv_bias)
        h = F.linear(attend_channels_last(qkv, self.heads), self.out, self.out_bias).view(h.shape)
        return WithMoments(_added(h.permute(0, 3, 1, 2), x, 1.0))


class Resized(nn.Module):
    """`Downsample` or `Upsample` between blocks: features -> features."""

    def __init__(self, layer: Downsample | Upsample, dtype: torch.dtype) -> None:
        super().__init__()
        self.grows = isinstance(layer, Upsample)
        self.conv: nn.Module | None = None
        if layer.conv is not None:
            self.conv = (UpConv if self.grows else Conv)(layer.conv, dtype)

    def forward(self, features: WithMoments) -> WithMoments:
        x = features.x
        if self.conv is not None:
            return WithMoments(self.conv(x))
        return WithMoments(F.interpolate(x, scale_factor=2.0) if self.grows else F.avg_pool2d(x, 2))


def _weights(layer: nn.Conv2d | nn.Conv1d | nn.Linear) -> tuple[Tensor, Tensor]:
    """Weight and bias of a layer, in float32."""
    assert layer.bias is not None
    return layer.weight.detach().float(), layer.bias.detach().float()


def _rows(x: Tensor) -> Tensor:
    """(B, C, H, W), channels last in memory -> a view of it, (B, H, W, C)."""
    return x.contiguous(memory_format=LAST).permute(0, 2, 3, 1)


def _added(h: Tensor, x: Tensor, factor: float) -> Tensor:
    """h + factor x, in the memory of h unless its gradient is needed."""
    if h.requires_grad or x.requires_grad:
        return torch.add(h, x, alpha=factor)
    return h.add_(x, alpha=factor)
