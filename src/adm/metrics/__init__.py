"""features -> number. Features are float64 or float32 (N, D), probabilities (N, classes)."""

from adm.metrics.frechet import Statistics, frechet_distance, statistics
from adm.metrics.inception_score import inception_score
from adm.metrics.precision_recall import PrecisionRecall, precision_recall

__all__ = [
    "PrecisionRecall",
    "Statistics",
    "frechet_distance",
    "inception_score",
    "precision_recall",
    "statistics",
]
