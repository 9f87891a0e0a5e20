"""T -> Schedule; x_0, noise, level -> x_t; raw output -> Prediction; x_0 -> Likelihood."""

from adm.diffusion.prediction import (
    FIXED_LARGE,
    FIXED_SMALL,
    LEARNED,
    LEARNED_RANGE,
    NOISE,
    PREVIOUS_MEAN,
    VELOCITY,
    X_0,
    Denoise,
    Parameterization,
    Prediction,
    Threshold,
    Variance,
    clip,
    denoiser,
    dynamic,
)
from adm.diffusion.schedule import Level, Schedule, cosine, linear

__all__ = [
    "FIXED_LARGE",
    "FIXED_SMALL",
    "LEARNED",
    "LEARNED_RANGE",
    "NOISE",
    "PREVIOUS_MEAN",
    "VELOCITY",
    "X_0",
    "Denoise",
    "Level",
    "Parameterization",
    "Prediction",
    "Schedule",
    "Threshold",
    "Variance",
    "clip",
    "cosine",
    "denoiser",
    "dynamic",
    "linear",
]
