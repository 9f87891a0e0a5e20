"""arrays that somebody gives -> features that can be scored, or what is wrong with them."""

import numpy as np

ROWS = 4096  # read at a time where a set is walked through


def checked(features: np.ndarray, least: int = 2) -> np.ndarray:
    """The same array, after a look at its shape and values.

    Args:
        features: (N, D) floating.
        least: images that the caller needs.

    Raises:
        ValueError: not (N, D) numbers with N at least `least`, or a value is not finite.
    """
    features = np.asarray(features)
    if features.ndim != 2 or len(features) < least or not features.shape[1]:
        raise ValueError(
            f"features must be (N, D) with N >= {least}, got {features.shape}; give more images"
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


def comparable(real: np.ndarray, fake: np.ndarray, least: int = 2) -> None:
    """Nothing, if both sets can be scored against each other.

    Raises:
        ValueError: one of them cannot be scored, or they have different numbers of features.
    """
    real, fake = checked(real, least), checked(fake, least)
    if real.shape[1] != fake.shape[1]:
        raise ValueError(
            f"features of shapes {real.shape} and {fake.shape} cannot be compared; "
            "use the same extractor for both"
        )
