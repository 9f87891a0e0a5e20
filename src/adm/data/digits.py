"""Split -> Source: scikit-learn's handwritten digits, 8x8, grey."""

import numpy as np
import torch

from adm.data.source import Source, in_memory
from adm.extras import installing
from adm.shown import shown

CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TOP_LEVEL = 16  # grey levels 0..16 are scaled to 0..255
TEST_EVERY = 5


def digits(place: str = "", split: str = "train") -> Source:
    """The 1,797 digits that scikit-learn ships; nothing is downloaded.

    Every fifth image of each class, in the order of the data set, is a test image.

    Raises:
        ValueError: a place is given; scikit-learn is not installed.
    """
    if place:
        raise ValueError(f"digits come with scikit-learn and take no folder, got {shown(place)}")
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise ValueError(
            f"the digits come with scikit-learn, which is not installed; {installing('sklearn')}"
        ) from None
    levels, labels = load_digits(return_X_y=True)
    levels, labels = np.asarray(levels), np.asarray(labels)
    images = np.rint(levels.reshape(-1, 1, 8, 8) * (255 / TOP_LEVEL)).astype(np.uint8)
    chosen = _is_test(labels) == (split == "test")
    images, labels = images[chosen], labels[chosen]
    return in_memory("digits", CLASSES, torch.from_numpy(images), torch.from_numpy(labels))


def _is_test(labels: np.ndarray) -> np.ndarray:
    """(N,) bool: every fifth image of each class."""
    rank = np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        rank[labels == label] = np.arange((labels == label).sum())
    return rank % TEST_EVERY == TEST_EVERY - 1
