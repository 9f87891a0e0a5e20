"""image, label -> logit of being a teacher's: small heads on the features of its encoder."""

import torch
from torch import Tensor, nn

from adm.networks.biggan.spectral import Conv2d
from adm.networks.blocks import TimestepEmbedding, group_norm
from adm.networks.encoder import Encoder
from adm.networks.unet import UNetConfig, embedded


class Critic(nn.Module):
    """A discriminator of images on a diffusion model's features (Sauer et al. 2024, LADD).

    The encoder has the names and the shapes of a U-Net's, whose weights it is given, and is not
    trained: a denoiser of low noise sees texture from the first step on. A head judges the last
    features of each resolution, and those of the middle, at every position.
    """

    def __init__(self, config: UNetConfig, channels: int) -> None:
        """
        Args:
            config: of the U-Net.
            channels: width of the heads.
        """
        super().__init__()
        self.step_embedding = TimestepEmbedding(config.channels)
        if config.classes is not None:
            self.label_embedding = nn.Embedding(config.classes, 4 * config.channels)
        self.condition_embeddings = nn.ModuleDict()
        self.encoder = Encoder(config, config.in_channels)
        self.requires_grad_(False)
        # The first convolution, then `depth` stages and one that halves for each resolution.
        self.judged = [n * config.depth + n - 1 for n in range(1, len(config.widths) + 1)]
        widths = [*config.widths, config.widths[-1]]
        self.heads = nn.ModuleList(_head(width, channels, config.norm_groups) for width in widths)

    def forward(self, x: Tensor, timestep: Tensor, label: Tensor | None = None) -> Tensor:
        """Judge images.

        Args:
            x: (B, C, H, W) images with little noise or none, as the U-Net takes them.
            timestep: (B,) of their noise.
            label: (B,) int64 in [0, classes); None for a network without classes.

        Returns:
            (B,) float32 logits, the mean over heads and positions.
        """
        features = self.encoder(x, embedded(self, timestep, label, None))
        seen = [*(features[i] for i in self.judged), features[-1]]
        maps = [head(each) for head, each in zip(self.heads, seen, strict=True)]
        return torch.stack([each.float().mean(dim=(1, 2, 3)) for each in maps]).mean(dim=0)


def _head(width: int, channels: int, groups: int) -> nn.Module:
    return nn.Sequential(
        group_norm(width, groups),
        Conv2d(width, channels, 3),
        nn.SiLU(),
        Conv2d(channels, channels, 3),
        nn.SiLU(),
        Conv2d(channels, 1, 1),
    )
