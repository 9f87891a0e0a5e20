"""Features, features -> nearest neighbours, and all pairs within given radii.

A block of squared distances is |a|^2 - 2 a b + |b|^2, one matrix product in float64, so that memory
does not grow with the number of pairs. Its rounding is of the order of |a|^2 + |b|^2 however close
a and b are. The few pairs whose comparison it could change are computed as sums of squared
differences: exactly 0 for equal points, the same for (a, b) and (b, a), whatever the block.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from adm.metrics.checks import check_comparable, check_features

BLOCK = 2048  # rows and columns of a block
SPARE = 13  # candidates beyond the k-th; rounding rarely puts a nearer one behind that many
CHUNK = 2**17  # numbers at a time where memory limits the speed: they fit in a cache


class Neighbours(NamedTuple):
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
) -> Neighbours:
    """The k nearest of `others` for each of `points`.

    Args:
        points: (N, D).
        others: (M, D), M at least k.
        k: number of neighbours.
        device: where distances are computed; the result does not depend on it.

    Raises:
        ValueError: not comparable, or fewer than k others.
    """
    check_comparable(points, others, minimum=1)
    _check_count(k, len(others))
    return _nearest(points, others, k, device)


def nearest_others(
    features: np.ndarray, k: int = 1, device: str | torch.device = "cpu"
) -> Neighbours:
    """The k nearest other images of the same set for each image.

    An image is not a neighbour of itself, but an equal one is.

    Args:
        features: (N, D), N more than k.
        k: number of neighbours.
        device: as in `nearest`.

    Raises:
        ValueError: fewer than k others, or features that cannot be scored.
    """
    _check_count(k, len(check_features(features, minimum=1)) - 1)
    return _nearest(features, features, k, device, exclude_self=True)


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
    centre = _centre(points, others)
    for row, block in _blocks(points, centre, device):
        for column, other in _blocks(others, centre, device):
            squared, error = _distances(block, other)
            ours, their = (
                torch.from_numpy(each[:, at : at + BLOCK]).to(squared)
                for each, at in ((own, row), (theirs, column))
            )
            least = squared - error
            near = (least <= _largest(ours)[:, None]) | (least <= _largest(their))
            i, j = near.nonzero(as_tuple=True)
            chosen, off = squared[i, j], error[i, j]
            by_radius = torch.cat([ours[:, i], their[:, j]]) - chosen
            unsure = (by_radius.abs() <= off).any(dim=0).cpu().numpy()
            rows, columns, exact = i.cpu().numpy() + row, j.cpu().numpy() + column, chosen.cpu()
            values = exact.numpy()
            values[unsure] = exact_distances(points, others, rows[unsure], columns[unsure])
            yield Pairs(rows, columns, values)


def exact_distances(
    points: np.ndarray, others: np.ndarray, rows: np.ndarray, columns: np.ndarray
) -> np.ndarray:
    """(P,) float64 squared distances of points[rows[p]] and others[columns[p]].

    The order of summation depends neither on the number of pairs nor on the order within one.
    """
    squared, at_once = np.empty(len(rows)), max(1, CHUNK // points.shape[1])
    for start in range(0, len(rows), at_once):
        part = slice(start, start + at_once)
        difference = np.subtract(points[rows[part]], others[columns[part]], dtype=np.float64)
        squared[part] = np.square(difference, out=difference).sum(axis=1)
    return squared


def _check_count(k: int, others: int) -> None:
    if not 1 <= k <= others:
        raise ValueError(
            f"{k} neighbours cannot be chosen from {others} other images; "
            "give more images, or ask for fewer neighbours"
        )


def _nearest(
    points: np.ndarray,
    others: np.ndarray,
    k: int,
    device: str | torch.device,
    exclude_self: bool = False,
) -> Neighbours:
    """The k nearest by exact distance, then index, among the nearest k + SPARE by rounded ones."""
    width, centre = min(k + SPARE, len(others) - exclude_self), _centre(points, others)
    nearest = Neighbours(np.zeros((len(points), k), np.int64), np.zeros((len(points), k)))
    for row, block in _blocks(points, centre, device):
        least, indices = block.new_empty((len(block), 0)), torch.empty((len(block), 0)).long()
        indices = indices.to(block.device)
        for column, other in _blocks(others, centre, device):
            squared, _ = _distances(block, other)
            if exclude_self and row == column:
                squared.fill_diagonal_(torch.inf)
            new, where = squared.topk(min(width, len(other)), dim=1, largest=False)
            least, indices = torch.cat([least, new], 1), torch.cat([indices, where + column], 1)
            least, places = least.topk(min(width, least.shape[1]), dim=1, largest=False)
            indices = indices.gather(1, places)
        candidates = indices.cpu().numpy()
        rows = np.repeat(np.arange(row, row + len(block)), width)
        exact = exact_distances(points, others, rows, candidates.ravel()).reshape(-1, width)
        order = np.lexsort((candidates, exact), axis=1)[:, :k]
        nearest.indices[row : row + BLOCK] = np.take_along_axis(candidates, order, axis=1)
        nearest.squared[row : row + BLOCK] = np.take_along_axis(exact, order, axis=1)
    return nearest


def _centre(*sets: np.ndarray) -> np.ndarray:
    """Return the mean of sets of features, from which their norms are smallest."""
    return np.mean([each.mean(axis=0, dtype=np.float64) for each in sets], axis=0)


def _blocks(
    features: np.ndarray, centre: np.ndarray, device: str | torch.device
) -> Iterator[tuple[int, Tensor]]:
    """Yield the first row of each block, and its rows around a centre, in float64."""
    place = torch.device(device)
    for row in range(0, len(features), BLOCK):
        block = torch.from_numpy(features[row : row + BLOCK] - centre)
        yield row, block.to(place if place.type == "cuda" else "cpu")  # others have no float64


def _distances(points: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """(N, M) squared distances, and bounds of their rounding."""
    sums = points.square().sum(dim=1)[:, None] + others.square().sum(dim=1)
    # Higham 2002, equation 3.5: a sum of D terms has D roundings, and the rest has a few more.
    tolerance = (2 * points.shape[1] + 64) * torch.finfo(points.dtype).eps
    return torch.addmm(sums, points, others.T, alpha=-2), sums * tolerance


def _stack(radii: list[np.ndarray], count: int) -> np.ndarray:
    """R arrays (N,) of squared radii -> (R, N) float64."""
    for each in radii:
        if each.shape != (count,):
            raise ValueError(f"{count} images need ({count},) squared radii, got {each.shape}")
    return np.reshape(np.array(radii, dtype=np.float64), (len(radii), count))


def _largest(radii: Tensor) -> Tensor:
    """(R, N) -> (N,); below any distance where R is 0."""
    return radii.amax(dim=0) if len(radii) else radii.new_full(radii.shape[1:], -torch.inf)
