"""scikit-learn's handwritten digits -> labelled images, 8x8 and grey."""

import numpy as np
import torch

from adm.data.source import Source, in_memory

CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TOP_LEVEL = 16  # its 17 levels 0..16 are spread evenly over 0..255
TEST_EVERY = 5


def digits(split: str = "train") -> Source:
    """The 1,797 digits that come within scikit-learn: nothing is downloaded.

    Of each class, in the order of the set, every fifth image is a test image.

    Raises:
        ValueError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise ValueError(
            "digits come with scikit-learn, which is absent; "
            'pip install "ablated-diffusion[digits]"'
        ) from None
    levels, labels = load_digits(return_X_y=True)
    levels, labels = np.asarray(levels), np.asarray(labels)
    images = np.rint(levels.reshape(-1, 1, 8, 8) * (255 / TOP_LEVEL)).astype(np.uint8)
    chosen = _is_test(labels) == (split == "test")
    kept = torch.from_numpy(images[chosen])
    return in_memory("digits", CLASSES, kept, torch.from_numpy(labels[chosen]))


def _is_test(labels: np.ndarray) -> np.ndarray:
    """(N,) bool, whether an image is a fifth of its class."""
    rank = np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        rank[labels == label] = np.arange((labels == label).sum())
    return rank % TEST_EVERY == TEST_EVERY - 1
