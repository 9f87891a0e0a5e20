"""features, features -> each one's nearest others, and the pairs that are near enough.

Exact, in memory that does not grow with the number of pairs; see `distances` for how.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from adm.metrics.distances import (
    BLOCK,
    Points,
    bounds,
    exact_distances,
    narrowest,
    prepare,
    wider,
)
from adm.metrics.features import checked, comparable

SPARE = 13  # candidates beyond the k-th: rounding rarely hides a nearer one behind that many
OPEN = 64  # more than one pair in so many left open, and a wider type is the faster way


class Nearest(NamedTuple):
    """The k nearest others of each image, the nearest first.

    Attributes:
        indices: (N, k) int64, rows of the other set.
        squared: (N, k) float64 squared distances.
    """

    indices: np.ndarray
    squared: np.ndarray


class Pairs(NamedTuple):
    """Pairs of images of two sets, P of them.

    Attributes:
        rows: (P,) int64, of the first set.
        columns: (P,) int64, of the second.
        squared: (P,) float64 squared distances, exact wherever a decision depends on it.
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
        device: where the rough distances are computed; the answer does not depend on it.

    Raises:
        ValueError: not comparable, or fewer than k others.
    """
    comparable(points, others, least=1)
    if not 1 <= k <= len(others):
        raise ValueError(
            f"{k} neighbours cannot be chosen from {len(others)} images; "
            "give more images, or ask for fewer neighbours"
        )
    found = Nearest(np.zeros((len(points), k), np.int64), np.zeros((len(points), k)))
    rows, dtype = np.arange(len(points)), narrowest(points.shape[1], device)
    return _fill(found, rows, points, others, False, dtype, device)


def nearest_others(features: np.ndarray, k: int = 1, device: str | torch.device = "cpu") -> Nearest:
    """The k nearest of a set's other images for each of its images.

    An image is no neighbour of itself; an equal one is.

    Args:
        features: (N, D), N more than k.
        device: as in `nearest`.

    Raises:
        ValueError: fewer than k others, or features that cannot be scored.
    """
    if not 1 <= k < len(checked(features, least=1)):
        raise ValueError(
            f"features must be (N, D) with N > {k} neighbours >= 1, got {features.shape}; "
            "give more images, or ask for fewer neighbours"
        )
    dtype = narrowest(features.shape[1], device)
    (points,) = prepare(features, dtype=dtype, device=device)
    table = _Table(len(points), min(k + SPARE, len(points) - 1), points.lengths)
    for row, block in points.blocks():  # first, for they bound what is worth a look elsewhere
        distances, _ = bounds(block, block)
        table.offer(row, row, distances.fill_diagonal_(torch.inf))
    for row, block in points.blocks():
        for column in range(row + BLOCK, len(points), BLOCK):
            distances, _ = bounds(block, points[column : column + BLOCK])
            table.offer(row, column, distances)
            table.offer(column, row, distances.T)
    found, unsure = _settled(points, points, table, k, len(points) - 1)
    return _fill(found, unsure, features, features, True, wider(dtype), device)


def pairs_within(
    points: np.ndarray,
    others: np.ndarray,
    reach: list[np.ndarray],
    others_reach: list[np.ndarray],
    device: str | torch.device = "cpu",
) -> Iterator[Pairs]:
    """Every pair whose squared distance is at most the largest reach of one of the two.

    Args:
        points: (N, D).
        others: (M, D).
        reach: each (N,), squared distances that somebody will compare with.
        others_reach: each (M,), the same for the other set.
        device: as in `nearest`.

    Returns:
        The pairs, a block at a time, each pair once. A pair's `squared` decides `<`, `<=` against
        any reach of either image as the exact distance does.

    Raises:
        ValueError: not comparable.
    """
    comparable(points, others, least=1)
    own, theirs = _reaches(reach, len(points)), _reaches(others_reach, len(others))
    dtype = narrowest(points.shape[1], device)
    first, second = prepare(points, others, dtype=dtype, device=device)
    for row, block in first.blocks():
        for column, other in second.blocks():
            rows, columns = slice(row, row + BLOCK), slice(column, column + BLOCK)
            found = _within(block, other, own[:, rows], theirs[:, columns])
            yield Pairs(found.rows + row, found.columns + column, found.squared)


class _Table:
    """The least bounds met so far, a row for each point."""

    def __init__(self, rows: int, width: int, like: Tensor) -> None:
        self.least = like.new_full((rows, width), torch.inf)
        self.indices = torch.zeros((rows, width), dtype=torch.int64, device=like.device)

    def offer(self, row: int, column: int, distances: Tensor) -> None:
        """Bounds of the points from `row` on to the others from `column` on."""
        width = self.least.shape[1]
        rows = slice(row, row + len(distances))
        last = self.least[rows, -1:]
        if bool(last.isinf().any()):
            new, where = distances.topk(min(width, distances.shape[1]), dim=1, largest=False)
        else:
            new, where = _packed(distances, distances < last)
        least = torch.cat([self.least[rows], new], dim=1)
        indices = torch.cat([self.indices[rows], where + column], dim=1)
        self.least[rows], kept = least.topk(width, dim=1, largest=False)
        self.indices[rows] = indices.gather(1, kept)


def _packed(values: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """The wanted values of each row and their columns, moved to the left, then infinity."""
    rows, columns = wanted.nonzero(as_tuple=True)
    counts = torch.bincount(rows, minlength=len(values))
    places = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[rows]
    shape = (len(values), int(counts.max()))
    new, where = values.new_full(shape, torch.inf), columns.new_zeros(shape)
    new[rows, places], where[rows, places] = values[rows, columns], columns
    return new, where


def _fill(
    found: Nearest,
    rows: np.ndarray,
    points: np.ndarray,
    others: np.ndarray,
    itself: bool,
    dtype: torch.dtype | None,
    device: str | torch.device,
) -> Nearest:
    """`found` with the nearest of some rows put in, in wider types where one leaves them open."""
    k = found.indices.shape[1]
    while len(rows) and dtype is not None:
        unsure = []
        for start in range(0, len(rows), BLOCK):
            chosen = rows[start : start + BLOCK]
            new, open_ = _nearest_of(chosen, points, others, k, itself, dtype, device)
            found.indices[chosen], found.squared[chosen] = new
            unsure.append(chosen[open_])
        rows, dtype = np.concatenate(unsure), wider(dtype)
    return found


def _nearest_of(
    rows: np.ndarray,
    points: np.ndarray,
    others: np.ndarray,
    k: int,
    itself: bool,
    dtype: torch.dtype,
    device: str | torch.device,
) -> tuple[Nearest, np.ndarray]:
    """The k nearest of some rows, and which of them `dtype` leaves open."""
    first, second = prepare(points[rows], others, dtype=dtype, device=device)
    table = _Table(len(rows), min(k + SPARE, len(others) - itself), first.lengths)
    for column, other in second.blocks():
        distances, _ = bounds(first, other)
        if itself:
            own = np.flatnonzero((rows >= column) & (rows < column + len(other)))
            distances[own, rows[own] - column] = torch.inf
        table.offer(0, column, distances)
    return _settled(first, second, table, k, len(others) - itself)


def _settled(
    points: Points, others: Points, table: _Table, k: int, everyone: int
) -> tuple[Nearest, np.ndarray]:
    """Candidates -> the k nearest by their exact distances, and rows where others may be nearer."""
    least, indices = table.least, table.indices
    tolerance = max(points.tolerance, others.tolerance)
    most = least + 2.01 * tolerance * (points.lengths[:, None] + others.lengths[indices])
    reached = most.kthvalue(k, dim=1, keepdim=True).values
    worth = (least <= reached).cpu().numpy()
    candidates = indices.cpu().numpy()
    rows, places = np.nonzero(worth)
    squared = np.full(candidates.shape, np.inf)
    squared[rows, places] = exact_distances(
        points.exact, others.exact, rows, candidates[rows, places]
    )
    order = np.lexsort((candidates, squared), axis=1)[:, :k]
    found = Nearest(
        np.take_along_axis(candidates, order, axis=1), np.take_along_axis(squared, order, axis=1)
    )
    last = least[:, -1].double().cpu().numpy() * points.unit
    open_ = (last < found.squared[:, -1]) & (candidates.shape[1] < everyone)
    return found, np.flatnonzero(open_)


def _within(block: Points, other: Points, own: np.ndarray, theirs: np.ndarray) -> Pairs:
    """One block's pairs; `own` (A, rows) and `theirs` (B, columns) squared radii."""
    least, tolerance = bounds(block, other)
    own_rough, theirs_rough = (
        torch.from_numpy(each / block.unit).to(least) for each in (own, theirs)
    )
    near = least <= _furthest(own_rough)[:, None]
    near |= least <= _furthest(theirs_rough)
    rows, columns = near.nonzero(as_tuple=True)
    error = tolerance * (block.lengths[rows] + other.lengths[columns])
    rough = least[rows, columns] + error
    open_ = torch.zeros_like(rows, dtype=torch.bool)
    for reach, at in ((own_rough, rows), (theirs_rough, columns)):
        for one in reach:
            open_ |= (rough - one[at]).abs() <= 1.01 * error
    dtype = wider(block.rough.dtype)
    if dtype is not None and int(open_.sum()) * OPEN > near.numel():
        first, second = prepare(block.exact, other.exact, dtype=dtype, device=near.device)
        return _within(first, second, own, theirs)
    squared = rough.double().cpu().numpy() * block.unit
    i, j, left = rows.cpu().numpy(), columns.cpu().numpy(), open_.cpu().numpy()
    squared[left] = exact_distances(block.exact, other.exact, i[left], j[left])
    return Pairs(i, j, squared)


def _reaches(reach: list[np.ndarray], count: int) -> np.ndarray:
    """Each (N,) squared distances -> (how many, N) float64."""
    for one in reach:
        if one.shape != (count,):
            raise ValueError(f"{count} images go with as many squared radii, got {one.shape}")
    return np.reshape(np.array(reach, dtype=np.float64), (len(reach), count))


def _furthest(reach: Tensor) -> Tensor:
    """(how many, N) -> (N,); less than any distance where there is none."""
    return reach.amax(dim=0) if len(reach) else reach.new_full(reach.shape[1:], -torch.inf)
