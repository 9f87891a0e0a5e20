"""Features -> score. Features are float64 or float32 (N, D), probabilities (N, classes)."""

from adm.metrics.bootstrap import Interval, centred_interval, mean_interval, resample
from adm.metrics.density_coverage import DensityCoverage, density_coverage
from adm.metrics.extrapolation import Extrapolated, at_infinity, frechet_at_infinity
from adm.metrics.frechet import frechet_distance, frechet_of_few, frechet_score, frechet_to
from adm.metrics.gaussian_kernel import gaussian_kernel_distance
from adm.metrics.inception_score import inception_score, inception_score_interval
from adm.metrics.kernel_distance import kernel_distance, kernel_distance_of_all
from adm.metrics.manifold import Membership, membership, neighbour_distances
from adm.metrics.metric import Metric, Score, Sets
from adm.metrics.moments import Moments, Statistics, statistics
from adm.metrics.neighbours import Neighbours, nearest, nearest_others
from adm.metrics.precision_recall import PrecisionRecall, precision_recall
from adm.metrics.table import METRICS, title

__all__ = [
    "METRICS",
    "DensityCoverage",
    "Extrapolated",
    "Interval",
    "Membership",
    "Metric",
    "Moments",
    "Neighbours",
    "PrecisionRecall",
    "Score",
    "Sets",
    "Statistics",
    "at_infinity",
    "centred_interval",
    "density_coverage",
    "frechet_at_infinity",
    "frechet_distance",
    "frechet_of_few",
    "frechet_score",
    "frechet_to",
    "gaussian_kernel_distance",
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
    "resample",
    "statistics",
    "title",
]
