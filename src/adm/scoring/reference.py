"""Source, Features, Extraction -> Reference <-> .npz file of the released layout.

    mu, sigma       mean and covariance of the features of all images
    mu_s, sigma_s   the same of the spatial features, if the network has them
    arr_0           up to 10,000 of the images, (n, H, W, C) uint8, for precision and recall
    features        (n, D) float32, those of arr_0, which may be left out
    labels          (n,) int64, and classes, if there are several
    adm             JSON: features, number of images, their source

The last four are additions of this package. A file without `adm` is read as a released reference,
whose features are Inception's.
"""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import numpy as np
from pydantic import Field

from adm.data import Source
from adm.data.arrays import list_arrays, text_of
from adm.data.fingerprint import fingerprint
from adm.data.naming import at_home
from adm.data.source import of_arrays
from adm.features import Features
from adm.features.contract import LARGEST
from adm.images import to_uint8
from adm.limits import MOST_CLASSES
from adm.metrics import Statistics, neighbour_distances
from adm.metrics.manifold import DENSITY_NEIGHBOURS
from adm.metrics.metric import INCEPTION
from adm.metrics.moments import check_statistics
from adm.recipes.released import REFERENCES, reference_remote
from adm.scoring.extraction import DEFAULT, Extraction, extract
from adm.scoring.manifest import versions
from adm.shown import printable, short
from adm.spec import text
from adm.store.arrays import array_names, load_arrays, write_npz
from adm.store.fetch import fetch
from adm.store.files import new_file, user_cache
from adm.store.hashes import sha256, sha256_of
from adm.store.parsed import CLASSES, as_type, parse_json

IMAGES = 10_000  # most images stored, as in the released files
STATISTICS = (("mu", "sigma"), ("mu_s", "sigma_s"))
NAMES = (*STATISTICS[0], *STATISTICS[1], "arr_0", "arr_1", "features", "labels", "classes", "adm")
SUFFIX = ".npz"

Count: TypeAlias = Annotated[int, Field(ge=0, lt=1 << 63)]


@dataclass(frozen=True)
class About:
    """The JSON object `adm` of a file, of which any entry may be absent.

    Attributes:
        features, fingerprint, count: as in `Reference`.
        manifest: as in `Reference`; its `labels` are a `Count` by class.
    """

    features: Annotated[str, Field(min_length=1, max_length=1000)] = INCEPTION
    fingerprint: Annotated[str, Field(max_length=1000)] | None = None
    count: Count | None = None
    manifest: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Reference:
    """Statistics of real images, and some of the images, to compare samples with.

    Attributes:
        features: name of the features.
        fingerprint: fingerprint of the features; None if the file does not record it.
        statistics: mean and covariance of the features of all images.
        spatial: mean and covariance of their spatial features, or None.
        pool: (n, D) float32 features of `images`, or of images that are not stored, or None.
        images: (n, H, W, C) uint8, or None.
        labels: (n,) int64 labels of `images`, or None.
        classes: name of each label.
        count: number of images of the statistics; None if the file does not record it.
        manifest: source, hashes and versions.
    """

    features: str
    fingerprint: str | None
    statistics: Statistics
    spatial: Statistics | None = None
    pool: np.ndarray | None = None
    images: np.ndarray | None = None
    labels: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    count: int | None = None
    manifest: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """File name or source, for messages."""
        return str(self.manifest.get("file") or self.manifest.get("source") or "the reference")

    @property
    def size(self) -> tuple[int, int] | None:
        """(H, W) of `images`; None without images."""
        return None if self.images is None else (self.images.shape[1], self.images.shape[2])

    @cached_property
    def reach(self) -> np.ndarray | None:
        """(n, 5) squared distances of `pool` to its nearest neighbours, cached."""
        if self.pool is None or len(self.pool) <= DENSITY_NEIGHBOURS:
            return None
        return neighbour_distances(self.pool, DENSITY_NEIGHBOURS)

    def is_of(self, features: Features) -> bool:
        """Whether it was made with these features: by fingerprint, or by name if it has none.

        The name of a function is the path by which it was opened, and may differ.
        """
        if self.fingerprint is None:
            return self.features == features.name
        return self.fingerprint == features.fingerprint

    def check(self, features: Features) -> None:
        """Raise ValueError unless it was made with these features."""
        name = printable(short(self.features))
        if not self.is_of(features):
            if self.features != features.name:
                raise ValueError(
                    f"{self.name} was made with the features {name}, got {features.name}; give "
                    f"these features (a function or a classifier by its file), or a reference in "
                    f"{features.name}: images, or a file that `adm reference` makes of them"
                )
            raise ValueError(
                f"{self.name} was made with other weights or preprocessing of {name} (fingerprint "
                f"{printable(short(str(self.fingerprint)))}, got {features.fingerprint}); make the "
                "reference again"
            )
        dim = len(self.statistics.mean)
        if features.dim not in (None, dim):
            raise ValueError(
                f"{self.name} holds statistics of {dim} features and {features.name} has "
                f"{features.dim}; make the reference again"
            )

    def save(self, path: str | Path) -> None:
        """Write the file atomically; equal references give equal bytes.

        Raises:
            ValueError: the name does not end in .npz.
        """
        path = Path(path)
        if path.suffix.lower() != SUFFIX:
            raise ValueError(f"a reference is an .npz file, got {path}; name it {path.name}.npz")
        entries: dict[str, np.ndarray | None] = {}
        for names, one in zip(STATISTICS, (self.statistics, self.spatial), strict=True):
            if one is not None:
                entries |= dict(zip(names, (one.mean, one.covariance), strict=True))
        entries |= {"arr_0": self.images, "features": self.pool, "labels": self.labels}
        if self.labels is not None:
            entries["classes"] = np.array(self.classes)
        about = {"features": self.features, "fingerprint": self.fingerprint, "count": self.count}
        entries["adm"] = np.array(json.dumps(about | {"manifest": self.manifest}, sort_keys=True))
        with new_file(path) as part:
            write_npz(part, {key: array for key, array in entries.items() if array is not None})


