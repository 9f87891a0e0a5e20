"""Features, features -> nearest neighbours, and all pairs within given radii.

Results are exact, and memory does not grow with the number of pairs; `distances` explains how.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from adm.metrics.checks import check_comparable, check_features
from adm.metrics.distances import (
    BLOCK,
    Points,
    exact_distances,
    fastest_dtype,
    lower_bounds,
    prepare,
    wider_dtype,
)

SPARE = 13  # candidates beyond the k-th; rounding rarely puts a nearer one behind that many
OPEN = 64  # where more than one pair in this many is left open, a wider dtype is faster


class Nearest(NamedTuple):
    """The k nearest neighbours of each image, nearest first.

    Attributes:
        indices: (N, k) int64, rows of the set that was searched.
        squared: (N, k) float64 squared distances.
    """

    indices: np.ndarray
    squared: np.ndarray


class Pairs(NamedTuple):
    """P pairs of images of two sets.

    Attributes:
        rows: (P,) int64, indices in the first set.
        columns: (P,) int64, indices in the second.
        squared: (P,) float64 squared distances, exact wherever a comparison depends on it.
    """

    rows: np.ndarray
    columns: np.ndarray
    squared: np.ndarray


def nearest(
    points: np.ndarray, others: np.ndarray, k: int = 1, device: str | torch.device = "cpu"
) -> Nearest:
    """The k nearest of `others` for each of `points`.

    Args:
        points: (N, D).
        others: (M, D), M at least k.
        k: number of neighbours.
        device: where approximate distances are computed; the result does not depend on it.

    Raises:
        ValueError: not comparable, or fewer than k others.
    """
    check_comparable(points, others, minimum=1)
    if not 1 <= k <= len(others):
        raise ValueError(
            f"{k} neighbours cannot be chosen from {len(others)} images; "
            "give more images, or ask for fewer neighbours"
        )
    neighbours = Nearest(np.zeros((len(points), k), np.int64), np.zeros((len(points), k)))
    rows, dtype = np.arange(len(points)), fastest_dtype(points.shape[1], device)
    return _fill(_Search(points, others, False, device), neighbours, rows, dtype)


def nearest_others(features: np.ndarray, k: int = 1, device: str | torch.device = "cpu") -> Nearest:
    """The k nearest other images of the same set for each image.

    An image is not a neighbour of itself, but an equal one is.

    Args:
        features: (N, D), N more than k.
        k: number of neighbours.
        device: as in `nearest`.

    Raises:
        ValueError: fewer than k others, or features that cannot be scored.
    """
    if not 1 <= k < len(check_features(features, minimum=1)):
        raise ValueError(
            f"features must be (N, D) with N > {k} neighbours >= 1, got {features.shape}; "
            "give more images, or ask for fewer neighbours"
        )
    dtype = fastest_dtype(features.shape[1], device)
    (points,) = prepare(features, dtype=dtype, device=device)
    table = _Table(len(points), min(k + SPARE, len(points) - 1), points.squared_norms)
    for row, block in points.blocks():  # diagonal first: it bounds what the others may add
        distances, _ = lower_bounds(block, block)
        table.offer(row, row, distances.fill_diagonal_(torch.inf))
    for row, block in points.blocks():
        for column in range(row + BLOCK, len(points), BLOCK):
            distances, _ = lower_bounds(block, points[column : column + BLOCK])
            table.offer(row, column, distances)
            table.offer(column, row, distances.T)
    neighbours, unsure = _resolve(points, points, table, k, len(points) - 1)
    search = _Search(features, features, True, device)
    return _fill(search, neighbours, unsure, wider_dtype(dtype))


def pairs_within(
    points: np.ndarray,
    others: np.ndarray,
    radii: list[np.ndarray],
    others_radii: list[np.ndarray],
    device: str | torch.device = "cpu",
) -> Iterator[Pairs]:
    """Every pair whose squared distance is at most the largest squared radius of one of the two.

    Args:
        points: (N, D).
        others: (M, D).
        radii: (N,) each, squared radii that the caller will compare distances with.
        others_radii: (M,) each, the same for the other set.
        device: as in `nearest`.

    Yields:
        The pairs of one block after another, each pair once. Comparing a pair's `squared` with a
        squared radius of either image, by `<` or `<=`, gives the result of the exact distance.

    Raises:
        ValueError: not comparable.
    """
    check_comparable(points, others, minimum=1)
    own, theirs = _stack(radii, len(points)), _stack(others_radii, len(others))
    dtype = fastest_dtype(points.shape[1], device)
    first, second = prepare(points, others, dtype=dtype, device=device)
    for row, block in first.blocks():
        for column, other in second.blocks():
            rows, columns = slice(row, row + BLOCK), slice(column, column + BLOCK)
            near = _within(block, other, own[:, rows], theirs[:, columns])
            yield Pairs(near.rows + row, near.columns + column, near.squared)


class _Search(NamedTuple):
    """Two sets: the neighbours of rows of `points` are searched among `others`."""

    points: np.ndarray
    others: np.ndarray
    exclude_self: bool  # the sets are one, and no image is a neighbour of itself
    device: str | torch.device


class _Table:
    """The smallest lower bounds so far, one row per point."""

    def __init__(self, rows: int, width: int, like: Tensor) -> None:
        self.least = like.new_full((rows, width), torch.inf)
        self.indices = torch.zeros((rows, width), dtype=torch.int64, device=like.device)

    def offer(self, row: int, column: int, distances: Tensor) -> None:
        """Take in the bounds between points from `row` on and others from `column` on."""
        width = self.least.shape[1]
        rows = slice(row, row + len(distances))
        last = self.least[rows, -1:]
        if bool(last.isinf().any()):
            new, where = distances.topk(min(width, distances.shape[1]), dim=1, largest=False)
        else:
            new, where = _pack(distances, distances < last)
        least = torch.cat([self.least[rows], new], dim=1)
        indices = torch.cat([self.indices[rows], where + column], dim=1)
        self.least[rows], places = least.topk(width, dim=1, largest=False)
        self.indices[rows] = indices.gather(1, places)


def _pack(values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The values of each row in the mask, and their columns, packed to the left, then infinity."""
    rows, columns = mask.nonzero(as_tuple=True)
    counts = torch.bincount(rows, minlength=len(values))
    places = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[rows]
    shape = (len(values), int(counts.max()))
    new, where = values.new_full(shape, torch.inf), columns.new_zeros(shape)
    new[rows, places], where[rows, places] = values[rows, columns], columns
    return new, where


