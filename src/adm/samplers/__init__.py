"""denoise, noise -> image, one file a sampler."""

from adm.samplers.ancestral import ancestral
from adm.samplers.ddim import ddim, encode
from adm.samplers.noise import ImageNoise
from adm.samplers.state import Noise, State

SAMPLERS = {"ancestral": ancestral, "ddim": ddim}

__all__ = ["SAMPLERS", "ImageNoise", "Noise", "State", "ancestral", "ddim", "encode"]
