"""Sampler name -> type[Sampler]."""

from typing import TypeAlias, get_args

from adm.samplers.ancestral import Ancestral
from adm.samplers.ddim import DDIM

Sampler: TypeAlias = Ancestral | DDIM
SAMPLERS: dict[str, type[Sampler]] = {kind.name: kind for kind in get_args(Sampler)}
