"""Clusters, labels of the data -> purity of each cluster, overall purity, mutual information."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Agreement:
    """How far clusters agree with labels that they were found without.

    Attributes:
        common: the most common label of each cluster.
        shares: the share of the images of each cluster that have this label, its purity.
        purity: the share of all images that have the most common label of their cluster.
        information: normalised mutual information, in [0, 1]: 1 if clusters and labels determine
            each other, and about 0 if they are independent.
    """

    common: tuple[int, ...]
    shares: tuple[float, ...]
    purity: float
    information: float

    def __str__(self) -> str:
        return f"purity {self.purity:.3f}, normalised mutual information {self.information:.3f}"


def agreement(ids: np.ndarray, labels: np.ndarray) -> Agreement:
    """Compare clusters with labels.

    Args:
        ids: (N,) int64, clusters 0..K - 1, each with images.
        labels: (N,) int64.
    """
    from sklearn.metrics import normalized_mutual_info_score

    counts = np.zeros((ids.max() + 1, labels.max() + 1), np.int64)
    np.add.at(counts, (ids, labels), 1)
    most = counts.max(axis=1)
    return Agreement(
        tuple(counts.argmax(axis=1).tolist()),
        tuple((most / counts.sum(axis=1)).tolist()),
        float(most.sum() / len(ids)),
        float(normalized_mutual_info_score(labels, ids)),
    )
