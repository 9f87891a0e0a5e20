"""Features, features -> kernel distance; with Inception's features, KID.

The unbiased estimate of the squared maximum mean discrepancy with the kernel (x y / D + 1)^3
(Bińkowski et al. 2018, section 4): few images make it noisier, but not larger on average.
"""

import numpy as np
import torch
from torch import Tensor

from adm.metrics.bootstrap import subset_interval
from adm.metrics.checks import as_tensor, check_comparable
from adm.metrics.metric import Metric, Score, Sets

SUBSETS, SUBSET_SIZE = 100, 1000
FEWEST = 6  # images of each set of a report; subsets of fewer say nothing
BLOCK = 2048


def kernel_distance(
    real: np.ndarray,
    fake: np.ndarray,
    subsets: int = SUBSETS,
    size: int | None = None,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> Score:
    """(N, D) and (M, D) features -> the mean over subsets of both, and its interval.

    Each subset is drawn without replacement. The mean may be below 0 where the sets are alike.

    Args:
        size: images in a subset; None for 1,000, or half of the smaller set if that is less.
        seed: of the random subsets.

    Raises:
        ValueError: not comparable, a subset of fewer than 2 images or of all that there are.
    """
    check_comparable(real, fake)
    count = min(len(real), len(fake))
    size = max(2, min(SUBSET_SIZE, count // 2)) if size is None else size
    if not 2 <= size < count or subsets < 1:
        raise ValueError(
            f"cannot draw {subsets} subsets of {size} from sets of {len(real)} and {len(fake)} "
            f"images; ask for at least one, of 2 to {count - 1}, or give more"
        )
    random = np.random.default_rng(seed)
    values = np.empty(subsets)
    for subset in range(subsets):
        chosen = (s[random.choice(len(s), size, replace=False)] for s in (real, fake))
        values[subset] = kernel_distance_of_all(*chosen, device=device)
    return Score(float(values.mean()), *subset_interval(values, size, count))


def kernel_distance_of_all(
    real: np.ndarray, fake: np.ndarray, device: str | torch.device = "cpu"
) -> float:
    """(N, D) and (M, D) features -> the unbiased estimate from every pair of images.

    Time is quadratic in their number, memory is not. Products are in the dtype of the features,
    sums in float64.

    Raises:
        ValueError: not comparable.
    """
    check_comparable(real, fake)
    x, y = (as_tensor(each, device) for each in (real, fake))
    within = sum(_mean_within(each) for each in (x, y))
    between = sum(_kernel(a, b) for a in x.split(BLOCK) for b in y.split(BLOCK))
    return within - 2 * float(between) / (len(x) * len(y))


def _mean_within(x: Tensor) -> float:
    """Mean of the kernel over pairs of different images of one set."""
    total, parts = 0.0, x.split(BLOCK)
    for i, a in enumerate(parts):
        diagonal = ((a * a).sum(dim=1).double() / x.shape[1] + 1) ** 3
        total += _kernel(a, a) - float(diagonal.sum())
        total += 2 * sum(_kernel(a, b) for b in parts[i + 1 :])
    return total / (len(x) * (len(x) - 1))


def _kernel(a: Tensor, b: Tensor) -> float:
    """Sum of the kernel over all pairs."""
    products = (a @ b.T).cpu().double().div_(a.shape[1]).add_(1)
    return float(products.pow_(3).sum())


def _score(sets: Sets) -> Score | None:
    if sets.real is None or not sets.more_than(FEWEST - 1):
        return None
    return kernel_distance(sets.real, sets.fake, seed=sets.seed, device=sets.device)


KERNEL_DISTANCE = Metric(
    key="kernel_distance",
    title="kernel distance",
    of_inception="KID",
    lower_is_better=True,
    score=_score,
)
