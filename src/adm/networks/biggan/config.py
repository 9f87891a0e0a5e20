"""BigGANConfig: the sizes and options of a generator and its discriminator."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from adm.networks.blocks import WIDEST
from adm.networks.encoder import LARGEST, MOST_CLASSES, MOST_RESOLUTIONS, check_range

MOST_NOISE = 1 << 14
MOST_SIDE = 1 << 12
BOTTLENECK = 4  # channels of a block's input, or output, for each inside (appendix B)


@dataclass(frozen=True, kw_only=True)
class BigGANConfig:
    """A generator and its discriminator (Brock et al. 2019, appendix B).

    Attributes:
        in_channels: channels of the images.
        size: (H, W) of the images.
        channels: base width of the generator, which each of `multipliers` multiplies.
        discriminator_channels: that of the discriminator; the generator's when None.
        multipliers: one per resolution, from the image's own; each further one halves both sides.
        noise: length of the noise z.
        classes: number of labels, or None for an unconditional pair.
        class_width: length of the embedding of a label, which all blocks of the generator share.
        split_noise: give every block of the generator a piece of the noise of its own, and the
            first layer the first piece; otherwise all of them get all of it.
        deep: two bottleneck blocks per resolution instead of one plain block, as in BigGAN-deep.
        attention_factors: down-sampling factors at which self-attention follows.
    """

    in_channels: int = 3
    size: tuple[int, int]
    channels: int
    discriminator_channels: int | None = None
    multipliers: tuple[int, ...]
    noise: int = 128
    classes: int | None = None
    class_width: int = 128
    split_noise: bool = False
    deep: bool = False
    attention_factors: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        ranges = {
            "in_channels": LARGEST["in_channels"],
            "channels": LARGEST["channels"],
            "noise": MOST_NOISE,
            "class_width": MOST_NOISE,
        }
        for name, largest in ranges.items():
            check_range(name, getattr(self, name), largest)
        check_range("discriminator_channels", self.critic_channels, LARGEST["channels"])
        if self.classes is not None:
            check_range("classes", self.classes, MOST_CLASSES)
        self._check_multipliers()
        self.check_size(self.size)
        if self.split_noise and self.noise % self.pieces:
            near = -(-self.noise // self.pieces) * self.pieces
            raise ValueError(
                f"noise={self.noise} does not split into {self.pieces} equal pieces, one for the "
                f"first layer and one for every block; set noise={near}, or split_noise=false"
            )

    def _check_multipliers(self) -> None:
        if not 2 <= len(self.multipliers) <= MOST_RESOLUTIONS:
            raise ValueError(f"multipliers must be 2 to {MOST_RESOLUTIONS} numbers, such as 1,2,4")
        widest = WIDEST // max(self.channels, self.critic_channels)
        if not all(1 <= m <= widest for m in self.multipliers):
            raise ValueError(f"multipliers must be in 1..{widest}, got {list(self.multipliers)}")
        factors = [2**halvings for halvings in range(len(self.multipliers))]
        if not set(self.attention_factors) <= set(factors):
            raise ValueError(
                f"attention_factors {list(self.attention_factors)} must be among {factors}, the "
                "image's side divided by each resolution; leave the others out"
            )
        narrow = min(self.channels, self.critic_channels)
        if self.deep and narrow % BOTTLENECK:
            raise ValueError(
                f"channels must be a multiple of {BOTTLENECK} for bottleneck blocks, got {narrow}"
            )
        if self.attention_factors and narrow % 8:
            raise ValueError(f"channels must be a multiple of 8 for attention, got {narrow}")

    @property
    def critic_channels(self) -> int:
        """Base width of the discriminator."""
        return self.discriminator_channels or self.channels

    @property
    def reduction(self) -> int:
        """Down-sampling factor of the innermost features."""
        return 2 ** (len(self.multipliers) - 1)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of the generator at each resolution, from the image's own."""
        return tuple(self.channels * multiplier for multiplier in self.multipliers)

    @property
    def critic_widths(self) -> tuple[int, ...]:
        """Channels of the discriminator at each resolution, from the image's own."""
        return tuple(self.critic_channels * multiplier for multiplier in self.multipliers)

    @property
    def pieces(self) -> int:
        """Number of pieces that the noise is split into: one more than the generator has blocks."""
        blocks = len(self.multipliers) - 1
        return 1 + (2 * blocks if self.deep else blocks)

    @property
    def smallest(self) -> tuple[int, int]:
        """(h, w) of the innermost features."""
        height, width = self.size
        return height // self.reduction, width // self.reduction

    def check_size(self, size: Sequence[int]) -> None:
        """Raise ValueError unless images are of the networks' size, which halves often enough."""
        r = self.reduction
        if tuple(size) != tuple(self.size):
            raise ValueError(f"these networks are for images of {tuple(self.size)}, got {size}")
        if math.prod(size) > MOST_SIDE**2 or any(side < r or side % r for side in size):
            got = "x".join(map(str, size))
            raise ValueError(
                f"an image of {got} cannot be halved {len(self.multipliers) - 1} times: each side "
                f"must be divisible by {r}; use another size, or fewer multipliers"
            )
