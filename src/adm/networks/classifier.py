"""x_t, timestep -> class logits: the U-Net's encoder and a pooling head."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from adm.networks.blocks import HeadWidth, TimestepEmbedding, attend, group_norm, zeroed
from adm.networks.encoder import MOST_CLASSES, Encoder, EncoderConfig, check_range

Pool = Literal["attention", "adaptive", "spatial", "spatial_v2"]
SPATIAL_WIDTH = 2048  # hidden features of the two spatial pools, as released


@dataclass(frozen=True, kw_only=True)
class ClassifierConfig(EncoderConfig):
    """The noisy classifier.

    Attributes:
        classes: number of logits.
        size: (H, W) of the images; the attention pool learns an embedding for each position.
        pool: the paper's attention pool (`attention`); the spatial mean of the last features
            (`adaptive`); or the spatial means of every stage's features, followed by two linear
            layers (`spatial`, `spatial_v2`).
    """

    classes: int
    size: tuple[int, int]
    pool: Pool = "attention"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("classes", self.classes, MOST_CLASSES)

    def check_images(self, size: Sequence[int]) -> None:
        """Raise ValueError unless the network takes images of this size (H, W)."""
        self.check_size(size)
        if self.pool == "attention" and tuple(size) != tuple(self.size):
            raise ValueError(
                f"the attention pool is for images of {tuple(self.size)}, "
                f"got {tuple(size)}; resize the images"
            )


class AttentionPool(nn.Module):
    """features (B, C, h, w) -> logits: the spatial mean, as a token, attends to every position.

    As in CLIP (Radford et al. 2021, section 2.4), with learned positional embeddings.
    """

    def __init__(self, channels: int, positions: int, heads: int, classes: int) -> None:
        super().__init__()
        self.heads = heads
        self.positions = nn.Parameter(torch.randn(channels, positions + 1) / channels**0.5)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.out = nn.Conv1d(channels, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(2)
        x = torch.cat([x.mean(dim=2, keepdim=True), x], dim=2) + self.positions.to(x.dtype)
        return self.out(attend(self.qkv(x), self.heads)[:, :, :1])[:, :, 0]


class LastFeatures(nn.Module):
    """features of every stage -> logits, from the last stage alone."""

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        width = config.widths[-1]
        self.norm = group_norm(width, config.norm_groups)
        if config.pool == "attention":
            if not isinstance(config.heads, HeadWidth):
                raise ValueError(
                    f"the attention pool needs the heads' width, got {config.heads}; give "
                    "heads=HeadWidth(64), or another pool"
                )
            config.check_size(config.size)
            positions = config.size[0] * config.size[1] // config.reduction**2
            heads = config.heads.count(width)
            self.pool: nn.Module = AttentionPool(width, positions, heads, config.classes)
        else:
            head = zeroed(nn.Conv2d(width, config.classes, 1))
            self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), head, nn.Flatten())

    def forward(self, features: list[Tensor]) -> Tensor:
        return self.pool(self.norm(features[-1], silu=True))

    def embed(self, features: list[Tensor]) -> Tensor:
        return self.norm(features[-1], silu=True).mean(dim=(2, 3))


class AllFeatures(nn.Module):
    """features of every stage -> logits, from the spatial mean of each."""

    def __init__(self, config: ClassifierConfig, feature_width: int) -> None:
        super().__init__()
        hidden = nn.Linear(feature_width, SPATIAL_WIDTH)
        out = nn.Linear(SPATIAL_WIDTH, config.classes)
        between = (
            (nn.ReLU(),)
            if config.pool == "spatial"
            else (nn.GroupNorm(32, SPATIAL_WIDTH), nn.SiLU())
        )
        self.layers = nn.Sequential(hidden, *between, out)

    def forward(self, features: list[Tensor]) -> Tensor:
        return self.layers(self.embed(features))

    def embed(self, features: list[Tensor]) -> Tensor:
        return torch.cat([f.mean(dim=(2, 3)) for f in features], dim=1)


class Classifier(nn.Module):
    """p(y | x_t): the class of an image at any noise level (paper, section 4)."""

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        self.step_embedding = TimestepEmbedding(config.channels)  # its name in stored weights
        self.encoder = Encoder(config, config.in_channels)
        if config.pool in ("attention", "adaptive"):
            self.head: LastFeatures | AllFeatures = LastFeatures(config)
        else:
            width = sum(self.encoder.stage_widths) + config.widths[-1]
            self.head = AllFeatures(config, width)

    def forward(self, x_t: Tensor, timestep: Tensor) -> Tensor:
        """Classify noisy images.

        Args:
            x_t: (B, C, H, W).
            timestep: (B,), the same function of the level as the diffusion model's.

        Returns:
            (B, classes) logits in the dtype of x_t.

        Raises:
            ValueError: the network does not take images of this size.
        """
        self.config.check_images(x_t.shape[2:])
        features = self.encoder(x_t, self.step_embedding(timestep))
        return self.head(features).to(x_t.dtype)
