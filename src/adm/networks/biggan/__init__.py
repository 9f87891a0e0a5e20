"""noise, label -> image; image, label -> logit of being real: BigGAN (Brock et al. 2019)."""

from adm.networks.biggan.batch_norm import BatchNorm, settle, share_statistics
from adm.networks.biggan.config import BigGANConfig
from adm.networks.biggan.discriminator import Discriminator
from adm.networks.biggan.generator import Generator
from adm.networks.biggan.spectral import advance, in_float32, make_exact, orthogonality

__all__ = [
    "BatchNorm",
    "BigGANConfig",
    "Discriminator",
    "Generator",
    "advance",
    "in_float32",
    "make_exact",
    "orthogonality",
    "settle",
    "share_statistics",
]
