"""Classifier logits, log-probability -> Gradient; Denoise, Gradient -> Denoise.

gradients   logits, labels -> Gradient
combine     Gradients -> Gradient
denoisers   Denoise, Gradient -> Denoise; Denoise, weaker ones -> Denoise
"""

from adm.guidance.combine import between, every, scaled, switched, total
from adm.guidance.denoisers import (
    Contrast,
    contrasted,
    folded,
    shifted,
    thresholded,
)
from adm.guidance.gradients import (
    Gradient,
    classifier_gradient,
    evaluate,
    through_denoiser,
)

__all__ = [
    "Contrast",
    "Gradient",
    "between",
    "classifier_gradient",
    "contrasted",
    "evaluate",
    "every",
    "folded",
    "scaled",
    "shifted",
    "switched",
    "thresholded",
    "through_denoiser",
    "total",
]
