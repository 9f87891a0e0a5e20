"""samples, training images -> the nearest training images of each sample, and which are copies.

A sample is flagged when it is nearer to a training image than training images are to each other,
but for the nearest 1% of them: the distance of each of up to 10,000 training images to the nearest
other one is measured, and the quantile of these is the threshold. As many fresh images of the same
kind would be flagged as the quantile says, which is what the share of flagged samples compares
with. A sample whose pixels are those of a training image is flagged always.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from adm.metrics import nearest

QUANTILE = 0.01
YARDSTICK = 10_000  # training images whose distance to the nearest other one is measured
NEIGHBOURS = 5
NONE = -1  # where no training image has the same pixels


@dataclass(frozen=True, eq=False)
class Found:
    """What is near to N samples among the training images.

    Attributes:
        indices: (N, k) int64, training images, the nearest first.
        distances: (N, k) float64, in the features' own units.
        equal: (N,) int64, a training image with the same pixels, or -1.
        threshold: distance below which a sample is flagged.
        quantile: of the distances between training images, which the threshold is.
    """

    indices: np.ndarray
    distances: np.ndarray
    equal: np.ndarray
    threshold: float
    quantile: float

    @property
    def flagged(self) -> np.ndarray:
        """(N,) bool."""
        return (self.distances[:, 0] < self.threshold) | (self.equal != NONE)

    @property
    def order(self) -> np.ndarray:
        """(N,) int64, samples from the most suspicious on."""
        return np.lexsort((self.distances[:, 0], self.equal == NONE))


def find(
    samples: np.ndarray,
    data: np.ndarray,
    equal: np.ndarray | None = None,
    *,
    k: int = NEIGHBOURS,
    quantile: float = QUANTILE,
    device: str | torch.device = "cpu",
    seed: int = 0,
) -> Found:
    """(N, D) and (M, D) features -> the nearest of each sample, and the threshold.

    Args:
        equal: of `equal_pixels`; without it no pixels are known.
        k: neighbours of each sample.
        device: where distances are computed; the answer does not depend on it.
        seed: of the choice of training images whose distances are measured, where there are many.

    Raises:
        ValueError: features that cannot be compared, fewer than 2 or `k` training images, or a
            quantile outside 0..1.
    """
    if not 0 < quantile < 1:
        raise ValueError(f"the quantile must be between 0 and 1, got {quantile}; 0.01 is usual")
    if len(data) < 2:
        raise ValueError(f"a threshold takes at least 2 training images, got {len(data)}")
    found = nearest(samples, data, k, device)
    threshold = float(np.quantile(between(data, device, seed), quantile))
    if equal is None:
        equal = np.full(len(samples), NONE)
    return Found(found.indices, np.sqrt(found.squared), equal, threshold, quantile)


def between(data: np.ndarray, device: str | torch.device = "cpu", seed: int = 0) -> np.ndarray:
    """(M, D) features -> (up to 10,000,) float64, distances to the nearest other image."""
    rows = np.arange(len(data))
    if len(data) > YARDSTICK:
        rows = np.sort(np.random.default_rng(seed).choice(len(data), YARDSTICK, replace=False))
    # The nearest of all is the image itself, or one equal to it: the next is what counts.
    return np.sqrt(nearest(data[rows], data, 2, device).squared[:, 1])


def equal_pixels(samples: np.ndarray, data: np.ndarray) -> np.ndarray:
    """(N, 32) and (M, 32) hashes of images -> (N,) int64, the first that is equal, or -1."""
    first: dict[bytes, int] = {}
    for index, row in enumerate(data):
        first.setdefault(row.tobytes(), index)
    return np.array([first.get(row.tobytes(), NONE) for row in samples], np.int64)


def said(found: Found) -> str:
    """The share that is flagged, and what it compares with."""
    flagged, copies = found.flagged, int((found.equal != NONE).sum())
    text = (
        f"{int(flagged.sum()):,} of {len(flagged):,} samples are flagged, {flagged.mean():.1%}; of "
        f"fresh images {found.quantile:.1%} would be. {copies:,} are copies to the pixel."
    )
    if found.threshold:
        return text
    return f"{text} More than {found.quantile:.1%} of the training images occur twice: threshold 0."


def as_json(found: Found, features: str) -> dict[str, Any]:
    """Every number, and the rule."""
    flagged, copies = found.flagged, found.equal != NONE
    return {
        "features": features,
        "rule": (
            "flagged: nearer to a training image than the threshold, which is the quantile of "
            "training images' distances to the nearest other one; or the same pixels"
        ),
        "quantile": found.quantile,
        "threshold": found.threshold,
        "samples": len(flagged),
        "flagged": int(flagged.sum()),
        "share_flagged": float(flagged.mean()),
        "share_expected_of_fresh_images": found.quantile,
        "exact_copies": int(copies.sum()),
        "nearest": [
            {
                "sample": index,
                "images": found.indices[index].tolist(),
                "distances": found.distances[index].tolist(),
                "same_pixels_as": int(found.equal[index]) if copies[index] else None,
                "flagged": bool(flagged[index]),
            }
            for index in range(len(flagged))
        ],
    }
