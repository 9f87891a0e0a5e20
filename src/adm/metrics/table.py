"""Key -> Metric, its title: every score that a report may have, in the order of reports."""

from adm.metrics.density_coverage import COVERAGE, DENSITY
from adm.metrics.extrapolation import FRECHET_AT_INFINITY
from adm.metrics.frechet import FRECHET, SPATIAL_FRECHET
from adm.metrics.inception_score import INCEPTION_SCORE
from adm.metrics.kernel_distance import KERNEL_DISTANCE
from adm.metrics.metric import INCEPTION, Metric
from adm.metrics.precision_recall import PRECISION, PRECISION_FLOAT16, RECALL, RECALL_FLOAT16

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
        PRECISION_FLOAT16,
        RECALL_FLOAT16,
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
    if features == INCEPTION and metric.of_inception is not None:
        return metric.of_inception
    return f"{metric.title} ({features})"
