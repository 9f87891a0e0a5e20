"""T -> Schedule; x_0, noise, level -> x_t; raw output -> Prediction; x_0 -> Likelihood."""

from adm.diffusion.prediction import (
    FIXED_LARGE,
    FIXED_SMALL,
    LEARNED,
    LEARNED_RANGE,
    Denoise,
    Parameterization,
    Prediction,
    Threshold,
    Variance,
    clip,
    denoiser,
)
from adm.diffusion.schedule import Level, Schedule, cosine, karras, linear
from adm.diffusion.targets import (
    EDM,
    NOISE,
    PREVIOUS_MEAN,
    TARGETS,
    VELOCITY,
    X_0,
    ConsistencyTarget,
    Target,
)

__all__ = [
    "EDM",
    "FIXED_LARGE",
    "FIXED_SMALL",
    "LEARNED",
    "LEARNED_RANGE",
    "NOISE",
    "PREVIOUS_MEAN",
    "TARGETS",
    "VELOCITY",
    "X_0",
    "ConsistencyTarget",
    "Denoise",
    "Level",
    "Parameterization",
    "Prediction",
    "Schedule",
    "Target",
    "Threshold",
    "Variance",
    "clip",
    "cosine",
    "denoiser",
    "karras",
    "linear",
]
