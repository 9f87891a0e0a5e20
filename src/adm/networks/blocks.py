"""Features, embedding -> features: residual block, attention, resampling, timestep embedding.

Letters in shapes: B images, C channels, H and W pixels, L = H x W positions, E embedding width.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adm.networks.attend import Attend
from adm.networks.convolve import Conv
from adm.networks.dropout import Dropout
from adm.networks.norm import GroupNorm
from adm.networks.prefer import prefers_speed

Resampling = Literal["biggan", "convolution", "plain"]
Module = TypeVar("Module", bound=nn.Module)
WIDEST = 1 << 17  # channels: far above what can be trained


def _check_heads(name: str, value: int) -> None:
    """Raise ValueError for more than any network has; `Attention` checks the others."""
    if value > WIDEST:
        raise ValueError(f"{name} must be at most {WIDEST}")


@dataclass(frozen=True)
class HeadCount:
    """The same number of attention heads at every resolution."""

    heads: int

    def __post_init__(self) -> None:
        _check_heads("heads", self.heads)

    def count(self, channels: int) -> int:
        return self.heads


@dataclass(frozen=True)
class HeadWidth:
    """The same number of channels in every head; the paper settles on 64 (section 3)."""

    channels_per_head: int

    def __post_init__(self) -> None:
        _check_heads("channels_per_head", self.channels_per_head)

    def count(self, channels: int) -> int:
        return channels // self.channels_per_head if self.channels_per_head else 0


Heads = HeadCount | HeadWidth


@dataclass(frozen=True)
class BlockStyle:
    """The settings that all residual blocks of a network share."""

    embedding_width: int
    adaptive_norm: bool
    rescale_residual: bool
    dropout: float
    norm_groups: int


def sinusoidal(timestep: Tensor, width: int, max_period: float = 10_000.0) -> Tensor:
    """Embed timesteps in sines and cosines of falling frequency (Vaswani et al. 2017, section 3.5).

    Args:
        timestep: (B,) whole or fractional.
        width: number of features; if it is odd, the last one is zero.
        max_period: the longest period, in timesteps.

    Returns:
        (B, width) float32; cosines first, then sines.
    """
    half = width // 2
    # The released order of operations: in float32, dividing first moves timestep 3999 by 1e-4.
    exponents = -math.log(max_period) * torch.arange(half, device=timestep.device).float() / half
    angles = timestep.float()[:, None] * exponents.exp()[None]
    waves = torch.cat([angles.cos(), angles.sin()], dim=1)
    return F.pad(waves, (0, width % 2))


def zeroed(module: Module) -> Module:
    """Initialise a layer to zero, so that a residual block that ends in it starts as its skip."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


def group_norm(channels: int, groups: int) -> GroupNorm:
    """Return a group normalisation; raise ValueError unless `groups` divides `channels`."""
    if channels % groups:
        raise ValueError(
            f"{channels} channels do not split into {groups} normalisation groups; "
            f"set norm_groups to a divisor such as {math.gcd(channels, groups)}"
        )
    return GroupNorm(groups, channels)


class Downsample(nn.Module):
    """Halve height and width, by average pooling or by a strided convolution when learned."""

    def __init__(self, channels: int, *, learned: bool) -> None:
        super().__init__()
        self.conv = Conv(channels, channels, 3, stride=2, padding=1) if learned else None

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 2) if self.conv is None else self.conv(x)


class Upsample(nn.Module):
    """Double height and width, by nearest neighbour, followed by a convolution when learned."""

    def __init__(self, channels: int, *, learned: bool) -> None:
        super().__init__()
        self.conv = Conv(channels, channels, 3, padding=1) if learned else None

    def forward(self, x: Tensor) -> Tensor:
        return (
            F.interpolate(x, scale_factor=2.0) if self.conv is None else self.conv(x, doubled=True)
        )


