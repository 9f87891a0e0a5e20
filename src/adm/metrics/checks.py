"""Arrays -> float features that can be scored, or ValueError."""

import numpy as np
import torch

ROWS = 4096  # processed at a time


def check_features(features: np.ndarray, minimum: int = 2) -> np.ndarray:
    """The same array, once its shape and values are validated.

    Args:
        features: (N, D) floating.
        minimum: number of images that the caller needs.

    Raises:
        ValueError: not (N, D) numbers with N at least `minimum`, or a value is not finite.
    """
    features = np.asarray(features)
    if features.ndim != 2 or len(features) < minimum or not features.shape[1]:
        raise ValueError(
            f"features must be (N, D) with N >= {minimum}, got {features.shape}; give more images"
        )
    if features.dtype.kind not in "fiu":
        raise ValueError(f"features must be real numbers, got {features.dtype}")
    for start in range(0, len(features), ROWS):
        finite = np.isfinite(features[start : start + ROWS]).all(axis=1)
        if not finite.all():
            raise ValueError(
                "features hold values that are not finite, first in row "
                f"{start + finite.argmin()}; leave those images out"
            )
    return features


def check_comparable(real: np.ndarray, fake: np.ndarray, minimum: int = 2) -> None:
    """Raise ValueError unless both are valid features with the same D."""
    real, fake = check_features(real, minimum), check_features(fake, minimum)
    if real.shape[1] != fake.shape[1]:
        raise ValueError(
            f"features of shapes {real.shape} and {fake.shape} cannot be compared; "
            "use the same extractor for both"
        )


def as_tensor(features: np.ndarray, device: str | torch.device) -> torch.Tensor:
    """The same numbers on a device, float64 if they are, and else float32."""
    kind = np.float64 if features.dtype == np.float64 else np.float32
    return torch.from_numpy(np.ascontiguousarray(features, dtype=kind)).to(device)
