"""Features, labels -> mean distance between images of the same class."""

import torch
from torch import Tensor


def within_class_distance(features: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Mean Euclidean distance between two different images of each class.

    Args:
        features: (N, D).
        labels: (N,) int64 in [0, classes).

    Returns:
        (classes,) float64; NaN for a class with fewer than two images.
    """
    means = torch.full((classes,), torch.nan, dtype=torch.float64)
    for label in range(classes):
        own = features[labels == label].double()
        if len(own) > 1:
            means[label] = torch.nn.functional.pdist(own).mean()
    return means
