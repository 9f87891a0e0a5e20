"""Path, Reference -> ValueError for an array of another shape, type or range than it must have."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from adm.features.contract import LARGEST
from adm.metrics.frechet import check_statistics

if TYPE_CHECKING:
    from adm.evaluation.reference_file import Reference

ROWS = 1024  # of features that are checked at a time


def check_values(path: Path, reference: "Reference") -> None:
    """Raise ValueError for an array of wrong shape, dtype or range."""
    for one in (reference.statistics, reference.spatial):
        if one is None:
            continue
        shapes, kinds = (one.mean.shape, one.covariance.shape), (one.mean, one.covariance)
        if (
            len(shapes[0]) != 1
            or not shapes[0][0]
            or shapes[1] != shapes[0] * 2
            or any(each.dtype.kind != "f" for each in kinds)
        ):
            raise ValueError(
                f"{path} holds statistics of shapes {shapes[0]} and {shapes[1]}, types "
                f"{one.mean.dtype} and {one.covariance.dtype}; expected floats (D,) and (D, D)"
            )
        try:
            check_statistics(one, one)
            _check_range(one.mean, LARGEST)
            _check_range(one.covariance, LARGEST**2)
            _check_covariance(one.covariance)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
    images, dim = reference.images, len(reference.statistics.mean)
    if images is not None and (images.dtype != np.uint8 or images.ndim != 4 or not images.size):
        raise ValueError(
            f"{path} holds images as {images.dtype} {images.shape}, expected uint8 (n, H, W, C)"
        )
    rows, labels = None if images is None else len(images), reference.labels
    if reference.pool is not None:
        _check_pool(path, reference.pool, (rows, dim))
    wrong = labels is not None and (labels.shape != (rows,) or labels.dtype.kind not in "iu")
    if wrong or _beyond(labels, reference.classes):
        raise ValueError(f"{path} holds labels that are not one of its classes for each image")


def _check_pool(path: Path, pool: np.ndarray, expected: tuple[int | None, int]) -> None:
    if pool.shape != expected or pool.dtype.kind != "f":
        raise ValueError(
            f"{path} holds features as {pool.dtype} {pool.shape}, expected floats {expected}"
        )
    for start in range(0, len(pool), ROWS):
        try:
            _check_range(pool[start : start + ROWS], LARGEST)
        except ValueError as error:
            raise ValueError(f"{path}, features from image {start}: {error}") from None


def _check_range(values: np.ndarray, largest: float) -> None:
    """Raise ValueError for values that are not finite, or whose distances overflow."""
    if not (np.abs(values) <= np.float64(largest)).all():  # a float would become float16
        raise ValueError(
            f"its values are not finite, or larger than {largest:.0e}; make the file again"
        )


def _check_covariance(covariance: np.ndarray) -> None:
    """Raise ValueError for a matrix that is not a covariance, up to float32 rounding."""
    sizes, variances = np.abs(covariance), np.diag(covariance)
    allowed = 1e-4 * sizes.max(initial=0)
    if np.abs(covariance - covariance.T).max(initial=0) > allowed or (
        variances.min(initial=0) < -allowed
    ):
        raise ValueError(
            "the covariance is not symmetric, or has a negative variance; make the file again"
        )
    deviations = np.sqrt(variances.clip(0))
    if (sizes - np.outer(deviations, deviations)).max(initial=0) > allowed:
        raise ValueError(
            "a covariance exceeds the product of its two deviations; make the file again"
        )


def _beyond(labels: np.ndarray | None, classes: Sequence[str]) -> bool:
    if labels is None or not len(labels):
        return False
    return int(labels.min()) < 0 or int(labels.max()) >= len(classes)