def make_reference(
    source: Source, features: Features, extraction: Extraction = DEFAULT
) -> Reference:
    """Extract the features of real images, and store their statistics and some of the images.

    Args:
        source: real images of one size.
        features: the extractor.
        extraction: ranks, batch size, cache folder and progress.

    Returns:
        The reference, equal on every rank.
    """
    real = extract(source, features, extraction)
    rows = subset_rows(real.count)
    return Reference(
        features=real.name,
        fingerprint=real.fingerprint,
        statistics=real.statistics,
        spatial=real.spatial_statistics,
        pool=np.array(real.pool[rows]),
        images=_images(source, rows.tolist()),
        labels=None if real.labels is None else real.labels[rows],
        classes=real.classes if real.labels is not None else (),
        count=real.count,
        manifest={**real.manifest(), "versions": versions()},
    )


def subset_rows(count: int) -> np.ndarray:
    """Return (min(count, `IMAGES`),) indices: all, or a random subset with a fixed seed, sorted.

    A regular stride would omit classes if labels alternate.
    """
    if count <= IMAGES:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, IMAGES, replace=False))


def complete_reference(
    reference: Reference, features: Features, extraction: Extraction = DEFAULT
) -> Reference:
    """Extract the features of the images of a reference, which released files do not hold.

    Returns:
        The reference with features; unchanged if it has them already, or has no images.

    Raises:
        ValueError: the reference is of other features, or an error of `extract`.
    """
    reference.check(features)
    images = reference.images
    if images is None or reference.pool is not None:
        return reference

    source = of_arrays(reference.name, ("image",), images)
    pool = extract(source, features, extraction).pool
    return replace(reference, pool=pool, fingerprint=features.fingerprint)


def located(reference: str) -> str:
    """Return the path of a released reference batch by its public name; any other spec as it is.

    The batch is downloaded once, into the user's cache.

    Raises:
        ValueError: it cannot be downloaded.
    """
    if reference not in REFERENCES:
        return reference
    return str(fetch(reference_remote(reference), user_cache("released")))


def is_reference(path: str | Path) -> bool:
    """Return whether this is an .npz file with `mu` and `sigma`.

    Raises:
        ValueError: the .npz file cannot be read.
    """
    path = at_home(path)
    if path.suffix.lower() != SUFFIX or not path.is_file():
        return False
    return {*STATISTICS[0]} <= {*array_names(path)}


