"""Sampler name -> type[Sampler]."""

from typing import TypeAlias, get_args

from adm.samplers.ancestral import Ancestral
from adm.samplers.consistency import Consistency
from adm.samplers.ddim import DDIM
from adm.samplers.dpm_solver import DPMSolver
from adm.samplers.heun import Heun
from adm.samplers.ipndm import IPNDM
from adm.samplers.splitting import Splitting
from adm.samplers.unipc import UniPC

Sampler: TypeAlias = Ancestral | DDIM | Heun | DPMSolver | UniPC | IPNDM | Splitting | Consistency
SAMPLERS: dict[str, type[Sampler]] = {kind.name: kind for kind in get_args(Sampler)}
