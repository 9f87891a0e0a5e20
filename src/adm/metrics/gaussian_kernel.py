"""Features, features -> squared MMD with a Gaussian kernel; with CLIP's features, CMMD.

    1000 (E k(x, x') + E k(y, y') - 2 E k(x, y)),   k(x, y) = exp(-|x - y|^2 / (2 10^2))

of features that are divided by their norms (Jayasumana et al. 2024, "Rethinking FID", section 4),
without bias: few images make it noisier, but not larger on average, and it may be below 0. As these
features are at most 2 apart, the kernel is nearly linear, and the distance nearly 10 times the
squared distance of the two means.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from adm.metrics.bootstrap import RESAMPLES, mean_interval
from adm.metrics.checks import as_tensor, check_comparable
from adm.metrics.metric import Metric, Score, Sets

WIDTH, FACTOR = 10.0, 1000
IMAGES = 10_000  # of each set of a report
FEWEST = 6
BLOCK = 2048


def gaussian_kernel_distance(
    real: np.ndarray,
    fake: np.ndarray,
    images: int = IMAGES,
    resamples: int = RESAMPLES,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> Score:
    """(N, D) and (M, D) features -> the distance and its interval, with the real ones held fixed.

    Time is quadratic in the number of images, memory is not. The interval resamples the influence
    of each fake image, the first-order change of the distance with the image's weight.

    Args:
        images: largest number of each set; of more, so many are drawn at random.
        seed: of drawn images and resamples.

    Raises:
        ValueError: not comparable.
    """
    check_comparable(real, fake)
    random = np.random.default_rng(seed)
    x, y = (
        F.normalize(as_tensor(_drawn(each, images, random), device), dim=1) for each in (real, fake)
    )
    real_pairs = _row_sums(x, x).mean() / (len(x) - 1)
    fake_pairs, pairs = _row_sums(y, y) / (len(y) - 1), _row_sums(y, x) / len(x)
    value = FACTOR * float(real_pairs + fake_pairs.mean() - 2 * pairs.mean())
    influences = 2 * FACTOR * (fake_pairs - pairs)
    low, high = mean_interval(influences - influences.mean(), resamples, seed=seed)
    return Score(value, value + low, value + high)


def _row_sums(a: Tensor, b: Tensor) -> np.ndarray:
    """(N, D), (M, D) unit features -> (N,) float64 sums of k - 1, which is 0 for an image itself.

    A constant in the kernel changes no distance, and without it the sums keep their digits.
    """
    rows = []
    for part in a.split(BLOCK):
        total = torch.zeros(len(part), dtype=torch.float64, device=a.device)
        for other in b.split(BLOCK):
            half_squared = (1 - (part @ other.T).double()).clamp_(min=0)
            total += torch.expm1(half_squared.div_(-(WIDTH**2))).sum(dim=1)
        rows.append(total)
    return torch.cat(rows).cpu().numpy()


def _drawn(features: np.ndarray, images: int, random: np.random.Generator) -> np.ndarray:
    if len(features) <= images:
        return features
    return features[np.sort(random.choice(len(features), images, replace=False))]


def _score(sets: Sets) -> Score | None:
    if sets.real is None or not sets.more_than(FEWEST - 1):
        return None
    options = {"resamples": sets.resamples, "seed": sets.seed, "device": sets.device}
    return gaussian_kernel_distance(sets.real, sets.fake, **options)


GAUSSIAN_KERNEL = Metric(
    key="gaussian_kernel",
    title="Gaussian kernel distance",
    of_clip="CMMD",
    lower_is_better=True,
    score=_score,
)