def read_statistics(
    path: str | Path, features: Features
) -> tuple[Statistics, Statistics | None] | None:
    """Read the statistics of these features from an .npz file of samples; None without them.

    As in the released evaluator, they replace the statistics of the images in the file.

    Raises:
        ValueError: the file is damaged.
    """
    if not is_reference(path):
        return None
    reference = load_reference(path)
    return (reference.statistics, reference.spatial) if reference.is_of(features) else None


def load_reference(path: str | Path, features: Features | None = None) -> Reference:
    """Open a reference file of this package or of the released system.

    Args:
        path: the file.
        features: the extractor of the samples. If it is given, the reference is checked against it
            and completed (see `complete_reference`).

    Raises:
        ValueError: the file is not a reference, is damaged, or is of other features.
    """
    path = at_home(path)
    arrays = load_arrays(path, NAMES)
    if not set(STATISTICS[0]) <= arrays.keys():
        raise ValueError(
            f"{path} is not a reference: it holds the arrays {list_arrays(path)} and not mu and "
            "sigma; make one with make_reference or `adm reference`"
        )
    names = text_of(arrays["classes"].ravel(), path) if "classes" in arrays else None
    try:
        reference = _from_arrays(arrays, names)
    except ValueError as error:
        raise ValueError(f"{path}: {error}; make the file again") from None
    manifest = {**reference.manifest, "file": path.name, "file_sha256": sha256(path)}
    reference = replace(reference, manifest=manifest)
    return reference if features is None else complete_reference(reference, features)


def _from_arrays(arrays: Mapping[str, np.ndarray], names: tuple[str, ...] | None) -> Reference:
    """Check the arrays of a file, which others may have written.

    Args:
        names: of the classes, if the file has them.
    """
    about = _about(arrays)
    statistics = [
        _statistics(arrays[mean], arrays[covariance])
        if mean in arrays and covariance in arrays
        else None
        for mean, covariance in STATISTICS
    ]
    assert statistics[0] is not None
    images, pool = arrays.get("arr_0"), arrays.get("features")
    if images is not None and (images.dtype != np.uint8 or images.ndim != 4 or not images.size):
        raise ValueError(f"images are {images.dtype} {images.shape}, expected uint8 (n, H, W, C)")
    rows = None if images is None else len(images)
    if pool is not None and rows is None and pool.ndim:
        rows = len(pool)  # of images that may not be redistributed, only the features are stored
    if pool is not None:
        expected = (rows, len(statistics[0].mean))
        if pool.shape != expected or pool.dtype.kind != "f":
            raise ValueError(f"features are {pool.dtype} {pool.shape}, expected floats {expected}")
        _check_range(pool, LARGEST, "features")
    labels, classes = _labels(arrays.get("labels", arrays.get("arr_1")), names, rows)
    return Reference(
        features=about.features,
        fingerprint=about.fingerprint,
        statistics=statistics[0],
        spatial=statistics[1],
        pool=pool,
        images=images,
        labels=labels,
        classes=classes,
        count=about.count,
        manifest=about.manifest,
    )


def _about(arrays: Mapping[str, np.ndarray]) -> About:
    if "adm" not in arrays:
        return About()
    try:
        about = as_type(About, parse_json(str(arrays["adm"].item()), CLASSES))
        as_type(dict[str, Count], about.manifest.get("labels") or {})
    except ValueError as error:  # several values, not JSON, or of other types
        raise ValueError(
            "the array `adm` must hold a JSON object of features, fingerprint, count and "
            f"manifest, as Reference.save writes it ({error})"
        ) from None
    return about


