"""Reference <-> .npz file of the released layout.

    mu, sigma       mean and covariance of the features of all images
    mu_s, sigma_s   the same of the spatial features, if the network has them
    arr_0           up to 10,000 of the images, (n, H, W, C) uint8, for precision and recall
    features        (n, D) float32, those of arr_0
    labels          (n,) int64, and classes, if there are several
    adm             JSON: features, number of images, their source

The last four are additions of this package. A file without `adm` is read as a released reference,
whose features are Inception's.
"""

import json
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import numpy as np
from pydantic import Field

from adm.data.arrays import text_of
from adm.data.export import write_npz
from adm.data.labels import MOST_CLASSES
from adm.data.naming import at_home
from adm.data.npz import keys_of, listed, members
from adm.evaluation.reference_checks import check_values
from adm.files import new_file
from adm.hashes import sha256
from adm.metrics import Statistics, neighbour_distances
from adm.metrics.manifold import DENSITY_NEIGHBOURS
from adm.parsed import as_type, parse_json

IMAGES = 10_000  # most images stored, as in the released files
INCEPTION = "inception"
STATISTICS = (("mu", "sigma"), ("mu_s", "sigma_s"))
KEYS = (*STATISTICS[0], *STATISTICS[1], "arr_0", "arr_1", "features", "labels", "classes", "adm")
SUFFIX = ".npz"


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


@dataclass(frozen=True, eq=False)
class Reference:
    """Statistics of real images, and some of the images, to compare samples with.

    Attributes:
        features: name of the features.
        fingerprint: fingerprint of the features; None if the file does not record it.
        statistics: mean and covariance of the features of all images.
        spatial: mean and covariance of their spatial features, or None.
        pool: (n, D) float32 features of `images`, or None.
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

    @property
    def missing(self) -> int:
        """Number of `images` whose features have not been extracted: all of them, or none."""
        return 0 if self.images is None or self.pool is not None else len(self.images)

    @cached_property
    def reach(self) -> np.ndarray | None:
        """(n, 5) squared distances of `pool` to its nearest neighbours, cached."""
        if self.pool is None or len(self.pool) <= DENSITY_NEIGHBOURS:
            return None
        return neighbour_distances(self.pool, DENSITY_NEIGHBOURS)

    def save(self, path: str | Path) -> None:
        """Write the file atomically; equal references give equal bytes.

        Raises:
            ValueError: the name does not end in .npz.
        """
        path = Path(path)
        if path.suffix.lower() != SUFFIX:
            raise ValueError(f"a reference is an .npz file, got {path}; name it {path.name}.npz")
        about = {"features": self.features, "fingerprint": self.fingerprint, "count": self.count}
        entries: dict[str, np.ndarray] = {}
        for (mean, covariance), one in zip(
            STATISTICS, (self.statistics, self.spatial), strict=True
        ):
            if one is not None:
                entries |= {mean: one.mean, covariance: one.covariance}
        for key, array in (
            ("arr_0", self.images),
            ("features", self.pool),
            ("labels", self.labels),
        ):
            if array is not None:
                entries[key] = array
        if self.labels is not None:
            entries["classes"] = np.array(self.classes)
        entries["adm"] = np.array(json.dumps(about | {"manifest": self.manifest}, sort_keys=True))
        with new_file(path) as part:
            write_npz(part, entries)


def is_reference(path: str | Path) -> bool:
    """Return whether this is an .npz file with `mu` and `sigma`.

    Raises:
        ValueError: the .npz file cannot be read.
    """
    path = at_home(path)
    if path.suffix.lower() != SUFFIX or not path.is_file():
        return False
    return {*STATISTICS[0]} <= {*keys_of(path)}


def read(path: Path) -> Reference:
    """Open a reference file and validate its arrays.

    Raises:
        ValueError: the file is not a reference, or is damaged.
    """
    found = members(path, KEYS)
    if not set(STATISTICS[0]) <= found.keys():
        raise ValueError(
            f"{path} is not a reference: it holds the arrays {listed(path)} and "
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
    check_values(path, reference)
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
