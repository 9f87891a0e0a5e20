"""Features -> score. Features are float64 or float32 (N, D), probabilities (N, classes)."""

from adm.metrics.bootstrap import Interval, centred_interval, mean_interval, resample
from adm.metrics.density_coverage import DensityCoverage, density_coverage
from adm.metrics.extrapolation import (
    Extrapolated,
    at_infinity,
    frechet_at_infinity,
)
from adm.metrics.frechet import (
    Statistics,
    frechet_distance,
    frechet_interval,
    frechet_of_few,
    frechet_to,
    statistics,
)
from adm.metrics.inception_score import inception_score, inception_score_interval
from adm.metrics.kernel_distance import KernelDistance, kernel_distance, kernel_distance_of_all
from adm.metrics.manifold import Membership, membership, neighbour_distances
from adm.metrics.moments import Moments
from adm.metrics.neighbours import Nearest, nearest, nearest_others
from adm.metrics.precision_recall import (
    PrecisionRecall,
    precision_recall,
    precision_recall_float16,
)

__all__ = [
    "DensityCoverage",
    "Extrapolated",
    "Interval",
    "KernelDistance",
    "Membership",
    "Moments",
    "Nearest",
    "PrecisionRecall",
    "Statistics",
    "at_infinity",
    "centred_interval",
    "density_coverage",
    "frechet_at_infinity",
    "frechet_distance",
    "frechet_interval",
    "frechet_of_few",
    "frechet_to",
    "inception_score",
    "inception_score_interval",
    "kernel_distance",
    "kernel_distance_of_all",
    "mean_interval",
    "membership",
    "nearest",
    "nearest_others",
    "neighbour_distances",
    "precision_recall",
    "precision_recall_float16",
    "resample",
    "statistics",
]
