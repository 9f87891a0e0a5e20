"""x_t, step, label, low-resolution image -> raw output."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adm.networks.blocks import (
    Attention,
    Heads,
    ResidualBlock,
    StepEmbedding,
    Upsample,
    group_norm,
    resampler,
    zeroed,
)
from adm.networks.encoder import Encoder, EncoderConfig, Stage

NO_LABEL = -1


@dataclass(frozen=True, kw_only=True)
class UNetConfig(EncoderConfig):
    """The ADM U-Net.

    Attributes:
        out_channels: of the raw output; twice the image's when the variance is learned.
        classes: number of labels, or None for a network without any.
        super_resolution: concatenate an up-sampled low-resolution image to the noisy one.
        decoder_heads: another choice of heads for the decoder.
    """

    out_channels: int
    classes: int | None = None
    super_resolution: bool = False
    decoder_heads: Heads | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.classes is not None and self.classes < 1:
            raise ValueError(f"classes must be at least 1, or none at all, got {self.classes}")


class Head(nn.Sequential):
    """features -> raw output: normalisation, SiLU, a convolution that starts at zero."""

    def __init__(self, channels: int, out_channels: int, norm_groups: int) -> None:
        conv = zeroed(nn.Conv2d(channels, out_channels, 3, padding=1))
        super().__init__(group_norm(channels, norm_groups), nn.SiLU(), conv)

    def forward(self, input: Tensor) -> Tensor:
        norm, _, conv = self
        return conv(norm(input, silu=True))


class UNet(nn.Module):
    """The network of Ablated Diffusion Models (paper, section 3).

    Every encoder stage's output is concatenated to one decoder stage's input.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        self.step_embedding = StepEmbedding(config.channels)
        if config.classes is not None:
            self.label_embedding = nn.Embedding(config.classes, 4 * config.channels)
        in_channels = config.in_channels * (2 if config.super_resolution else 1)
        self.encoder = Encoder(config, in_channels)
        self.decoder = self._decoder(config, list(self.encoder.stage_widths))
        self.head = Head(config.widths[0], config.out_channels, config.norm_groups)

    @staticmethod
    def _decoder(config: UNetConfig, skips: list[int]) -> nn.ModuleList:
        heads = config.decoder_heads or config.heads
        grow = resampler(config.resampling, Upsample, config.style)
        stages, width = nn.ModuleList(), config.widths[-1]
        for level, level_width in reversed(list(enumerate(config.widths))):
            for i in range(config.depth + 1):
                block = ResidualBlock(width + skips.pop(), level_width, config.style)
                width = level_width
                attends = 2**level in config.attention_factors
                attention = Attention(width, heads, config.norm_groups) if attends else None
                last = level > 0 and i == config.depth
                stages.append(Stage(block, attention, grow(width) if last else None))
        return stages

    def forward(
        self,
        x_t: Tensor,
        step: Tensor,
        label: Tensor | None = None,
        low_res: Tensor | None = None,
    ) -> Tensor:
        """Predict what the process was told this network predicts.

        Args:
            x_t: (B, C, H, W) noisy images.
            step: (B,) network steps, whole or fractional.
            label: (B,) int64 in [0, classes), or NO_LABEL where an image has none. None means
                that no image has one.
            low_res: (B, C, h, w) in [-1, 1], for a super-resolution network only.

        Returns:
            (B, out_channels, H, W) in the dtype of x_t.

        Raises:
            ValueError: a side does not divide by the down-sampling, or an input is missing.
        """
        self.config.check_size(x_t.shape[2:])
        self._check_inputs(label, low_res)
        embedding = self.step_embedding(step)
        if label is not None:
            known = (label != NO_LABEL)[:, None]
            embedding = embedding + self.label_embedding(label.clamp(min=0)) * known
        h = x_t
        if low_res is not None:
            low_res = F.interpolate(low_res, x_t.shape[2:], mode="bilinear", align_corners=False)
            h = torch.cat([x_t, low_res], dim=1)
        *skips, h = self.encoder(h, embedding)
        for stage in self.decoder:
            h = stage(h, embedding, skips.pop())
        return self.head(h).to(x_t.dtype)

    def _check_inputs(self, label: Tensor | None, low_res: Tensor | None) -> None:
        if label is not None and self.config.classes is None:
            raise ValueError("this network has no classes; call it without labels")
        if (low_res is not None) != self.config.super_resolution:
            needs = "needs a" if self.config.super_resolution else "takes no"
            raise ValueError(f"this network {needs} low-resolution image, low_res=...")