def _labels(
    labels: np.ndarray | None, names: tuple[str, ...] | None, rows: int | None
) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Return (n,) int64 labels and their names, which are numbers if the file has none."""
    if labels is None:
        return None, names or ()
    refusal = ValueError("labels are not one of its classes for each image")
    if labels.shape != (rows,) or labels.dtype.kind not in "iu":
        raise refusal
    largest = int(labels.max(initial=0))
    if names is None:
        names = tuple(map(str, range(min(largest + 1, MOST_CLASSES))))
    if int(labels.min(initial=0)) < 0 or largest >= len(names):
        raise refusal
    return labels.astype(np.int64), names


def _statistics(mean: np.ndarray, covariance: np.ndarray) -> Statistics:
    """Return statistics; raise ValueError for those of wrong shapes, dtypes or values."""
    if mean.ndim != 1 or not mean.size or {mean.dtype.kind, covariance.dtype.kind} != {"f"}:
        raise ValueError(
            f"statistics are {mean.dtype} {mean.shape} and {covariance.dtype} {covariance.shape}, "
            "expected floats (D,) and (D, D)"
        )
    one = Statistics(mean, covariance)
    check_statistics(one, one)
    _check_range(mean, LARGEST, "means")
    _check_range(covariance, LARGEST**2, "covariances")
    # A covariance, up to float32 rounding.
    allowed = 1e-4 * np.abs(covariance).max()
    symmetric = np.abs(covariance - covariance.T).max() <= allowed
    if not symmetric or np.diag(covariance).min() < -allowed:
        raise ValueError("the covariance is not symmetric, or has a negative variance")
    return one


def _check_range(values: np.ndarray, largest: float, what: str) -> None:
    """Raise ValueError for values that are not finite, or whose distances overflow."""
    # As Python's numbers: of float16, the limit would become infinite.
    if not (-largest <= float(values.min()) and float(values.max()) <= largest):
        raise ValueError(f"{what} are not finite, or larger than {largest:.0e}")


def _images(source: Source, rows: list[int]) -> np.ndarray:
    """Read the images of these indices, (n, H, W, C) uint8."""
    channels, height, width = source.shape
    images = np.empty((len(rows), height, width, channels), np.uint8)
    for start in range(0, len(rows), 256):
        some = to_uint8(source.batch(rows[start : start + 256])[0])
        images[start : start + len(some)] = some.permute(0, 2, 3, 1).numpy()
    return images


FILE = ("file", "file_sha256")  # what `load_reference` adds to a manifest
MOST = 16  # references that a folder retains; each has up to 10,000 images


def cached_reference(
    source: Source, features: Features, folder: Path, extraction: Extraction = DEFAULT
) -> Reference:
    """Return the reference of images, which an earlier call may have cached in the folder.

    The folder retains the `MOST` that were used last. A damaged one is made again; if the folder
    cannot be written, every call makes its own.

    Args:
        source: real images of one size.
        features: the extractor.
        extraction: ranks, batch size, cache of features and progress.
    """
    devices = extraction.devices
    path = folder / devices.once(lambda: _name(source, features))
    cached = _read(path)
    if all(devices.gather(cached is not None)) and cached is not None:
        return cached
    reference = make_reference(source, features, extraction)
    devices.once(lambda: _store(reference, path))
    # Ordered as in a file, so that a report does not depend on whether there was room for one.
    manifest = json.loads(json.dumps(reference.manifest, sort_keys=True))
    return _read(path) or replace(reference, manifest=manifest)


def _name(source: Source, features: Features) -> str:
    """Name the file of a reference.

    The bytes of all images are read, which is much faster than extracting their features: images
    that have changed under the same names would give other scores.
    """
    identity = {
        "source": (source.name, source.shape, source.classes, text(source.range)),
        "images": asdict(fingerprint(source, pixels=True)),
        "labels": sha256_of(source.labels.numpy().tobytes()),
        "features": (features.name, features.fingerprint),
        "versions": versions(),
    }
    return sha256_of(json.dumps(identity, sort_keys=True).encode())[:32] + SUFFIX


def _read(path: Path) -> Reference | None:
    try:
        reference = load_reference(path)
    except (OSError, ValueError):  # it is absent, or damaged: checksums are verified
        return None
    with suppress(OSError):
        os.utime(path)
    # The manifest describes the images, not the file of the cache.
    manifest = {key: value for key, value in reference.manifest.items() if key not in FILE}
    return replace(reference, manifest=manifest)


def _store(reference: Reference, path: Path) -> None:
    with suppress(OSError):  # no room, or no right to write: the next call makes it again
        path.parent.mkdir(parents=True, exist_ok=True)
        reference.save(path)
        by_use = sorted(path.parent.glob(f"*{SUFFIX}"), key=lambda file: file.stat().st_mtime)
        for file in by_use[:-MOST]:
            file.unlink()
