"""Features, features -> precision and recall (Kynkäänniemi et al. 2019).

A set's manifold is the union of a ball around each point, whose radius is the distance to its k-th
nearest neighbour. Comparisons are exact. On an accelerator the released evaluator compares
distances in half precision, which moves precision by up to about 0.007.
"""

from typing import NamedTuple

import numpy as np
import torch

from adm.metrics.accuracy import wilson
from adm.metrics.jackknife import share_of_real
from adm.metrics.manifold import PRECISION_NEIGHBOURS as NEIGHBOURS
from adm.metrics.manifold import members, membership
from adm.metrics.metric import Metric, Score, Sets


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


PRECISION = Metric(key="precision", title="precision", lower_is_better=False, score=_precision_of)
RECALL = Metric(key="recall", title="recall", lower_is_better=False, score=_recall_of)
