"""UNet, Classifier -> the same function of fixed weights, made for speed.

`prepared` copies a network for sampling. The copy rounds differently, and so do not its
parameters learn: it is differentiable with respect to the images alone. What is computed once or not
at all, and where:

- Weights lie in memory as convolutions read them, channels last, in the precision of the network.
- The projections of the embedding of all blocks are one matrix product, into which the weights of
  the normalisations that they modulate are folded.
- Nearest-neighbour upsampling and the 3x3 convolution after it are one transposed convolution of
  4x4, with 4/9 of the products.
- The scale of residual connections is folded into the convolutions before it.

Letters: B images, C channels, E embedding width, L = H x W positions.
"""

import copy
import math
from typing import TypeAlias

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
from adm.networks.classifier import Classifier
from adm.networks.encoder import Encoder, Stage
from adm.networks.moments import Moments, averaging, factors, normalised
from adm.networks.norm import GroupNorm
from adm.networks.unet import NO_LABEL, UNet

LAST = torch.channels_last
FEWEST = 3  # channels; oneDNN has no fast kernel for fewer


class Features:
    """Features (B, C, H, W), with moments that are computed when they are first asked for."""

    def __init__(self, x: Tensor, moments: Moments | None = None) -> None:
        self.x = x
        self._moments = moments

    @property
    def moments(self) -> Moments:
        if self._moments is None:
            self._moments = Moments.of(self.x)
        return self._moments

    def beside(self, other: "Features") -> "Features":
        """Both, concatenated along the channels."""
        x = torch.cat([self.x, other.x], dim=1)
        return Features(x, self.moments.beside(other.moments))


class Conv(nn.Module):
    """A convolution, with its input padded to the fewest channels that are fast."""

    def __init__(self, conv: nn.Conv2d, dtype: torch.dtype, factor: float = 1.0) -> None:
        super().__init__()
        weight, bias = _weights(conv)
        self.lacking = max(0, FEWEST - weight.shape[1])
        weight = F.pad(weight * factor, (0, 0, 0, 0, 0, self.lacking))
        self.register_buffer("weight", weight.to(dtype).contiguous(memory_format=LAST))
        self.register_buffer("bias", (bias * factor).to(dtype))
        self.stride, self.padding = conv.stride, conv.padding

    def forward(self, x: Tensor) -> Tensor:
        if self.lacking:
            x = F.pad(x, (0, 0, 0, 0, 0, self.lacking)).contiguous(memory_format=LAST)
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding)


class UpConv(nn.Module):
    """Nearest-neighbour upsampling, then a 3x3 convolution, as one transposed convolution."""

    def __init__(self, conv: nn.Conv2d, dtype: torch.dtype) -> None:
        super().__init__()
        weight, bias = _weights(conv)
        # Row by row: an input pixel reaches four rows, two of them through two weights.
        spread = weight.new_tensor([[0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]])
        weight = torch.einsum("ocij,ai,bj->coab", weight, spread, spread)
        self.register_buffer("weight", weight.to(dtype).contiguous(memory_format=LAST))
        self.register_buffer("bias", bias.to(dtype))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv_transpose2d(x, self.weight, self.bias, stride=2, padding=1)


