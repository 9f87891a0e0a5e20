"""features, features -> precision and recall: which share of one set lies among the other.

A set's manifold is the union of a ball around each point, reaching to its k-th neighbour
(Kynkäänniemi et al. 2019). Comparisons are exact; `precision_recall_float16` has the rounding of
the released evaluator, which on an accelerator compares distances in half precision.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch

from adm.metrics.features import checked, comparable
from adm.metrics.manifold import PRECISION_NEIGHBOURS as NEIGHBOURS
from adm.metrics.manifold import reach
from adm.metrics.neighbours import pairs_within

FLOAT16_BLOCK = 10_000  # rows and columns that the released evaluator compares at a time


class PrecisionRecall(NamedTuple):
    """Shares in 0..1.

    Attributes:
        precision: of fake images within the real ones' manifold: fidelity.
        recall: of real images within the fake ones' manifold: diversity.
    """

    precision: float
    recall: float


def precision_recall(
    real: np.ndarray,
    fake: np.ndarray,
    neighbours: int = NEIGHBOURS,
    device: str | torch.device = "cpu",
) -> PrecisionRecall:
    """(N, D) and (M, D) features -> precision and recall.

    Raises:
        ValueError: shapes do not match, or a set has no more images than `neighbours`.
    """
    comparable(real, fake)
    of_real, of_fake = radii(real, neighbours, device), radii(fake, neighbours, device)
    in_real, in_fake = np.zeros(len(fake), bool), np.zeros(len(real), bool)
    for fakes, reals, squared in pairs_within(fake, real, [of_fake], [of_real], device):
        in_real[fakes[squared <= of_real[reals]]] = True
        in_fake[reals[squared <= of_fake[fakes]]] = True
    return PrecisionRecall(float(in_real.mean()), float(in_fake.mean()))


def radii(
    features: np.ndarray, neighbours: int = NEIGHBOURS, device: str | torch.device = "cpu"
) -> np.ndarray:
    """(N, D) features -> (N,) float64, each one's squared distance to its k-th neighbour.

    A point is no neighbour of itself; an equal one is.

    Raises:
        ValueError: fewer than `neighbours` others, or not (N, D).
    """
    return reach(features, neighbours, device)[:, -1]


def inside(
    points: np.ndarray,
    centres: np.ndarray,
    radii: np.ndarray,
    device: str | torch.device = "cpu",
) -> np.ndarray:
    """(N,) bool: which points lie in at least one ball, its surface included.

    Args:
        points: (N, D).
        centres: (M, D).
        radii: (M,) squared.

    Raises:
        ValueError: points and centres have different numbers of features.
    """
    found = np.zeros(len(points), bool)
    for rows, columns, squared in pairs_within(points, centres, [], [radii], device):
        found[rows[squared <= radii[columns]]] = True
    return found


def precision_recall_float16(
    real: np.ndarray, fake: np.ndarray, neighbours: int = NEIGHBOURS
) -> PrecisionRecall:
    """`precision_recall` with distances in half precision, to compare with published numbers.

    Features, squares, products and their differences are rounded to float16, sums inside a product
    are float32; a block that then holds a value that is not finite is done in float32. This moves
    precision by up to about 0.007.

    Raises:
        ValueError: as `precision_recall`.
    """
    comparable(real, fake)
    of_real, of_fake = (_radii_float16(each, neighbours) for each in (real, fake))
    in_real, in_fake = np.zeros(len(fake), bool), np.zeros(len(real), bool)
    for row, column, distances in _blocks_float16(fake, real):
        rows = slice(row, row + len(distances))
        columns = slice(column, column + distances.shape[1])
        in_real[rows] |= (distances <= of_real[columns]).any(axis=1)
        in_fake[columns] |= (distances <= of_fake[rows, None]).any(axis=0)
    return PrecisionRecall(float(in_real.mean()), float(in_fake.mean()))


def _radii_float16(features: np.ndarray, neighbours: int) -> np.ndarray:
    if not 1 <= neighbours < len(checked(features)):
        raise ValueError(
            f"{neighbours} neighbours need more images than {len(features)}; "
            "give more images, or ask for fewer neighbours"
        )
    least = np.full((len(features), neighbours + 1), np.inf, np.float32)
    for row, _, distances in _blocks_float16(features, features):
        # Itself is left out by its place in the order, not by its row: rounding may move it.
        rows = slice(row, row + len(distances))
        both = np.concatenate([least[rows], distances], axis=1)
        least[rows] = np.partition(both, neighbours, axis=1)[:, : neighbours + 1]
    return least.max(axis=1)


def _blocks_float16(
    points: np.ndarray, centres: np.ndarray
) -> Iterator[tuple[int, int, np.ndarray]]:
    """First row, first column and float32 array of one block of squared distances after another."""
    for row in range(0, len(points), FLOAT16_BLOCK):
        a = torch.from_numpy(np.asarray(points[row : row + FLOAT16_BLOCK], np.float32))
        for column in range(0, len(centres), FLOAT16_BLOCK):
            b = torch.from_numpy(np.asarray(centres[column : column + FLOAT16_BLOCK], np.float32))
            halves = _squared(a.half(), b.half())
            found = halves if bool(halves.isfinite().all()) else _squared(a, b)
            yield row, column, found.float().clamp(min=0).numpy()


def _squared(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """|a|^2 - 2 a b + |b|^2 in the type of both, sums in float32."""
    wide_a, wide_b = a.float(), b.float()
    product = (wide_a @ wide_b.T).to(a.dtype)
    length_a, length_b = ((x * x).float().sum(dim=1).to(a.dtype) for x in (a, b))
    return length_a[:, None] - 2 * product + length_b
