"""Features, features -> precision and recall (Kynkäänniemi et al. 2019).

A set's manifold is the union of a ball around each point, whose radius is the distance to its k-th
nearest neighbour. Comparisons are exact; `precision_recall_float16` has the rounding of the
released evaluator, which compares distances in half precision on an accelerator.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch

from adm.metrics.accuracy import wilson
from adm.metrics.checks import check_comparable, check_features
from adm.metrics.jackknife import share_of_real
from adm.metrics.manifold import PRECISION_NEIGHBOURS as NEIGHBOURS
from adm.metrics.manifold import members, membership
from adm.metrics.metric import Metric, Score, Sets

FLOAT16_BLOCK = 10_000  # rows and columns that the released evaluator compares at a time


class PrecisionRecall(NamedTuple):
    """Proportions in 0..1.

    Attributes:
        precision: of fake images in the real manifold: fidelity.
        recall: of real images in the fake manifold: diversity.
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
    inside = membership(real, fake, neighbours, neighbours, device)
    return PrecisionRecall(float(inside.fake_in_real.mean()), float(inside.real_in_fake.mean()))


def precision_recall_float16(
    real: np.ndarray, fake: np.ndarray, neighbours: int = NEIGHBOURS
) -> PrecisionRecall:
    """`precision_recall` with distances in half precision, to compare with published numbers.

    Features, squares, products and their differences are rounded to float16, and sums within a
    product are float32; a block with a value that is not finite is recomputed in float32. This
    moves precision by up to about 0.007.

    Raises:
        ValueError: as `precision_recall`.
    """
    check_comparable(real, fake)
    of_real, of_fake = (_radii_float16(each, neighbours) for each in (real, fake))
    in_real, in_fake = np.zeros(len(fake), bool), np.zeros(len(real), bool)
    for row, column, distances in _blocks_float16(fake, real):
        rows = slice(row, row + len(distances))
        columns = slice(column, column + distances.shape[1])
        in_real[rows] |= (distances <= of_real[columns]).any(axis=1)
        in_fake[columns] |= (distances <= of_fake[rows, None]).any(axis=0)
    return PrecisionRecall(float(in_real.mean()), float(in_fake.mean()))


def _radii_float16(features: np.ndarray, neighbours: int) -> np.ndarray:
    if not 1 <= neighbours < len(check_features(features)):
        raise ValueError(
            f"{neighbours} neighbours need more images than {len(features)}; "
            "give more images, or ask for fewer neighbours"
        )
    least = np.full((len(features), neighbours + 1), np.inf, np.float32)
    for row, _, distances in _blocks_float16(features, features):
        # A point itself is excluded by its rank and not by its row, as rounding may move it.
        rows = slice(row, row + len(distances))
        both = np.concatenate([least[rows], distances], axis=1)
        least[rows] = np.partition(both, neighbours, axis=1)[:, : neighbours + 1]
    return least.max(axis=1)


def _blocks_float16(
    points: np.ndarray, centres: np.ndarray
) -> Iterator[tuple[int, int, np.ndarray]]:
    """Blocks of squared distances: first row, first column, float32 array."""
    for row in range(0, len(points), FLOAT16_BLOCK):
        a = torch.from_numpy(np.asarray(points[row : row + FLOAT16_BLOCK], np.float32))
        for column in range(0, len(centres), FLOAT16_BLOCK):
            b = torch.from_numpy(np.asarray(centres[column : column + FLOAT16_BLOCK], np.float32))
            halves = _squared(a.half(), b.half())
            block = halves if bool(halves.isfinite().all()) else _squared(a, b)
            yield row, column, block.float().clamp(min=0).numpy()


def _squared(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """|a|^2 - 2 a b + |b|^2 in the dtype of both, with sums in float32."""
    wide_a, wide_b = a.float(), b.float()
    product = (wide_a @ wide_b.T).to(a.dtype)
    length_a, length_b = ((x * x).float().sum(dim=1).to(a.dtype) for x in (a, b))
    return length_a[:, None] - 2 * product + length_b


def _precision_of(sets: Sets) -> Score | None:
    if (inside := sets.once(members)) is None:
        return None
    # Whether a sample is in the manifold of real images does not depend on the other samples.
    return wilson(int(inside.fake_in_real.sum()), len(inside.balls))


def _recall_of(sets: Sets) -> Score | None:
    if (inside := sets.once(members)) is None:
        return None
    without = None if inside.jackknife is None else inside.jackknife.recalled
    return share_of_real(inside.real_in_fake, without, len(inside.balls))


def _float16(sets: Sets) -> PrecisionRecall | None:
    if sets.real is None or not sets.more_than(NEIGHBOURS):
        return None
    return precision_recall_float16(sets.real, sets.fake)


PRECISION = Metric(key="precision", title="precision", lower_is_better=False, score=_precision_of)
RECALL = Metric(key="recall", title="recall", lower_is_better=False, score=_recall_of)
PRECISION_FLOAT16 = Metric(
    key="precision_float16",
    title="precision in float16",
    lower_is_better=False,
    score=lambda sets: None if (both := sets.once(_float16)) is None else Score(both.precision),
    usual=False,
)
RECALL_FLOAT16 = Metric(
    key="recall_float16",
    title="recall in float16",
    lower_is_better=False,
    score=lambda sets: None if (both := sets.once(_float16)) is None else Score(both.recall),
    usual=False,
)