class Norm(nn.Module):
    """A group normalisation, with the scale and shift of an embedding folded in where it has them.

    Attributes:
        dtype: of its output.
    """

    def __init__(self, norm: GroupNorm, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        self.register_buffer("eps", torch.tensor([norm.eps]))
        self.register_buffer("means", averaging(norm.num_channels, norm.num_groups))
        self.register_buffer("gain", norm.weight.detach().float())
        self.register_buffer("bias", norm.bias.detach().float())

    def forward(
        self,
        features: Features,
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
        found = factors(features.moments, self.means, self.eps, gain, bias, shift)
        return normalised(features.x, found, self.means, silu, self.dtype)


class Projections(nn.Module):
    """embedding (B, E) -> what each residual block receives of it, by one matrix product."""

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

    def forward(self, features: Features, projected: tuple[Tensor, ...]) -> Features:
        h, x = self.norm_in(features), features.x
        if self.shrinks:
            h, x = F.avg_pool2d(h, 2), F.avg_pool2d(x, 2)
        h = Features(self.conv_in(h))
        own = projected[self.number]
        if self.adaptive:
            gain, bias = own.chunk(2, dim=1)
            h = self.norm_out(h, (gain, bias))
        else:
            h = self.norm_out(h, shift=own)
        return Features(self._with_skip(self.conv_out(h), x))

    def _with_skip(self, h: Tensor, x: Tensor) -> Tensor:
        if self.skip is not None:
            rows, width = _rows(h), h.shape[1]
            product = (rows.reshape(-1, width), _rows(x).reshape(-1, x.shape[1]), self.skip)
            added = torch.addmm(*product) if h.requires_grad else torch.addmm(*product, out=product[0])
            return added.view(rows.shape).permute(0, 3, 1, 2)
        if self.grows:
            b, height, width, c = _rows(x).shape
            rows = _rows(h).view(b, height, 2, width, 2, c)
            rows = _added(rows, _rows(x)[:, :, None, :, None], self.factor)
            return rows.view(b, 2 * height, 2 * width, c).permute(0, 3, 1, 2)
        return _added(h, x, self.factor)


class Attends(nn.Module):
    """`Attention`: features -> features."""

    def __init__(self, attention: Attention, dtype: torch.dtype) -> None:
        super().__init__()
        self.heads, self.norm = attention.heads, Norm(attention.norm, dtype)
        for name, layer in (("qkv", attention.qkv), ("out", attention.out)):
            weight, bias = _weights(layer)
            self.register_buffer(name, weight[:, :, 0].to(dtype))
            self.register_buffer(f"{name}_bias", bias.to(dtype))

    def forward(self, features: Features) -> Features:
        x, h = features.x, _rows(self.norm(features, silu=False))
        qkv = F.linear(h.flatten(1, 2), self.qkv, self.qkv_bias)
        h = F.linear(attend_channels_last(qkv, self.heads), self.out, self.out_bias).view(h.shape)
        return Features(_added(h.permute(0, 3, 1, 2), x, 1.0))


class Resized(nn.Module):
    """`Downsample` or `Upsample` between blocks: features -> features."""

    def __init__(self, layer: Downsample | Upsample, dtype: torch.dtype) -> None:
        super().__init__()
        self.grows = isinstance(layer, Upsample)
        self.conv: nn.Module | None = None
        if layer.conv is not None:
            self.conv = (UpConv if self.grows else Conv)(layer.conv, dtype)

    def forward(self, features: Features) -> Features:
        x = features.x
        if self.conv is not None:
            return Features(self.conv(x))
        return Features(F.interpolate(x, scale_factor=2.0) if self.grows else F.avg_pool2d(x, 2))


class Staged(nn.Module):
    """`Stage`: features, all projections -> features."""

    def __init__(self, stage: Stage, dtype: torch.dtype, projections: Projections) -> None:
        super().__init__()
        layers = [stage.block, stage.attention, stage.resize]
        self.layers = nn.ModuleList(
            _layer(layer, dtype, projections) for layer in layers if layer is not None
        )

    def forward(self, features: Features, projected: tuple[Tensor, ...]) -> Features:
        for layer in self.layers:
            if isinstance(layer, Residual):
                features = layer(features, projected)
            elif isinstance(layer, Conv):
                features = Features(layer(features.x))
            else:
                features = layer(features)
        return features


class Encoding(nn.Module):
    """`Encoder`: x_t, all projections -> features of every stage, then of the middle."""

    def __init__(self, encoder: Encoder, dtype: torch.dtype, projections: Projections) -> None:
        super().__init__()
        self.dtype = dtype
        self.stages = nn.ModuleList(Staged(s, dtype, projections) for s in encoder.stages)
        middle = (encoder.middle_in, encoder.middle_attention, encoder.middle_out)
        first, attention, last = (_layer(layer, dtype, projections) for layer in middle)
        self.first, self.attention, self.last = first, attention, last

    def forward(self, x: Tensor, projected: tuple[Tensor, ...]) -> list[Features]:
        features = Features(x.to(self.dtype).contiguous(memory_format=LAST))
        outputs = []
        for stage in self.stages:
            features = stage(features, projected)
            outputs.append(features)
        middle = self.attention(self.first(features, projected))
        return [*outputs, self.last(middle, projected)]


class PreparedUNet(nn.Module):
    """`UNet`, prepared; its output is float32."""

    def __init__(self, network: UNet, dtype: torch.dtype) -> None:
        super().__init__()
        self.config, self.projections = network.config, Projections()
        self.step_embedding = copy.deepcopy(network.step_embedding)
        if network.config.classes is not None:
            self.label_embedding = copy.deepcopy(network.label_embedding)
        self.encoder = Encoding(network.encoder, dtype, self.projections)
        self.decoder = nn.ModuleList(Staged(s, dtype, self.projections) for s in network.decoder)
        norm, _, conv = network.head
        # The last convolution is cheap, and its output is the result.
        self.norm, self.conv = Norm(norm, torch.float32), Conv(conv, torch.float32)
        self.projections.join()

    def forward(
        self,
        x_t: Tensor,
        timestep: Tensor,
        label: Tensor | None = None,
        low_res: Tensor | None = None,
    ) -> Tensor:
        """Raw output for noisy images; see `UNet.forward`."""
        self.config.check_size(x_t.shape[2:])
        self.config.check_inputs(label, low_res)
        embedding = self.step_embedding(timestep)
        if label is not None:
            known = (label != NO_LABEL)[:, None]
            embedding = embedding + self.label_embedding(label.clamp(min=0)) * known
        projected = self.projections(embedding)
        x = x_t
        if low_res is not None:
            low_res = F.interpolate(low_res, x_t.shape[2:], mode="bilinear", align_corners=False)
            x = torch.cat([x_t, low_res], dim=1)
        *skips, features = self.encoder(x, projected)
        for stage in self.decoder:
            features = stage(features.beside(skips.pop()), projected)
        return self.conv(self.norm(features)).contiguous()


class PreparedClassifier(nn.Module):
    """`Classifier`, prepared; its logits are float32."""

    def __init__(self, network: Classifier, dtype: torch.dtype) -> None:
        super().__init__()
        self.config, self.projections = network.config, Projections()
        self.step_embedding = copy.deepcopy(network.step_embedding)
        self.encoder = Encoding(network.encoder, dtype, self.projections)
        self.head = copy.deepcopy(network.head)
        self.projections.join()

    def forward(self, x_t: Tensor, timestep: Tensor) -> Tensor:
        """Classify noisy images; see `Classifier.forward`."""
        self.config.check_images(x_t.shape[2:])
        projected = self.projections(self.step_embedding(timestep))
        return self.head([f.x.float() for f in self.encoder(x_t, projected)])


Prepared: TypeAlias = PreparedUNet | PreparedClassifier


@torch.inference_mode(False)  # whose tensors no gradient could pass
@torch.no_grad()
def prepared(network: UNet | Classifier, dtype: torch.dtype = torch.float32) -> Prepared:
    """Return a copy of a network that is made for speed.

    Args:
        network: is not changed, and what changes it later does not change the copy.
        dtype: of weights and features; embeddings, statistics, softmax and output are float32.
    """
    kind = PreparedUNet if isinstance(network, UNet) else PreparedClassifier
    return kind(network, dtype).eval().requires_grad_(False)  # type: ignore[arg-type]


def _layer(layer: nn.Module, dtype: torch.dtype, projections: Projections) -> nn.Module:
    if isinstance(layer, ResidualBlock):
        return Residual(layer, dtype, projections)
    if isinstance(layer, Attention):
        return Attends(layer, dtype)
    if isinstance(layer, nn.Conv2d):
        return Conv(layer, dtype)
    assert isinstance(layer, Downsample | Upsample)
    return Resized(layer, dtype)


def _weights(layer: nn.Conv2d | nn.Conv1d | nn.Linear) -> tuple[Tensor, Tensor]:
    """Weight and bias of a layer, in float32."""
    assert layer.bias is not None
    return layer.weight.detach().float(), layer.bias.detach().float()


def _rows(x: Tensor) -> Tensor:
    """(B, C, H, W), channels last in memory -> a view of it, (B, H, W, C)."""
    return x.contiguous(memory_format=LAST).permute(0, 2, 3, 1)


def _added(h: Tensor, x: Tensor, factor: float) -> Tensor:
    """h + factor x, in the memory of h unless its gradient is wanted."""
    if h.requires_grad or x.requires_grad:
        return torch.add(h, x, alpha=factor)
    return h.add_(x, alpha=factor)
