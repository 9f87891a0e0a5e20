"""x_t, timestep, label -> raw output, by layers that preserve magnitude.

Magnitude is the root of the mean square. Every layer returns features of magnitude 1 for such
features, and no weight can grow (Karras et al. 2024, section 2, configurations D to G), so that the
learning rate alone decides how fast the network changes:

- The weights of every output have unit norm where they are used: the forward pass normalises them,
  so that their gradient is orthogonal to them. `renormalise` gives the stored ones magnitude 1
  after every step, in which Adam moves each by about the learning rate, whatever N is.
- There are no biases; the input has a further channel of ones.
- There is no group normalisation. Sums and concatenations are weighted, SiLU is divided by its
  magnitude for normal inputs, and features of the encoder are normalised at every pixel, as are
  queries, keys and values in every head.
- The embedding multiplies the features of a block by 1 plus a learned gain times its projection.
  That gain, and those of the output, are zero at first.

The encoder, middle and decoder are those of the ADM U-Net of the same configuration. Constant
factors of layers before and after a convolution are multiplied into its weights.

Letters: B images, C channels, H and W pixels, E embedding width, N weights of an output.
"""

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adm.networks.blocks import Heads, attend_channels_last, sinusoidal
from adm.networks.dropout import Dropout
from adm.networks.encoder import Encoder, Stage
from adm.networks.recompute import Recomputable
from adm.networks.unet import UNet, UNetConfig, change_embedding

SILU = 0.596  # magnitude of SiLU for normal inputs
BRANCH = 0.3  # share of the branch of a residual block, against that of its input
SKIP_FACTOR, BRANCH_FACTOR = (
    (share / math.hypot(1 - BRANCH, BRANCH)) for share in (1 - BRANCH, BRANCH)
)
LEAST = 1e-4  # magnitude below which features and weights are not enlarged to 1


def unit(x: Tensor, *dim: int) -> Tensor:
    """Divide by the magnitude over `dim`; zero stays zero."""
    norm = torch.linalg.vector_norm(x, dim=dim, keepdim=True, dtype=torch.float32)
    magnitude = norm * math.prod([x.shape[each] for each in dim]) ** -0.5
    return x / magnitude.clamp(min=LEAST).to(x.dtype)


def unit_rows(weight: Tensor) -> Tensor:
    """Divide the weights of every output, (outputs, ...), by their magnitude."""
    return unit(weight, *range(1, weight.dim()))


def concatenate(a: Tensor, b: Tensor) -> Tensor:
    """Concatenate the channels of both, weighted so that each gives half of the squares."""
    widths = a.shape[1], b.shape[1]
    parts = zip((a, b), widths, strict=True)
    return torch.cat([_times(x, math.sqrt(sum(widths) / (2 * n))) for x, n in parts], dim=1)


def _times(x: Tensor, factor: float) -> Tensor:
    return x if factor == 1 else x * factor


class UnitWeights(nn.Module):
    """Weights (outputs, ...), of the same norm for every output where they are used.

    Args:
        shape: of the weights.
        norm: 1, times any factor of what goes in or comes out.
    """

    def __init__(self, *shape: int, norm: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(unit_rows(torch.randn(shape)))
        self.factor, self.fixed = norm / math.sqrt(math.prod(shape[1:])), False

    def effective(self) -> Tensor:
        """The weights that are used, which do not depend on the scale of the stored ones."""
        if self.fixed:
            return self.weight
        return unit_rows(self.weight) * self.factor

    def fix(self, dtype: torch.dtype) -> None:
        """Replace the stored weights by the effective ones, which are no longer trained."""
        weight = self.effective().detach().to(dtype)
        last = torch.channels_last if weight.dim() == 4 else torch.contiguous_format
        self.weight, self.fixed = nn.Parameter(weight.contiguous(memory_format=last)), True


class UnitLinear(UnitWeights):
    """(B, C) -> (B, C')."""

    def __init__(self, channels: int, out_channels: int, norm: float = 1.0) -> None:
        super().__init__(out_channels, channels, norm=norm)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.effective())


class UnitConv(UnitWeights):
    """(B, C, H, W) -> (B, C', H, W)."""

    def __init__(self, channels: int, out_channels: int, size: int, norm: float = 1.0) -> None:
        super().__init__(out_channels, channels, size, size, norm=norm)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.effective(), padding=self.weight.shape[2] // 2)


