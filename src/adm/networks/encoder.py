"""x_t, embedding -> features of every stage: the half that U-Net and classifier share."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from adm.networks.blocks import (
    WIDEST,
    Attention,
    BlockStyle,
    Downsample,
    Heads,
    HeadWidth,
    Resampling,
    ResidualBlock,
    resampler,
)
from adm.networks.convolve import Conv
from adm.networks.prefer import prefers_speed
from adm.networks.recompute import Recomputable
from adm.shown import shown

# The largest configuration, far above what can be trained: a damaged number asks for no more.
LARGEST = {"in_channels": 1024, "channels": 1 << 14, "depth": 16, "norm_groups": 1 << 14}
MOST_RESOLUTIONS, MOST_CLASSES = 12, 1 << 20
DEFAULT_HEADS = HeadWidth(64)  # the paper's choice (section 3)


def check_range(name: str, value: int, largest: int) -> None:
    """Raise ValueError unless a number is in 1..`largest`."""
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")
    if value > largest:
        raise ValueError(f"{name} must be at most {largest}")


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """Every axis of the paper's ablation (section 3), for the U-Net and the classifier alike.

    Attributes:
        in_channels: channels of the noisy image.
        channels: base width, which each of `multipliers` multiplies.
        multipliers: one per resolution, from the image's own; each further one halves both sides.
        depth: residual blocks per resolution.
        attention_factors: down-sampling factors at which every residual block is followed by
            attention; at 64x64, the paper's resolutions 32, 16, 8 are factors 2, 4, 8.
        heads: the number of attention heads, or their width in channels.
        resampling: BigGAN residual blocks (`biggan`), convolutions (`convolution`), or average
            pooling and nearest neighbour (`plain`).
        adaptive_norm: AdaGN, or else addition followed by GroupNorm.
        rescale_residual: multiply the output of every residual block by 1/sqrt(2).
        dropout: its probability, in every residual block.
        norm_groups: groups of every GroupNorm; each width must be divisible by it.
    """

    in_channels: int = 3
    channels: int
    multipliers: tuple[float, ...]
    depth: int
    attention_factors: tuple[int, ...]
    heads: Heads = DEFAULT_HEADS
    resampling: Resampling = "biggan"
    adaptive_norm: bool = True
    rescale_residual: bool = False
    dropout: float = 0.0
    norm_groups: int = 32

    def __post_init__(self) -> None:
        for name, largest in LARGEST.items():
            check_range(name, getattr(self, name), largest)
        if len(self.multipliers) > MOST_RESOLUTIONS:
            raise ValueError(f"multipliers must be at most {MOST_RESOLUTIONS} numbers")
        finite = all(0 < m <= WIDEST / self.channels for m in self.multipliers)
        if not self.multipliers or not finite or min(self.widths) < 1:
            raise ValueError(
                f"multipliers {list(self.multipliers)} leave a resolution without channels, or "
                f"with more than {WIDEST}; give one positive number per resolution, such as 1,2,2"
            )
        factors = [2**halvings for halvings in range(len(self.multipliers))]
        if not set(self.attention_factors) <= set(factors):
            raise ValueError(
                f"attention_factors {shown(list(self.attention_factors))} must be among {factors}, "
                "the image's side divided by each resolution; leave the others out"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}")

    @property
    def reduction(self) -> int:
        """Down-sampling factor of the innermost features."""
        return 2 ** (len(self.multipliers) - 1)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels at each resolution."""
        return tuple(int(self.channels * multiplier) for multiplier in self.multipliers)

    @property
    def style(self) -> BlockStyle:
        return BlockStyle(
            embedding_width=4 * self.channels,
            adaptive_norm=self.adaptive_norm,
            rescale_residual=self.rescale_residual,
            dropout=self.dropout,
            norm_groups=self.norm_groups,
        )

    def check_size(self, size: Sequence[int]) -> None:
        """Raise ValueError unless both sides (H, W) are divisible by the down-sampling factor."""
        r = self.reduction
        if any(side < r or side % r for side in size):
            near = " or ".join(
                "x".join(str(max(r, (side + up) // r * r)) for side in size) for up in (0, r - 1)
            )
            got = "x".join(map(str, size))
            raise ValueError(
                f"an image of {got} cannot be halved {len(self.multipliers) - 1} times: "
                f"each side must be divisible by {r}; use {near}, or fewer multipliers"
            )


class Stage(Recomputable):
    """A residual block or convolution, followed by optional attention and optional resampling."""

    def __init__(
        self,
        block: nn.Module,
        attention: nn.Module | None = None,
        resize: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.block = block
        self.attention = attention
        self.resize = resize

    def forward(self, x: Tensor, embedding: Tensor, skip: Tensor | None = None) -> Tensor:
        """x, concatenated with `skip` where that is given -> features."""
        return self.checkpointed(self._forward, x, embedding, skip)

    def _forward(self, x: Tensor, embedding: Tensor, skip: Tensor | None) -> Tensor:
        x = x if skip is None else torch.cat([x, skip], dim=1)
        x = _call(self.block, x, embedding)
        if self.attention is not None:
            x = self.attention(x)
        return x if self.resize is None else _call(self.resize, x, embedding)


def _call(layer: nn.Module, x: Tensor, embedding: Tensor) -> Tensor:
    """Only residual blocks take the embedding."""
    return layer(x, embedding) if isinstance(layer, ResidualBlock) else layer(x)


class Encoder(Recomputable):
    """x (B, C, H, W), embedding (B, E) -> the output of every stage, then of the middle block."""

    def __init__(self, config: EncoderConfig, in_channels: int) -> None:
        super().__init__()
        style, width = config.style, config.widths[0]
        shrink = resampler(config.resampling, Downsample, style)
        self.stages = nn.ModuleList([Stage(Conv(in_channels, width, 3, padding=1))])
        self.stage_widths = [width]
        for halvings, next_width in enumerate(config.widths):
            for _ in range(config.depth):
                block = ResidualBlock(width, next_width, style)
                width = next_width
                attends = 2**halvings in config.attention_factors
                attention = Attention(width, config.heads, config.norm_groups) if attends else None
                self._append(Stage(block, attention), width)
            if halvings < len(config.widths) - 1:
                self._append(Stage(shrink(width)), width)
        self.middle_in = ResidualBlock(width, width, style)
        self.middle_attention = Attention(width, config.heads, config.norm_groups)
        self.middle_out = ResidualBlock(width, width, style)

    def _append(self, stage: Stage, width: int) -> None:
        self.stages.append(stage)
        self.stage_widths.append(width)

    def forward(self, x: Tensor, embedding: Tensor) -> list[Tensor]:
        x = self._in_fastest_layout(x)
        outputs = []
        for stage in self.stages:
            # Layers keep the memory layout of their input, but with one channel it is ambiguous.
            x = self._in_fastest_layout(stage(x, embedding))
            outputs.append(x)
        return [*outputs, self.checkpointed(self._middle, x, embedding)]

    def _in_fastest_layout(self, x: Tensor) -> Tensor:
        last = x.device.type == "cpu" and prefers_speed(self, x)
        return x.contiguous(memory_format=torch.channels_last) if last else x

    def _middle(self, x: Tensor, embedding: Tensor) -> Tensor:
        x = self.middle_attention(self.middle_in(x, embedding))
        return self.middle_out(x, embedding)
