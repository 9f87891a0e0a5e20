"""noise, label -> image."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adm.networks.biggan.batch_norm import BatchNorm
from adm.networks.biggan.blocks import GeneratorBlock, GeneratorBottleneck, SelfAttention
from adm.networks.biggan.config import BigGANConfig
from adm.networks.biggan.spectral import Conv2d, Linear
from adm.networks.recompute import Recomputable


class Generator(Recomputable):
    """The generator of BigGAN (Brock et al. 2019, figures 15a and 16a)."""

    def __init__(self, config: BigGANConfig) -> None:
        super().__init__()
        self.config = config
        if config.classes is not None:
            self.label_embedding = nn.Embedding(config.classes, config.class_width)
            nn.init.orthogonal_(self.label_embedding.weight)
        piece = config.noise // config.pieces if config.split_noise else config.noise
        labelled = 0 if config.classes is None else config.class_width
        width, condition = config.widths[-1], piece + labelled
        first = piece if config.split_noise else condition
        self.first = Linear(first, width * math.prod(config.smallest))
        self.stages = nn.ModuleList(self._blocks(config, condition))
        self.norm = BatchNorm(config.widths[0])
        self.gain = nn.Parameter(torch.ones(1, config.widths[0]))
        self.bias = nn.Parameter(torch.zeros(1, config.widths[0]))
        self.conv_out = Conv2d(config.widths[0], config.in_channels, 3)

    @staticmethod
    def _blocks(config: BigGANConfig, condition: int) -> list[nn.Module]:
        """The blocks from the innermost resolution to the image's own."""
        blocks: list[nn.Module] = []
        for halvings in reversed(range(1, len(config.multipliers))):
            width, next_width = config.widths[halvings], config.widths[halvings - 1]
            if config.deep:
                blocks.append(GeneratorBottleneck(width, width, condition, grows=False))
                blocks.append(GeneratorBottleneck(width, next_width, condition, grows=True))
            else:
                blocks.append(GeneratorBlock(width, next_width, condition, grows=True))
            if 2 ** (halvings - 1) in config.attention_factors:
                blocks.append(SelfAttention(next_width))
        return blocks

    def forward(self, noise: Tensor, label: Tensor | None = None) -> Tensor:
        """Images of noise.

        Args:
            noise: (B, N), standard normal or truncated.
            label: (B,) int64 in [0, classes); None for a network without classes.

        Returns:
            (B, C, H, W) float32 in [-1, 1].

        Raises:
            ValueError: the label is missing, or the network takes none.
        """
        config = self.config
        if (label is None) != (config.classes is None):
            takes = "no labels" if config.classes is None else "labels"
            raise ValueError(f"this generator takes {takes}; call it with {takes}")
        shared = [] if label is None else [self.label_embedding(label)]
        count = config.pieces
        pieces = noise.chunk(count, dim=1) if config.split_noise else [noise] * count
        conditions = [torch.cat([piece, *shared], dim=1) for piece in pieces]
        h = self.first(pieces[0] if config.split_noise else conditions[0])
        h = h.view(len(h), -1, *config.smallest)
        if h.device.type == "cpu":
            h = h.contiguous(memory_format=torch.channels_last)  # faster convolutions
        remaining = iter(conditions[1:])
        for stage in self.stages:
            condition = [] if isinstance(stage, SelfAttention) else [next(remaining)]
            h = self.checkpointed(stage, h, *condition)
        h = F.relu(self.norm(h, self.gain, self.bias))
        return self.conv_out(h).float().tanh()
