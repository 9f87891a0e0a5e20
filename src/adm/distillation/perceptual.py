"""Features, Features -> distance of each image."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def perceptual_distance(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """Return how different two images are in the features of a network; (B,), from 0 to 4.

    The features of each stage are divided by their norm over the channels, so that no stage or
    position counts for its magnitude; the squared distance of the two vectors is averaged over the
    positions, and the result over the stages. This is the distance of Zhang et al. 2018 ("The
    Unreasonable Effectiveness of Deep Features as a Perceptual Metric"), all channels weighted
    alike.

    Args:
        found, wanted: (B, C, h, w) of every stage.
    """
    distances = [
        (F.normalize(one.float(), dim=1) - F.normalize(other.float(), dim=1))
        .square()
        .sum(dim=1)
        .mean(dim=(1, 2))
        for one, other in zip(found, wanted, strict=True)
    ]
    return torch.stack(distances).mean(dim=0)
