"""Reference -> .npz file of the released layout.

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
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from adm.metrics import Statistics, neighbour_distances
from adm.metrics.manifold import DENSITY_NEIGHBOURS
from adm.store.arrays import write_npz
from adm.store.files import new_file

IMAGES = 10_000  # most images stored, as in the released files
INCEPTION = "inception"
STATISTICS = (("mu", "sigma"), ("mu_s", "sigma_s"))
SUFFIX = ".npz"


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