class Stem(UnitConv):
    """Noisy images -> features, with a channel of ones in the place of biases."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__(channels + 1, out_channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x.to(self.weight.dtype), (0, 0, 0, 0, 0, 1), value=1.0)
        if x.device.type == "cpu":  # where convolutions are fastest in this layout; it stays
            x = x.contiguous(memory_format=torch.channels_last)
        return super().forward(x)


class UnitHead(UnitConv):
    """Features -> raw output: a convolution, with a learned gain of every channel."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__(channels, out_channels, 3)
        self.gain = nn.Parameter(torch.zeros(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        # In sampling it is computed in float32: it is cheap, and the result.
        h = super().forward(x if self.training else x.float())
        return (h * self.gain[:, None, None]).contiguous()


class StepEmbedding(nn.Module):
    """timestep (B,) -> embedding (B, E): sinusoids, whose magnitude is constant, and one layer."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.linear = UnitLinear(channels, 4 * channels)

    def forward(self, timestep: Tensor) -> Tensor:
        return self.linear(unit(sinusoidal(timestep, self.channels), 1))


class LabelEmbedding(UnitWeights):
    """label (B,) -> embedding (B, E)."""

    def __init__(self, classes: int, width: int) -> None:
        super().__init__(classes, width, norm=math.sqrt(width))

    def forward(self, label: Tensor) -> Tensor:
        return F.embedding(label, self.effective())


class SilentEmbedding(StepEmbedding):
    """A step embedding that is zero at first, so that a student starts as its teacher."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.gain = nn.Parameter(torch.zeros(1))

    def forward(self, timestep: Tensor) -> Tensor:
        return super().forward(timestep) * self.gain


class Modulation(nn.Module):
    """The sum of all embeddings (B, E) -> factors (B, C, 1, 1), which are 1 at first."""

    def __init__(self, embedding_width: int, channels: int) -> None:
        super().__init__()
        self.linear = UnitLinear(embedding_width, channels, norm=1 / SILU)
        self.gain = nn.Parameter(torch.zeros(1))

    def forward(self, embedding: Tensor) -> Tensor:
        return 1 + self.gain * self.linear(F.silu(unit(embedding, 1)))[:, :, None, None]


def resize(x: Tensor, factor: float) -> Tensor:
    """Halve the sides by the mean, double them by nearest neighbour, or neither."""
    if factor == 1:
        return x
    return F.avg_pool2d(x, 2) if factor < 1 else F.interpolate(x, scale_factor=factor)


class UnitBlock(nn.Module):
    """x, embedding -> weighted sum of skip(x) and branch(x, embedding), at another size on request.

    Args:
        encodes: whether the input of the branch is normalised at every pixel.
        size: factor of the sides: 0.5, 1 or 2.
    """

    # Six parameters: the two widths, the configuration, and the place in the network.
    def __init__(
        self,
        channels: int,
        out_channels: int,
        config: UNetConfig,
        *,
        encodes: bool = False,
        size: float = 1,
    ) -> None:
        super().__init__()
        self.encodes, self.size = encodes, size
        same = channels == out_channels
        self.skip = nn.Identity() if same else UnitConv(channels, out_channels, 1)
        first = out_channels if encodes else channels
        self.conv_in = UnitConv(first, out_channels, 3, norm=1 / SILU)
        self.modulation = Modulation(4 * config.channels, out_channels)
        self.dropout = Dropout(config.dropout)
        self.conv_out = UnitConv(out_channels, out_channels, 3, norm=BRANCH_FACTOR / SILU)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        if self.encodes:
            x = unit(self.skip(resize(x, self.size)), 1)
            h = F.silu(x)
        else:
            h = resize(F.silu(x), self.size)
            x = self.skip(resize(x, self.size))
        h = self.conv_in(h)
        h = F.silu(h * self.modulation(embedding).to(h.dtype))
        return torch.add(self.conv_out(self.dropout(h)), x, alpha=SKIP_FACTOR)


class UnitAttention(nn.Module):
    """Self-attention of unit queries, keys and values, in a weighted sum with its input.

    Attributes:
        alone: whether each position attends to itself alone.
    """

    def __init__(self, channels: int, heads: Heads) -> None:
        super().__init__()
        self.heads, self.alone = heads.count(channels), False
        if self.heads < 1 or channels % self.heads:
            raise ValueError(
                f"{channels} channels do not split into whole heads with {heads}; "
                "choose a head count, or a head width, that divides the channels"
            )
        self.qkv = UnitConv(channels, 3 * channels, 1)
        self.out = UnitConv(channels, channels, 1, norm=BRANCH_FACTOR)

    def forward(self, x: Tensor) -> Tensor:
        rows = self.qkv(x).permute(0, 2, 3, 1)  # (B, H, W, 3C)
        qkv = unit(rows.reshape(len(x), -1, 3 * self.heads, x.shape[1] // self.heads), 3).flatten(2)
        h = qkv.chunk(3, dim=2)[2] if self.alone else attend_channels_last(qkv, self.heads)
        h = h.unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)
        return torch.add(self.out(h), x, alpha=SKIP_FACTOR)


class Resize(nn.Module):
    """Halve or double both sides between blocks, then a convolution when learned."""

    def __init__(self, channels: int, size: float, *, learned: bool) -> None:
        super().__init__()
        self.size, self.conv = size, UnitConv(channels, channels, 3) if learned else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = resize(x, self.size)  # the mean of four pixels is smaller than each
        return self.conv(unit(x, 1) if self.size < 1 else x)


class MagnitudeStage(Stage):
    """`Stage` of these layers."""

    def _forward(self, x: Tensor, embedding: Tensor, skip: Tensor | None) -> Tensor:
        x = x if skip is None else concatenate(x, skip)
        for layer in (self.block, self.attention, self.resize):
            if layer is not None:
                x = layer(x, embedding) if isinstance(layer, UnitBlock) else layer(x)
        return x


def _resampler(config: UNetConfig, channels: int, size: float) -> nn.Module:
    """Return the layer between two resolutions."""
    if config.resampling == "biggan":
        return UnitBlock(channels, channels, config, encodes=size < 1, size=size)
    return Resize(channels, size, learned=config.resampling == "convolution")


class MagnitudeEncoder(Encoder):
    """`Encoder` of layers that preserve magnitude."""

    def __init__(self, config: UNetConfig, in_channels: int) -> None:
        Recomputable.__init__(self)  # none of the layers of the other
        width = config.widths[0]
        self.stages = nn.ModuleList([MagnitudeStage(Stem(in_channels, width))])
        self.stage_widths = [width]
        for halvings, next_width in enumerate(config.widths):
            for _ in range(config.depth):
                block = UnitBlock(width, next_width, config, encodes=True)
                width = next_width
                attends = 2**halvings in config.attention_factors
                attention = UnitAttention(width, config.heads) if attends else None
                self.stages.append(MagnitudeStage(block, attention))
                self.stage_widths.append(width)
            if halvings < len(config.widths) - 1:
                self.stages.append(MagnitudeStage(_resampler(config, width, 0.5)))
                self.stage_widths.append(width)
        self.middle_in = UnitBlock(width, width, config)
        self.middle_attention = UnitAttention(width, config.heads)
        self.middle_out = UnitBlock(width, width, config)


class MagnitudeUNet(UNet):
    """`UNet` of layers that preserve magnitude; a new one returns zero."""

    def __init__(self, config: UNetConfig) -> None:
        nn.Module.__init__(self)  # none of the layers of the other
        self.config = config
        width = 4 * config.channels
        self.step_embedding = StepEmbedding(config.channels)
        if config.classes is not None:
            self.label_embedding = LabelEmbedding(config.classes, width)
        self.condition_embeddings = nn.ModuleDict(
            {name: SilentEmbedding(config.channels) for name in config.conditions}
        )
        channels = config.in_channels * (2 if config.super_resolution else 1)
        self.encoder = MagnitudeEncoder(config, channels)
        self.decoder = self._decoder(config, list(self.encoder.stage_widths))
        self.head = UnitHead(config.widths[0], config.out_channels)
        if config.changes:
            self.change_embedding = change_embedding(config)

    @staticmethod
    def _decoder(config: UNetConfig, skips: list[int]) -> nn.ModuleList:
        heads = config.decoder_heads or config.heads
        stages, width = nn.ModuleList(), config.widths[-1]
        for halvings, next_width in reversed(list(enumerate(config.widths))):
            for i in range(config.depth + 1):
                block = UnitBlock(width + skips.pop(), next_width, config)
                width = next_width
                attends = 2**halvings in config.attention_factors
                attention = UnitAttention(width, heads) if attends else None
                grow = _resampler(config, width, 2) if halvings and i == config.depth else None
                stages.append(MagnitudeStage(block, attention, grow))
        return stages


def fix_weights(network: MagnitudeUNet, dtype: torch.dtype) -> MagnitudeUNet:
    """Return a copy for sampling: its weights are normalised once, and features have this dtype."""
    copied = copy.deepcopy(network)
    for each in copied.modules():
        if isinstance(each, UnitWeights):
            features = isinstance(each, UnitConv) and not isinstance(each, UnitHead)
            each.fix(dtype if features else torch.float32)
    return copied


@torch.no_grad()
def renormalise(network: nn.Module) -> None:
    """Give the stored weights of these layers unit magnitude again, in place, after a step.

    Args:
        network: any; its other layers are left as they are.
    """
    for each in network.modules():
        if isinstance(each, UnitWeights):
            each.weight.copy_(unit_rows(each.weight))
