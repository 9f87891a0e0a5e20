"""Denoise, Tensor, Schedule, Noise -> Iterator[State]; settings by name -> Sampling."""

from adm.samplers.ancestral import Ancestral, ancestral
from adm.samplers.classifier_guidance import ClassifierGuidance
from adm.samplers.consistency import Consistency
from adm.samplers.contrast_guidance import AttentionGuidance, FreeGuidance, WeakGuidance
from adm.samplers.ddim import DDIM, ddim, encode
from adm.samplers.dpm_solver import DPMSolver
from adm.samplers.grid import Grid
from adm.samplers.heun import Heun
from adm.samplers.ipndm import IPNDM
from adm.samplers.noise import ImageNoise
from adm.samplers.settings import Sampling
from adm.samplers.splitting import Splitting
from adm.samplers.state import Noise, State
from adm.samplers.table import SAMPLERS, Sampler
from adm.samplers.unipc import UniPC

__all__ = [
    "DDIM",
    "IPNDM",
    "SAMPLERS",
    "Ancestral",
    "AttentionGuidance",
    "ClassifierGuidance",
    "Consistency",
    "DPMSolver",
    "FreeGuidance",
    "Grid",
    "Heun",
    "ImageNoise",
    "Noise",
    "Sampler",
    "Sampling",
    "Splitting",
    "State",
    "UniPC",
    "WeakGuidance",
    "ancestral",
    "ddim",
    "encode",
]