def _fill(search: _Search, output: Nearest, rows: np.ndarray, dtype: torch.dtype | None) -> Nearest:
    """Write neighbours of some rows into `output`, in wider dtypes where one is inconclusive."""
    k = output.indices.shape[1]
    while len(rows) and dtype is not None:
        unsure = []
        for start in range(0, len(rows), BLOCK):
            chosen = rows[start : start + BLOCK]
            new, open_ = _nearest_of(search, chosen, k, dtype)
            output.indices[chosen], output.squared[chosen] = new
            unsure.append(chosen[open_])
        rows, dtype = np.concatenate(unsure), wider_dtype(dtype)
    return output


def _nearest_of(
    search: _Search, rows: np.ndarray, k: int, dtype: torch.dtype
) -> tuple[Nearest, np.ndarray]:
    """The k nearest of some rows, and those of them for which `dtype` is inconclusive."""
    points, others, exclude_self, device = search
    first, second = prepare(points[rows], others, dtype=dtype, device=device)
    available = len(others) - exclude_self
    table = _Table(len(rows), min(k + SPARE, available), first.squared_norms)
    for column, other in second.blocks():
        distances, _ = lower_bounds(first, other)
        if exclude_self:
            selves = np.flatnonzero((rows >= column) & (rows < column + len(other)))
            distances[selves, rows[selves] - column] = torch.inf
        table.offer(0, column, distances)
    return _resolve(first, second, table, k, available)


def _resolve(
    points: Points, others: Points, table: _Table, k: int, available: int
) -> tuple[Nearest, np.ndarray]:
    """Candidates -> the k nearest by exact distance, and rows where others may be nearer."""
    least, indices = table.least, table.indices
    tolerance = max(points.tolerance, others.tolerance)
    most = least + 2.01 * tolerance * (
        points.squared_norms[:, None] + others.squared_norms[indices]
    )
    kth = most.kthvalue(k, dim=1, keepdim=True).values
    possible = (least <= kth).cpu().numpy()
    candidates = indices.cpu().numpy()
    rows, places = np.nonzero(possible)
    squared = np.full(candidates.shape, np.inf)
    squared[rows, places] = exact_distances(
        points.exact, others.exact, rows, candidates[rows, places]
    )
    order = np.lexsort((candidates, squared), axis=1)[:, :k]
    neighbours = Nearest(
        np.take_along_axis(candidates, order, axis=1), np.take_along_axis(squared, order, axis=1)
    )
    last = least[:, -1].double().cpu().numpy() * points.unit
    open_ = (last < neighbours.squared[:, -1]) & (candidates.shape[1] < available)
    return neighbours, np.flatnonzero(open_)


def _within(block: Points, other: Points, own: np.ndarray, theirs: np.ndarray) -> Pairs:
    """The pairs of one block, given squared radii `own` (A, rows) and `theirs` (B, columns)."""
    least, tolerance = lower_bounds(block, other)
    own_rough, theirs_rough = (
        torch.from_numpy(each / block.unit).to(least) for each in (own, theirs)
    )
    near = least <= _largest(own_rough)[:, None]
    near |= least <= _largest(theirs_rough)
    rows, columns = near.nonzero(as_tuple=True)
    error = tolerance * (block.squared_norms[rows] + other.squared_norms[columns])
    rough = least[rows, columns] + error
    open_ = torch.zeros_like(rows, dtype=torch.bool)
    for radii, at in ((own_rough, rows), (theirs_rough, columns)):
        for each in radii:
            open_ |= (rough - each[at]).abs() <= 1.01 * error
    dtype = wider_dtype(block.rough.dtype)
    if dtype is not None and int(open_.sum()) * OPEN > near.numel():
        first, second = prepare(block.exact, other.exact, dtype=dtype, device=near.device)
        return _within(first, second, own, theirs)
    squared = rough.double().cpu().numpy() * block.unit
    i, j, left = rows.cpu().numpy(), columns.cpu().numpy(), open_.cpu().numpy()
    squared[left] = exact_distances(block.exact, other.exact, i[left], j[left])
    return Pairs(i, j, squared)


def _stack(radii: list[np.ndarray], count: int) -> np.ndarray:
    """R arrays (N,) of squared radii -> (R, N) float64."""
    for each in radii:
        if each.shape != (count,):
            raise ValueError(f"{count} images need ({count},) squared radii, got {each.shape}")
    return np.reshape(np.array(radii, dtype=np.float64), (len(radii), count))


def _largest(radii: Tensor) -> Tensor:
    """(R, N) -> (N,); below any distance where R is 0."""
    return radii.amax(dim=0) if len(radii) else radii.new_full(radii.shape[1:], -torch.inf)
