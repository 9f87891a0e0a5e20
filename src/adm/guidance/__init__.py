"""Classifier logits, log-probability -> Gradient; Denoise, Gradient -> Denoise.

gradients   logits, labels -> Gradient
combine     Gradients -> Gradient
denoisers   Denoise, Gradient -> Denoise
"""

from adm.guidance.combine import between, capped, every, scaled, total
from adm.guidance.denoisers import contrast, folded, shifted, thresholded
from adm.guidance.gradients import (
    PLAIN,
    Gradient,
    Temperatures,
    classifier_gradient,
    clean_gradient,
    evaluate,
    through_denoiser,
)

__all__ = [
    "PLAIN",
    "Gradient",
    "Temperatures",
    "between",
    "capped",
    "classifier_gradient",
    "clean_gradient",
    "contrast",
    "evaluate",
    "every",
    "folded",
    "scaled",
    "shifted",
    "thresholded",
    "through_denoiser",
    "total",
]