class ResidualBlock(nn.Module):
    """x, embedding -> skip(x) + branch(x, embedding), at the same, half or double resolution.

    With `adaptive_norm` the embedding scales and shifts the output of the second normalisation,
    AdaGN(h, y) = y_s GroupNorm(h) + y_b (paper, section 3.1); otherwise it is added to its input.
    With `resize` this is a BigGAN up- or down-sampling block: the branch is resized after its first
    activation, and the skip likewise (Brock et al. 2019, figure 15).
    """

    def __init__(
        self,
        channels: int,
        out_channels: int,
        style: BlockStyle,
        resize: Downsample | Upsample | None = None,
    ) -> None:
        super().__init__()
        self.style = style
        self.norm_in = group_norm(channels, style.norm_groups)
        self.resize = resize
        self.conv_in = Conv(channels, out_channels, 3, padding=1)
        width = 2 * out_channels if style.adaptive_norm else out_channels
        self.embedding = nn.Linear(style.embedding_width, width)
        self.norm_out = group_norm(out_channels, style.norm_groups)
        self.dropout = Dropout(style.dropout)
        self.conv_out = zeroed(Conv(out_channels, out_channels, 3, padding=1))
        same = channels == out_channels
        self.skip = nn.Identity() if same else Conv(channels, out_channels, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.norm_in(x, silu=True)
        if isinstance(self.resize, Upsample):
            h, x = self.conv_in(h, doubled=True), self.resize(x)
        else:
            h, x = (h, x) if self.resize is None else (self.resize(h), self.resize(x))
            h = self.conv_in(h)
        shift = self.embedding(F.silu(embedding))
        if self.style.adaptive_norm:
            scale, shift = shift.chunk(2, dim=1)
            h = self.norm_out(h, scale, shift, silu=True)
        else:
            h = self.norm_out(h + shift[:, :, None, None].to(h.dtype), silu=True)
        h = self.skip(x) + self.conv_out(self.dropout(h))
        return h * math.sqrt(0.5) if self.style.rescale_residual else h


def attend(qkv: Tensor, heads: int) -> Tensor:
    """Scaled dot-product attention over positions.

    Args:
        qkv: (B, 3C, L); queries, keys and values, each split into heads.
        heads: a divisor of C.

    Returns:
        (B, C, L).
    """
    batch, width, length = qkv.shape
    q, k, v = (
        part.reshape(batch, heads, width // (3 * heads), length).transpose(2, 3)
        for part in qkv.chunk(3, dim=1)
    )
    return F.scaled_dot_product_attention(q, k, v).transpose(2, 3).reshape(batch, -1, length)


def attend_channels_last(qkv: Tensor, heads: int) -> Tensor:
    """`attend` with channels last, (B, L, 3C) -> (B, L, C), without storing the weights."""
    if qkv.device.type == "cpu" and qkv.dtype != torch.float32:
        return Attend.apply(qkv, heads)  # type: ignore[no-any-return]
    batch, length, width = qkv.shape
    q, k, v = qkv.view(batch, length, 3, heads, -1).permute(2, 0, 3, 1, 4)
    attended = F.scaled_dot_product_attention(q, k, v)  # (B, heads, L, C / heads)
    return attended.transpose(1, 2).reshape(batch, length, width // 3)


class Attention(nn.Module):
    """Self-attention over all positions, added to its input."""

    def __init__(self, channels: int, heads: Heads, norm_groups: int) -> None:
        super().__init__()
        self.heads = heads.count(channels)
        if self.heads < 1 or channels % self.heads:
            raise ValueError(
                f"{channels} channels do not split into whole heads with {heads}; "
                "choose a head count, or a head width, that divides the channels"
            )
        self.norm = group_norm(channels, norm_groups)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.out = zeroed(nn.Conv1d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        if prefers_speed(self, x):
            h = h.permute(0, 2, 3, 1)  # (B, H, W, C)
            qkv = pointwise(self.qkv, h.flatten(1, 2))
            h = pointwise(self.out, attend_channels_last(qkv, self.heads)).view(h.shape)
            return x + h.permute(0, 3, 1, 2)
        h = self.out(attend(self.qkv(h.flatten(2)), self.heads))
        return x + h.reshape(x.shape)


def pointwise(layer: nn.Conv1d, x: Tensor) -> Tensor:
    """A convolution of kernel size 1 as a matrix product, (B, L, C) -> (B, L, C')."""
    return F.linear(x, layer.weight[:, :, 0], layer.bias)


class TimestepEmbedding(nn.Sequential):
    """timestep (B,) -> embedding (B, 4 x channels): sinusoids, then two linear layers."""

    def __init__(self, channels: int) -> None:
        width = 4 * channels
        super().__init__(nn.Linear(channels, width), nn.SiLU(), nn.Linear(width, width))
        self.channels = channels

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(sinusoidal(input, self.channels))


def resampler(
    kind: Resampling, sampler: type[Downsample] | type[Upsample], style: BlockStyle
) -> Callable[[int], nn.Module]:
    """Factory of resampling layers: channels -> a layer that takes and returns that many."""
    if kind == "biggan":
        return lambda c: ResidualBlock(c, c, style, sampler(c, learned=False))
    return lambda c: sampler(c, learned=kind == "convolution")
