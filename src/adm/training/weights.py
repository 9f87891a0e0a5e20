"""Weights by name -> nothing, or ValueError for the first that is not finite."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor


def check_finite(path: Path, weights: Mapping[str, Tensor], cure: str) -> None:
    """Raise ValueError if a weight is infinite or not a number.

    Args:
        path: the file that they are from.
        cure: what to do then, for the message.
    """
    for name, values in weights.items():
        # The extrema are not finite if any value is not; `isfinite` would need a mask in memory.
        if values.is_floating_point() and values.numel():
            extrema = torch.stack(torch.aminmax(values.detach()))
            if not bool(extrema.isfinite().all()):
                raise ValueError(f"{name} in {path} has values that are not finite; {cure}")
