"""Denoise, Tensor, Schedule, Noise -> Iterator[State]; settings by name -> Sampling."""

from adm.samplers.ancestral import Ancestral, ancestral
from adm.samplers.classifier_guidance import ClassifierGuidance
from adm.samplers.ddim import DDIM, ddim, encode
from adm.samplers.grid import Grid
from adm.samplers.noise import ImageNoise
from adm.samplers.settings import Sampling
from adm.samplers.state import Noise, State
from adm.samplers.table import SAMPLERS, Sampler

__all__ = [
    "DDIM",
    "SAMPLERS",
    "Ancestral",
    "ClassifierGuidance",
    "Grid",
    "ImageNoise",
    "Noise",
    "Sampler",
    "Sampling",
    "State",
    "ancestral",
    "ddim",
    "encode",
]
