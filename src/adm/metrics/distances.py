"""features, features -> squared distances: bounds for a block, exact ones of chosen pairs.

A block of squared distances is |a|^2 - 2 a b + |b|^2, one matrix product, whose rounding is of the
size of |a|^2 + |b|^2 however close a and b are. So it bounds the distance, to `tolerance` times
that sum, and decides whatever the bounds decide; the few pairs left open are summed exactly, as
differences in float64: exactly 0 for equal points, exactly the same for (a, b) and (b, a), and
independent of the block. What the product is computed in changes only how many pairs are left, so
it is bfloat16 where the processor multiplies that several times as fast.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

BLOCK = 2048  # rows and columns of a block of bounds
HELD = 2**17  # numbers worked on at a time where a pass is bound by memory: a cache's worth
NARROW_FROM = 32  # features; below it bfloat16 leaves too many pairs open


@dataclass(frozen=True, eq=False)
class Points:
    """A set of features, ready to be compared with others that were prepared with it.

    Attributes:
        exact: (N, D) as they were given.
        rough: (N, D) centred, scaled and rounded, on the device that compares.
        lengths: (N,) squared lengths before that rounding, float32 or wider.
        unit: what a rough squared distance of 1 is in the features' own units.
        tolerance: how far off a rough squared distance may be, as a share of the two squared
            lengths' sum.
    """

    exact: np.ndarray
    rough: Tensor
    lengths: Tensor
    unit: float
    tolerance: float

    def __len__(self) -> int:
        return len(self.exact)

    def __getitem__(self, rows: slice) -> Points:
        return replace(
            self, exact=self.exact[rows], rough=self.rough[rows], lengths=self.lengths[rows]
        )

    def blocks(self) -> Iterator[tuple[int, Points]]:
        """First row and points of one block after another."""
        for start in range(0, len(self), BLOCK):
            yield start, self[start : start + BLOCK]


def narrowest(dim: int, device: str | torch.device) -> torch.dtype:
    """The type whose products are fastest there."""
    # torch has no public question for this; where the private one is gone, float32 does.
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    fast = torch.device(device).type == "cpu" and dim >= NARROW_FROM and native()
    return torch.bfloat16 if fast else torch.float32


def wider(dtype: torch.dtype) -> torch.dtype | None:
    """The type to try where too much is left open; None after float64."""
    return {torch.bfloat16: torch.float32, torch.float32: torch.float64}.get(dtype)


def prepare(*sets: np.ndarray, dtype: torch.dtype, device: str | torch.device) -> list[Points]:
    """Sets of features -> the same, to be compared with each other.

    All are moved by the first one's mean and scaled by one power of two: distances stay, lengths
    become as small as they can be, and rounding and overflow with them.

    Args:
        dtype: of the products.
        device: where they are computed; float64 ones always on the CPU.
    """
    dim, wide = sets[0].shape[1], np.float64 if dtype == torch.float64 else np.float32
    centre, at_once = np.zeros(dim), _rows(sets[0])
    for start in range(0, len(sets[0]), at_once):
        centre += sets[0][start : start + at_once].sum(axis=0, dtype=np.float64) / len(sets[0])
    largest = max(_largest(one, centre) for one in sets)
    scale = 2.0 ** -int(np.frexp(largest)[1])
    place = torch.device("cpu") if dtype == torch.float64 else torch.device(device)
    return [_points(one, centre, scale, dtype, wide, place) for one in sets]


def bounds(points: Points, others: Points) -> tuple[Tensor, float]:
    """(N, M) what each squared distance is at least, and the tolerance it was computed with.

    It is at most twice the tolerance times the two squared lengths' sum more.
    """
    tolerance = max(points.tolerance, others.tolerance)
    least = (points.rough @ others.rough.T).to(points.lengths).mul_(-2)
    least.add_(others.lengths * (1 - tolerance))
    return least.add_((points.lengths * (1 - tolerance))[:, None]), tolerance


def exact_distances(
    points: np.ndarray, others: np.ndarray, rows: np.ndarray, columns: np.ndarray
) -> np.ndarray:
    """(P,) float64 squared distances of points[rows[p]] and others[columns[p]].

    The sum's order does not depend on how many pairs there are, nor on which of two comes first.
    """
    found, at_once = np.empty(len(rows)), _rows(points)
    for start in range(0, len(rows), at_once):
        part = slice(start, start + at_once)
        apart = np.subtract(points[rows[part]], others[columns[part]], dtype=np.float64)
        found[part] = np.square(apart, out=apart).sum(axis=1)
    return found


def _rows(features: np.ndarray) -> int:
    return max(1, HELD // features.shape[1])


def _largest(features: np.ndarray, centre: np.ndarray) -> float:
    least, most = np.full(len(centre), np.inf), np.full(len(centre), -np.inf)
    at_once = _rows(features)
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
    lengths = torch.from_numpy(np.empty(len(features), wide))
    lost = 0.0  # by rounding to `dtype`, as a share of a length
    middle, at_once = centre.astype(wide), _rows(features)
    for start in range(0, len(features), at_once):
        part = slice(start, start + at_once)
        moved = torch.from_numpy(((features[part] - middle) * scale).astype(wide, copy=False))
        rough[part], lengths[part] = moved, moved.square().sum(dim=1)
        if dtype == torch.bfloat16:
            lost = max(lost, _lost(moved, rough[part], lengths[part]))
    tolerance = _tolerance(features.shape[1], lengths.dtype, device)
    if dtype == torch.bfloat16:
        # |a b - a' b'| <= |a - a'| |b| + |a'| |b - b'|, and the product itself is rounded.
        tolerance += 2 * lost * (1 + lost) + 0.51 * torch.finfo(dtype).eps * (1 + lost) ** 2
    return Points(features, rough.to(device), lengths.to(device), scale**-2, tolerance)


def _lost(moved: Tensor, rough: Tensor, lengths: Tensor) -> float:
    apart = (moved - rough).square().sum(dim=1)
    return float((apart / lengths).nan_to_num(0).max().sqrt()) * 1.001


def _tolerance(dim: int, dtype: torch.dtype, device: torch.device) -> float:
    # Higham 2002, equation 3.5: D roundings in a sum, and some in what surrounds it. A product in
    # TensorFloat-32 keeps 11 bits of its factors.
    tf32 = device.type == "cuda" and torch.backends.cuda.matmul.allow_tf32
    return (2 * dim + 64) * torch.finfo(dtype).eps / 2 + (2.0**-9 if tf32 else 0)
