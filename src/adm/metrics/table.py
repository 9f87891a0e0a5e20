"""Key -> Metric, its title: every score that a report may have, in the order of reports."""

from adm.metrics.density_coverage import COVERAGE, DENSITY
from adm.metrics.extrapolation import FRECHET_AT_INFINITY
from adm.metrics.frechet import FRECHET, SPATIAL_FRECHET
from adm.metrics.gaussian_kernel import GAUSSIAN_KERNEL
from adm.metrics.inception_score import INCEPTION_SCORE
from adm.metrics.kernel_distance import KERNEL_DISTANCE
from adm.metrics.metric import CLIP, INCEPTION, Metric
from adm.metrics.precision_recall import PRECISION, RECALL

METRICS: dict[str, Metric] = {
    each.key: each
    for each in (
        FRECHET,
        FRECHET_AT_INFINITY,
        SPATIAL_FRECHET,
        INCEPTION_SCORE,
        PRECISION,
        RECALL,
        DENSITY,
        COVERAGE,
        KERNEL_DISTANCE,
        GAUSSIAN_KERNEL,
    )
}


def title(key: str, features: str) -> str:
    """Return the title of a score: `FID`, `precision (inception)`, `Fréchet distance (dinov2)`.

    Raises:
        ValueError: the key is unknown.
    """
    if key not in METRICS:
        raise ValueError(f"no score {key!r}; choose from {', '.join(METRICS)}")
    metric = METRICS[key]
    own = {INCEPTION: metric.of_inception, CLIP: metric.of_clip}.get(features)
    return own or f"{metric.title} ({features})"
