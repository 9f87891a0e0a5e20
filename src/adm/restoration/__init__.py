"""Prior, Measurement -> Iterator[State]: samples of images consistent with a measurement.

operators    Operator, (C, H, W) -> forward, adjoint: inpaint, downsample, blur, motion, grey, phase
measurement  forward, adjoint, y, sigma -> Measurement
method       Prior, Measurement -> Iterator[State]: what all methods have in common
dps, pgdm, mmps           gradients of log p(y | x_t)
ddnm, diffpir             estimates of x_0 that agree with y
repaint, daps             loops of their own
"""

from adm.restoration.daps import DAPS
from adm.restoration.ddnm import DDNM
from adm.restoration.diffpir import DiffPIR
from adm.restoration.dps import DPS
from adm.restoration.measurement import Measurement, adjoint_of, solve
from adm.restoration.method import Likelihood, Method, Prior, Projection
from adm.restoration.mmps import MMPS
from adm.restoration.operators import OPERATORS, Instrument, Operator, is_linear, operator_of
from adm.restoration.pgdm import PGDM
from adm.restoration.repaint import RePaint

METHODS: dict[str, type[Method]] = {
    kind.name: kind for kind in (MMPS, PGDM, DPS, DDNM, DiffPIR, RePaint, DAPS)
}

__all__ = [
    "DAPS",
    "DDNM",
    "DPS",
    "METHODS",
    "MMPS",
    "OPERATORS",
    "PGDM",
    "DiffPIR",
    "Instrument",
    "Likelihood",
    "Measurement",
    "Method",
    "Operator",
    "Prior",
    "Projection",
    "RePaint",
    "adjoint_of",
    "is_linear",
    "operator_of",
    "solve",
]
