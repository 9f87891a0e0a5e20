"""Features, features -> squared distances: bounds for blocks, exact values for chosen pairs.

A block of squared distances is |a|^2 - 2 a b + |b|^2, one matrix product, whose rounding error is
of the order of |a|^2 + |b|^2 however close a and b are. So it bounds a distance to within
`tolerance` times that sum, which settles most comparisons. The few pairs left open are computed
exactly, as sums of squared differences in float64: exactly 0 for equal points, the same for (a, b)
and (b, a), and independent of the block. The precision of the product changes only how many pairs
are left open, so it is bfloat16 where the processor multiplies that several times as fast.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

BLOCK = 2048  # rows and columns of a block of bounds
CHUNK = 2**17  # numbers processed at a time where memory limits the speed: they fit in a cache
BFLOAT16_FROM = 32  # features; with fewer, bfloat16 leaves too many pairs open


@dataclass(frozen=True, eq=False)
class Points:
    """A set of features, prepared for comparison with the sets prepared along with it.

    Attributes:
        exact: (N, D) as given.
        rough: (N, D) centred, scaled and rounded, on the device of the matrix products.
        squared_norms: (N,) before that rounding, float32 or float64.
        unit: the squared distance, in the features' own units, for which a rough one is 1.
        tolerance: largest error of a rough squared distance, relative to the sum of the two
            squared norms.
    """

    exact: np.ndarray
    rough: Tensor
    squared_norms: Tensor
    unit: float
    tolerance: float

    def __len__(self) -> int:
        return len(self.exact)

    def __getitem__(self, rows: slice) -> Points:
        return replace(
            self,
            exact=self.exact[rows],
            rough=self.rough[rows],
            squared_norms=self.squared_norms[rows],
        )

    def blocks(self) -> Iterator[tuple[int, Points]]:
        """Blocks of up to `BLOCK` points: the first row of each, and its points."""
        for start in range(0, len(self), BLOCK):
            yield start, self[start : start + BLOCK]


def fastest_dtype(dim: int, device: str | torch.device) -> torch.dtype:
    """The dtype whose matrix products are fastest on the device."""
    # torch has no public query for this; where the private one is gone, use float32.
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    fast = torch.device(device).type == "cpu" and dim >= BFLOAT16_FROM and native()
    return torch.bfloat16 if fast else torch.float32


def wider_dtype(dtype: torch.dtype) -> torch.dtype | None:
    """The dtype to try next where too many pairs are left open; None after float64."""
    return {torch.bfloat16: torch.float32, torch.float32: torch.float64}.get(dtype)


def prepare(*sets: np.ndarray, dtype: torch.dtype, device: str | torch.device) -> list[Points]:
    """Prepare sets of features for comparison with each other.

    All are shifted by the mean of the first set and scaled by one power of two. This keeps
    distances (up to `Points.unit`) and makes norms small, which reduces rounding errors and avoids
    overflow.

    Args:
        dtype: of the matrix products.
        device: of the matrix products; those in float64 are always computed on the CPU.
    """
    dim, wide = sets[0].shape[1], np.float64 if dtype == torch.float64 else np.float32
    centre, at_once = np.zeros(dim), _chunk_rows(sets[0])
    for start in range(0, len(sets[0]), at_once):
        centre += sets[0][start : start + at_once].sum(axis=0, dtype=np.float64) / len(sets[0])
    largest = max(_largest_deviation(one, centre) for one in sets)
    scale = 2.0 ** -int(np.frexp(largest)[1])
    place = torch.device("cpu") if dtype == torch.float64 else torch.device(device)
    return [_points(one, centre, scale, dtype, wide, place) for one in sets]


def lower_bounds(points: Points, others: Points) -> tuple[Tensor, float]:
    """(N, M) lower bounds of the squared distances, and the tolerance that they allow for.

    A bound is too low by at most twice the tolerance times the sum of the two squared norms.
    """
    tolerance = max(points.tolerance, others.tolerance)
    least = (points.rough @ others.rough.T).to(points.squared_norms).mul_(-2)
    least.add_(others.squared_norms * (1 - tolerance))
    return least.add_((points.squared_norms * (1 - tolerance))[:, None]), tolerance


def exact_distances(
    points: np.ndarray, others: np.ndarray, rows: np.ndarray, columns: np.ndarray
) -> np.ndarray:
    """(P,) float64 squared distances of points[rows[p]] and others[columns[p]].

    The order of summation depends neither on the number of pairs nor on the order within one.
    """
    squared, at_once = np.empty(len(rows)), _chunk_rows(points)
    for start in range(0, len(rows), at_once):
        part = slice(start, start + at_once)
        difference = np.subtract(points[rows[part]], others[columns[part]], dtype=np.float64)
        squared[part] = np.square(difference, out=difference).sum(axis=1)
    return squared


def _chunk_rows(features: np.ndarray) -> int:
    return max(1, CHUNK // features.shape[1])


def _largest_deviation(features: np.ndarray, centre: np.ndarray) -> float:
    least, most = np.full(len(centre), np.inf), np.full(len(centre), -np.inf)
    at_once = _chunk_rows(features)
    for start in range(0, len(features), at_once):
        part = features[start : start + at_once]
        least, most = np.minimum(least, part.min(axis=0)), np.maximum(most, part.max(axis=0))
    return float(np.maximum(most - centre, centre - least).max())


def _points(
    features: np.ndarray,
    centre: np.ndarray,
    scale: float,
    dtype: torch.dtype,
    wide: type,
    device: torch.device,
) -> Points:
    rough = torch.empty(features.shape, dtype=dtype)
    squared_norms = torch.from_numpy(np.empty(len(features), wide))
    rounding = 0.0  # error of rounding a vector to `dtype`, relative to its norm
    middle, at_once = centre.astype(wide), _chunk_rows(features)
    for start in range(0, len(features), at_once):
        part = slice(start, start + at_once)
        scaled = torch.from_numpy(((features[part] - middle) * scale).astype(wide, copy=False))
        rough[part], squared_norms[part] = scaled, scaled.square().sum(dim=1)
        if dtype == torch.bfloat16:
            rounding = max(rounding, _rounding(scaled, rough[part], squared_norms[part]))
    tolerance = _tolerance(features.shape[1], squared_norms.dtype, device)
    if dtype == torch.bfloat16:
        # |a b - a' b'| <= |a - a'| |b| + |a'| |b - b'|, and the product itself is rounded.
        product = 0.51 * torch.finfo(dtype).eps * (1 + rounding) ** 2
        tolerance += 2 * rounding * (1 + rounding) + product
    return Points(features, rough.to(device), squared_norms.to(device), scale**-2, tolerance)


def _rounding(scaled: Tensor, rough: Tensor, squared_norms: Tensor) -> float:
    squared = (scaled - rough).square().sum(dim=1)
    return float((squared / squared_norms).nan_to_num(0).max().sqrt()) * 1.001


def _tolerance(dim: int, dtype: torch.dtype, device: torch.device) -> float:
    # Higham 2002, equation 3.5: a sum of D terms has D roundings, and the rest has a few more.
    # Products in TensorFloat-32 keep 11 bits of their factors.
    tf32 = device.type == "cuda" and torch.backends.cuda.matmul.allow_tf32
    return (2 * dim + 64) * torch.finfo(dtype).eps / 2 + (2.0**-9 if tf32 else 0)
