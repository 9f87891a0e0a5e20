"""Weights by name -> nothing, or ValueError for the first that is not finite."""

import math
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor


def check_finite(path: Path, weights: Mapping[str, Tensor], cure: str) -> None:
    """Raise ValueError if a weight is infinite or not a number.

    Args:
        path: the file that they are from.
        cure: what to do then, for the message.
    """
    for name, values in weights.items():
        if values.is_meta:  # which has a shape and no values
            continue
        # A finite sum has finite terms. It takes half as long as `isfinite`, and no memory.
        if math.isfinite(values.detach().sum().item()) or bool(values.isfinite().all()):
            continue
        raise ValueError(f"{name} in {path} has values that are not finite; {cure}")
