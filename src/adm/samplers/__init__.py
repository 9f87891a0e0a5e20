"""Denoise, Tensor, Schedule, Noise -> Iterator[State]; settings by name -> Sampling."""

from adm.samplers.ancestral import Ancestral
from adm.samplers.consistency import Consistency
from adm.samplers.ddim import DDIM, encode
from adm.samplers.dpm_solver import DPMSolver
from adm.samplers.grid import (
    GRIDS,
    DDIMQuadratic,
    Distilled,
    Even,
    Grid,
    Karras,
    Levels,
    LogSNR,
    Strided,
)
from adm.samplers.guide import (
    GUIDES,
    AttentionGuide,
    ByGradient,
    ClassifierGuide,
    ContrastGuide,
    FreeGuide,
    GradientGuide,
    Guide,
    WeakGuide,
)
from adm.samplers.heun import Heun
from adm.samplers.ipndm import IPNDM
from adm.samplers.noise import ImageNoise
from adm.samplers.sampler import Sampler
from adm.samplers.settings import SAMPLERS, Sampling
from adm.samplers.splitting import Splitting
from adm.samplers.state import Noise, State
from adm.samplers.then import Then
from adm.samplers.threshold import THRESHOLDS, Clip, Dynamic
from adm.samplers.unipc import UniPC

__all__ = [
    "DDIM",
    "GRIDS",
    "GUIDES",
    "IPNDM",
    "SAMPLERS",
    "THRESHOLDS",
    "Ancestral",
    "AttentionGuide",
    "ByGradient",
    "ClassifierGuide",
    "Clip",
    "Consistency",
    "ContrastGuide",
    "DDIMQuadratic",
    "DPMSolver",
    "Distilled",
    "Dynamic",
    "Even",
    "FreeGuide",
    "GradientGuide",
    "Grid",
    "Guide",
    "Heun",
    "ImageNoise",
    "Karras",
    "Levels",
    "LogSNR",
    "Noise",
    "Sampler",
    "Sampling",
    "Splitting",
    "State",
    "Strided",
    "Then",
    "UniPC",
    "WeakGuide",
    "encode",
]
