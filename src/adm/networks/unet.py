"""x_t, timestep, label, low-resolution image -> raw output."""

from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adm.networks.blocks import (
    Attention,
    Heads,
    ResidualBlock,
    TimestepEmbedding,
    Upsample,
    group_norm,
    resampler,
    zeroed,
)
from adm.networks.convolve import Conv
from adm.networks.encoder import (
    LARGEST,
    MOST_CLASSES,
    Encoder,
    EncoderConfig,
    Stage,
    check_range,
)

NO_LABEL = -1
SILENT = "condition_embeddings."  # prefix of embeddings that start at 0
Condition: TypeAlias = Literal["next", "scale", "low_res"]
# Of each condition, the timesteps that its unit is embedded as.
CONDITIONS: dict[str, float] = {"next": 1.0, "scale": 100.0, "low_res": 1.0}


@dataclass(frozen=True, kw_only=True)
class UNetConfig(EncoderConfig):
    """The ADM U-Net.

    Attributes:
        out_channels: of the raw output; twice the image's when the variance is learned.
        classes: number of labels, or None for an unconditional network.
        super_resolution: concatenate an up-sampled low-resolution image to the noisy one.
        decoder_heads: attention heads of the decoder; those of the encoder when None.
        conditions: further inputs, one number an image each: of a distilled student the timestep
            that the step leads to (`next`) and the guidance scale (`scale`), of an upsampler the
            timestep of the noise on its low-resolution image (`low_res`).
    """

    out_channels: int
    classes: int | None = None
    super_resolution: bool = False
    decoder_heads: Heads | None = None
    conditions: tuple[Condition, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("out_channels", self.out_channels, 2 * LARGEST["in_channels"])
        if self.classes is not None:
            check_range("classes", self.classes, MOST_CLASSES)
        if len(set(self.conditions)) < len(self.conditions):
            raise ValueError(f"conditions must differ, got {', '.join(self.conditions)}")

    def check_inputs(
        self, label: Tensor | None, low_res: Tensor | None, conditions: Tensor | None
    ) -> None:
        """Raise ValueError if an input is missing, or is one that the network does not take."""
        count = 0 if conditions is None else conditions.shape[1]
        if count != len(self.conditions):
            takes = ", ".join(self.conditions) or "none"
            raise ValueError(f"this network takes the conditions {takes}, got {count} numbers")
        if label is not None and self.classes is None:
            raise ValueError("this network is unconditional; call it without labels")
        if (low_res is not None) != self.super_resolution:
            if self.super_resolution:
                raise ValueError("this network needs a low-resolution image; give low_res=...")
            raise ValueError("this network takes no low-resolution image; leave low_res out")


class Head(nn.Sequential):
    """features -> raw output: normalisation, SiLU, and a convolution initialised to zero."""

    def __init__(self, channels: int, out_channels: int, norm_groups: int) -> None:
        conv = zeroed(Conv(channels, out_channels, 3, padding=1))
        super().__init__(group_norm(channels, norm_groups), nn.SiLU(), conv)

    def forward(self, input: Tensor) -> Tensor:
        norm, _, conv = self
        return conv(norm(input, silu=True))


class UNet(nn.Module):
    """The network of Ablated Diffusion Models (paper, section 3).

    The output of every encoder stage is concatenated to the input of one decoder stage.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        self.step_embedding = TimestepEmbedding(config.channels)  # its name in stored weights
        if config.classes is not None:
            self.label_embedding = nn.Embedding(config.classes, 4 * config.channels)
        self.condition_embeddings = nn.ModuleDict(
            {name: _silent(TimestepEmbedding(config.channels)) for name in config.conditions}
        )
        in_channels = config.in_channels * (2 if config.super_resolution else 1)
        self.encoder = Encoder(config, in_channels)
        self.decoder = self._decoder(config, list(self.encoder.stage_widths))
        self.head = Head(config.widths[0], config.out_channels, config.norm_groups)

    @staticmethod
    def _decoder(config: UNetConfig, skips: list[int]) -> nn.ModuleList:
        heads = config.decoder_heads or config.heads
        grow = resampler(config.resampling, Upsample, config.style)
        stages, width = nn.ModuleList(), config.widths[-1]
        for halvings, next_width in reversed(list(enumerate(config.widths))):
            for i in range(config.depth + 1):
                block = ResidualBlock(width + skips.pop(), next_width, config.style)
                width = next_width
                attends = 2**halvings in config.attention_factors
                attention = Attention(width, heads, config.norm_groups) if attends else None
                last = halvings > 0 and i == config.depth
                stages.append(Stage(block, attention, grow(width) if last else None))
        return stages

    def forward(
        self,
        x_t: Tensor,
        timestep: Tensor,
        label: Tensor | None = None,
        low_res: Tensor | None = None,
        conditions: Tensor | None = None,
    ) -> Tensor:
        """Raw output for noisy images; what it stands for is up to the diffusion process.

        Args:
            x_t: (B, C, H, W) noisy images.
            timestep: (B,) whole or fractional.
            label: (B,) int64 in [0, classes), or NO_LABEL for an image without one; None if no
                image has a label.
            low_res: (B, C, h, w) in [-1, 1], for super-resolution networks only.
            conditions: (B, K), one column for each of the configuration's K conditions; None if it
                has none.

        Returns:
            (B, out_channels, H, W) in the dtype of x_t.

        Raises:
            ValueError: a side is not divisible by the down-sampling factor, an input is missing,
                or one is given that the network does not take.
        """
        self.config.check_size(x_t.shape[2:])
        self.config.check_inputs(label, low_res, conditions)
        embedding = embedded(self, timestep, label, conditions)
        *skips, h = self.encoder(with_low_res(x_t, low_res), embedding)
        for stage in self.decoder:
            h = stage(h, embedding, skips.pop())
        return self.head(h).to(x_t.dtype)


class Conditioned(Protocol):
    """A network with the embeddings of a U-Net."""

    @property
    def step_embedding(self) -> nn.Module: ...
    @property
    def label_embedding(self) -> nn.Module: ...  # of a network with classes only
    @property
    def condition_embeddings(self) -> nn.ModuleDict: ...


def embedded(
    network: Conditioned, timestep: Tensor, label: Tensor | None, conditions: Tensor | None
) -> Tensor:
    """Return the embedding (B, E) of timesteps, labels and conditions."""
    embedding: Tensor = network.step_embedding(timestep)
    if label is not None:
        known = (label != NO_LABEL)[:, None]
        embedding = embedding + network.label_embedding(label.clamp(min=0)) * known
    if conditions is not None:
        columns = conditions.unbind(dim=1)
        for name, column in zip(network.condition_embeddings, columns, strict=True):
            embed = network.condition_embeddings[name]
            embedding = embedding + embed(CONDITIONS[name] * column)
    return embedding


def _silent(embedding: TimestepEmbedding) -> TimestepEmbedding:
    """Make an embedding zero at first, so that a student starts as its teacher."""
    zeroed(embedding[-1])
    return embedding


def with_low_res(x_t: Tensor, low_res: Tensor | None) -> Tensor:
    """Return noisy images with the low-resolution ones, up-sampled, as further channels."""
    if low_res is None:
        return x_t
    low_res = F.interpolate(low_res, x_t.shape[2:], mode="bilinear", align_corners=False)
    return torch.cat([x_t, low_res], dim=1)
