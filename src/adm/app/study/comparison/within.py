"""Features of one class -> Score: the mean distance between two of its images."""

import math

import numpy as np
from numpy.typing import NDArray

from adm.app.scoring import Score

MOST = 2000  # images of a class between which distances are computed; the first ones
Z = 1.959964  # of a 95% interval


def within_class(features: NDArray[np.float32]) -> Score:
    """Return the mean Euclidean distance between two images of a class, with a 95% interval.

    It is small if they look alike to the network, and 0 if they are all the same. The variance of
    this mean over pairs is 4 / N of that of the mean distances of each image to the others
    (Hoeffding 1948).

    Args:
        features: (N, D), of which the first `MOST` images are used; NaN for fewer than two.
    """
    some = features[:MOST].astype(np.float64)
    count = len(some)
    if count < 2:
        return Score(math.nan)
    squares = (some**2).sum(1)
    apart = squares[:, None] + squares[None] - 2 * some @ some.T
    distances = np.sqrt(np.maximum(apart, 0))
    np.fill_diagonal(distances, 0)
    means = distances.sum(1) / (count - 1)
    value = float(means.mean())
    error = 2 * float(means.std(ddof=1)) / math.sqrt(count)
    return Score(value, max(0.0, value - Z * error), value + Z * error)
