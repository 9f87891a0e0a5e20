"""image, label -> logit of being real."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adm.networks.biggan.blocks import (
    DiscriminatorBlock,
    DiscriminatorBottleneck,
    SelfAttention,
)
from adm.networks.biggan.config import BigGANConfig
from adm.networks.biggan.spectral import Conv2d, Embedding, Linear, in_float32
from adm.networks.recompute import Recomputable


class Discriminator(Recomputable):
    """The discriminator of BigGAN, with the label as a projection (Miyato & Koyama 2018)."""

    def __init__(self, config: BigGANConfig) -> None:
        super().__init__()
        self.config = config
        self.stages = nn.ModuleList(self._deep(config) if config.deep else self._plain(config))
        width = config.critic_widths[-1]
        self.head = Linear(width, 1)
        if config.classes is not None:
            self.label_embedding = Embedding(config.classes, width)

    @staticmethod
    def _plain(config: BigGANConfig) -> list[nn.Module]:
        """A block that halves for each resolution, and one more at the innermost."""
        stages: list[nn.Module] = []
        width, last = config.in_channels, len(config.multipliers) - 1
        for halvings, next_width in enumerate(config.critic_widths):
            shrinks = halvings < last
            stages.append(DiscriminatorBlock(width, next_width, shrinks, first=halvings == 0))
            width = next_width
            if shrinks and 2 ** (halvings + 1) in config.attention_factors:
                stages.append(SelfAttention(width))
        return stages

    @staticmethod
    def _deep(config: BigGANConfig) -> list[nn.Module]:
        """A convolution, and two blocks for each halving, of which the first halves."""
        width, *wider = config.critic_widths
        stages: list[nn.Module] = [Conv2d(config.in_channels, width, 3)]
        for halvings, next_width in enumerate(wider, start=1):
            stages.append(DiscriminatorBottleneck(width, next_width, shrinks=True))
            stages.append(DiscriminatorBottleneck(next_width, next_width, shrinks=False))
            width = next_width
            if 2**halvings in config.attention_factors:
                stages.append(SelfAttention(width))
        return stages

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Logits of images, l(h) + <embedding of the label, h> for the summed features h.

        Args:
            x: (B, C, H, W) in [-1, 1].
            label: (B,) int64 in [0, classes); None for a network without classes.

        Returns:
            (B,) float32.

        Raises:
            ValueError: the images are of another size, the label is missing, or the network takes
                none.
        """
        self.config.check_size(x.shape[2:])
        if (label is None) != (self.config.classes is None):
            takes = "no labels" if self.config.classes is None else "labels"
            raise ValueError(f"this discriminator takes {takes}; call it with {takes}")
        h = x.contiguous(memory_format=torch.channels_last) if x.device.type == "cpu" else x
        for stage in self.stages:
            h = self.checkpointed(stage, h)
        features = F.relu(h).float().sum((2, 3))
        with in_float32(x):
            logit = self.head(features)[:, 0]
            if label is not None:
                logit = logit + (self.label_embedding(label) * features).sum(1)
        return logit
