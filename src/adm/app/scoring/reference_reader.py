"""Path of an .npz file -> Reference, whose arrays have the shapes, types and ranges they must."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import numpy as np
from pydantic import Field

from adm.app.scoring.reference_file import INCEPTION, STATISTICS, SUFFIX, Reference
from adm.data.arrays import list_arrays, text_of
from adm.data.naming import at_home
from adm.features.contract import LARGEST
from adm.limits import MOST_CLASSES
from adm.metrics import Statistics
from adm.metrics.frechet import check_statistics
from adm.store.arrays import array_names, load_arrays
from adm.store.hashes import sha256
from adm.store.parsed import as_type, parse_json

KEYS = (*STATISTICS[0], *STATISTICS[1], "arr_0", "arr_1", "features", "labels", "classes", "adm")
ROWS = 1024  # of features that are checked at a time

Count: TypeAlias = Annotated[int, Field(ge=0, lt=1 << 63)]


@dataclass(frozen=True)
class About:
    """The JSON object `adm`, of which any entry may be absent.

    Attributes:
        features, fingerprint, count: as in `Reference`.
        manifest: as in `Reference`; its `labels` are a `Count` by class.
    """

    features: Annotated[str, Field(min_length=1, max_length=1000)] = INCEPTION
    fingerprint: Annotated[str, Field(max_length=1000)] | None = None
    count: Count | None = None
    manifest: dict[str, Any] = field(default_factory=dict)


def is_reference(path: str | Path) -> bool:
    """Return whether this is an .npz file with `mu` and `sigma`.

    Raises:
        ValueError: the .npz file cannot be read.
    """
    path = at_home(path)
    if path.suffix.lower() != SUFFIX or not path.is_file():
        return False
    return {*STATISTICS[0]} <= {*array_names(path)}


def read(path: Path) -> Reference:
    """Open a reference file and validate its arrays.

    Raises:
        ValueError: the file is not a reference, or is damaged.
    """
    found = load_arrays(path, KEYS)
    if not set(STATISTICS[0]) <= found.keys():
        raise ValueError(
            f"{path} is not a reference: it holds the arrays {list_arrays(path)} and "
            "not mu and sigma; make one with make_reference or `adm reference`"
        )
    about = _about(path, found)
    own, spatial = (
        Statistics(found[mean], found[covariance])
        if mean in found and covariance in found
        else None
        for mean, covariance in STATISTICS
    )
    assert own is not None
    labels = found.get("labels", found.get("arr_1"))
    reference = Reference(
        features=about.features,
        fingerprint=about.fingerprint,
        statistics=own,
        spatial=spatial,
        pool=found.get("features"),
        images=found.get("arr_0"),
        labels=labels,
        classes=_names(path, found),
        count=about.count,
        manifest={**about.manifest, "file": path.name, "file_sha256": sha256(path)},
    )
    _check_values(path, reference)
    return reference if labels is None else replace(reference, labels=labels.astype(np.int64))


def _about(path: Path, found: dict[str, np.ndarray]) -> About:
    if "adm" not in found:
        return About()
    try:
        about = as_type(About, parse_json(str(found["adm"].item())))
        as_type(dict[str, Count], about.manifest.get("labels") or {})
    except ValueError as error:  # several values, not JSON, or of other types
        raise ValueError(
            f"{path}: the array `adm` must hold a JSON object of features, fingerprint, count and "
            f"manifest, as Reference.save writes it ({error}); make the file again"
        ) from None
    return about


def _names(path: Path, found: dict[str, np.ndarray]) -> tuple[str, ...]:
    """Return the class names of the file; the labels as names if it has none."""
    if "classes" in found:
        if found["classes"].ndim != 1:
            raise ValueError(
                f"{path} holds classes of shape {found['classes'].shape}, expected (K,), one name "
                "for each label; make the file again"
            )
        return text_of(found["classes"], path)
    labels = found.get("labels", found.get("arr_1"))
    if labels is None or not labels.size or labels.dtype.kind not in "iu":
        return ()
    return tuple(map(str, range(min(int(labels.max()) + 1, MOST_CLASSES))))


def _check_values(path: Path, reference: Reference) -> None:
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
